#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Listeners with routes: which upstream a request reaches, what its origin sees, which requests are
refused, and what happens when servers can't be connected."""

import sys
import threading

from lab import SERVER, Suite, answers, check, equal, until
from lab.http import CHUNKED, EMPTY, response
from lab.origin import OK
from lab.reverse import Reverse, ask

suite = Suite()

ROUTES = [
    {"host": "api.test", "path": "/v1", "upstream": "api"},
    {"host": "*.pair.test", "upstream": "pair"},
    {"host": "dead.test", "upstream": "dead"},
    {"host": "half.test", "upstream": "half"},
    {"host": "silent.test", "upstream": "silent"},
    *[{"host": f"{name}.test", "upstream": name} for name in ("spare", "sticky", "by-path", "least", "random")],
    {"host": "*.hashed.test", "upstream": "by-host"},
    {"host": "nameless.test", "upstream": "nameless"},
    {"path": "/", "upstream": "app"},
    {"upstream": "api"},
]
DEAD = f"{SERVER}:9"
UPSTREAMS = [
    {"name": "app", "servers": [f"{SERVER}:80"]},
    {"name": "api", "servers": [f"{SERVER}:81"]},
    {"name": "pair", "servers": [f"{SERVER}:80", {"address": f"{SERVER}:81", "weight": 3}]},
    {"name": "dead", "servers": [DEAD, f"{SERVER}:10"]},
    {"name": "half", "servers": [DEAD, f"{SERVER}:80"]},
    {"name": "silent", "servers": ["10.2.0.77:80", f"{SERVER}:80"]},
    {"name": "spare", "servers": [DEAD, {"address": f"{SERVER}:81", "backup": True}]},
    {"name": "sticky", "balance": "maglev", "key": "header:X-User",
     "servers": [f"{SERVER}:80", f"{SERVER}:81"]},
    {"name": "by-host", "balance": "maglev", "key": "host", "servers": [f"{SERVER}:80", f"{SERVER}:81"]},
    {"name": "by-path", "balance": "maglev", "key": "path", "servers": [f"{SERVER}:80", f"{SERVER}:81"]},
    {"name": "least", "balance": "least_conn", "servers": [f"{SERVER}:80", f"{SERVER}:81"]},
    {"name": "random", "balance": "random2", "servers": [f"{SERVER}:80", f"{SERVER}:81"]},
    {"name": "nameless", "servers": ["no-such-name.test:80"],
     "resolve": {"addresses": "one"}},
    {"name": "unused", "servers": [f"{SERVER}:99"]},
]


# --- routes ---

@suite.test()
def a_request_goes_where_its_route_leads_and_keeps_its_host(lab):
    lab.reset()
    with lab.sluice.connect() as client:
        client.send(ask(b"/x?y=1", b"App.Test:8080", b"X-A: 1"))
        equal(client.response().body, b"ok", "body")
    equal(lab.origin.requests[0].raw,
          b"GET /x?y=1 HTTP/1.1\r\nHost: App.Test:8080\r\nX-A: 1\r\nVia: 1.1 sluice\r\n\r\n",
          "request at the origin")


@suite.test()
def host_and_path_choose_the_upstream(lab):
    lab.reset()
    wanted = [(b"/v1/x", b"api.test", "second"), (b"/v1", b"API.TEST.", "second"),
              (b"/v1/x", b"other.test", "origin"), (b"/v1", b"[::1]:80", "origin")]
    for target, host, name in wanted:
        lab.reset()
        with lab.sluice.connect() as client:
            equal(client.send(ask(target, host)).response().status, 200, "status")
        equal(len(getattr(lab, name).requests), 1, f"requests of {host!r} at {name}")


@suite.test()
def a_host_with_routes_does_not_fall_back_to_others(lab):
    lab.reset()
    with lab.sluice.connect() as client:
        equal(client.send(ask(b"/v10", b"api.test")).response().status, 404, "status")
        equal(client.send(ask(b"/v1", b"api.test")).response().status, 200, "status of the next")
    until(lambda: "no-route" in [r["reason"] for r in lab.sluice.log_records()], 5, "its log record")


@suite.test()
def the_targets_host_wins_in_absolute_form(lab):
    lab.reset()
    with lab.sluice.connect() as client:
        client.send(ask(b"http://api.test/v1/z", b"other.test"))
        equal(client.response().status, 200, "status")
    equal(lab.second.requests[0].raw,
          b"GET /v1/z HTTP/1.1\r\nHost: api.test\r\nVia: 1.1 sluice\r\n\r\n", "request")


