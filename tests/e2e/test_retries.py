#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Requests that are sent again, and those that must not be; servers that are killed and come back under
load."""

import os
import re
import socket
import sys
import tempfile

from pathlib import Path

from lab import SERVER, Suite, Skip, answers, check, equal, until
from lab.http import EMPTY, response
from lab.nginx import Nginx
from lab.origin import OK
from lab.reverse import Reverse, ask, nothing_is_left_behind
from lab.sluice import in_thread

suite = Suite()

LOAD_S = int(os.environ.get("SLUICE_LOAD_S", "4"))
BOTH = [f"{SERVER}:80", f"{SERVER}:81"]
NGINX = ["10.2.0.11", "10.2.0.12"]
UPSTREAMS = [
    {"name": "app", "servers": BOTH},
    {"name": "single", "servers": BOTH[:1]},
    {"name": "never", "servers": BOTH, "retry": {"tries": 1}},
    {"name": "once", "servers": BOTH[:1], "retry": {"tries": 1}},
    {"name": "nothing", "servers": BOTH, "retry": {"on": []}},
    {"name": "frugal", "servers": BOTH, "retry": {"budget": 0}},
    {"name": "status", "servers": BOTH, "retry": {"on": [503, 429]}},
    {"name": "timeout", "servers": BOTH, "retry": {"on": ["timeout", "closed"]}},
    {"name": "nginx", "servers": [f"{a}:80" for a in NGINX]},
]
for upstream in UPSTREAMS[:-1]:
    upstream["eject"] = {"failures": 0, "ratio": 0}
ROUTES = [{"host": f"{u['name']}.test", "upstream": u["name"]} for u in UPSTREAMS]


def host(name):
    return f"{name}.test".encode()


def retries(lab):
    return lab.sluice.stats()["upstream_retries_total"]


def close(wire, origin):
    """Takes a request and hangs up."""
    origin.requests.append(wire.request())


def twice(lab, first, name, *lines, status, method=b"GET", body=b"", more=None):
    """Two requests, of which one reaches the first origin at first; returns the answers."""
    lab.reset(first=first)
    out = []
    for _ in range(2):
        with lab.sluice.connect() as client:
            client.send(ask(b"/", host(name), *lines, method=method, body=body))
            if more:
                more(client)
            out.append(client.response(method.decode()))
    equal(sorted(m.status for m in out), sorted([200, status]), "answers")
    return out


# --- sent again ---

@suite.test()
def a_request_without_any_answer_is_sent_to_another_server(lab):
    for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE"):
        before = retries(lab)
        twice(lab, close, "app", method=method, status=200)
        equal((len(lab.origin.requests), len(lab.second.requests)), (1, 2), "requests at origins")
        equal(retries(lab) - before, 1, "counted")


@suite.test()
def a_body_that_was_not_sent_is_sent_with_the_retry(lab):
    def hang_up_at_the_head(wire, origin):
        origin.requests.append(wire.until(b"\r\n\r\n"))

    def continues(wire, origin):
        while True:  # a stale connection would use up the second try
            origin.requests.append(wire.until(b"\r\n\r\n"))
            wire.send(response(status=b"100 Continue"))
            origin.requests.append(wire.exactly(5))
            wire.send(OK)

    lab.reset(first=hang_up_at_the_head, second=continues)
    for _ in range(2):
        with lab.sluice.connect() as client:
            client.send(ask(b"/", host("app"), b"Expect: 100-continue", b"Content-Length: 5",
                            method=b"POST"))
            equal(client.until(b"\r\n\r\n")[:12], b"HTTP/1.1 100", "interim answer")
            equal(client.send(b"hello").response().status, 200, "status")
    equal(lab.second.requests.count(b"hello"), 2, "bodies")


@suite.test()
def a_stale_connection_to_the_only_server_is_replaced(lab):
    def once(wire, origin):
        origin.requests.append(wire.request())
        wire.send(OK)
        origin.requests.append(wire.request())

    lab.reset(first=once)
    for _ in range(2):
        with lab.sluice.connect() as client:
            equal(client.send(ask(b"/", host("single"))).response().status, 200, "status")
    equal(lab.origin.accepted, 2, "connections")


def stats_of(lab):
    s = lab.sluice.stats()
    return s["upstream_stale_total"], s["upstream_retries_total"]


def reset_at_the_second(wire, origin):
    """Answers once; then closes with a request unread, as a server does that was about to close."""
    origin.requests.append(wire.request())
    wire.send(OK)
    wire.sock.recv(1, socket.MSG_PEEK)


@suite.test()
def a_connection_that_was_closed_already_is_no_try(lab):
    for name in ("never", "frugal"):
        lab.reset(first=reset_at_the_second, second=reset_at_the_second)
        before = stats_of(lab)
        for _ in range(6):
            with lab.sluice.connect() as client:
                equal(client.send(ask(b"/", host(name))).response().status, 200, "status")
        stale, sent_again = (b - a for a, b in zip(before, stats_of(lab)))
        check(stale >= 2 and stale == sent_again, f"{stale} stale, {sent_again} retries")


@suite.test()
def a_connection_that_ends_with_the_request_unacknowledged_is_no_try(lab):
    def closes_a_full_window(wire, origin):
        origin.requests.append(wire.request())
        wire.send(OK)
        wire.sock.recv(1, socket.MSG_PEEK)
        wire.sock.shutdown(socket.SHUT_WR)
        until(lambda: len(origin.requests) == 2, 5, "it was sent again")

    lab.reset(first=closes_a_full_window)
    lab.origin.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
    before = stats_of(lab)
    for size in (1, 12000):
        with lab.sluice.connect() as client:
            client.send(ask(b"/", host("once"), b"X-Padding: " + b"p" * size))
            equal(client.response().status, 200, "status")
    lab.origin.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    equal([b - a for a, b in zip(before, stats_of(lab))], [1, 1], "stale, retries")


@suite.test()
def a_server_that_hangs_up_on_a_kept_connection_has_used_up_a_try(lab):
    def hangs_up_at_the_second(wire, origin):
        origin.requests.append(wire.request())
        wire.send(OK)
        origin.requests.append(wire.request())

    lab.reset(first=hangs_up_at_the_second)
    before = stats_of(lab)
    got = []
    for _ in range(2):
        with lab.sluice.connect() as client:
            got.append(client.send(ask(b"/", host("once"))).response().status)
    equal(got, [200, 502], "answers")
    equal(stats_of(lab), before, "stale, retries")


@suite.test()
def statuses_that_are_configured_are_retried(lab):
    busy = response(b"Content-Length: 4", status=b"503 Service Unavailable", body=b"busy")
    for answer in (busy, busy.replace(b"503 Service Unavailable", b"429 Too Many Requests")):
        got = twice(lab, answers(answer), "status", status=200)
        equal([m.body for m in got], [b"ok", b"ok"], "bodies")
    twice(lab, answers(busy), "app", status=503)
    twice(lab, answers(busy), "status", b"Content-Length: 1", method=b"POST", body=b"x", status=503)


@suite.test()
def silence_is_retried_where_configured(lab):
    def silent(wire, origin):
        origin.requests.append(wire.request())
        wire.rest()

    twice(lab, silent, "timeout", status=200)
    twice(lab, silent, "app", status=504)


# --- not sent again ---

@suite.test()
def a_post_is_never_repeated(lab):
    twice(lab, close, "app", EMPTY, method=b"POST", status=502)
    twice(lab, close, "app", b"Content-Length: 2", method=b"PUT", body=b"ab", status=502)
    equal((len(lab.origin.requests), len(lab.second.requests)), (1, 1), "requests at origins")


@suite.test()
def nothing_is_repeated_once_an_answer_has_begun(lab):
    def begins(wire, origin):
        origin.requests.append(wire.request())
        wire.send(b"HTTP/1.1 2")

    twice(lab, begins, "app", status=502)
    equal(len(lab.second.requests), 1, "requests at the other origin")


@suite.test()
def nothing_is_repeated_behind_an_interim_answer(lab):
    def hints(wire, origin):
        origin.requests.append(wire.request())
        wire.send(response(b"Link: </a>", status=b"103 Early Hints"))

    got = twice(lab, hints, "app", status=502)
    equal(sorted(len(m.interim) for m in got), [0, 1], "interim answers")


@suite.test()
def retries_can_be_switched_off(lab):
    for name in ("never", "nothing", "frugal"):
        twice(lab, close, name, status=502)
    check(lab.sluice.stats()["upstream_retries_denied_total"] >= 1, "denied by the budget")


@suite.test(timeout=40)
def retries_stay_within_their_budget(lab):
    lab.reset(first=close, second=close)
    before = retries(lab)
    n = 200
    for _ in range(n):
        with lab.sluice.connect() as client:
            equal(client.send(ask(b"/", host("app"))).response().status, 502, "status")
    extra = retries(lab) - before
    check(extra <= 100 + n // 5, f"{extra} retries of {n} requests")
    check(lab.sluice.stats()["upstream_retries_denied_total"] > 0, "none was denied")


# --- killed and revived ---

def wrk(lab, seconds):
    done = lab.net.client.run("wrk", "-t1", "-c24", f"-d{seconds}s", "--timeout", "10s", "-H",
                              "Host: nginx.test", "http://10.1.0.1:3128/small", text=True)
    equal(done.returncode, 0, done.stdout + done.stderr)
    return done.stdout


@suite.test(timeout=60 + LOAD_S)
def a_server_killed_and_revived_under_load_costs_no_request(lab):
    if not Path("/usr/bin/wrk").exists() or not Path("/usr/sbin/nginx").exists():
        raise Skip("needs wrk and nginx")
    lab.net.server.ip(*[f"addr add {a}/24 dev to-proxy" for a in NGINX])
    with tempfile.TemporaryDirectory() as where:
        servers = [Nginx(lab.net.server, a, Path(where) / a) for a in NGINX]
        try:
            before = lab.sluice.stats()
            load = in_thread(wrk, lab, LOAD_S)
            for i in (0, 1):
                until(lambda: answered(lab, before) > 200 * (i + 1), 20, "load flows")
                servers[i].process.kill()
                servers[i].process.wait(10)
                now = answered(lab, before)
                until(lambda: answered(lab, before) > now + 200, 20, "load flows on")
                servers[i] = Nginx(lab.net.server, NGINX[i], Path(where) / f"again-{i}")
            report = load.join(LOAD_S + 30)
            # What wrk left unanswered must not meet servers that stop.
            until(lambda: lab.sluice.stats()["connections_active"] == 0, 20, "no connections")
        finally:
            for server in servers:
                server.stop()
    stats = lab.sluice.stats()
    check("Socket errors" not in report and "Non-2xx" not in report,
          lambda: f"{report}{[r for r in lab.sluice.log_records() if r['status'] >= 500][:5]}")
    equal(stats["responses_5xx_total"], before["responses_5xx_total"], "answers of 5xx")
    equal(stats["responses_aborted_total"], before["responses_aborted_total"], "aborted answers")
    requests = int(re.search(r"(\d+) requests in", report)[1])
    reused = stats["upstream_reused_total"] - before["upstream_reused_total"]
    print(f"# {requests} requests, {100 * reused / requests:.1f} % on reused connections, "
          f"{stats['upstream_retries_total'] - before['upstream_retries_total']} retries")


def answered(lab, before):
    return lab.sluice.stats()["responses_2xx_total"] - before["responses_2xx_total"]


suite.test()(nothing_is_left_behind)


if __name__ == "__main__":
    sys.exit(suite.main(lambda: Reverse(ROUTES, UPSTREAMS, {
        "timeouts": {"upstream": "500ms"}})))
