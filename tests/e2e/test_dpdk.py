#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Ports that DPDK owns: what only they have. Forward and reverse suites run over them, too (tests/run.py,
SLUICE_TRANSPORT=dpdk)."""

import os
import re
import socket
import struct
import sys
import time

os.environ["SLUICE_TRANSPORT"] = "dpdk"

from lab import PROXY_C, SERVER, Lab, Origin, Suite, answers, check, equal, until
from lab.load import Load
from lab.origin import OK
from lab.sluice import in_thread
from lab.stream import receive_stream, send_stream

suite = Suite()
TUNNELS = int(os.environ.get("DPDK_TUNNELS", "300"))
# Of 65536 packets: lost, duplicated, held back for some milliseconds.
NETWORKS = {"a good network": None, "a bad network": (330, 330, 650, 0)}


def echo(wire, origin):
    while data := wire.sock.recv(65536):
        wire.sock.sendall(data)


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return ~((total >> 16) + (total & 0xffff) + ((total >> 16) + (total & 0xffff) >> 16)) & 0xffff


class DpdkLab(Lab):
    def __init__(self):
        super().__init__(start=False, config={"listeners": [
            {"name": "v4", "listen": "0.0.0.0:3128", "mode": "forward",
             "acl": [{"allow": {"dst": "10.2.0.0/16"}}]},
            {"name": "v6", "listen": "[::]:3128", "mode": "forward",
             "acl": [{"allow": {"dst": "fd00::/16"}}]}]})
        self.sluice.config["dpdk"]["ports"][1]["gateway6"] = "fe80::1"
        self.sluice.start()
        self.origin.handler = echo
        self.sluice.mac = self.mac_of(self.net.proxy, "to-client")

    @staticmethod
    def mac_of(ns, device):
        with ns.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
            s.bind((device, 0))
            return s.getsockname()[4]


def through(lab, address, host, port, size, seed):
    """A tunnel that carries `size` bytes and gets them back."""
    lab.sluice.address = address
    try:
        with lab.sluice.tunnel(host, port) as wire:
            sender = in_thread(send_stream, wire.sock, seed, size)
            receive_stream(wire.sock, seed, size)
            sender.join(60)
    finally:
        lab.sluice.address = PROXY_C


@suite.test()
def probe_tells_that_it_is_built_in(lab):
    done = lab.net.proxy.run(lab.sluice.binary, "probe", text=True)
    check(re.search(r"^DPDK +yes ", done.stdout, re.MULTILINE), lambda: done.stdout)


@suite.test()
def it_answers_echo_requests(lab):
    with lab.net.client.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.settimeout(5)
        head = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
        data = b"are you there..."
        s.sendto(struct.pack("!BBHHH", 8, 0, checksum(head + data), 7, 1) + data, (PROXY_C, 0))
        answer = s.recv(100)[20:]
        equal((answer[0], answer[8:]), (0, data), "the echo")


@suite.test()
def a_closed_port_refuses_at_once(lab):
    for address in (PROXY_C, "fd00:1::1"):
        try:
            lab.net.client.connect(address, 81, 5).close()
            check(False, f"{address}:81 is open")
        except ConnectionRefusedError:
            pass


@suite.test()
def ipv6_carries_bytes_to_ipv6_and_ipv4(lab):
    six = Origin(lab.net.server, "fd00:2::2", 0, echo)
    through(lab, "fd00:1::1", "fd00:2::2", six.port, 200_000, 5)
    six.close()


@suite.test()
def curl_fetches_through_it(lab):
    lab.origin.reset(answers(OK))
    for _ in range(5):
        equal(lab.net.curl(), "ok", "what curl gets")
    lab.origin.reset(echo)


@suite.test()
def it_sleeps_when_nothing_comes(lab):
    """A loop that polls takes the whole of a second's CPU time each second."""
    with lab.sluice.tunnel(SERVER, 80) as idle:
        idle.send(b"x")
        equal(idle.exactly(1), b"x", "the echo")
        time.sleep(0.5)
        before = lab.sluice.cpu_seconds()
        time.sleep(2)
        used = lab.sluice.cpu_seconds() - before
        check(used < 0.4, f"{used} s of CPU time in 2 s without traffic")


@suite.test()
def what_was_sent_to_others_is_not_forwarded(lab):
    """lwIP would: sluice gives it nothing that is not for the port's addresses."""
    try:
        lab.net.client.connect(SERVER, 80, 1).close()
        check(False, "a packet for the server was forwarded")
    except (socket.timeout, OSError):
        pass


@suite.test()
def it_does_not_talk_to_itself(lab):
    with lab.sluice.connect() as client:
        client.send(b"CONNECT 10.2.0.1:3128 HTTP/1.1\r\nHost: 10.2.0.1:3128\r\n\r\n")
        check(client.response("CONNECT").status in (403, 502), "status")


@suite.test(timeout=60)
def a_thousand_connections_come_and_go(lab):
    """As many at once, in buckets that share lists; afterwards their ports are used again."""
    for _ in range(2):
        clients = [lab.net.client.connect(PROXY_C, 3128, 10) for _ in range(1000)]
        until(lambda: lab.sluice.stats()["connections_active"] >= 1000, 20, "all are accepted")
        for c in clients:
            c.close()
        lab.sluice.settles(timeout=30)


