#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Limits and time: too many connections, too few descriptors, clients and origins that take too long,
and how sluice ends."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

from lab import SERVER, Ended, Lab, Sluice, Suite, Topology, Origin, answers, check, equal, until
from lab.origin import OK
from lab.sluice import in_thread

suite = Suite()
GET = b"GET http://10.2.0.2/ HTTP/1.1\r\nHost: 10.2.0.2\r\n\r\n"


class LimitLab(Lab):
    def __init__(self):
        self.net = Topology()
        self.net.client.ip("addr add 10.1.0.3/24 dev to-proxy", "addr add fd00:1::3/64 dev to-proxy nodad")
        self.origin = Origin(self.net.server, SERVER, 80)

    def __exit__(self, *_):
        pass

    def tell(self):
        return ""

    def run(self, config=None, **options):
        self.origin.reset(answers(OK))
        return Sluice(self.net, config, **options)


def ok(wire):
    equal(wire.send(GET).response().status, 200, "status")
    return wire


def refused(wire, sluice):
    """A short 503 with Retry-After, without a word from the client, and the end."""
    answer = wire.response()
    equal(answer.status, 503, "status")
    check(answer.get("retry-after"), "Retry-After is there")
    wire.rest()
    check(len(wire.received) < 512, "the refusal is short")


def heard(wires):
    """Those to whom something was said."""
    return [w for w in wires if select.select([w.sock], [], [], 0)[0]]


# --- numbers ---

@suite.test(timeout=30)
def connections_over_the_limit_get_503(lab):
    for config, listener, counter in (
            ({"limits": {"connections": 5}}, None, "refused_limit_total"),
            (None, {"limits": {"connections": 5}}, "refused_listener_total"),
            ({"limits": {"connections_per_source": 5}}, None, "refused_source_total")):
        with lab.run(config, listener=listener) as s:
            until(lambda: s.stats()["connections_active"] == 0, what="nobody is connected")
            held = [ok(s.connect()) for _ in range(5)]
            before = s.stats()[counter]
            for _ in range(3):
                with s.connect() as wire:
                    refused(wire, s)
            equal(s.stats()[counter] - before, 3, f"{counter}")
            of_listener = s.ask("listeners")["listeners"][0]
            equal((of_listener["refused"], of_listener["refusals"][counter[8:-6]]), (before + 3, before + 3),
                  f"{counter} of the listener")
            if counter == "refused_source_total":
                ok(s.connect(source="10.1.0.3")).close()
            for wire in held:
                ok(wire)
            held.pop().close()
            until(lambda: s.stats()["connections_active"] == 4, what="one has gone")
            ok(s.connect()).close()
            for wire in held:
                wire.close()


@suite.each(("the whole", "a listener"), timeout=30)
def those_over_a_limit_wait_where_that_is_wanted(lab, name):
    """In the kernel's queue: nothing is told them until there is a place."""
    most = {"connections": 4}
    config, listener = (({**most, "when_full": "wait"}, None) if name == "the whole" else
                        ({"when_full": "wait"}, {"limits": most}))
    with lab.run({"limits": config, "workers": 1}, listener=listener) as s:
        until(lambda: s.stats()["connections_active"] == 0, what="nobody is connected")
        held = [ok(s.connect()) for _ in range(4)]
        waiting = [s.connect().send(GET) for _ in range(6)]
        until(lambda: s.stats()["accept_pauses_total"] > 0, what="accepting pauses")
        while waiting:
            equal((s.stats()["connections_active"], heard(waiting)), (4, []), "connections, who was heard")
            held.pop(0).close()
            until(lambda: heard(waiting), what="one is let in")
            (wire,) = heard(waiting)
            waiting.remove(wire)
            equal(wire.response().status, 200, "status")
            held.append(wire)
        stats = s.stats()
        equal((stats["refused_limit_total"], stats["refused_listener_total"]), (0, 0), "refusals")
        for wire in held:
            wire.close()


@suite.test(timeout=30)
def a_place_that_another_worker_has_had_is_found(lab):
    with lab.run({"limits": {"connections": 4, "when_full": "wait"}, "workers": 2}) as s:
        until(lambda: s.stats()["connections_active"] == 0, what="nobody is connected")
        held = [ok(s.connect()) for _ in range(4)]
        waiting = [s.connect().send(GET) for _ in range(12)]  # the kernel deals them out to both
        for wire in held:
            wire.close()
        while waiting:
            until(lambda: heard(waiting), what="some are let in")
            for wire in heard(waiting):
                # both may have seen the last place
                check(wire.response().status in (200, 503), "an answer")
                waiting.remove(wire)
                wire.close()


