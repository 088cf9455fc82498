#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The slots of the packet engine: how spliced pairs end, what keeps a slot and for how long, and what
happens when there is none. Each test has a sluice and a bpffs of its own. Needs root with CAP_BPF."""

import signal
import socket
import struct
import sys

from lab import FreshPlace, Suite, check, equal, until
from lab.sluice import in_thread
from lab.stream import expect_end, receive_stream, send_stream

suite = Suite()
everywhere = suite.each(("veth", "veth6"))


def slots(place, **wanted):
    """Waits for numbers of slots by state."""
    def right():
        states = place.sluice.status()
        return all(states[name] == n for name, n in wanted.items())
    try:
        until(right, 10, interval=0.05)
    except AssertionError:
        raise AssertionError(f"slots {wanted}: {place.sluice.status()}") from None


def echo_word(client, server, word):
    client.sendall(word)
    equal(server.recv(len(word)), word, "to the server")
    server.sendall(word)
    equal(client.recv(len(word)), word, "to the client")


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@everywhere
def a_closed_pair_keeps_its_slot_for_its_time_wait_and_no_longer(lab, where):
    place = lab.open(where, splice={"time_wait": "1s"})
    with place.tunnels(3):
        slots(place, active=3)
    slots(place, active=0, closed=3)
    slots(place, closed=0, dead=0, watch=0)
    place.sluice.stop()


@everywhere
def pairs_whose_events_are_lost_are_found(lab, where):
    place = lab.open(where, splice={"time_wait": "500ms"})
    with place.tunnels(6) as (pairs, _):
        place.sluice.freeze()
        for client, server in pairs[:3]:
            client.close()
            expect_end(server)
            server.close()
        for _, server in pairs[3:]:
            reset(server)
        slots(place, closed=6)
        stolen = place.sluice.steal_events()
        check(stolen >= 6, lambda: f"only {stolen} events were there")
        place.sluice.kill(signal.SIGCONT)
        place.gone()
    equal(sorted(r["reason"] for r in place.sluice.log_records(6)),
          ["done"] * 3 + ["upstream-reset"] * 3, "log")
    slots(place, closed=0, active=0)
    place.sluice.stop()


@everywhere
def a_client_may_use_its_port_again_at_once(lab, where):
    place = lab.open(where, splice={"time_wait": "1h"})
    for n in range(3):
        origin = place.origin(lambda wire, origin: wire.sock.sendall(wire.sock.recv(5)))
        client = place.tunnel(origin.port, client_port=20000)
        place.spliced(1)
        client.sendall(b"hello")
        equal(client.recv(5), b"hello")
        expect_end(client)
        client.close()
        place.gone()
        origin.close()
    states = place.sluice.status()
    equal((states["active"], states["closed"] + states["dead"]), (0, 3), f"slots {states}")
    place.sluice.stop()


@everywhere
def without_a_free_slot_tunnels_are_copied_and_nothing_live_is_evicted(lab, where):
    place = lab.open(where, splice={"pairs": 16, "time_wait": "0ms"})
    with place.open_tunnels(40) as pairs:
        flows = until(lambda: len(place.carried()) == 16 and place.sluice.flows(), 10, "16 flows")
        copied = [f for f in flows if f["engine"] == "copy"]
        equal(len(copied), 24, "copied flows")
        until(lambda: {f["reason"] for f in place.carried("copy")} == {"no slot or port is free"},
              10, "the reason is shown")
        for i, (client, server) in enumerate(pairs):
            job = in_thread(send_stream, client, i, 65536)
            receive_stream(server, i, 65536)
            job.join(10)
        equal(len(place.carried()), 16, "spliced flows")
        check(place.sluice.engine()["refused"] >= 24, "refusals are counted")
        refusals = place.sluice.figures()["packet_refusals_total"]
        check(refusals["no slot or port is free"] >= 24, lambda: f"refusals: {refusals}")
    place.gone()
    slots(place, free=16)
    with place.tunnels(16) as (pairs, _):
        for client, server in pairs:
            echo_word(client, server, b"again")
    place.sluice.stop()


@suite.test()
def what_happens_to_pairs_is_counted(lab):
    place = lab.open(splice={"time_wait": "500ms"})
    with place.tunnels(3) as (pairs, _):
        for client, server in pairs:
            echo_word(client, server, b"word!")
        figures = place.sluice.figures()
        slots_by_state = figures["packet_slots"]
        equal((slots_by_state["active"], slots_by_state["free"]), (3, 65533), "slots")
        events = figures["packet_events_total"]
        equal(events["flip_packet"] + events["flip_arm"], 3, "flips")
        check(figures["packet_arms_total"] >= 3, lambda: f"arms: {figures}")
        check(figures["packet_packets_total"]["sent"] >= 6, "packets that were sent on")
        check(figures["packet_bytes_total"]["sent"] >= 3 * 2 * 5, "and their bytes")
        equal((figures["map_used"]["pairs"], figures["map_limit"]["pairs"]), (3, 65536), "how full the maps are")
        check(figures["packet_map_bytes"] >= 65536 * 256, "memory")
        text = place.sluice.http_get("/metrics", place.sluice.metrics).decode()
        check('sluice_packet_slots{state="active"} 3\n' in text, "active slots in the metrics")
        check("sluice_splice_delay_seconds_count 3\n" in text, "time to the splice")
        check("flip_" in place.sluice.cli("stats").stdout, "sluice stats shows it")
    equal(place.sluice.figures()["packet_events_total"]["closed_fin"], 3, "closed pairs")
    text = place.sluice.http_get("/metrics", place.sluice.metrics).decode()
    check("sluice_spliced_duration_seconds_count 3\n" in text, "lifetime of the splice")
    place.sluice.stop()


@suite.test()
def auto_chooses_the_packet_engine(lab):
    place = lab.open(splice={"engine": "auto"})
    with place.tunnels(2) as (pairs, flows):
        equal({(f["engine"], f["reason"]) for f in flows}, {("packet", "ripe")}, "engine")
        for client, server in pairs:
            echo_word(client, server, b"word!")
    place.sluice.stop()


@everywhere
def an_upstream_port_is_used_again_while_the_server_remembers_it(lab, where):
    """The only port there is, to one address: the server closes first, and is in TIME_WAIT when the next
    tunnel comes from the same port."""
    place = lab.open(where, splice={"ports": "5000-5000", "time_wait": "0ms", "pairs": 16})
    origin = place.origin(lambda wire, origin: wire.sock.sendall(wire.sock.recv(5)))
    for _ in range(3):
        client = place.tunnel(origin.port)
        (flow,) = place.spliced(1)
        check(flow["upstream_local"].endswith(":5000"), lambda: str(flow))
        client.sendall(b"hello")
        equal(client.recv(5), b"hello")
        expect_end(client)
        client.close()
        place.gone()
        slots(place, free=16)
    waiting = place.server.run("ss", "-Htn", "state", "time-wait", "sport", "=", f":{origin.port}",
                               "dport", "=", ":5000", text=True)
    equal(len(waiting.stdout.splitlines()), 1, "the server's TIME_WAIT entries")
    place.sluice.stop()


@everywhere
def both_ends_may_close_at_once(lab, where):
    place = lab.open(where, splice={"time_wait": "500ms"})
    with place.tunnels(10) as (pairs, _):
        for client, server in pairs:
            client.shutdown(socket.SHUT_WR)
            server.shutdown(socket.SHUT_WR)
        for client, server in pairs:
            expect_end(client)
            expect_end(server)
        place.gone()
    equal({r["reason"] for r in place.sluice.log_records(10)}, {"done"}, "log")
    slots(place, active=0, closed=0)
    place.sluice.stop()


def mapped(host):
    """The bytes of an address, IPv4 in IPv6's form."""
    return list(socket.inet_pton(socket.AF_INET6, host.strip("[]") if "[" in host else f"::ffff:{host}"))


