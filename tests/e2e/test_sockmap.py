#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The sockmap engine: the kernel moves bytes from socket to socket. Between namespaces and on loopback.
Needs root with CAP_BPF."""

import json
import socket
import sys

from lab import Place, Places, Suite, Topology, check, equal, until
from lab.place import half_closes, resets
from lab.sluice import in_thread
from lab.stream import both_ways, expect_end, receive_stream, send_stream

suite = Suite()
MEGABYTE = 1 << 20
LIMIT = 300  # of connections; makes maps small
SOCKMAP = {"splice": {"engine": "sockmap", "after": "1ms"}, "limits": {"connections": LIMIT}}


class SockmapPlace(Place):
    def __init__(self, net, where, ports):
        super().__init__(net, where, ports, SOCKMAP)

    def spliced(self, n=1, timeout=10):
        try:
            return until(lambda: len(self.carried("sockmap")) >= n and self.carried("sockmap"), timeout)
        except AssertionError:
            raise AssertionError(f"no {n} flows in the sockmap: {self.sluice.flows()[:3]}") from None


def places():
    net = Topology()
    return Places({"veth": SockmapPlace(net, "veth", (3128, 9145)),
                   "loopback": SockmapPlace(net, "loopback", (3129, 9146)),
                   "IPv6": SockmapPlace(net, "veth6", (3130, 9147))})


everywhere = Places.everywhere(suite, ("veth", "loopback", "IPv6"))


def fill(sock, seconds=0.3):
    """Sends until nothing goes in for a while; how much did."""
    sock.settimeout(seconds)
    sent = 0
    try:
        while True:
            sent += sock.send(b"x" * 65536)
    except socket.timeout:
        return sent
    finally:
        sock.settimeout(20)


@everywhere()
def a_tunnel_is_spliced_and_its_bytes_arrive_whole_and_counted(place):
    with place.tunnels() as ([(client, server)], [flow]):
        equal(flow["reason"], "ripe", "reason")
        both_ways(client, server, 1, MEGABYTE)
        (flow,) = place.carried("sockmap")
        for side in ("client", "upstream"):
            equal(flow[f"bytes_from_{side}"], 5 + MEGABYTE, "bytes counted")
            check(flow[f"messages_from_{side}"] > 1, lambda: f"messages: {flow}")


@everywhere()
def half_close_works_in_both_directions(place):
    half_closes(place)


@everywhere()
def a_reset_reaches_the_other_end(place):
    resets(place)


@everywhere()
def a_server_may_answer_and_close_at_once(place):
    with place.tunnels() as ([(client, server)], _):
        client.sendall(b"question")
        equal(server.recv(8), b"question")
        job = in_thread(lambda: (send_stream(server, 3, MEGABYTE // 2), server.close()))
        receive_stream(client, 3, MEGABYTE // 2)
        expect_end(client)
        job.join(30)


@everywhere(timeout=120)
def fifty_tunnels_at_once_keep_their_bytes(place):
    with place.tunnels(50) as (pairs, _):
        jobs = [in_thread(both_ways, c, s, 1000 + 2 * i, 65536) for i, (c, s) in enumerate(pairs)]
        for job in jobs:
            job.join(60)


@everywhere()
def a_stalled_reader_stops_the_sender_and_loses_nothing(place):
    for first in (0, 1):
        with place.tunnels() as ([pair], _):
            one, other = pair[first], pair[1 - first]
            for end in pair:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            sent = fill(one)
            check(sent < MEGABYTE, lambda: f"{sent} bytes went in")
            other.sendall(b"but I speak")
            equal(one.recv(11, socket.MSG_WAITALL), b"but I speak", "the other direction")
            got = 0
            while got < sent:
                data = other.recv(65536)
                check(data and not data.strip(b"x"), "what arrives late")
                got += len(data)
            equal(got, sent, "bytes")


@everywhere()
def both_directions_may_stall_at_once(place):
    with place.tunnels() as ([(client, server)], _):
        sent = [fill(client), fill(server)]
        jobs = [in_thread(receive_all, server, sent[0]), in_thread(receive_all, client, sent[1])]
        for job in jobs:
            job.join(30)
        both_ways(client, server, 5, MEGABYTE)


def receive_all(sock, size):
    while size:
        data = sock.recv(min(size, 65536))
        check(data, "the stream ended")
        size -= len(data)


def bpftool(place, *arguments):
    done = place.sluice.net.proxy.run("bpftool", "-j", *arguments, text=True)
    equal(done.returncode, 0, done.stderr)
    return json.loads(done.stdout)


@everywhere()
def bpftool_shows_what_a_flow_carried(place):
    with place.tunnels() as ([(client, server)], _):
        for _ in range(20):
            client.sendall(b"ping")
            equal(server.recv(4), b"ping")
        maps = [m["id"] for m in bpftool(place, "map", "show")
                if m.get("name") == "sl_flows" and m["max_entries"] < 2 * (LIMIT + 1000)]
        check(any(is_chat(e["formatted"]["value"]) for i in maps
                  for e in bpftool(place, "map", "dump", "id", i)), f"no such flow in {maps}")


def is_chat(flow):
    return flow["redirected"] >= 40 and flow["messages"] >= 10 and flow["cookie"]


@everywhere()
def without_privileges_tunnels_are_copied_and_it_says_why(place):
    port = place.sluice.port + 10
    other = SockmapPlace(place.sluice.net, place.where, (port, port + 6000))
    other.sluice.prefix += ["setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin"]
    try:
        other.sluice.start()
        report = other.sluice.engine()
        equal(report["available"], False, "available")
        check("CAP_BPF" in report["reason"], lambda: f"reason: {report}")
        with other.open_tunnels() as [(client, server)]:
            (flow,) = other.sluice.flows()
            equal((flow["engine"], flow["reason"]),
                  ("copy", "the configured engine is not available"), "flow")
            both_ways(client, server, 9, 65536)
        other.sluice.stop()
    finally:
        other.discard()


@everywhere()
def the_kernel_moves_an_idle_chat_without_waking_sluice(place):
    with place.tunnels() as ([(client, server)], _):
        time_before = place.sluice.cpu_seconds()
        for _ in range(2000):
            client.sendall(b"ping")
            server.recv(4)
            server.sendall(b"pong")
            client.recv(4)
        used = place.sluice.cpu_seconds() - time_before
        check(used < 0.1, lambda: f"{used} s of CPU for 4000 messages")


if __name__ == "__main__":
    sys.exit(suite.main(places))
