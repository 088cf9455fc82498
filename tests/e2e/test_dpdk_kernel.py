#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The exception path (dpdk: stack: kernel): ports that DPDK owns, and the kernel's TCP behind them. How tunnels
are spliced there is in test_dpdk_splice.py, which runs a second time for it."""

import json
import os
import socket
import sys
import time

os.environ["SLUICE_TRANSPORT"] = "dpdk"
os.environ["SLUICE_STACK"] = "kernel"

from lab import PROXY_C, PROXY_S, SERVER, Lab, Origin, Suite, Wire, answers, check, equal, until
from lab.origin import OK
from lab.sluice import in_thread
from lab.stream import expect_end, receive_stream, send_stream

suite = Suite()
IPERF = 5201
TCPI_TIMESTAMPS, TCPI_SACK, TCPI_WSCALE = 1, 2, 4


def echo(wire, origin):
    while data := wire.sock.recv(65536):
        wire.sock.sendall(data)
    wire.sock.shutdown(socket.SHUT_WR)


class KernelLab(Lab):
    def __init__(self):
        super().__init__({"listeners": [
            {"name": "egress", "listen": f"{PROXY_C}:3128", "mode": "forward",
             "acl": [{"allow": {"dst": "10.2.0.0/16"}}, {"allow": {"dst": "fd00::/16"}}]},
            {"name": "bulk", "listen": f"[fd00:1::1]:{IPERF}", "mode": "tcp", "upstream": "iperf"}],
            "timeouts": {"drain": "200ms"},
            "splice": {"engine": "packet", "after": "20ms"},
            "upstreams": [{"name": "iperf", "servers": [f"{SERVER}:{IPERF}"]}]})
        self.origin.handler = echo

    def devices(self):
        done = self.net.proxy.run("ip", "-j", "address", text=True)
        return {d["ifname"]: d for d in json.loads(done.stdout)}

    def word(self, wire, word):
        wire.send(word)
        equal(wire.exactly(len(word)), word, "the echo")

    def flow(self):
        (flow,) = self.sluice.flows()
        return flow

    def figures(self):
        return self.sluice.ask("stats")["stats"]["figures"]


@suite.test()
def the_devices_are_the_ports_in_the_eyes_of_the_kernel(lab):
    devices = lab.devices()
    for tap, port, address in (("sluice0", "to-client", PROXY_C), ("sluice1", "to-server", PROXY_S)):
        equal(devices[tap]["address"], devices[port]["address"], "the MAC address")
        equal(devices[tap]["mtu"], devices[port]["mtu"], "the MTU")
        check(address in [a["local"] for a in devices[tap]["addr_info"]], lambda: f"{devices[tap]}")


@suite.test()
def curl_fetches_through_it(lab):
    lab.origin.reset(answers(OK))
    for _ in range(5):
        equal(lab.net.curl(), "ok", "what curl gets")
    lab.origin.reset(echo)


@suite.test()
def streams_arrive_whole_and_their_ends_pass(lab):
    with lab.sluice.tunnel(SERVER, 80) as wire:
        job = in_thread(send_stream, wire.sock, 3, 4 << 20)
        receive_stream(wire.sock, 3, 4 << 20)
        job.join(60)
        wire.sock.shutdown(socket.SHUT_WR)
        expect_end(wire.sock)


@suite.test()
def iperf3_runs_through_it(lab):
    server = lab.net.server.start("iperf3", "-s", "-1", "-p", IPERF, stdout=-3, stderr=-3)
    try:
        until(lambda: lab.net.server.run("ss", "-Hltn", f"sport = :{IPERF}").stdout, 10, "iperf3")
        done = lab.net.client.run("iperf3", "-6", "-c", "fd00:1::1", "-p", IPERF, "-n", "20M", "-J",
                                  text=True)
        equal(done.returncode, 0, f"iperf3: {done.stdout} {done.stderr}")
        # It stops counting when the sender says that all was sent, which the proxy still holds some of.
        sums = json.loads(done.stdout)["end"]
        check(sums["sum_received"]["bytes"] > 5 << 20, lambda: f"{sums}")
    finally:
        server.kill()
        server.wait()


@suite.test()
def the_handshake_is_the_kernel_s(lab):
    """lwIP offers no SACK here, no timestamps, and no window scale."""
    with lab.sluice.connect() as wire:
        options = wire.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5]
        wanted = TCPI_TIMESTAMPS | TCPI_SACK | TCPI_WSCALE
        equal(options & wanted, wanted, "options of the handshake")


@suite.test()
def each_frame_gets_to_the_kernel_once(lab):
    """A packet socket's device shows them to the kernel, too, which would count them as repeated."""
    def repeated():
        done = lab.net.proxy.run("nstat", "-asz", "--json", text=True)
        return json.loads(done.stdout)["kernel"]["TcpExtTCPDSACKOldSent"]
    before = repeated()
    with lab.sluice.tunnel(SERVER, 80) as wire:
        lab.word(wire, b"once")
    equal(repeated(), before, "segments that came twice")


