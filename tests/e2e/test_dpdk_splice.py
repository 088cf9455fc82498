#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The dpdk engine: quiet tunnels over ports that DPDK owns leave the stack, and their packets are rewritten
where they arrive. On the topology of the lab, with IPv4 and IPv6. The last place gives up idle tunnels. With
SLUICE_STACK=kernel they leave the kernel's sockets (tests/run.py)."""

import contextlib
import os
import shutil
import socket
import sys
import time

os.environ["SLUICE_TRANSPORT"] = "dpdk"

from lab import Place, Places, Skip, Suite, Topology, check, equal, until
from lab.load import Load
from lab.net import PATIENCE, STACK
from lab.place import half_closes, resets
from lab.sluice import in_thread
from lab.stream import both_ways, retransmissions

suite = Suite()
MEGABYTE = 1 << 20
TCPI_OPT_SACK = 2
IDLE_S = 3
TUNNELS = int(os.environ.get("SLUICE_DPDK_TUNNELS", "300"))
everywhere = Places.everywhere(suite, ("veth", "veth6"))
there = Places.everywhere(suite, ("veth",))
where_they_are_copied = Places.everywhere(suite, ("copy",))
where_idle_tunnels_end = Places.everywhere(suite, ("idle",))


class DpdkPlace(Place):
    def __init__(self, where, engine="auto", **timeouts):
        config = {"splice": {"engine": engine, "time_wait": "1s"}, "timeouts": timeouts}
        super().__init__(Topology(), where, config=config)

    def start(self):
        self.sluice.start()

    def carried(self, by="dpdk"):
        return super().carried(by)

    def figure(self, name, value):
        return self.sluice.figures()[name].get(value, 0)


def expect_reset(sock):
    """Now, or as the answer to what is sent."""
    sock.settimeout(10 * PATIENCE)
    try:
        sock.sendall(b"?")
        equal(sock.recv(1), "a reset")
    except (ConnectionResetError, BrokenPipeError):
        pass


@everywhere()
def a_quiet_tunnel_is_spliced_and_its_bytes_arrive_whole(place):
    with place.tunnels() as ([(client, server)], _):
        both_ways(client, server, 1, MEGABYTE)
        (flow,) = place.spliced()
        equal((flow["engine"], flow["reason"]), ("dpdk", "ripe"))
        for side in ("client", "upstream"):
            check(flow[f"bytes_from_{side}"] >= 5 + MEGABYTE, lambda: f"bytes counted: {flow}")


@everywhere()
def the_handover_causes_no_retransmission(place):
    with place.tunnels() as ([(client, server)], _):
        for one, other in ((client, server), (server, client)):
            one.sendall(b"ping")
            equal(other.recv(4), b"ping")
        equal((retransmissions(client), retransmissions(server)), (0, 0), "retransmissions")