@suite.test(timeout=30)
def a_refusal_is_not_destroyed_by_what_the_client_sends(lab):
    """Closing a socket with unread bytes sends a reset, and so do bytes that come after that."""
    body = b"POST http://10.2.0.2/ HTTP/1.1\r\nHost: 10.2.0.2\r\nContent-Length: 20000\r\n\r\n" + 20000 * b"x"
    with lab.run({"limits": {"connections": 1}}) as s:
        until(lambda: s.stats()["connections_active"] == 0, what="nobody is connected")
        held = ok(s.connect())
        for _ in range(20):
            with s.connect() as wire:
                wire.send(body)
                refused(wire, s)
                equal(wire.ended, "fin", "how it ends")
        stats = s.stats()
        equal((stats["connections_active"], stats["refused_limit_total"]), (1, 20), "active, refused")
        held.close()


@suite.test(timeout=30)
def the_source_limit_counts_down_whatever_way_a_connection_ends(lab):
    with lab.run({"limits": {"connections_per_source": 3}}) as s:
        until(lambda: s.stats()["connections_active"] == 0, what="nobody is connected")
        for i in range(40):
            wire = s.connect()
            if i % 4 == 0:
                wire.rst()
            elif i % 4 == 1:
                wire.send(b"bad\r\n\r\n").rest()
                wire.close()
            elif i % 4 == 2:
                wire.send(b"CONNECT 10.2.0.2:80 HTTP/1.1\r\nHost: 10.2.0.2:80\r\n\r\n")
                equal(wire.response("CONNECT").status, 200, "status")
                wire.close()
            else:
                ok(wire).close()
            until(lambda: s.stats()["connections_active"] == 0, what="it has gone")


@suite.test(timeout=60)
def without_descriptors_it_neither_spins_nor_stays_broken(lab):
    """64 descriptors and 100 clients: those that are in go on, the others wait or are refused; CPU
    time stays small; and all is well when descriptors come back."""
    with lab.run(prefix=["prlimit", "--nofile=64:64"]) as s:
        held, waiting = [], []
        for _ in range(100):
            wire = s.connect()
            wire.send(GET)
            wire.sock.settimeout(0.3)
            try:
                equal(wire.response().status, 200, "status")
                held.append(wire)
            except (TimeoutError, Ended, AssertionError):
                waiting.append(wire)
            if len(waiting) > 20:
                break
        check(held and waiting, f"{len(held)} served, {len(waiting)} not")
        before = s.cpu_seconds()
        time.sleep(2)
        used = s.cpu_seconds() - before
        check(used < 0.5, f"{used:.2f} s of CPU in 2 s without work")
        for wire in held[:5]:
            # a kept upstream connection may have been given up meanwhile: any answer will do
            wire.sock.settimeout(5)
            check(wire.send(GET).response().status in (200, 503), "an old client is served")
        for wire in held + waiting:
            wire.close()
        lab.origin.reset(answers(OK))
        until(lambda: works(s), 10, "service is back")
        for _ in range(20):
            ok(s.connect()).close()


def works(sluice):
    try:
        with sluice.connect(timeout=1) as wire:
            return wire.send(GET).response().status == 200
    except (OSError, Ended):
        return False


@suite.test(timeout=60)
def idle_connections_hold_little_memory(lab):
    with lab.run() as s:
        held = [ok(s.connect()) for _ in range(800)]
        until(lambda: s.stats()["connections_idle"] == 800, what="all are idle")
        stats = s.stats()
        check(stats["idle_connection_bytes"] <= 2048,
              f"{stats['idle_connection_bytes']} bytes for an idle connection")
        check(stats["buffers_in_use"] <= 8, f"{stats['buffers_in_use']} buffers for idle connections")
        for wire in held:
            wire.close()
        s.settles()


# --- time ---

TIMES = {"timeouts": {"header": "800ms", "body": "800ms", "idle": "1s", "connect": "1s",
                      "upstream": "1s", "tunnel": "1500ms"}}


def timed(function, least, most):
    start = time.monotonic()
    result = function()
    took = time.monotonic() - start
    check(least <= took <= most, f"took {took:.2f} s, wanted {least} to {most}")
    return result


@suite.test(timeout=40)
def slow_heads_are_cut_while_others_are_served(lab):
    with lab.run(TIMES) as s:
        slow = [s.connect() for _ in range(50)]
        start = time.monotonic()
        for wire in slow:
            wire.send(b"GET http://10.2.0.2/ HTTP/1.1\r\n")
        for i in range(6):
            for wire in slow:
                with contextlib.suppress(OSError):
                    wire.send(b"X-%d: y\r\n" % i)
            ok(s.connect()).close()
            time.sleep(0.2)
        for wire in slow:
            equal(wire.response().status, 408, "status of a slow head")
            wire.rest()
        check(time.monotonic() - start < 5, "slow heads live too long")
        check(s.stats()["timeouts_header_total"] >= 50, "counted")


