#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Answers, good and odd, from scripted origins: what the client may see of them, and what the next
request on the same connections gets. Expectations, early answers, interim answers, pipelining, reuse
and upgrades belong here, too."""

import sys
import time
from dataclasses import dataclass, field

from lab import SERVER, Lab, Suite, answers, check, equal, until
from lab.origin import OK
from lab.sluice import in_thread
from lab.wire import Ended

suite = Suite()
A = b"http://10.2.0.2"
HOST = b"Host: 10.2.0.2\r\n"


def ask(path=b"/x", *lines, method=b"GET", version=b"1.1", body=b""):
    return (method + b" " + A + path + b" HTTP/" + version + b"\r\n" + HOST +
            b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body)


def response(*lines, status=b"200 OK", body=b"", version=b"1.1"):
    return (b"HTTP/" + version + b" " + status + b"\r\n" +
            b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body)


CHUNKED = b"Transfer-Encoding: chunked"
EMPTY = b"Content-Length: 0"


@dataclass
class Good:
    """An answer that the client gets whole. fields: as in the table of requests."""
    what: str
    answer: bytes
    body: bytes = b""
    status: int = 200
    fields: dict = field(default_factory=dict)
    method: bytes = b"GET"
    version: bytes = b"1.1"


GOOD = [
    Good("with a length", response(b"Content-Length: 3", body=b"abc"), b"abc",
         fields={"content-length": "3", "via": "1.1 sluice"}),
    Good("without a byte", response(EMPTY)),
    Good("in chunks", response(CHUNKED, body=b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), b"abcde"),
    Good("in chunks with extensions", response(CHUNKED, body=b"3;x=y\r\nabc\r\n0;z\r\n\r\n"), b"abc"),
    Good("in chunks to HTTP/1.0", response(CHUNKED, body=b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
         b"abcde", version=b"1.0", fields={"transfer-encoding": None}),
    Good("until the end of the connection", response(body=b"abc"), b"abc"),
    Good("until the end, to HTTP/1.0", response(body=b"abc"), b"abc", version=b"1.0"),
    Good("from HTTP/1.0", response(b"Content-Length: 3", body=b"abc", version=b"1.0"), b"abc",
         fields={"via": "1.0 sluice"}),
    Good("from HTTP/1.0 until the end", response(body=b"abc", version=b"1.0"), b"abc"),
    Good("without a reason", b"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx", b"x"),
    Good("with an odd reason", response(EMPTY, status=b"200 \xe9!; what=\"x\"")),
    Good("with an unknown status", response(EMPTY, status=b"299 Odd"), status=299),
    Good("an error of the origin's", response(EMPTY, status=b"503 No"), status=503),
    Good("204 without a body", response(status=b"204 No Content"), status=204),
    Good("304 with a length and no body", response(b"Content-Length: 5", status=b"304 Not Modified"),
         status=304),
    Good("HEAD with a length", response(b"Content-Length: 12345"), method=b"HEAD",
         fields={"content-length": "12345"}),
    Good("HEAD with chunks announced", response(CHUNKED), method=b"HEAD"),
    Good("HEAD without either", response(), method=b"HEAD"),
    Good("repeated equal lengths", response(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
         b"abc", fields={"content-length": "3"}),
    Good("hop-by-hop fields end here",
         response(EMPTY, b"Connection: X-A, keep-alive", b"X-A: 1", b"Keep-Alive: timeout=3",
                  b"Proxy-Connection: x", b"Upgrade: h2c", b"X-B: 2"),
         fields={"x-a": None, "keep-alive": None, "proxy-connection": None, "upgrade": None,
                 "x-b": "2"}),
    Good("repeated fields keep their order", response(EMPTY, b"Set-Cookie: a=1", b"X: y",
                                                      b"Set-Cookie: b=2"),
         fields={"set-cookie": ["a=1", "b=2"]}),
    Good("Via is appended to", response(EMPTY, b"Via: 1.0 far"), fields={"via": "1.0 far, 1.1 sluice"}),
    Good("Connection: close of the origin's is not the client's",
         response(b"Content-Length: 3", b"Connection: close", body=b"abc"), b"abc"),
    Good("WWW-Authenticate passes", response(EMPTY, b"WWW-Authenticate: Basic realm=\"x\"",
                                             status=b"401 No"), status=401,
         fields={"www-authenticate": "Basic realm=\"x\""}),
]

# Heads that no client may see: 502 instead.
BAD = [
    ("nothing at all", b""),
    ("garbage", b"garbage garbage\r\n\r\n"),
    ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("HTTP/0.9", b"<html>hello</html>"),
    ("a head that is cut", b"HTTP/1.1 200 OK\r\nContent-Le"),
    ("HTTP/2.0", response(EMPTY, version=b"2.0")),
    ("ICY", b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a status of two digits", response(EMPTY, status=b"20 OK")),
    ("a status of four digits", response(EMPTY, status=b"2000 OK")),
    ("a status of letters", response(EMPTY, status=b"2xx OK")),
    ("a status of 099", response(EMPTY, status=b"099 OK")),
    ("lines that end in LF", response(EMPTY).replace(b"\r\n", b"\n")),
    ("a bare CR", response(EMPTY, b"X: a\rb")),
    ("NUL", response(EMPTY, b"X: a\0b")),
    ("NUL in the reason", response(EMPTY, status=b"200 O\0K")),
    ("a line without a colon", response(EMPTY, b"whatever")),
    ("an empty name", response(EMPTY, b": x")),
    ("Content-Length with Transfer-Encoding",
     response(b"Content-Length: 3", CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n")),
    ("differing lengths", response(b"Content-Length: 3", b"Content-Length: 4", body=b"abc")),
    ("a negative length", response(b"Content-Length: -1")),
    ("a length with a sign", response(b"Content-Length: +3", body=b"abc")),
    ("a length of 2^64", response(b"Content-Length: 18446744073709551616", body=b"abc")),
    ("an unknown coding", response(b"Transfer-Encoding: xyz", body=b"abc")),
    ("chunked that is not final", response(b"Transfer-Encoding: chunked, gzip", body=b"abc")),
    ("chunked twice", response(CHUNKED, CHUNKED, body=b"0\r\n\r\n")),
    ("Transfer-Encoding from HTTP/1.0", response(CHUNKED, version=b"1.0", body=b"0\r\n\r\n")),
    ("a huge head", response(EMPTY, *[b"X-%d: %s" % (i, b"a" * 400) for i in range(50)])),
    ("too many fields", response(EMPTY, *[b"X-%d: 1" % i for i in range(150)])),
    ("101 that nobody asked for", response(b"Connection: upgrade", b"Upgrade: websocket",
                                           status=b"101 Switching Protocols")),
]

# Bodies that end too early or go wrong: the client must be able to tell.
CUT = [
    ("a short body", response(b"Content-Length: 10", body=b"abc")),
    ("no body where one was announced", response(b"Content-Length: 10")),
    ("chunks that end in a chunk", response(CHUNKED, body=b"a\r\nabc")),
    ("chunks that end behind a chunk", response(CHUNKED, body=b"3\r\nabc\r\n")),
    ("chunks that end behind the last", response(CHUNKED, body=b"3\r\nabc\r\n0\r\n")),
    ("a chunk size that is garbage", response(CHUNKED, body=b"3\r\nabc\r\nxyz\r\n")),
    ("a chunk size that overflows", response(CHUNKED, body=b"3\r\nabc\r\nffffffffffffffffff\r\nabc")),
    ("chunk data without its CRLF", response(CHUNKED, body=b"3\r\nabcdef0\r\n\r\n")),
    ("a trailer that is garbage", response(CHUNKED, body=b"3\r\nabc\r\n0\r\nX : y\r\n\r\n")),
]


def once(data, reset=False):
    """A handler that reads one request, says data and ends the connection."""
    def handler(wire, origin):
        origin.requests.append(wire.request())
        wire.send(data)
        if reset:
            time.sleep(0.05)  # let the bytes leave before the reset throws them away
            wire.rst()
    return handler


def keep(data):
    """A handler that says data behind the first request and good answers behind the others."""
    return answers(data, OK)


def needs_end(row):
    return b"Content-Length" not in row.answer and b"chunked" not in row.answer and \
        row.method != b"HEAD" and row.status not in (204, 304)


def good_row(row):
    def test(lab):
        for pause in (False, True):
            handler = once(row.answer) if needs_end(row) else keep(row.answer)
            lab.origin.reset(dribble(row.answer) if pause and len(row.answer) < 300 else handler)
            with lab.sluice.connect() as client:
                client.send(ask(method=row.method, version=row.version))
                got = client.response(row.method.decode())
                equal(got.status, row.status, "status")
                check(got.complete, "the answer is complete")
                equal(got.body, row.body, "body")
                equal(got.interim, [], "interim answers")
                for name, value in row.fields.items():
                    wanted = value if isinstance(value, list) else [] if value is None else [value]
                    equal(got.all(name), wanted, name)
                if row.version == b"1.0":
                    equal(client.rest(), b"", "bytes behind the answer")
                elif client.ended is None and "close" not in " ".join(got.all("connection")):
                    lab.origin.handler = answers(OK)
                    equal(client.send(ask(b"/next")).response().body, b"ok", "the next answer")
    return test


def dribble(data):
    def handler(wire, origin):
        origin.requests.append(wire.request())
        wire.send_split(data, range(1, len(data)))
    return handler


def bad_row(what, data):
    def test(lab):
        for handler in (once(data), dribble(data) if len(data) < 300 else once(data)):
            lab.origin.reset(handler)
            answer = lab.sluice.get("http://10.2.0.2/bad")
            equal(answer.status, 502, "status")
            check(answer.complete, "the 502 is complete")
        lab.origin.reset(answers(OK))
        equal(lab.sluice.get("http://10.2.0.2/good").status, 200, "status afterwards")
    return test


def cut_row(what, data):
    def test(lab):
        for version in (b"1.1", b"1.0"):
            for reset in (False, True):
                lab.origin.reset(once(data, reset))
                with lab.sluice.connect() as client:
                    client.send(ask(version=version))
                    try:
                        got = client.response()
                    except Ended:
                        continue
                    # To HTTP/1.0 the body may have no length: then only a reset tells.
                    check(got.status == 502 or not got.complete,
                          f"HTTP/{version.decode()}: a cut answer looks complete: {got.raw!r}, "
                          f"ended by {client.ended}")
    return test


for r in GOOD:
    suite.add(f"passed on: {r.what}", good_row(r))
for w, d in BAD:
    suite.add(f"502 instead of: {w}", bad_row(w, d))
for w, d in CUT:
    suite.add(f"cut short for the client, too: {w}", cut_row(w, d))


@suite.test()
def a_reset_in_a_body_without_length_is_no_end_of_it(lab):
    lab.origin.reset(once(response(body=b"abc" * 100), reset=True))
    with lab.sluice.connect() as client:
        client.send(ask())
        got = client.response()
        check(got.status == 502 or not got.complete, f"looks complete, ended by {client.ended}")


# --- poison ---

POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"


def poisoned(first, method=b"GET", status=200):
    """The origin says more than it was asked; the next request must get its own answer, whether on
    the same client connection or another."""
    def test(lab):
        lab.origin.reset(keep(first + POISON))
        with lab.sluice.connect() as client, lab.sluice.connect() as other:
            client.send(ask(method=method))
            equal(client.response(method.decode()).status, status, "status")
            for wire in (other, client, other):
                try:
                    wire.send(ask(b"/next"))
                    got = wire.response()
                except (Ended, OSError):
                    continue
                check(b"poison" not in got.body, "the next request got the poison")
    return test


for w, first, m, st in (
        ("behind an answer with a length", OK, b"GET", 200),
        ("behind chunks", response(CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n"), b"GET", 200),
        ("behind 204", response(status=b"204 No"), b"GET", 204),
        ("behind 204 with a length", response(b"Content-Length: 2", status=b"204 No", body=b"ok"),
         b"GET", 204),
        ("behind 304", response(status=b"304 No"), b"GET", 304),
        ("behind an answer to HEAD", response(b"Content-Length: 2"), b"HEAD", 200),
        ("as a body of an answer to HEAD", response(b"Content-Length: 2", body=b"ok"), b"HEAD", 200)):
    suite.add(f"poison: {w}", poisoned(first, m, st))


@suite.test()
def bytes_on_an_idle_pooled_connection_poison_nothing(lab):
    def handler(wire, origin):
        origin.requests.append(wire.request())
        wire.send(OK)
        time.sleep(0.05)
        wire.send(POISON)
        answers(OK)(wire, origin)

    lab.origin.reset(handler)
    with lab.sluice.connect() as client:
        equal(client.send(ask()).response().body, b"ok", "first answer")
        time.sleep(0.15)
        equal(client.send(ask(b"/next")).response().body, b"ok", "second answer")


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
    from lab import Origin
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
    import threading
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
