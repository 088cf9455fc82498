#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The packet engine: pairs that are quiet leave sluice's sockets. On the topology of the lab and on
loopback, each with a bpffs of its own, so that nothing of the host's is seen or changed. Needs root
with CAP_BPF."""

import contextlib
import signal
import socket
import struct
import sys
import threading

from lab import SERVER, Bpffs, Origin, Skip, Sluice, Suite, Topology, check, equal, until
from lab.sluice import in_thread
from lab.stream import expect_end, receive_stream, send_stream

suite = Suite()
MEGABYTE = 1 << 20
PACKET = {"workers": 2, "splice": {"engine": "packet", "after": "20ms"},
          "timeouts": {"drain": "200ms"}}


class PacketSluice(Sluice):
    def __init__(self, net, port, metrics, prefix):
        self.port, self.metrics = port, metrics
        super().__init__(net, {**PACKET, "metrics": f"127.0.0.1:{metrics}"}, start=False,
                         prefix=prefix)

    def ready(self):
        try:
            return b" 200 " in self.http_get("/readyz", self.metrics)
        except OSError:
            return False

    def engine(self):
        engines = self.ask("stats")["stats"]["engines"]
        return [e for e in engines if e["name"] == "packet"][0]


class Place:
    """Where a test runs: a sluice with the packet engine, and an origin's and a client's namespace."""

    def __init__(self, net, client, address, server, server_address, ports):
        self.client, self.address = client, address
        self.server, self.server_address = server, server_address
        self.bpffs = Bpffs()
        self.sluice = PacketSluice(net, *ports, self.bpffs.prefix)

    def origin(self, handler):
        return Origin(self.server, self.server_address, 0, handler)

    def tunnel(self, port):
        """A client socket behind an answered CONNECT."""
        sock = self.client.connect(self.address, self.sluice.port)
        sock.settimeout(20)
        sock.sendall(f"CONNECT {self.server_address}:{port} HTTP/1.1\r\n"
                     f"Host: {self.server_address}:{port}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = sock.recv(1)
            check(byte, lambda: f"CONNECT: {head!r}")
            head += byte
        check(b" 200 " in head, lambda: f"CONNECT: {head!r}")
        return sock

    def spliced(self, n=1, timeout=10):
        """The flows, once n of them are carried by the packet engine and their sockets are gone."""
        def find():
            flows = [f for f in self.sluice.flows() if f["engine"] == "packet"]
            return flows if len(flows) >= n else None
        try:
            flows = until(find, timeout)
        except AssertionError:
            raise AssertionError(f"no {n} spliced flows: {self.sluice.flows()[:3]}") from None
        until(lambda: self.sluice.descriptors() <= self.sluice.baseline, 5,
              "the sockets are closed")
        return flows

    def gone(self):
        until(lambda: not self.sluice.flows(), 10, "no flows")

    def discard(self):
        self.sluice.discard()
        self.bpffs.close()


class PacketLab:
    def __init__(self):
        net = self.net = Topology()
        self.places = [
            Place(net, net.client, "10.1.0.1", net.server, SERVER, (3128, 9145)),
            Place(net, net.proxy, "127.0.0.1", net.proxy, "127.0.0.1", (3129, 9146))]

    def __enter__(self):
        for place in self.places:
            place.sluice.start()
            report = place.sluice.engine()
            if not report["available"]:
                self.discard()
                raise Skip(f"the packet engine is not available: {report['reason']}")
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                for place in self.places:
                    place.sluice.stop()
        finally:
            self.discard()

    def discard(self):
        for place in self.places:
            place.discard()

    def tell(self):
        return "\n".join(p.sluice.tell() for p in self.places)


def everywhere(timeout=60):
    """The test runs on both places."""
    def register(function):
        for i, where in enumerate(("veth", "loopback")):
            suite.add(f"{function.__name__.replace('_', ' ')} on {where}",
                      lambda lab, i=i: function(lab.places[i]), timeout)
        return function
    return register


@contextlib.contextmanager
def spliced_tunnel(place, n=1):
    """n tunnels that are spliced after a word each way: client sockets and origin sockets."""
    held = []

    def handler(wire, origin):
        word = wire.sock.recv(5)
        wire.sock.sendall(word)
        held.append((word, wire.sock))
        wire.sock.settimeout(30)
        stop.wait(60)

    stop = threading.Event()
    origin = place.origin(handler)
    clients = []
    try:
        for i in range(n):
            sock = place.tunnel(origin.port)
            word = b"%05d" % i
            sock.sendall(word)
            equal(sock.recv(5), word, "the word")
            clients.append(sock)
        flows = place.spliced(n)
        equal(len(held), n, "origin's connections")
        servers = dict(held)
        yield [(c, servers[b"%05d" % i]) for i, c in enumerate(clients)], flows
    finally:
        stop.set()
        for c in clients:
            c.close()
        origin.close()
    if place.sluice.process:
        place.gone()


def both_ways(client, server, seed, size):
    jobs = [in_thread(send_stream, client, seed, size), in_thread(send_stream, server, seed + 1, size),
            in_thread(receive_stream, server, seed, size)]
    receive_stream(client, seed + 1, size)
    for job in jobs:
        job.join(30)


def retransmissions(sock):
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return struct.unpack_from("=I", info, 100)[0]


@everywhere()
def a_quiet_tunnel_is_spliced_and_its_bytes_arrive_whole(place):
    with spliced_tunnel(place) as ([(client, server)], _):
        both_ways(client, server, 1, MEGABYTE)
        flow = place.spliced()[0]
        for side in ("client", "upstream"):
            check(flow[f"bytes_from_{side}"] >= 5 + MEGABYTE, lambda: f"bytes counted: {flow}")
        check(61000 <= int(flow["upstream_local"].split(":")[1]), lambda: f"own port: {flow}")


@everywhere()
def its_descriptors_are_given_back(place):
    before = place.sluice.descriptors()
    with spliced_tunnel(place):
        until(lambda: place.sluice.descriptors() <= before, 5, "descriptors as before")


@everywhere()
def the_handover_causes_no_retransmission(place):
    with spliced_tunnel(place) as ([(client, server)], _):
        client.sendall(b"ping")
        equal(server.recv(4), b"ping")
        server.sendall(b"pong")
        equal(client.recv(4), b"pong")
        equal((retransmissions(client), retransmissions(server)), (0, 0), "retransmissions")


@everywhere()
def half_close_works_in_both_directions(place):
    for first in (0, 1):
        with spliced_tunnel(place) as ([pair], _):
            one, other = pair[first], pair[1 - first]
            one.shutdown(socket.SHUT_WR)
            expect_end(other)
            job = in_thread(send_stream, other, 7, MEGABYTE)
            receive_stream(one, 7, MEGABYTE)
            job.join(30)
            other.shutdown(socket.SHUT_WR)
            expect_end(one)
            place.gone()


@everywhere()
def a_reset_reaches_the_other_end(place):
    for first in (0, 1):
        with spliced_tunnel(place) as ([pair], _):
            pair[first].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            pair[first].close()
            try:
                data = pair[1 - first].recv(1)
            except ConnectionResetError:
                data = "reset"
            equal(data, "reset", "the other end")
            place.gone()


def answer_and_close(server):
    send_stream(server, 3, MEGABYTE // 2)
    server.close()


@everywhere()
def a_server_may_answer_and_close_at_once(place):
    with spliced_tunnel(place) as ([(client, server)], _):
        client.sendall(b"question")
        equal(server.recv(8), b"question")
        job = in_thread(answer_and_close, server)
        receive_stream(client, 3, MEGABYTE // 2)
        expect_end(client)
        job.join(30)


@everywhere(timeout=120)
def a_hundred_tunnels_at_once_are_spliced(place):
    with spliced_tunnel(place, 100) as (pairs, _):
        jobs = [in_thread(both_ways, c, s, 1000 + 2 * i, 65536) for i, (c, s) in enumerate(pairs)]
        for job in jobs:
            job.join(60)


@everywhere()
def killing_sluice_does_not_disturb_a_spliced_tunnel(place):
    with spliced_tunnel(place) as ([(client, server)], _):
        place.sluice.process.kill()
        place.sluice.process.wait()
        place.sluice.process = None
        both_ways(client, server, 11, MEGABYTE)
        place.sluice.start()
        equal(place.sluice.engine()["available"], True, "a new process has the engine")
        with spliced_tunnel(place) as ([(c, s)], _):
            both_ways(c, s, 13, MEGABYTE)
        both_ways(client, server, 15, MEGABYTE)


@everywhere()
def an_orderly_end_leaves_spliced_tunnels_alone(place):
    with spliced_tunnel(place) as ([(client, server)], _):
        place.sluice.stop(signal.SIGTERM)
        both_ways(client, server, 17, MEGABYTE)
        place.sluice.start()


@everywhere()
def without_privileges_tunnels_are_copied_and_it_says_why(place):
    port = place.sluice.port + 10
    other = Place(place.sluice.net, place.client, place.address, place.server,
                  place.server_address, (port, port + 6000))
    other.sluice.prefix += ["setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin"]
    try:
        other.sluice.start()
        report = other.sluice.engine()
        equal(report["available"], False, "available")
        check("CAP_BPF" in report["reason"], lambda: f"reason: {report}")
        origin = other.origin(lambda wire, origin: wire.sock.sendall(wire.sock.recv(5)))
        with other.tunnel(origin.port) as client:
            (flow,) = other.sluice.flows()
            equal((flow["engine"], flow["reason"]),
                  ("copy", "the configured engine is not available"), "flow")
            client.sendall(b"hello")
            equal(client.recv(5), b"hello")
        other.sluice.stop()
    finally:
        other.discard()


if __name__ == "__main__":
    sys.exit(suite.main(PacketLab))