@suite.test(timeout=30)
def a_silent_client_is_closed(lab):
    with lab.run(TIMES) as s:
        with s.connect() as wire:
            timed(lambda: wire.rest(), 0.5, 3)
            check(wire.received == b"" or wire.received.startswith(b"HTTP/1.1 408 "), "its answer")
        with ok(s.connect()) as wire:
            equal(timed(lambda: wire.rest(), 0.7, 3), b"", "a kept connection ends without a word")
            equal(wire.ended, "fin", "how")
        check(s.stats()["timeouts_idle_total"] >= 1, "idle timeouts counted")


@suite.test(timeout=30)
def a_body_that_stops_is_408(lab):
    with lab.run(TIMES) as s:
        with s.connect() as wire:
            wire.send(b"POST http://10.2.0.2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
            equal(timed(lambda: wire.response().status, 0.5, 3), 408, "status")
            wire.rest()
        equal(lab.origin.requests, [], "complete requests at the origin")
        equal(s.stats()["timeouts_body_total"], 1, "counted")
        check("body" in str(s.log_records(1)[0]), "the reason is in the log")


@suite.test(timeout=30)
def a_body_that_moves_slowly_goes_on(lab):
    with lab.run(TIMES) as s:
        with s.connect() as wire:
            wire.send(b"POST http://10.2.0.2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n")
            for _ in range(8):
                time.sleep(0.3)
                wire.send(b"x")
            equal(wire.response().status, 200, "status")


@suite.test(timeout=30)
def an_origin_that_says_nothing_is_504(lab):
    with lab.run(TIMES) as s:
        lab.origin.reset(lambda wire, origin: (wire.request(), wire.rest(8)))
        with s.connect() as wire:
            equal(timed(lambda: wire.send(GET).response().status, 0.8, 3), 504, "status")
        equal(s.stats()["timeouts_upstream_total"], 1, "counted")
        until(lambda: lab.origin.wires[0].ended, what="the origin's connection ends")


@suite.test(timeout=30)
def an_origin_that_stops_in_its_body_is_cut(lab):
    with lab.run(TIMES) as s:
        def stops(wire, origin):
            wire.request()
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            wire.rest(8)

        lab.origin.reset(stops)
        with s.connect() as wire:
            got = timed(lambda: wire.send(GET).response(), 0.5, 3)
            check(not got.complete, "the client can tell")


@suite.test(timeout=30)
def an_address_that_swallows_is_504(lab):
    lab.net.proxy.ip("neigh add 10.2.0.77 lladdr 02:00:00:00:00:77 dev to-server")
    with lab.run(TIMES) as s:
        for head in (b"GET http://10.2.0.77/ HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"CONNECT 10.2.0.77:80 HTTP/1.1\r\nHost: x\r\n\r\n"):
            with s.connect() as wire:
                equal(timed(lambda: wire.send(head).response().status, 0.8, 3), 504, "status")
        equal(s.stats()["timeouts_connect_total"], 2, "counted")


@suite.test(timeout=30)
def a_silent_tunnel_is_closed_and_a_talking_one_is_not(lab):
    with lab.run(TIMES) as s:
        lab.origin.reset(lambda wire, origin: [wire.send(wire.exactly(1)) for _ in range(100)])
        silent, talking = s.tunnel(SERVER, 80), s.tunnel(SERVER, 80)
        waiting = in_thread(lambda: timed(lambda: silent.rest(), 1, 4))
        for _ in range(10):
            equal(talking.send(b"x").exactly(1), b"x", "echo")
            time.sleep(0.3)
        waiting.join(5)
        equal(s.stats()["timeouts_tunnel_total"], 1, "counted")
        talking.close()


@suite.test(timeout=40)
def a_slow_reader_is_cut_while_others_are_served(lab):
    with lab.run(TIMES) as s:
        body = b"x" * 20_000_000
        lab.origin.reset(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + body))
        slow = [s.connect(receive_buffer=4096).send(GET) for _ in range(10)]
        until(lambda: s.stats()["timeouts_body_total"] >= 10, 15, "slow readers are cut")
        lab.origin.handler = answers(OK)
        ok(s.connect()).close()
        for wire in slow:
            try:
                check(not wire.response().complete, "a slow reader can tell")
            except Ended:
                pass
            wire.close()
        s.settles()


# --- the end ---

@suite.test(timeout=30)
def term_drains_within_its_bound(lab):
    """No new connections, running exchanges end well, and the rest is cut when time is up."""
    with lab.run({"timeouts": {"drain": "2s"}}) as s:
        lab.origin.reset(lambda wire, origin: (wire.request(), time.sleep(0.7), wire.send(OK)))
        with s.connect() as busy, s.tunnel(SERVER, 80) as stuck:
            busy.send(GET)
            until(lambda: b"\r\n\r\n" in lab.origin.received, what="the request at the origin")
            s.kill(signal.SIGTERM)
            start = time.monotonic()
            got = busy.response()
            equal(got.status, 200, "status of the running exchange")
            equal(busy.rest(), b"", "and then the end")
            refused_now(lab, s)
            stuck.rest()
            equal(s.process.wait(10), 0, "exit status")
            check(1 <= time.monotonic() - start < 5, "the bound")
        s.healthy()
        check(not s.admin.exists(), "the admin socket is gone")
        s.process = None


def refused_now(lab, s):
    try:
        wire = s.connect(timeout=1)
    except OSError:
        return
    # A connection that the kernel had taken already may be reset or closed, but not served.
    with wire, contextlib.suppress(Ended, OSError):
        status = wire.send(GET).response().status
        check(status == 503, f"a new connection is served with {status} while draining")


@suite.test(timeout=30)
def idle_it_ends_at_once(lab):
    for number in (signal.SIGTERM, signal.SIGQUIT):
        with lab.run() as s:
            idle = [ok(s.connect()) for _ in range(20)]
            timed(lambda: s.stop(number), 0, 3)
            for wire in idle:
                wire.rest()
                wire.close()


@suite.test(timeout=30)
def a_second_term_stops_at_once(lab):
    with lab.run() as s:
        with s.tunnel(SERVER, 80) as tunnel:
            s.kill(signal.SIGTERM)
            time.sleep(0.3)
            check(s.process.poll() is None, "it waits for the tunnel")
            s.kill(signal.SIGTERM)
            status = timed(lambda: s.process.wait(10), 0, 3)
            check(status in (0, 1), f"exit status {status}")
            tunnel.rest()
        s.healthy()
        s.process = None


@suite.test(timeout=30)
def quit_waits_for_tunnels(lab):
    with lab.run({"timeouts": {"drain": "1s"}}) as s:
        lab.origin.reset(lambda wire, origin: [wire.send(wire.exactly(1)) for _ in range(9)])
        with s.tunnel(SERVER, 80) as tunnel:
            s.kill(signal.SIGQUIT)
            for _ in range(5):
                time.sleep(0.4)
                equal(tunnel.send(b"x").exactly(1), b"x", "echo")
            check(s.process.poll() is None, "it waits longer than a TERM would")
        equal(s.process.wait(10), 0, "exit status")
        s.healthy()
        s.process = None


@suite.test(timeout=30)
def a_wrong_configuration_or_usage_has_its_exit_code(lab):
    with lab.run() as s:
        bad = s.dir / "bad.yaml"
        bad.write_text("workers: 2\nlistners: []\n")
        for arguments, status in ((["check", "-c", s.file], 0), (["check", "-c", bad], 1),
                                  (["run", "-c", bad], 1), (["run", "-c", "/nowhere"], 1),
                                  (["nonsense"], 2), (["run", "--nonsense"], 2), ([], 2),
                                  (["run", "-c", s.file], 1)):
            done = lab.net.proxy.run(s.binary, *arguments, text=True, timeout=10)
            equal(done.returncode, status, f"exit status of {arguments} ({done.stderr})")
            if bad in arguments:
                check("bad.yaml:2:1:" in done.stdout + done.stderr, f"where: {done.stderr}")
        ok(s.connect()).close()


@suite.test(timeout=30)
def without_a_file_it_is_a_forward_proxy_on_loopback(lab):
    from lab import Wire
    from lab.sluice import binary
    process = lab.net.proxy.start("unshare", "--mount", "sh", "-c",
                                  'mount -t bpf bpf /sys/fs/bpf; exec "$@"', "sh", binary(), "run",
                                  stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        lab.origin.reset(answers(OK))

        def answered():
            with contextlib.suppress(OSError):
                with Wire(lab.net.proxy.connect("127.0.0.1", 3128)) as wire:
                    return wire.send(GET).response().status == 200
        until(answered, 10, "it serves")
        process.terminate()
        equal(process.wait(10), 0, "exit status")
    finally:
        process.kill()
        with contextlib.suppress(OSError):
            os.rmdir("/run/sluice")


if __name__ == "__main__":
    sys.exit(suite.main(LimitLab))