def agreed(sock):
    """What an end has negotiated: SACK, and the other end's window scale."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return bool(info[5] & TCPI_OPT_SACK), info[6] & 15


@everywhere()
def ends_agree_on_sack_and_on_windows_of_megabytes(place):
    """Whoever carries it: lwIP has offered neither, they are added where its SYNs leave."""
    with place.tunnels() as ([(client, server)], _):
        equal((agreed(client), agreed(server)), ((True, 7), (True, 7)), "SACK and window scale")


def tcp_counter(ns, name):
    lines = [line.split() for line in ns.run("cat", "/proc/net/netstat", text=True).stdout.splitlines()]
    return int(dict(zip(lines[0], lines[1]))[name])


@contextlib.contextmanager
def losses(*namespaces, one_in=50):
    """Every so many large packets are lost where they arrive."""
    rules = ("add table inet lossy; add chain inet lossy in { type filter hook input priority 0; };"
             f"add rule inet lossy in meta length > 1000 numgen inc mod {one_in} 0 drop")
    for ns in namespaces:
        done = ns.run("nft", rules) if shutil.which("nft") else None
        if not done or done.returncode:
            raise Skip("nft can't drop packets here")
    try:
        yield
    finally:
        for ns in namespaces:
            ns.run("nft", "delete table inet lossy")


@everywhere(timeout=120)
def a_spliced_tunnel_recovers_from_losses_by_sack(place):
    """The ends mend it between them; without SACK the counters would be those of Reno."""
    with place.tunnels() as ([(client, server)], _), losses(place.client, place.server):
        before = [tcp_counter(ns, "TCPSackRecovery") for ns in (place.client, place.server)]
        reno = [tcp_counter(ns, "TCPRenoRecovery") for ns in (place.client, place.server)]
        both_ways(client, server, 21, 4 * MEGABYTE)
        for i, ns in enumerate((place.client, place.server)):
            check(tcp_counter(ns, "TCPSackRecovery") > before[i], "recoveries by SACK")
            equal(tcp_counter(ns, "TCPRenoRecovery"), reno[i], "recoveries without")


@where_they_are_copied(timeout=120)
def lwip_sends_again_what_peers_report_missing(place):
    """They report more with fewer acknowledgements than lwIP counts on: each loss took a timeout of some
    300 ms, which is 13 s for 4 MB."""
    with place.open_tunnels() as [(client, server)], losses(place.client, place.server):
        start = time.monotonic()
        both_ways(client, server, 23, 12 * MEGABYTE)
        took = time.monotonic() - start
        check(took < 8 * PATIENCE, f"{took} s")


@everywhere()
def half_close_works_in_both_directions(place):
    half_closes(place)


@everywhere()
def a_reset_reaches_the_other_end(place):
    resets(place)


@everywhere(timeout=120)
def many_tunnels_at_once_are_spliced(place):
    with place.tunnels(40) as (pairs, _):
        jobs = [in_thread(both_ways, c, s, 1000 + 2 * i, 65536) for i, (c, s) in enumerate(pairs)]
        for job in jobs:
            job.join(60)


@there(timeout=120)
def random_tunnels_arrive_whole_and_many_are_spliced(place):
    """Byte for byte, and no RST, as no end asks for one. The kernel's TCP sends what may be lost once more
    (RFC 8985) where the machine is slow, and an end that has closed meanwhile answers that with an RST: then
    none may come from the proxy."""
    before = place.figure("packet_events_total", "flip_arm")
    for ns in (place.client, place.server):
        ns.send_no_loss_probes()
    load = Load(place.client, place.server, (place.address, place.sluice.port),
                place.server_address, ["to-proxy", "to-proxy"], tunnels=TUNNELS, concurrency=30,
                seed=5, no_resets=True)
    result = load.result()
    spliced = place.figure("packet_events_total", "flip_arm") - before
    print(f"# {spliced} spliced; " + result.tell().replace("\n", "\n# "), flush=True)
    late = ["RST on the wire"] if STACK == "kernel" else []
    check(all(t["failure"] in late for t in result.failures), result.tell)
    check(late or not result.report["resets"]["out"], result.tell)
    equal(result.report["resets"]["in"], 0, "RSTs of the proxy")
    # Pipes of tunnels that were copied are kept for others.
    place.sluice.settles(spare=64)
    place.sluice.baseline = place.sluice.descriptors()
    check(spliced > TUNNELS // 10, lambda: f"{spliced} of {TUNNELS} tunnels were spliced")


@there()
def closed_tunnels_give_their_slots_back(place):
    with place.tunnels(5):
        equal(place.figure("packet_slots", "active"), 5, "slots in use")
    until(lambda: place.figure("packet_slots", "closed") == 0, 10, "TIME_WAIT is over")
    equal(place.figure("packet_slots", "active"), 0, "slots in use")


@there()
def what_it_does_is_counted_by_reason(place):
    before = place.figure("packet_packets_total", "sent")
    closed = place.figure("packet_events_total", "closed_fin")
    with place.tunnels() as ([(client, server)], _):
        both_ways(client, server, 3, 10000)
    check(place.figure("packet_packets_total", "sent") > before + 10, "packets that were sent on")
    until(lambda: place.figure("packet_events_total", "closed_fin") == closed + 1, 5, "its end")


@where_idle_tunnels_end()
def an_idle_tunnel_is_reset_at_both_ends(place):
    with place.tunnels() as ([(client, server)], _):
        until(lambda: not place.sluice.flows(), IDLE_S + 10, "sluice gives it up")
        for sock in (client, server):
            sock.settimeout(10 * PATIENCE)
            try:
                equal(sock.recv(1), "a reset")
            except ConnectionResetError:
                pass


@there()
def an_orderly_end_resets_spliced_tunnels(place):
    with place.tunnels() as ([(client, server)], _):
        place.sluice.stop()
        for sock in (client, server):
            sock.settimeout(10 * PATIENCE)
            try:
                equal(sock.recv(1), "a reset")
            except ConnectionResetError:
                pass
        place.sluice.start()


@there()
def a_kill_ends_spliced_tunnels_and_the_next_process_says_so(place):
    with place.tunnels() as ([(client, server)], _):
        place.sluice.crash()
        place.sluice.start()
        for sock in (client, server):
            expect_reset(sock)


if __name__ == "__main__":
    sys.exit(suite.main(lambda: Places({
        "veth": DpdkPlace("veth"), "veth6": DpdkPlace("veth6"),
        "copy": DpdkPlace("veth", "copy"), "idle": DpdkPlace("veth", tunnel=f"{IDLE_S}s")})))
