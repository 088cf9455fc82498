#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The packet engine: pairs that are quiet leave sluice's sockets. On the topology of the lab and on
loopback, each with a bpffs of its own, so that nothing of the host's is seen or changed. Needs root
with CAP_BPF."""

import signal
import sys
import time

from lab import Place, Places, Suite, Topology, check, equal, until
from lab.place import half_closes, resets
from lab.sluice import in_thread
from lab.stream import both_ways, expect_end, receive_stream, retransmissions, send_stream

suite = Suite()
MEGABYTE = 1 << 20
PLACES = ("veth", "loopback", "veth6")
everywhere = Places.everywhere(suite, PLACES)


@everywhere()
def a_quiet_tunnel_is_spliced_and_its_bytes_arrive_whole(place):
    with place.tunnels() as ([(client, server)], _):
        both_ways(client, server, 1, MEGABYTE)
        flow = place.spliced()[0]
        for side in ("client", "upstream"):
            check(flow[f"bytes_from_{side}"] >= 5 + MEGABYTE, lambda: f"bytes counted: {flow}")
        check(61000 <= int(flow["upstream_local"].rsplit(":", 1)[1]), lambda: f"own port: {flow}")


@everywhere()
def its_descriptors_are_given_back(place):
    before = place.sluice.descriptors()
    with place.tunnels():
        until(lambda: place.sluice.descriptors() <= before, 5, "descriptors as before")


@everywhere()
def the_handover_causes_no_retransmission(place):
    with place.tunnels() as ([(client, server)], _):
        client.sendall(b"ping")
        equal(server.recv(4), b"ping")
        server.sendall(b"pong")
        equal(client.recv(4), b"pong")
        equal((retransmissions(client), retransmissions(server)), (0, 0), "retransmissions")


@everywhere()
def a_socket_with_bytes_that_it_has_not_sent_is_left_alone(place):
    """A peer with a closed window had acknowledged all that was sent to it, and the socket was looked at in
    repair mode: had the window opened then, the kernel would have taken the rest for sent."""
    listener = place.server.listen(place.server_address, receive_buffer=4096)
    with listener, place.tunnel(listener.getsockname()[1]) as client, listener.accept()[0] as server:
        client.sendall(bytes(50000))
        text = "busy: bytes are not acknowledged"
        until(lambda: place.sluice.flows()[0]["reason"] == text, 10, text)
        until(lambda: place.sluice.flows()[0]["bytes_from_client"] == 50000, 10, "sluice has all")
        for _ in range(20):  # the window is closed by now, whenever it is asked again
            equal(place.sluice.flows()[0]["reason"], text, "reason")
            time.sleep(0.05)
        left = 50000
        while left:
            left -= len(server.recv(left))
    place.gone()


@everywhere()
def half_close_works_in_both_directions(place):
    half_closes(place)


@everywhere()
def a_reset_reaches_the_other_end(place):
    resets(place)


def answer_and_close(server):
    send_stream(server, 3, MEGABYTE // 2)
    server.close()


@everywhere()
def a_server_may_answer_and_close_at_once(place):
    with place.tunnels() as ([(client, server)], _):
        client.sendall(b"question")
        equal(server.recv(8), b"question")
        job = in_thread(answer_and_close, server)
        receive_stream(client, 3, MEGABYTE // 2)
        expect_end(client)
        job.join(30)


@everywhere(timeout=120)
def a_hundred_tunnels_at_once_are_spliced(place):
    with place.tunnels(100) as (pairs, _):
        jobs = [in_thread(both_ways, c, s, 1000 + 2 * i, 65536) for i, (c, s) in enumerate(pairs)]
        for job in jobs:
            job.join(60)


@everywhere()
def killing_sluice_does_not_disturb_a_spliced_tunnel(place):
    with place.tunnels() as ([(client, server)], _):
        place.sluice.crash()
        both_ways(client, server, 11, MEGABYTE)
        place.sluice.start()
        equal(place.sluice.engine()["available"], True, "a new process has the engine")
        with place.tunnels() as ([(c, s)], _):
            both_ways(c, s, 13, MEGABYTE)
        both_ways(client, server, 15, MEGABYTE)


@everywhere()
def an_orderly_end_leaves_spliced_tunnels_alone(place):
    with place.tunnels() as ([(client, server)], _):
        place.sluice.stop(signal.SIGTERM)
        both_ways(client, server, 17, MEGABYTE)
        place.sluice.start()


@everywhere()
def without_privileges_tunnels_are_copied_and_it_says_why(place):
    port = place.sluice.port + 10
    other = Place(place.sluice.net, place.where, (port, port + 6000))
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
    sys.exit(suite.main(lambda: Places({where: Place(Topology(), where) for where in PLACES})))
