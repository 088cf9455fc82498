#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Answers, good and odd, from scripted origins: what the client may see of them, and what the next
request on the same connections gets."""

import sys
import time
from dataclasses import dataclass, field

from lab import Ended, Lab, Suite, answers, check, equal
from lab.http import CHUNKED, EMPTY, ask, response
from lab.origin import OK

suite = Suite()


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
                    values = [", ".join(got.all(name))] if name == "via" else got.all(name)
                    equal(values, wanted, name)
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


@suite.test(timeout=30)
def after_all_this_nothing_is_left_open(lab):
    lab.origin.reset()
    lab.sluice.settles()
    lab.sluice.healthy()


if __name__ == "__main__":
    sys.exit(suite.main(Lab))