HOSTS = range(16, 66)


def address(net, number, family):
    return f"10.{net}.0.{number}" if family == 4 else f"fd00:{net}::{number:x}"


class Asked:
    """Counts whom sluice asks for on a wire: ARP requests and solicitations that it sends."""

    def __init__(self, ns, mac):
        self.sock = ns.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.sock.bind(("to-proxy", 3))
        self.mac, self.n = mac, 0

    def count(self):
        self.sock.setblocking(False)
        try:
            while frame := self.sock.recv(2048):
                arp = frame[12:14] == b"\x08\x06" and frame[21] == 1
                nd = frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] == 135
                self.n += frame[6:12] == self.mac and (arp or nd)
        except BlockingIOError:
            return self.n


@suite.each(("IPv4", "IPv6"), timeout=120)
def fifty_hosts_on_a_wire_talk_at_once(lab, name):
    """lwIP's tables have ten entries: it asked again for each packet. Each host speaks from an address of
    its own to a server of its own, in rounds, so no entry rests."""
    family, bits = (6, 64) if name == "IPv6" else (4, 24)
    for net, ns in ((1, lab.net.client), (2, lab.net.server)):
        ns.ip(*(f"addr add {address(net, h, family)}/{bits} dev to-proxy{' nodad' * (family == 6)}"
                for h in HOSTS))
    origin = Origin(lab.net.server, "::", 7, echo)
    asked = Asked(lab.net.server, lab.mac_of(lab.net.proxy, "to-server"))
    wires = []
    try:
        lab.sluice.address = address(1, 1, family)
        for h in HOSTS:
            wires.append(lab.sluice.tunnel(address(2, h, family), 7, source=address(1, h, family)))
            asked.count()  # while there is room in the socket
        for _ in range(20):
            for wire in wires:
                wire.send(b"and you?")
            for wire in wires:
                equal(wire.exactly(8), b"and you?", "the echo")
            n = asked.count()
        check(n <= 3 * len(HOSTS), f"sluice asked {n} times for {len(HOSTS)} servers")
    finally:
        lab.sluice.address = PROXY_C
        for wire in wires:
            wire.close()
        origin.close()
        asked.sock.close()


@suite.test()
def an_ipv6_gateway_is_that_of_the_configuration(lab):
    """The server is behind it: no router has advertised itself."""
    lab.net.server.ip("link set lo up", "addr add fd00:99::9/128 dev lo",
                      "addr add fe80::1/64 dev to-proxy nodad")
    six = Origin(lab.net.server, "fd00:99::9", 0, echo)
    through(lab, "fd00:1::1", "fd00:99::9", six.port, 100_000, 15)
    six.close()


def figures(lab):
    return lab.sluice.ask("stats")["stats"]["figures"]


def syn(sport):
    """To port 3128 of the proxy, from an address that nobody has."""
    addresses = socket.inet_aton("10.1.0.99") + socket.inet_aton(PROXY_C)
    tcp = struct.pack("!HHIIBBHHH", sport, 3128, 7, 0, 5 << 4, 2, 8192, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(addresses + struct.pack("!HH", 6, 20) + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0)
    ip = ip[:10] + struct.pack("!H", checksum(ip + addresses)) + addresses
    return ip + tcp


@suite.test(timeout=60)
def a_flood_of_handshakes_is_bounded(lab):
    """The oldest give way: honest clients get through, and memory does not grow with the flood."""
    mac = bytes(lab.sluice.mac)
    before, lost = lab.sluice.memory_bytes(), figures(lab)["dpdk_handshakes_lost_total"]
    with lab.net.client.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind(("to-proxy", 0x0800))
        head = mac + s.getsockname()[4] + b"\x08\x00"
        for i in range(20000):
            s.send(head + syn(1024 + i))
            if not i % 2000:
                lab.sluice.connect().close()
    until(lambda: figures(lab)["dpdk_handshakes_lost_total"] - lost > 100, 10, "some were lost")
    check(lab.sluice.memory_bytes() - before < 64 << 20, "memory grew with the flood")
    lab.sluice.settles()


@suite.test()
def ports_count_what_passes(lab):
    through(lab, PROXY_C, SERVER, 80, 50_000, 9)
    now = figures(lab)
    for device in ("to-client", "to-server"):
        check(now["dpdk_port_received_frames_total"][device] > 10, f"{device}: {now}")
        check(now["dpdk_port_sent_bytes_total"][device] > 50_000, f"{device}: {now}")


@suite.each(NETWORKS, timeout=120)
def random_tunnels_arrive_whole(lab, network):
    """Byte for byte, with all ways to end, and no RST where none belongs."""
    for ns in (lab.net.client, lab.net.server):
        ns.send_no_loss_probes()
    load = Load(lab.net.client, lab.net.server, (PROXY_C, 3128), SERVER, ["to-proxy", "to-proxy"],
                fault=NETWORKS[network], tunnels=TUNNELS, concurrency=50, seed=3)
    result = load.result()
    print("# " + result.tell().replace("\n", "\n# "), flush=True)
    check(not result.failures, result.tell)
    lab.sluice.settles(timeout=60)


if __name__ == "__main__":
    sys.exit(suite.main(DpdkLab))