@suite.test()
def requests_without_host_and_for_the_server_itself(lab):
    lab.reset()
    with lab.sluice.connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        equal(client.response().status, 200, "status of HTTP/1.0")
    equal(lab.origin.requests[0].get("host"), "", "its Host")
    with lab.sluice.connect() as client:
        client.send(ask(b"*", method=b"OPTIONS"))
        equal(client.response().status, 200, "status of OPTIONS *")
    equal(lab.second.requests[0].start, b"OPTIONS * HTTP/1.1", "as the origin sees it")


# --- refusals ---

@suite.test()
def what_could_be_read_in_two_ways_is_refused(lab):
    lab.reset()
    for target in (b"/v1/../x", b"/%2e%2E/x", b"/a/..%2fx", b"/a\\b"):
        with lab.sluice.connect() as client:
            equal(client.send(ask(target, b"api.test")).response().status, 400, repr(target))
            client.rest()
            equal(client.ended, "fin", "end of the connection")
    equal(lab.origin.requests + lab.second.requests, [], "requests at origins")


@suite.test()
def connect_is_refused_and_ends_the_connection(lab):
    lab.reset()
    with lab.sluice.connect() as client:
        client.send(b"CONNECT 10.2.0.2:80 HTTP/1.1\r\nHost: 10.2.0.2:80\r\n\r\n" + ask())
        equal(client.response().status, 501, "status")
        equal(client.rest(), b"", "what follows")
    equal(lab.origin.accepted, 0, "connections to the origin")


@suite.test()
def a_loop_is_found(lab):
    lab.reset()
    with lab.sluice.connect() as client:
        client.send(ask(b"/", b"x.test", b"Via: 1.1 sluice"))
        equal(client.response().status, 508, "status")


# --- servers ---

@suite.test()
def weights_share_requests(lab):
    lab.reset()
    with lab.sluice.connect() as client:
        for _ in range(16):
            equal(client.send(ask(b"/", b"a.pair.test")).response().status, 200, "status")
    equal((len(lab.origin.requests), len(lab.second.requests)), (4, 12), "requests at the origins")


