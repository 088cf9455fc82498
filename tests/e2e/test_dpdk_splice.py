#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The dpdk engine: quiet tunnels over ports that DPDK owns leave the stack, and their packets are rewritten
where they arrive. On the topology of the lab, with IPv4 and IPv6. The last place gives up idle tunnels."""

import os
import sys

os.environ["SLUICE_TRANSPORT"] = "dpdk"

from lab import Place, Places, Suite, Topology, check, equal, until
from lab.load import Load
from lab.net import PATIENCE
from lab.place import half_closes, resets
from lab.sluice import in_thread
from lab.stream import both_ways, retransmissions

suite = Suite()
MEGABYTE = 1 << 20
IDLE_S = 3
TUNNELS = int(os.environ.get("SLUICE_DPDK_TUNNELS", "300"))
everywhere = Places.everywhere(suite, ("veth", "veth6"))
there = Places.everywhere(suite, ("veth",))
where_idle_tunnels_end = Places.everywhere(suite, ("idle",))


class DpdkPlace(Place):
    def __init__(self, where, **timeouts):
        config = {"splice": {"engine": "auto", "time_wait": "1s"}, "timeouts": timeouts}
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
    """Byte for byte, and no RST, as no end asks for one."""
    before = place.figure("packet_events_total", "flip_arm")
    load = Load(place.client, place.server, (place.address, place.sluice.port),
                place.server_address, ["to-proxy", "to-proxy"], tunnels=TUNNELS, concurrency=30,
                seed=5, no_resets=True)
    result = load.result()
    spliced = place.figure("packet_events_total", "flip_arm") - before
    print(f"# {spliced} spliced; " + result.tell().replace("\n", "\n# "), flush=True)
    check(not result.failures, result.tell)
    equal(result.report["resets"], {"in": 0, "out": 0}, "RSTs on the wire")
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
        "idle": DpdkPlace("veth", tunnel=f"{IDLE_S}s")})))
