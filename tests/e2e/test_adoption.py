#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Spliced pairs outlive sluice, and the next sluice takes them over: lists them, counts them, and ends
them. Each test has a sluice and a bpffs of its own. Needs root with CAP_BPF."""

import os
import random
import select
import signal
import socket
import sys

from lab import FreshPlace, Suite, check, equal, until
from lab.sluice import in_thread
from lab.successor import upgrade
from lab.stream import receive_stream, send_stream

suite = Suite()
BIG = os.environ.get("SLUICE_TEST_SIZE") == "big"
PAIRS = 1000 if BIG else 100


def everywhere(*places, timeout=60):
    return suite.each(places, timeout)


def addresses(flows):
    return sorted((f["client"], f["client_local"], f["upstream_local"], f["upstream"]) for f in flows)


def adopted(place, n):
    flows = until(lambda: len(place.sluice.flows()) == n and place.sluice.flows(), 10, f"{n} flows")
    equal({(f["engine"], f["reason"]) for f in flows}, {("packet", "adopted")}, "engine and reason")
    return flows


def exchange(pairs, seed, size=65536):
    """Checked bytes both ways on all pairs at once."""
    def both(client, server, seed):
        job = in_thread(send_stream, client, seed, size)
        receive_stream(server, seed, size)
        job.join(30)
        job = in_thread(send_stream, server, seed + 1, size)
        receive_stream(client, seed + 1, size)
        job.join(30)
    for job in [in_thread(both, c, s, seed + 2 * i) for i, (c, s) in enumerate(pairs)]:
        job.join(60)


def all_free(place):
    def find():
        states = place.sluice.status()
        return not any(n for state, n in states.items() if state != "free")
    try:
        until(find, 10, interval=0.05)
    except AssertionError:
        raise AssertionError(f"slots are not free: {place.sluice.status()}") from None


def outcome(sock, timeout=10):
    """How a connection ended: "reset", "end", or "silence"."""
    sock.settimeout(timeout)
    try:
        data = sock.recv(1)
    except ConnectionResetError:
        return "reset"
    except (TimeoutError, socket.timeout):
        return "silence"
    check(not data, lambda: f"a byte: {data!r}")
    return "end"


@everywhere("veth", "loopback", "veth6", timeout=120)
def a_hundred_pairs_survive_a_kill_and_are_adopted(lab, where):
    place = lab.open(where)
    with place.tunnels(PAIRS) as (pairs, flows):
        streams = [in_thread(send_stream, pairs[0][0], 5, 64 << 20),
                   in_thread(receive_stream, pairs[0][1], 5, 64 << 20)]
        place.sluice.crash()
        exchange(pairs[1:10], 100)
        place.sluice.start()
        equal(addresses(adopted(place, PAIRS)), addresses(flows), "addresses")
        stats = place.sluice.stats()
        equal((stats["tunnels_active"], stats["tunnels_adopted"], stats["connections_active"]),
              (PAIRS, PAIRS, 0), "tunnels and connections")
        equal(place.sluice.engine()["active"], PAIRS, "pairs of the engine")
        equal(place.sluice.status()["active"], PAIRS, "active slots")
        for stream in streams:
            stream.join(60)
        exchange(pairs[1:], 300, 4096)
        counted = [f for f in place.sluice.flows() if f["bytes_from_client"] >= 64 << 20]
        equal(len(counted), 1, "flows with the big stream's bytes")
        place.sluice.log.write_text("")
    records = place.sluice.log_records(PAIRS)
    equal(len(records), PAIRS, "log records")
    equal({(r["engine"], r["reason"]) for r in records}, {("packet", "done")}, "log")
    equal(sum(r["bytes_in"] >= 4096 for r in records), PAIRS, "records with bytes in")
    equal(sum(r["bytes_out"] >= 4096 for r in records), PAIRS - 1, "records with bytes out")
    equal(place.sluice.stats()["tunnels_adopted"], 0, "adopted tunnels")
    all_free(place)
    place.sluice.stop()


@everywhere("veth", "loopback6", timeout=120)
def pairs_go_over_to_the_process_of_an_upgrade(lab, where):
    """Twice; and each new process splices pairs of its own."""
    place = lab.open(where)
    with place.tunnels(10) as (pairs, flows):
        stream = [in_thread(send_stream, pairs[0][0], 7, 32 << 20),
                  in_thread(receive_stream, pairs[0][1], 7, 32 << 20)]
        for _ in range(2):
            old = upgrade(place.sluice)
            equal(addresses(adopted(place, 10)), addresses(flows), "addresses")
            equal(old.wait(30), 0, "exit status of the old one")
            exchange(pairs[1:], 100)
            equal(place.sluice.engine()["available"], True, "the engine")
            with place.tunnels(5) as (others, _):
                exchange(others + pairs[1:], 11)
        for s in stream:
            s.join(60)
    all_free(place)
    place.sluice.stop()


@everywhere("veth", "loopback6")
def two_restarts_in_a_row_leave_the_pairs_alone(lab, where):
    place = lab.open(where)
    with place.tunnels(5) as (pairs, flows):
        place.sluice.crash()
        place.sluice.start()
        adopted(place, 5)
        place.sluice.stop(signal.SIGTERM)
        exchange(pairs, 1)
        place.sluice.start()
        equal(addresses(adopted(place, 5)), addresses(flows), "addresses")
        with place.tunnels(5) as (others, _):
            exchange(others + pairs, 11)
    all_free(place)
    place.sluice.stop()


@everywhere("veth", "loopback", "veth6", timeout=120)
def a_process_that_dies_while_it_splices_leaves_no_pair_half_done(lab, where):
    """Killed at some moment among a hundred handovers: whatever is not spliced ends at both ends,
    within the time that an answer takes, and whatever is spliced goes on."""
    rng = random.Random(1)
    place = lab.open(where, splice={"after": "1ms"})
    for _ in range(10 if BIG else 3):
        with place.open_tunnels(60) as pairs:
            seen = rng.randrange(5, 50)
            until(lambda: len(place.carried()) >= seen, 10, "some are spliced", interval=0)
            place.sluice.crash()
            place.sluice.start()
            states = place.sluice.status()
            equal((states["watch"], states["armed"]), (0, 0), "pairs half done")
            alive = len(place.sluice.flows())
            equal(alive, states["active"], "adopted pairs")
            ended = going = 0
            for client, server in pairs:
                if select.select([client], [], [], 0)[0]:
                    check(outcome(client) in ("reset", "end"), "the client's end")
                    check(outcome(server) in ("reset", "end"), "the server's end")
                    ended += 1
                else:
                    exchange([(client, server)], 7, 1000)
                    going += 1
            equal((going, ended), (alive, 60 - alive), "pairs that go on, and that ended")
        place.gone()
    all_free(place)
    place.sluice.stop()


@everywhere("veth", "loopback", "veth6", "loopback6")
def a_silent_pair_is_reset_at_both_ends(lab, where):
    place = lab.open(where, timeouts={"tunnel": "700ms"})
    with place.tunnels(2) as (pairs, _):
        place.sluice.crash()
        place.sluice.start()
        adopted(place, 2)
        with place.tunnels(2) as (others, _):
            for client, server in pairs + others:
                equal((outcome(client), outcome(server)), ("reset", "reset"), "ends")
        place.gone()
    equal(place.sluice.stats()["timeouts_tunnel_total"], 4, "timeouts")
    equal({r["reason"] for r in place.sluice.log_records(4)}, {"tunnel-timeout"}, "log")
    all_free(place)
    place.sluice.stop()


@suite.test(timeout=60)
def keepalives_are_life(lab):
    place = lab.open(timeouts={"tunnel": "3s"})
    with place.tunnels(2) as (pairs, _):
        kept = pairs[0][0]
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        kept.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        kept.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        equal(outcome(pairs[1][0]), "reset", "the silent one")
        exchange(pairs[:1], 5, 1000)
    place.sluice.stop()


@suite.test()
def a_drain_waits_for_adopted_pairs(lab):
    place = lab.open(timeouts={"drain": "30s"})
    with place.tunnels(2) as (pairs, _):
        place.sluice.crash()
        place.sluice.start()
        adopted(place, 2)
        equal(place.sluice.cli("drain", "--no-wait").returncode, 0, "exit status of drain")
        exchange(pairs, 3, 1000)
        equal(place.sluice.stats()["tunnels_adopted"], 2, "adopted tunnels")
        place.sluice.process, process = None, place.sluice.process
    equal(process.wait(10), 0, "exit status")
    place.sluice.healthy()


@suite.test(timeout=60)
def a_drain_that_ends_in_time_tells_apart_what_goes_on_in_the_kernel(lab):
    """They were counted as reset, and the command failed, though no tunnel was disturbed."""
    place = lab.open(timeouts={"drain": "30s"})
    with place.tunnels(2) as (pairs, _):
        for seed in (1, 2):  # this process's own pairs, then adopted ones
            done = place.sluice.cli("drain", "--timeout", "300ms")
            equal((done.returncode, done.stdout.splitlines()[-1]),
                  (0, "drained: 2 spliced tunnels go on in the kernel"), "how it ended")
            place.sluice.process, process = None, place.sluice.process
            equal(process.wait(10), 0, "exit status of sluice")
            exchange(pairs, seed, 1000)
            place.sluice.start()
            adopted(place, 2)
    place.sluice.stop()


@suite.test()
def the_command_line_shows_an_adopted_pair(lab):
    place = lab.open()
    with place.tunnels(1) as (_, (flow,)):
        place.sluice.crash()
        place.sluice.start()
        adopted(place, 1)
        text = place.sluice.cli("flows").stdout
        check("adopted" in text and flow["client"] in text and flow["upstream"] in text, text)
    place.sluice.stop()


def sluice(place, *arguments):
    return place.sluice.net.proxy.run(*place.sluice.prefix, place.sluice.binary, *arguments, text=True)


@suite.test()
def what_another_version_has_pinned_is_left_alone(lab):
    """A process that finds maps of another layout copies and says why; unload is the way out."""
    place = lab.open(splice={"pairs": 16})
    place.sluice.stop()
    (layout,) = place.sluice.dump("layout")
    older = layout["value"] | {"version": layout["value"]["version"] - 1}
    raw = b"".join(older[name].to_bytes(4, "little") for name in ("magic", "version", "pair_size", "pairs"))
    place.sluice.net.proxy.run(*place.sluice.prefix, "bpftool", "map", "update", "pinned",
                               "/sys/fs/bpf/sluice/layout", "key", "0", "0", "0", "0", "value",
                               *[str(b) for b in raw], check=True)
    place.sluice.start()
    report = place.sluice.engine()
    equal((report["available"], report["reason"]),
          (False, "another version is loaded: run `sluice unload` first"), "engine")
    with place.open_tunnels(1):
        equal([f["engine"] for f in place.sluice.flows()], ["copy"], "who carries it")
    place.sluice.stop()
    done = sluice(place, "load", "--dev", "lo")
    equal(done.returncode, 1, "load")
    check("maps of another version are pinned there" in done.stderr, lambda: done.stderr)
    equal(place.sluice.dump("layout")[0]["value"], older, "the layout")
    equal(sluice(place, "unload").returncode, 0, "unload")
    place.start()
    with place.tunnels(1):
        pass
    place.sluice.stop()


if __name__ == "__main__":
    # Slots come back soon.
    sys.exit(suite.main(lambda: FreshPlace(time_wait="500ms")))
