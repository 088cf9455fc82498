#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The life of a sluice over ports that DPDK owns: with a user of its own and a list of system calls, a
reload, an upgrade that can't be. Needs root. With SLUICE_STACK=kernel the same behind the kernel's stack."""

import json
import os
import signal
import socket
import sys
from pathlib import Path

os.environ["SLUICE_TRANSPORT"] = "dpdk"

from lab import SERVER, Lab, Origin, Skip, Suite, answers, check, equal, until
from lab.net import STACK
from lab.origin import OK

suite = Suite()
BIND, NET_ADMIN = 1 << 10, 1 << 12


def echo(wire, origin):
    while data := wire.sock.recv(65536):
        wire.sock.sendall(data)


class Confined(Lab):
    """Started by root, run by nobody, over ports of that driver."""

    def __init__(self, driver="af_packet", devices=None):
        super().__init__(
            {"user": "nobody", "seccomp": True, "splice": {"engine": "auto", "after": "20ms"}},
            listener={"acl": [{"allow": {"dst": "10.2.0.0/16"}}]}, start=False)
        os.chmod(self.sluice.dir, 0o777)
        # The leak check needs ptrace(2), which the filter forbids.
        self.sluice.prefix = ["env", "ASAN_OPTIONS=detect_leaks=0"]
        self.sluice.config.update(self.net.dpdk_config(driver))
        self.prefix = f"sluice-life-{STACK}"
        self.sluice.config["dpdk"] |= {"telemetry": True, "file_prefix": self.prefix}
        for port, device in zip(self.sluice.config["dpdk"]["ports"], devices or ()):
            del port["driver"]
            port["device"] = device
        self.origin.reset(answers(OK))
        self.echo = Origin(self.net.server, SERVER, 7, echo)
        self.sluice.start()

    def fetches(self, port=3128):
        equal(self.net.curl(port), "ok", "what curl gets")

    def write(self, **keys):
        self.sluice.file.write_text(json.dumps({**self.sluice.config, **keys}))

    def refused(self, *arguments):
        done = self.sluice.cli(*arguments)
        equal(done.returncode, 1, f"sluice {arguments[0]}")
        return done.stderr


def capabilities(sluice):
    for status in Path(f"/proc/{sluice.process.pid}/task").glob("*/status"):
        lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        equal((lines["NoNewPrivs"], lines["Seccomp"]), ("1", "2"), "no_new_privs and seccomp")
        check(not lines["Uid"].startswith("0"), lambda: lines["Uid"])
    status = Path(f"/proc/{sluice.process.pid}/status").read_text()
    return int(status.partition("CapPrm:\t")[2].split()[0], 16)


@suite.test()
def a_user_and_a_filter_leave_all_that_it_needs(lab):
    # The kernel's sockets are put into repair mode.
    wanted = BIND | NET_ADMIN if STACK == "kernel" else BIND
    equal(capabilities(lab.sluice), wanted, "capabilities")
    lab.fetches()
    with lab.sluice.tunnel(SERVER, 7) as wire:
        equal(wire.send(b"before").exactly(6), b"before", "the echo")
        until(lambda: [f["engine"] for f in lab.sluice.flows()] == ["dpdk"], 10, "it is spliced")
        equal(wire.send(b"after").exactly(5), b"after", "the echo")


@suite.test()
def dpdk_itself_tells_of_its_ports(lab):
    """As dpdk-telemetry.py asks: the user and the filter don't keep its thread from answering."""
    lab.fetches()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asks:
        asks.settimeout(10)
        asks.connect(f"/run/dpdk/{lab.prefix}/dpdk_telemetry.v2")
        equal(json.loads(asks.recv(65536))["pid"], lab.sluice.process.pid, "who answers")
        asks.send(b"/ethdev/list")
        equal(json.loads(asks.recv(65536)), {"/ethdev/list": [0, 1]}, "ports")
        asks.send(b"/ethdev/stats,0")
        check(json.loads(asks.recv(65536))["/ethdev/stats"]["ipackets"] > 0, "frames of the first one")


@suite.test()
def an_upgrade_is_refused_and_disturbs_nobody(lab):
    with lab.sluice.tunnel(SERVER, 7) as wire:
        said = lab.refused("upgrade")
        check("can't be handed over" in said and "drain and restart" in said, lambda: said)
        lab.sluice.kill(signal.SIGUSR2)
        until(lambda: lab.sluice.tell().count("error: upgrade: ") == 2, 10, "the signal is refused")
        equal(wire.send(b"still").exactly(5), b"still", "the echo")
        lab.fetches()
        equal(lab.sluice.process.poll(), None, "exit status")


@suite.test()
def a_reload_changes_listeners_and_rules_but_not_ports(lab):
    egress = lab.sluice.config["listeners"][0]
    with lab.sluice.tunnel(SERVER, 7) as wire:
        lab.write(listeners=[egress, {**egress, "name": "other", "listen": "0.0.0.0:128"}])
        lab.sluice.kill(signal.SIGHUP)
        until(lambda: reachable(lab, 128), 10, "another listener")
        lab.fetches(128)
        lab.write(listeners=[{**egress, "acl": [{"deny": {"port": 80}}, *egress["acl"]]}])
        lab.sluice.ask("reload")
        until(lambda: not reachable(lab, 128), 10, "the other listener is closed")
        equal(lab.sluice.get(f"http://{SERVER}/").status, 403, "status by the new rules")
        for change in ({"memory": "65m"}, {"ports": lab.sluice.config["dpdk"]["ports"][:1]}):
            lab.write(dpdk={**lab.sluice.config["dpdk"], **change})
            said = lab.refused("reload")
            check("dpdk can't change while sluice runs" in said, lambda: said)
        lab.write()
        lab.sluice.ask("reload")
        equal(wire.send(b"still").exactly(5), b"still", "the echo")
        lab.fetches()


def reachable(lab, port):
    try:
        lab.net.client.connect("10.1.0.1", port, 5).close()
    except ConnectionRefusedError:
        return False
    return True


def xdp(lab):
    return "xdp" in lab.net.proxy.run("ip", "link", "show", "to-client", text=True).stdout


@suite.test(timeout=60)
def an_xdp_port_is_left_as_it_was(lab):
    """Taking the program off needs a capability, and what stays would keep frames from the kernel."""
    for devices in (None, ("net_af_xdp0,iface=to-client", "net_af_xdp1,iface=to-server")):
        own = Confined.__new__(Confined)
        try:
            own.__init__("af_xdp", devices)
        except AssertionError as e:
            raise Skip("af_xdp does not work here") from e
        with own:
            equal(capabilities(own.sluice), BIND | NET_ADMIN, f"capabilities with {devices or 'driver'}")
            own.fetches()
            check(xdp(own), "XDP is on")
        check(not xdp(own), "XDP is off")


def resets(lab):
    rows = [line.split() for line in lab.net.proxy.run("cat", "/proc/net/snmp", text=True).stdout.splitlines()
            if line.startswith("Tcp:")]
    return int(dict(zip(*rows))["OutRsts"])


@suite.test(timeout=60)
def the_kernel_sees_no_frame_of_a_virtual_packet_port_twice(lab):
    """Behind the kernel's stack it answered the second of each with RST: only ports by name were hidden."""
    with Confined(devices=("net_af_packet0,iface=to-client", "net_af_packet1,iface=to-server")) as own:
        before = resets(own)
        for _ in range(5):
            own.fetches()
        equal(resets(own) - before, 0, "resets")


if __name__ == "__main__":
    sys.exit(suite.main(Confined))