@suite.test()
def a_spliced_tunnel_has_no_sockets_and_counts_what_passes(lab):
    with lab.sluice.tunnel(SERVER, 80) as wire:
        lab.word(wire, b"first")
        until(lambda: lab.flow()["engine"] == "dpdk", 10, "it is spliced")
        until(lambda: f":{wire.sock.getsockname()[1]} " not in sockets(lab), 5, "no socket has its port")
        before = lab.flow()
        lab.word(wire, b"x" * 1000)
        now = lab.flow()
        for side in ("client", "upstream"):
            equal(now[f"bytes_from_{side}"] - before[f"bytes_from_{side}"], 1000, f"bytes from {side}")
        active = lab.figures()["packet_slots"]
        equal((active["watch"], active["active"]), (0, 1), "slots")
    until(lambda: not lab.sluice.flows(), 10, "its end")


def sockets(lab):
    return lab.net.proxy.run("ss", "-Htn", text=True).stdout


@suite.test()
def what_does_not_go_by_the_ports_is_copied(lab):
    """A client on the proxy's own host comes by its loopback device."""
    with Wire(lab.net.proxy.connect(PROXY_C, 3128)) as wire:
        wire.send(f"CONNECT {SERVER}:80 HTTP/1.1\r\nHost: {SERVER}\r\n\r\n".encode())
        equal(wire.response("CONNECT").status, 200, "status of CONNECT")
        lab.word(wire, b"word")
        until(lambda: lab.flow()["reason"] != "young", 10, "a decision")
        equal((lab.flow()["engine"], lab.flow()["reason"]),
              ("copy", "only one of its connections goes through DPDK"), "who carries it")


@suite.test()
def a_closed_port_refuses_at_once(lab):
    for address in (PROXY_C, "fd00:1::1"):
        try:
            lab.net.client.connect(address, 81, 5).close()
            check(False, f"{address}:81 is open")
        except ConnectionRefusedError:
            pass


@suite.test()
def what_was_sent_to_others_is_not_forwarded(lab):
    try:
        lab.net.client.connect(SERVER, 80, 1).close()
        check(False, "a packet for the server was forwarded")
    except (socket.timeout, OSError):
        pass


@suite.test()
def it_sleeps_when_nothing_comes(lab):
    """A loop that polls takes the whole of a second's CPU time each second."""
    with lab.sluice.tunnel(SERVER, 80) as idle:
        lab.word(idle, b"x")
        time.sleep(0.5)
        before = lab.sluice.cpu_seconds()
        time.sleep(2)
        used = lab.sluice.cpu_seconds() - before
        check(used < 0.4, f"{used} s of CPU time in 2 s without traffic")


@suite.test()
def what_passes_is_counted(lab):
    now = lab.figures()
    for way in ("to the kernel", "from the kernel"):
        check(now["dpdk_exception_frames_total"][way] > 100, f"{way}: {now}")
    for device in ("to-client", "to-server"):
        check(now["dpdk_port_received_frames_total"][device] > 10, f"{device}: {now}")
    equal(now["dpdk_exception_drops_total"]["refused"], 0, "frames that a device refused")


