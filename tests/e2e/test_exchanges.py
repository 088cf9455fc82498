#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Exchanges that take more than a request and an answer: interim and early answers, expectations,
clients that go away, pipelining, reuse, upgrades, bodies larger than any buffer."""

import sys
import threading
import time

from lab import SERVER, Ended, Lab, Origin, Suite, answers, check, equal, until
from lab.http import CHUNKED, EMPTY, ask, response
from lab.origin import OK
from lab.sluice import in_thread

suite = Suite()


# --- interim answers and expectations ---

@suite.test()
def interim_answers_pass_in_order(lab):
    hints = response(b"Link: </a>", status=b"103 Early Hints")
    lab.origin.reset(answers(response(status=b"102 Processing") + hints + hints + OK))
    with lab.sluice.connect() as client:
        got = client.send(ask()).response()
        equal([m.status for m in got.interim], [102, 103, 103], "interim answers")
        equal(got.body, b"ok", "body")
        equal(client.send(ask()).response().status, 200, "status of the next")


@suite.test()
def interim_answers_are_not_for_http_1_0(lab):
    lab.origin.reset(answers(response(status=b"103 Early Hints") + OK))
    with lab.sluice.connect() as client:
        got = client.send(ask(version=b"1.0")).response()
        equal((got.interim, got.body), ([], b"ok"), "answer")


@suite.test()
def endless_interim_answers_end(lab):
    def handler(wire, origin):
        origin.requests.append(wire.request())
        for _ in range(20000):
            wire.send(response(b"X: " + b"y" * 400, status=b"103 Early Hints") * 10)

    lab.origin.reset(handler)
    with lab.sluice.connect() as client:
        client.send(ask())
        before = lab.sluice.memory_bytes()
        time.sleep(1)
        check(lab.sluice.memory_bytes() - before < 16 << 20, "memory grows without a bound")
    lab.origin.reset(answers(OK))
    equal(lab.sluice.get("http://10.2.0.2/").status, 200, "status of another")


EXPECT = (b"Expect: 100-continue", b"Content-Length: 5")


@suite.test()
def an_expectation_is_met_by_the_origin(lab):
    def handler(wire, origin):
        head = wire.until(b"\r\n\r\n")
        check(b"expect: 100-continue" in head.lower(), "the origin is asked")
        wire.send(response(status=b"100 Continue"))
        equal(wire.exactly(5), b"hello", "body")
        origin.requests.append(head)
        wire.send(OK)

    lab.origin.reset(handler)
    with lab.sluice.connect() as client:
        client.send(ask(b"/x", *EXPECT, method=b"POST"))
        equal(client.until(b"\r\n\r\n")[:12], b"HTTP/1.1 100", "first answer")
        equal(client.send(b"hello").response().body, b"ok", "final answer")
    equal(len(lab.origin.requests), 1, "requests at the origin")


@suite.test()
def an_expectation_is_refused_by_the_origin_at_once(lab):
    def handler(wire, origin):
        wire.until(b"\r\n\r\n")
        wire.send(response(EMPTY, status=b"417 Expectation Failed"))
        wire.rest()
        origin.requests.append(wire.received)

    lab.origin.reset(handler)
    with lab.sluice.connect() as client:
        client.send(ask(b"/x", *EXPECT, method=b"POST"))
        equal(client.response().status, 417, "status")
        # The body was never sent. What comes next is a request or the connection has ended.
        try:
            client.send(ask(b"/next"))
            client.response()
        except (Ended, OSError):
            pass
    lab.origin.reset(answers(OK))
    check(b"GET" not in lab.origin.received.split(b"\r\n\r\n")[-1], "no request inside a body")


@suite.test()
def an_expectation_that_the_origin_ignores_does_not_hang(lab):
    lab.origin.reset(answers(OK))
    with lab.sluice.connect() as client:
        client.send(ask(b"/x", *EXPECT, method=b"POST"))
        time.sleep(0.3)
        client.send(b"hello")
        equal(client.response().status, 200, "status")
    equal(lab.origin.requests[0].body, b"hello", "body at the origin")


@suite.test()
def an_expectation_with_its_body_at_once(lab):
    lab.origin.reset(answers(OK))
    with lab.sluice.connect() as client:
        client.send(ask(b"/x", *EXPECT, method=b"POST", body=b"hello") + ask(b"/next"))
        equal([client.response().status for _ in range(2)], [200, 200], "answers")
    equal([r.body for r in lab.origin.requests], [b"hello", b""], "bodies")


# --- early answers ---

@suite.test()
def an_answer_before_the_body_reaches_the_client(lab):
    """And the connection is then drained or closed; the origin never sees the next request as a
    body, or the rest of a body as a request."""
    for close in (True, False):
        def handler(wire, origin):
            wire.until(b"\r\n\r\n")
            wire.send(response(EMPTY, b"Connection: close" if close else b"X: y",
                               status=b"413 Too Large"))
            if not close:
                wire.rest(3)

        lab.origin.reset(handler)
        with lab.sluice.connect() as client:
            client.send(ask(b"/x", b"Content-Length: 1000000", method=b"POST") + b"x" * 1000)
            equal(client.response().status, 413, "status")
            try:
                client.send(b"x" * 999000)
                client.send(ask(b"/next"))
                client.response()
            except (Ended, OSError):
                pass
        for wire in list(lab.origin.wires):
            check(b"/next" not in wire.received or wire.received.startswith(b"GET /next"),
                  "a request ended up in a body")


@suite.test()
def a_client_that_goes_away_in_its_body_leaves_no_complete_request(lab):
    for reset in (False, True):
        lab.origin.reset(answers(OK))
        client = lab.sluice.connect()
        client.send(ask(b"/x", b"Content-Length: 10", method=b"POST") + b"half")
        until(lambda: b"half" in lab.origin.received, what="the half body at the origin")
        client.rst() if reset else client.close()
        until(lambda: lab.origin.wires[0].ended, what="the origin's connection ends")
        equal(lab.origin.requests, [], "complete requests")


@suite.test()
def a_client_that_goes_away_before_the_answer_frees_the_origin(lab):
    def handler(wire, origin):
        wire.request()
        wire.rest(8)

    lab.origin.reset(handler)
    client = lab.sluice.connect().send(ask())
    until(lambda: lab.origin.received.endswith(b"\r\n\r\n"), what="the request at the origin")
    client.rst()
    until(lambda: lab.origin.wires[0].ended, 5, "the origin's connection ends")


# --- pipelining and reuse ---

@suite.test()
def pipelined_requests_are_answered_in_order(lab):
    def numbered(request):
        n = int(request.start.split(b"/")[1].split(b" ")[0])
        time.sleep(0.05 if n % 3 == 0 else 0)
        body = b"%d" % n * (n + 1)
        return response(b"Content-Length: %d" % len(body), body=body)

    lab.origin.reset(answers(numbered))
    with lab.sluice.connect() as client:
        client.send(b"".join(ask(b"/%d" % i) for i in range(20)))
        for i in range(20):
            equal(client.response().body, b"%d" % i * (i + 1), f"answer {i}")


@suite.test()
def pipelined_requests_to_different_origins_stay_in_order(lab):
    other = Origin(lab.net.server, SERVER, 8080, answers(response(b"Content-Length: 5", body=b"other")))

    def slow(request):
        time.sleep(0.2)
        return OK

    lab.origin.reset(answers(slow))
    with lab.sluice.connect() as client:
        client.send(ask() + ask().replace(b"10.2.0.2/", b"10.2.0.2:8080/") + ask())
        equal([client.response().body for _ in range(3)], [b"ok", b"other", b"ok"], "answers")
    other.close()


@suite.test()
def pipelining_behind_a_body_and_a_head_request(lab):
    lab.origin.reset(answers(lambda r: response(b"Content-Length: 2") if r.start.startswith(b"HEAD")
                             else OK))
    with lab.sluice.connect() as client:
        client.send(ask(b"/1", b"Content-Length: 3", method=b"POST", body=b"abc") +
                    ask(b"/2", method=b"HEAD") + ask(b"/3", b"Connection: close") + ask(b"/4"))
        client.response()
        client.response("HEAD")
        equal(client.response().body, b"ok", "third answer")
        equal(client.rest(), b"", "bytes behind Connection: close")
    equal(len(lab.origin.requests), 3, "requests at the origin")


@suite.test()
def endless_pipelining_without_reading_is_bounded(lab):
    lab.origin.reset(answers(response(b"Content-Length: 10000", body=b"x" * 10000)))
    client = lab.sluice.connect(receive_buffer=4096)
    before = lab.sluice.memory_bytes()

    def push():
        try:
            client.sock.settimeout(2)
            for _ in range(2000):
                client.sock.sendall(ask() * 50)
        except OSError:
            return

    in_thread(push).join(20)
    check(lab.sluice.memory_bytes() - before < 24 << 20, "memory grows without a bound")
    equal(lab.sluice.get("http://10.2.0.2/").status, 200, "status of another")
    client.rst()


@suite.test()
def connections_are_kept_on_both_sides(lab):
    lab.origin.reset(answers(OK))
    before = lab.sluice.stats()
    with lab.sluice.connect() as client:
        for i in range(20):
            equal(client.send(ask(b"/%d" % i)).response().status, 200, "status")
    for i in range(20):
        equal(lab.sluice.get("http://10.2.0.2/").status, 200, "status")
    equal(lab.origin.accepted, 1, "connections at the origin")
    after = lab.sluice.stats()
    equal(after["upstream_reused_total"] - before["upstream_reused_total"], 39, "reuse counted")
    equal(after["requests_total"] - before["requests_total"], 40, "requests counted")


@suite.test()
def a_kept_connection_that_the_origin_closed_is_not_missed(lab):
    """Closed while idle: nobody notices. Closed with the request under way: a GET goes again."""
    lab.origin.reset(lambda wire, origin: (wire.request(), wire.send(OK)))
    for _ in range(5):
        equal(lab.sluice.get("http://10.2.0.2/").status, 200, "status")

    def closes_at_second(wire, origin):
        wire.request()
        wire.send(OK)
        origin.requests.append(wire.request())

    lab.origin.reset(closes_at_second)
    equal(lab.sluice.get("http://10.2.0.2/").status, 200, "status of the first")
    equal(lab.sluice.get("http://10.2.0.2/").status, 200, "status of the second")


@suite.test()
def a_post_is_never_sent_twice(lab):
    def closes_at_second(wire, origin):
        wire.request()
        wire.send(OK)
        origin.requests.append(wire.request())

    for body in (b"hello", b""):
        lab.origin.reset(closes_at_second)
        equal(lab.sluice.get("http://10.2.0.2/").status, 200, "status of the first")
        with lab.sluice.connect() as client:
            client.send(ask(b"/pay", b"Content-Length: %d" % len(body), method=b"POST", body=body))
            equal(client.response().status, 502, "status")
        equal(lab.origin.received.count(b"POST /pay"), 1, "times the origin got it")


# --- upgrades ---

UPGRADE = (b"Connection: Upgrade", b"Upgrade: echo")


@suite.test()
def an_upgrade_that_was_asked_for_becomes_a_tunnel(lab):
    def handler(wire, origin):
        origin.requests.append(wire.request())
        wire.send(response(b"Connection: Upgrade", b"Upgrade: echo", status=b"101 Switching") + b"hi")
        while True:
            wire.send(wire.exactly(4)[::-1])

    lab.origin.reset(handler)
    with lab.sluice.connect() as client:
        client.send(ask(b"/ws", *UPGRADE))
        got = client.response()
        equal((got.status, got.get("upgrade")), (101, "echo"), "answer")
        equal(client.exactly(2), b"hi", "first bytes")
        for word in (b"abcd", b"\0\r\n\xff"):
            equal(client.send(word).exactly(4), word[::-1], "echo")
    request = lab.origin.requests[0]
    equal(request.get("upgrade"), "echo", "Upgrade at the origin")
    check("upgrade" in request.get("connection").lower(), "Connection at the origin")


@suite.test()
def an_upgrade_that_is_declined_is_an_ordinary_request(lab):
    lab.origin.reset(answers(OK))
    with lab.sluice.connect() as client:
        equal(client.send(ask(b"/ws", *UPGRADE)).response().body, b"ok", "body")
        equal(client.send(ask()).response().body, b"ok", "next body")


@suite.test()
def bytes_behind_an_upgrade_wait_for_its_answer(lab):
    """A declined upgrade leaves them to be the next request, never the origin's to interpret."""
    lab.origin.reset(answers(OK))
    with lab.sluice.connect() as client:
        client.send(ask(b"/ws", *UPGRADE) + ask(b"/second"))
        equal([client.response().body for _ in range(2)], [b"ok", b"ok"], "answers")
    equal(len(lab.origin.requests), 2, "requests")