def leg_fields(peer, local):
    """What a leg's addresses look like in a dump."""
    (host, port), (local_host, local_port) = (a.rsplit(":", 1) for a in (peer, local))
    return {"peer": mapped(host), "local": mapped(local_host),
            "peer_port": socket.htons(int(port)), "local_port": socket.htons(int(local_port))}


def dumped_pair(place, flow):
    """A pair as bpftool shows it, found by what a person would look for."""
    legs = [leg_fields(flow["client"], flow["client_local"]),
            leg_fields(flow["upstream"], flow["upstream_local"])]
    found = [e["value"] for e in place.sluice.dump("flows")
             if all(want.items() <= leg.items() for want, leg in zip(legs, e["value"]["leg"]))]
    equal(len(found), 1, f"pairs with {legs}")
    return found[0]


@suite.test()
def bpftool_shows_spliced_pairs_with_named_fields(lab):
    for where in ("veth", "veth6"):
        place = lab.open(where, splice={"pairs": 16})
        with place.tunnels(2) as (pairs, flows):
            echo_word(*pairs[0], b"hello")
            for flow in flows:
                pair = dumped_pair(place, flow)
                equal(pair["state"], "SL_FLOW_ACTIVE", "state")
                equal({leg["output"] for leg in pair["leg"]}, {"SL_OUT_REDIRECT"}, "output")
                equal([leg["bytes"] + 5 for leg in pair["leg"]],
                      [place_flow[f"bytes_from_{side}"] for side in ("client", "upstream")
                       for place_flow in place.sluice.flows()
                       if place_flow["client"] == flow["client"]], "bytes, beside those before")
            sent = place.sluice.dump("counters")[0]["values"]
            equal(sum(cpu["value"]["SENT"]["bytes"] for cpu in sent), 2 * len(b"hello"), "counters")
        place.sluice.stop()


@suite.test()
def source_ports_are_the_configured_ones(lab):
    place = lab.open(splice={"ports": "5000-5003"})
    with place.tunnels(4) as (_, flows):
        equal(sorted(f["upstream_local"] for f in flows),
              [f"10.2.0.1:{port}" for port in range(5000, 5004)], "ports")
    place.sluice.stop()


if __name__ == "__main__":
    sys.exit(suite.main(FreshPlace))
