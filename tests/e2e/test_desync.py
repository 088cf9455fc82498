#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Origins that break every rule, among honest ones, on connections that many clients share: whatever an
origin says to one request, no byte of it reaches another one. Each request has a nonce, and all that
is said to it, or sent with it, is made of that nonce."""

import collections
import os
import random
import re
import socket
import struct
import sys

from lab import SERVER, Suite, check, equal
from lab.reverse import Reverse, nothing_is_left_behind
from lab.sluice import in_thread
from lab.wire import Ended

suite = Suite()

CLIENTS = 8
REQUESTS = int(os.environ.get("SLUICE_DESYNC_REQUESTS", "80"))  # of each client
UPSTREAMS = [{"name": "app", "servers": [f"{SERVER}:80", f"{SERVER}:81"], "pool": {"max": 12, "queue": 64,
              "queue_timeout": "30s"}, "eject": {"failures": 0, "ratio": 0}}]
NONCE = re.compile(rb"[0-9a-f]{16}")
REQUEST = re.compile(rb"^[A-Z]+ /([a-z0-9-]+)/([0-9a-f]{16}) HTTP/1.1\r\n")


def content(nonce):
    return (nonce + b".") * (1 + int(nonce[:2], 16) % 24)


def answer(nonce, *lines, status=b"200 OK", body=None, length=None, version=b"1.1"):
    body = content(nonce) if body is None else body
    length = len(body) if length is None else length
    fields = [b"X-Nonce: " + nonce, *lines]
    if length >= 0:
        fields.append(b"Content-Length: %d" % length)
    return b"HTTP/%s %s\r\n" % (version, status) + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body


def chunked(nonce, last=True):
    body = b'11;n="%s";x\r\n%s.\r\n' % (nonce, nonce) * 3
    return answer(nonce, b"Transfer-Encoding: chunked", length=-1,
                  body=body + (b"0;end\r\nX-Trailer: %s\r\n\r\n" % nonce if last else b""))


def interims(nonce, n):
    return b"".join(b"HTTP/1.1 103 Early Hints\r\nLink: </%s>\r\n\r\n" % nonce for _ in range(n))


# What origins say to a nonce, and whether they close behind it ("fin", "rst", or None to go on).
SAYS = {
    "honest": lambda n: (answer(n), None),
    "chunked": lambda n: (chunked(n), None),
    "interim": lambda n: (interims(n, 3) + answer(n), None),
    "flood": lambda n: (interims(n, 60) + answer(n), None),
    "extra": lambda n: (answer(n, body=b"", length=0) + n, None),
    "crlf": lambda n: (answer(n) + b"\r\n", None),
    "two": lambda n: (answer(n, body=n) + answer(n, body=n), None),
    "late-interim": lambda n: (answer(n, body=n) + interims(n, 1), None),
    "short": lambda n: (answer(n, length=16), None),
    "long": lambda n: (answer(n, length=100000), "fin"),
    "lengths": lambda n: (answer(n, b"Content-Length: 1"), None),
    "both": lambda n: (answer(n, b"Transfer-Encoding: chunked"), None),
    "bad-chunk": lambda n: (answer(n, b"Transfer-Encoding: chunked", length=-1, body=b"-1\r\n" + n), None),
    "cut-chunk": lambda n: (chunked(n, last=False), "fin"),
    "no-content": lambda n: (answer(n, status=b"204 No Content"), None),
    "not-modified": lambda n: (answer(n, status=b"304 Not Modified"), None),
    "upgrade": lambda n: (answer(n, b"Upgrade: x", b"Connection: upgrade", status=b"101 Switching Protocols"),
                          None),
    "old": lambda n: (answer(n, length=-1, version=b"1.0"), "fin"),
    "until-close": lambda n: (answer(n, b"Connection: close", length=-1), "fin"),
    "half-head": lambda n: (answer(n)[:30], "fin"),
    "silent": lambda n: (b"", "fin"),
    "reset": lambda n: (b"", "rst"),
    "late-reset": lambda n: (answer(n), "rst"),
    "dribble": lambda n: (answer(n, body=n), None),
    "early": lambda n: (answer(n), None),
}
FAILS = {"flood", "lengths", "both", "upgrade", "half-head", "silent", "reset"}  # 502
CUT = {"long", "bad-chunk", "cut-chunk"}  # the head has gone on: a reset, or 502 if it has not
EITHER = {"late-reset"}  # the reset may overtake the answer
NO_BODY = {"no-content", "not-modified"}
SHORTER = {"extra": b"", "two": 1, "late-interim": 1, "dribble": 1}


def serve(wire, seen):
    """Reads requests by their heads alone: what the proxy makes of them is judged to the byte."""
    while True:
        head = wire.until(b"\r\n\r\n")
        m = REQUEST.match(head)
        if not m:
            seen.errors.append(f"no request: {head!r}")
            return
        kind, nonce = m[1].decode(), m[2]
        seen.requests.append(kind)
        length = re.search(rb"\r\nContent-Length: ([0-9]+)\r\n", head)
        text, end = SAYS[kind](nonce)
        if kind == "early" and length:
            wire.send(text)
            try:
                rest = wire.rest(3)
            except TimeoutError:
                rest = b"no end behind " + wire.unread()
            if rest.replace(nonce + b".", b"") not in (b"", nonce[:len(rest) % 17]):
                seen.errors.append(f"behind half a body: {rest!r}")
            return
        body = wire.exactly(int(length[1])) if length else b""
        if body.replace(nonce + b".", b""):
            seen.errors.append(f"a body of another: {body!r}")
        if kind == "dribble":
            for i in range(0, len(text), 7):
                wire.send(text[i:i + 7])
        else:
            wire.send(text)
        if end == "rst":
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if end:
            return


class Client:
    """Asks on one connection as long as it lasts, then on the next."""

    def __init__(self, lab, seed, kinds):
        self.lab, self.rng, self.kinds, self.wire = lab, random.Random(seed), kinds, None
        self.outcomes = collections.Counter()

    def run(self, n):
        for _ in range(n):
            self.ask(self.rng.choice(self.kinds))
        if self.wire:
            self.wire.close()

    def ask(self, kind):
        nonce = self.rng.randbytes(8).hex().encode()
        method = self.rng.choice((b"GET", b"HEAD", b"PUT"))
        body, sent = b"", 1.0
        if method == b"PUT":
            body = content(nonce) * 4
            sent = 0.5 if kind == "early" else 1.0
        if not self.wire:
            self.wire = self.lab.sluice.connect(20)
        at = len(self.wire.received)
        self.wire.send(b"%s /%s/%s HTTP/1.1\r\nHost: a\r\n" % (method, kind.encode(), nonce) +
                       (b"Content-Length: %d\r\n" % len(body) if body else b"") + b"\r\n" +
                       body[:int(len(body) * sent)])
        try:
            got = self.wire.response(method.decode())
        except Ended:
            got = None
        self.judge(kind, nonce, method, got, self.wire.received[at:])
        if not got or not got.complete or self.wire.ended or got.get("connection") == "close":
            self.wire.close()
            self.wire = None

    def judge(self, kind, nonce, method, got, raw):
        said = {n for n in NONCE.findall(raw) if n != nonce}
        check(not said, lambda: f"{kind} {method} {nonce} was told of {said}: {raw!r}")
        status = got.status if got else 0
        self.outcomes[kind, status] += 1
        if kind in EITHER | CUT and status in (0, 502):
            return
        # On a connection that another's answer has left broken: a body that was sent can't be sent again.
        if method == b"PUT" and status == 502:
            return
        if kind in FAILS and not (kind == "both" and method == b"HEAD"):  # which frames nothing
            equal(status, 502, f"status of {kind}")
            return
        if kind in CUT and method != b"HEAD":
            check(not got.complete, lambda: f"{kind} passed for complete: {raw!r}")
            return
        check(got and got.complete, lambda: f"{kind} {method}: not whole: {raw!r}")
        equal(got.get("X-Nonce"), nonce.decode(), f"nonce of {kind}")
        if method != b"HEAD" and kind not in NO_BODY:
            equal(got.body, self.body_of(kind, nonce), f"body of {kind}")

    @staticmethod
    def body_of(kind, nonce):
        if kind == "chunked":
            return (nonce + b".") * 3
        if kind == "short":
            return content(nonce)[:16]
        if kind in SHORTER:
            return nonce if SHORTER[kind] else b""
        return content(nonce)


def run(lab, kinds, requests=REQUESTS):
    lab.reset(serve, serve)
    before = lab.sluice.stats()
    clients = [Client(lab, f"{kinds} {i}", kinds) for i in range(CLIENTS)]
    for c in [in_thread(c.run, requests) for c in clients]:
        c.join(90)
    equal(lab.origin.errors + lab.second.errors, [], "what origins complain of")
    after = lab.sluice.stats()
    return after["upstream_reused_total"] - before["upstream_reused_total"]


@suite.test(timeout=120)
def no_byte_of_an_answer_reaches_another_client(lab):
    # Half of the requests are answered well, so that connections are used again.
    reused = run(lab, [*SAYS, *["honest"] * 10, *["chunked"] * 8])
    check(reused > CLIENTS * REQUESTS // 20, f"only {reused} requests on used connections")


@suite.each(sorted(SAYS), timeout=60)
def whoever_comes_behind_it_gets_its_own(lab, kind):
    run(lab, [kind, "honest"], max(REQUESTS // 8, 4))


suite.test()(nothing_is_left_behind)


if __name__ == "__main__":
    sys.exit(suite.main(lambda: Reverse([{"upstream": "app"}], UPSTREAMS, {"workers": 2})))