# --- bulk and backpressure ---

@suite.test(timeout=60)
def large_bodies_stream_both_ways(lab):
    block = bytes(range(256)) * 4096
    lab.origin.reset(answers(lambda r: response(b"Content-Length: %d" % len(r.body), body=r.body)))
    with lab.sluice.connect() as client:
        for framing in ("length", "chunked"):
            body = block * 8
            if framing == "length":
                send = ask(b"/x", b"Content-Length: %d" % len(body), method=b"PUT", body=body)
            else:
                pieces = b"".join(b"%x\r\n%s\r\n" % (n, body[:n]) for n in (1, 65537, 3, 1 << 20))
                body = body[:1] + body[:65537] + body[:3] + body[:1 << 20]
                send = ask(b"/x", CHUNKED, method=b"PUT", body=pieces + b"0\r\n\r\n")
            sender = in_thread(client.send, send)
            got = client.response()
            sender.join(20)
            check(got.complete and got.body == body, f"the body comes back ({framing})")


@suite.test(timeout=40)
def a_client_that_does_not_read_holds_the_origin_back(lab):
    sent = []

    def handler(wire, origin):
        wire.request()
        wire.sock.settimeout(1)
        wire.send(response(b"Content-Length: 200000000"))
        for _ in range(3000):
            wire.sock.sendall(bytes(65536))
            sent.append(65536)

    lab.origin.reset(handler)
    before = lab.sluice.memory_bytes()
    client = lab.sluice.connect(receive_buffer=4096)
    client.send(ask())
    time.sleep(2)
    check(sum(sent) < 40_000_000, f"the origin could send {sum(sent)} bytes")
    check(lab.sluice.memory_bytes() - before < 16 << 20, "memory grows")
    client.rst()
    until(lambda: lab.origin.wires[0].sock.fileno() < 0, 10, "the origin's connection ends")


@suite.test(timeout=40)
def an_origin_that_does_not_read_holds_the_client_back(lab):
    release = threading.Event()

    def handler(wire, origin):
        wire.until(b"\r\n\r\n")
        release.wait(20)

    lab.origin.reset(handler)
    before = lab.sluice.memory_bytes()
    client = lab.sluice.connect()
    client.send(ask(b"/x", b"Content-Length: 200000000", method=b"PUT"))
    client.sock.settimeout(1)
    sent = 0
    try:
        while sent < 190_000_000:
            sent += client.sock.send(bytes(65536))
    except OSError:
        pass
    check(sent < 40_000_000, f"the client could send {sent} bytes")
    check(lab.sluice.memory_bytes() - before < 16 << 20, "memory grows")
    release.set()
    client.rst()


@suite.test(timeout=30)
def after_all_this_nothing_is_left_open(lab):
    lab.origin.reset()
    lab.sluice.settles()
    lab.sluice.healthy()


if __name__ == "__main__":
    sys.exit(suite.main(Lab))