def expect_nothing_left(lab):
    left = [name for name in lab.devices() if name.startswith("sluice")]
    equal(left, [], "devices that are left")
    filters = lab.net.proxy.run("bpftool", "-j", "net", "show", text=True)
    (found,) = json.loads(filters.stdout)
    equal((found["xdp"], found["tc"]), ([], []), "programs that are left on devices")


@suite.test()
def an_orderly_end_leaves_nothing(lab):
    with lab.sluice.tunnel(SERVER, 80) as wire:
        lab.sluice.stop()
        expect_nothing_left(lab)
        try:
            equal(wire.sock.recv(1), b"", "what a client hears of the end")
        except ConnectionResetError:
            pass
    lab.sluice.start()


@suite.test()
def a_kill_leaves_nothing(lab):
    lab.sluice.process.kill()
    lab.sluice.process.wait()
    expect_nothing_left(lab)
    lab.sluice.start()
    curl_fetches_through_it(lab)


@suite.test()
def a_device_that_is_deleted_is_missed_once(lab):
    """What is spliced goes on, and the loop does not turn for a descriptor that only has an error to tell."""
    with lab.sluice.tunnel(SERVER, 80) as wire:
        lab.word(wire, b"first")
        until(lambda: lab.flow()["engine"] == "dpdk", 10, "it is spliced")
        lab.net.proxy.ip("link del sluice0")
        until(lambda: "sluice0 is gone" in lab.sluice.tell(), 10, "it is said")
        # The other device's kernel still answers for the server's side.
        lab.word(wire, b"second")
        before = lab.sluice.cpu_seconds()
        time.sleep(1)
        used = lab.sluice.cpu_seconds() - before
        check(used < 0.3, f"{used} s of CPU time in 1 s without traffic")
    lab.sluice.stop()
    lab.sluice.start()


@suite.test()
def an_ipv6_gateway_is_the_default_route_behind_its_device(lab):
    lab.sluice.stop()
    lab.sluice.config["dpdk"]["ports"][1]["gateway6"] = "fd00:2::2"
    lab.net.server.ip("link set lo up", "addr add fd00:99::9/128 dev lo")
    lab.sluice.start()
    six = Origin(lab.net.server, "fd00:99::9", 0, echo)
    with lab.sluice.tunnel("fd00:99::9", six.port) as wire:
        lab.word(wire, b"hello")
    six.close()


def refusal(lab, **port):
    """What sluice says when it can't start with the first port changed so."""
    file = lab.sluice.dir / "bad.yaml"
    config = json.loads(lab.sluice.file.read_text())
    config["dpdk"]["ports"][0].update(port)
    config.update(admin=str(lab.sluice.dir / "bad.sock"), metrics="off")
    file.write_text(json.dumps(config))
    done = lab.net.proxy.run(lab.sluice.binary, "run", "-c", file, text=True)
    equal(done.returncode, 1, f"exit status: {done.stderr}")
    return done.stderr


@suite.test()
def what_is_wrong_with_a_device_is_said(lab):
    lab.sluice.stop()
    check("there is no device nowhere0 here" in refusal(lab, device="nowhere0"), "an unknown device")
    check("there is such a device" in (said := refusal(lab, tap="to-server")), lambda: said)
    lab.net.proxy.ip("addr add 10.9.0.1/24 dev to-server", "route add default via 10.9.0.9")
    check("has a default route already" in (said := refusal(lab, gateway="10.1.0.254")), lambda: said)
    lab.net.proxy.ip("link add wan type veth peer name wan-end", "link set wan up", "link set wan-end up",
                     "addr add fd00:9::1/64 dev wan nodad", "route add default via fd00:9::9")
    check("has a default route already" in (said := refusal(lab, gateway6="fd00:1::fe")), lambda: said)
    lab.net.proxy.ip("link del wan")
    lab.net.proxy.ip("addr flush dev to-server")
    expect_nothing_left(lab)
    lab.sluice.start()


if __name__ == "__main__":
    sys.exit(suite.main(KernelLab))