@suite.test()
def a_key_leads_to_one_server(lab):
    lab.reset()
    for user in range(20):
        for _ in range(2):
            with lab.sluice.connect() as client:
                client.send(ask(b"/", b"sticky.test", b"X-User: %d" % user))
                equal(client.response().status, 200, "status")
    users = [[r.get("x-user") for r in origin.requests] for origin in (lab.origin, lab.second)]
    check(all(users), "one of the servers got nothing")
    equal(set(users[0]) & set(users[1]), set(), "users at both")
    equal(sorted(users[0] + users[1], key=int), [str(u // 2) for u in range(40)], "users")


@suite.test()
def host_and_path_may_be_the_key(lab):
    """Of the path neither the query counts nor who asks."""
    for what, request in (("host", lambda i, n: ask(b"/%d" % n, b"h%d.hashed.test" % i)),
                          ("path", lambda i, n: ask(b"/p%d?%d" % (i, n), b"by-path.test"))):
        lab.reset()
        places = []
        for i in range(20):
            before = len(lab.origin.requests)
            for n in range(3):
                with lab.sluice.connect() as client:
                    equal(client.send(request(i, n)).response().status, 200, "status")
            places.append(len(lab.origin.requests) - before)
        equal(set(places), {0, 3}, f"requests of each {what} at the first server")


@suite.test()
def a_busy_server_gets_less(lab):
    """One server answers late: the other gets what comes meanwhile."""
    for host in (b"least.test", b"random.test"):
        gate = threading.Event()

        def late(wire, origin):
            origin.requests.append(wire.request())
            gate.wait(15)
            wire.send(OK)

        lab.reset(first=late)
        held = []
        while not lab.origin.requests:
            held.append(lab.sluice.connect(15).send(ask(b"/", host)))
            until(lambda: len(lab.origin.requests + lab.second.requests) == len(held), 5, "arrived")
        before = len(lab.second.requests)
        for _ in range(10):
            with lab.sluice.connect() as client:
                equal(client.send(ask(b"/", host)).response().status, 200, "status")
        equal(len(lab.second.requests) - before, 10, f"requests of {host} at the free one")
        gate.set()
        for client in held:
            equal(client.response().status, 200, "status of the held")
            client.close()


@suite.test()
def a_backup_server_takes_over(lab):
    lab.reset()
    for _ in range(3):
        with lab.sluice.connect() as client:
            equal(client.send(ask(b"/", b"spare.test")).response().status, 200, "status")
    equal(len(lab.second.requests), 3, "requests at the backup")


@suite.test()
def a_server_that_refuses_is_followed_by_the_next(lab):
    lab.reset()
    for _ in range(4):
        with lab.sluice.connect() as client:
            equal(client.send(ask(b"/", b"half.test")).response().status, 200, "status")
    equal(len(lab.origin.requests), 4, "requests at the one that lives")


@suite.test()
def a_server_that_is_silent_is_followed_within_the_timeout(lab):
    lab.reset()
    for _ in range(2):
        with lab.sluice.connect() as client:
            equal(client.send(ask(b"/", b"silent.test")).response().status, 200, "status")


@suite.test()
def without_any_server_it_is_502(lab):
    lab.reset()
    for host in (b"dead.test", b"nameless.test"):
        with lab.sluice.connect() as client:
            equal(client.send(ask(b"/", host)).response().status, 502, "status")
            equal(client.send(ask()).response().status, 200, "status of the next")


# --- the pool ---

@suite.test()
def connections_are_reused_across_clients_and_hosts(lab):
    lab.reset()
    for host in (b"a.test", b"b.test", b"c.test"):
        with lab.sluice.connect() as client:
            equal(client.send(ask(b"/", host)).response().status, 200, "status")
    equal(lab.origin.accepted, 1, "connections")
    equal([r.get("host") for r in lab.origin.requests], ["a.test", "b.test", "c.test"], "hosts")


@suite.test()
def an_idle_connection_that_the_server_closed_costs_nobody_a_request(lab):
    lab.reset(first=answers(OK, None))
    for _ in range(3):
        with lab.sluice.connect() as client:
            equal(client.send(ask()).response().status, 200, "status")


def uploads(lab, answer, then):
    """A client whose body is not wholly sent when the answer comes; then another client."""
    with lab.sluice.connect() as client:
        client.send(ask(b"/up", b"app.test", b"Content-Length: 100", method=b"POST", body=b"x" * 10))
        got = client.response()
        equal(got.status, answer, "status of the upload")
        equal(got.get("connection"), "close", "Connection")
        with lab.sluice.connect() as other:
            equal(other.send(ask(b"/other")).response().status, then, "status of another client")


@suite.test()
def an_early_answer_never_frees_a_connection_with_an_unsent_body(lab):
    def handler(wire, origin):
        head = wire.until(b"\r\n\r\n")
        origin.requests.append(head)
        wire.send(OK)
        if b"POST" not in head:
            return
        origin.requests.append(wire.rest())

    lab.reset(first=handler)
    uploads(lab, 200, 200)
    until(lambda: len(lab.origin.requests) == 3, 5, "both requests and the rest of the first")
    check(not any(b"GET" in r and b"POST" in r for r in lab.origin.requests), "mixed requests")
    check(all(r.startswith((b"GET /other", b"POST /up", b"x")) or not r
              for r in lab.origin.requests), lambda: f"{lab.origin.requests}")
    equal(lab.origin.accepted, 2, "connections")


@suite.test()
def bytes_behind_an_answer_reach_nobody(lab):
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    for tail in (stray, b"\r\n", b"x"):
        lab.reset(first=answers(OK + tail))
        for _ in range(2):
            with lab.sluice.connect() as client:
                equal(client.send(ask()).response().body, b"ok", "body")
                equal(client.send(ask()).response().body, b"ok", "body of the next")
        equal(lab.origin.accepted, 4, "connections: none was reused")


@suite.test()
def bytes_on_an_idle_connection_reach_nobody(lab):
    def handler(wire, origin):
        origin.requests.append(wire.request())
        wire.send(OK)
        if not talked.is_set():
            until(lambda: lab.sluice.stats()["upstream_idle"] == 1, 5, "idle")
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            talked.set()
        wire.rest()

    talked = threading.Event()
    lab.reset(first=handler)
    with lab.sluice.connect() as client:
        equal(client.send(ask()).response().body, b"ok", "body")
        check(talked.wait(5), "the origin has talked on the idle connection")
        until(lambda: lab.sluice.stats()["upstream_idle"] == 0, 5, "the talking one is closed")
        equal(client.send(ask()).response().body, b"ok", "body of the next")


@suite.test()
def interim_answers_belong_to_their_request(lab):
    hints = response(b"Link: </a>", status=b"103 Early Hints")
    lab.reset(first=answers(hints + OK, OK))
    with lab.sluice.connect() as client:
        equal([m.status for m in client.send(ask()).response().interim], [103], "interim")
        equal(client.send(ask()).response().interim, [], "interim of the next")
    lab.reset(first=answers(OK + hints))
    with lab.sluice.connect() as client:
        for _ in range(3):
            equal(client.send(ask()).response().interim, [], "interim answers behind an answer")


@suite.test()
def a_truncated_answer_is_cut_and_its_connection_not_reused(lab):
    def handler(wire, origin):
        origin.requests.append(wire.request())
        wire.send(response(b"Content-Length: 10", body=b"half"))

    lab.reset(first=handler)
    with lab.sluice.connect() as client:
        got = client.send(ask()).response()
        equal((got.complete, client.ended), (False, "rst"), "end of the answer")
    lab.origin.handler = answers(OK)
    with lab.sluice.connect() as client:
        equal(client.send(ask()).response().body, b"ok", "body of another client")


@suite.test()
def a_malformed_answer_is_502_and_its_connection_not_reused(lab):
    bad = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok"
    lab.reset(first=answers(bad))
    with lab.sluice.connect() as client:
        equal(client.send(ask()).response().status, 502, "status")
        equal(client.send(ask()).response().status, 502, "status of the next")
    equal(lab.origin.accepted, 2, "connections")


@suite.test()
def chunked_bodies_and_trailers_pass_both_ways(lab):
    body = b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    lab.reset(first=answers(response(CHUNKED, b"Trailer: X-Sum", body=body)))
    with lab.sluice.connect() as client:
        for _ in range(2):
            client.send(ask(b"/", b"a.test", CHUNKED, method=b"POST", body=body))
            got = client.response()
            equal((got.body, got.trailers), (b"hello", [(b"X-Sum", b"1")]), "answer")
    equal([(r.body, r.trailers) for r in lab.origin.requests],
          [(b"hello", [(b"X-Sum", b"1")])] * 2, "requests")
    equal(lab.origin.accepted, 1, "connections")


@suite.test()
def answers_without_a_body_leave_the_connection_in_step(lab):
    lab.reset(first=answers(response(b"Content-Length: 9", status=b"304 Not Modified"),
                            response(status=b"204 No Content"), response(b"Content-Length: 7"), OK))
    with lab.sluice.connect() as client:
        equal(client.send(ask()).response().status, 304, "first")
        equal(client.send(ask()).response().status, 204, "second")
        client.send(ask(method=b"HEAD"))
        equal(client.response("HEAD").get("content-length"), "7", "third")
        equal(client.send(ask()).response().body, b"ok", "fourth")
    equal(lab.origin.accepted, 1, "connections")


@suite.test()
def an_upgrade_becomes_a_tunnel(lab):
    def handler(wire, origin):
        origin.requests.append(wire.request())
        wire.send(response(b"Upgrade: echo", b"Connection: Upgrade",
                           status=b"101 Switching Protocols"))
        wire.send(wire.exactly(4)[::-1])

    lab.reset(first=handler)
    with lab.sluice.connect() as client:
        client.send(ask(b"/ws", b"a.test", b"Upgrade: echo", b"Connection: Upgrade") + b"abcd")
        equal(client.response().status, 101, "status")
        equal(client.rest(), b"dcba", "tunnelled bytes")
    equal(lab.origin.requests[0].get("upgrade"), "echo", "Upgrade at the origin")


@suite.test()
def nothing_is_left_behind(lab):
    lab.reset()
    with lab.sluice.connect() as client:
        client.send(ask(b"/", b"a.test", EMPTY, method=b"POST"))
        equal(client.response().status, 200, "status")
    lab.sluice.settles()
    lab.sluice.healthy()


if __name__ == "__main__":
    sys.exit(suite.main(lambda: Reverse(ROUTES, UPSTREAMS, {"timeouts": {"connect": "2s"}})))
