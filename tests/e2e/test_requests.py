#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Requests, good and bad, as raw bytes against an origin that keeps what it receives. Each row of the
table is sent whole, a byte at a time and cut at random places, and must mean the same each time.

The rules are those of RFC 9110 and RFC 9112 for an intermediary; where they allow a choice, sluice
refuses."""

import contextlib
import random
import sys
from dataclasses import dataclass, field

from lab import SERVER, Lab, Origin, Suite, check, equal

suite = Suite()
A = b"http://10.2.0.2"
HOST = b"Host: 10.2.0.2\r\n"


class RequestLab(Lab):
    def __init__(self):
        super().__init__({"limits": {"body": "1m"}})
        self.other = Origin(self.net.server, SERVER, 8080)


@dataclass
class Good:
    """sees: the request line at the origin. fields: what they must be there (None: absent)."""
    what: str
    send: bytes
    sees: bytes
    fields: dict = field(default_factory=dict)
    body: bytes = b""
    status: int = 200
    close: bool = False
    port: int = 80


@dataclass
class Bad:
    """Refused with one of `status`; the origin sees nothing of it, and the connection ends unless
    the request was only one that sluice can't serve."""
    what: str
    send: bytes
    status: tuple = (400,)
    ends: bool = True


def get(*lines, target=A + b"/x", host=HOST, version=b"1.1", body=b"", method=b"GET"):
    return (method + b" " + target + b" HTTP/" + version + b"\r\n" + host +
            b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body)


def post(*lines, body=b"", **more):
    return get(*lines, body=body, method=b"POST", **more)


def chunked(*chunks, trailer=b"", end=b"0\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + end + trailer + b"\r\n"


TE = b"Transfer-Encoding: chunked"
VIA = {"via": "1.1 sluice"}

GOOD = [
    Good("absolute-form becomes origin-form", get(), b"GET /x HTTP/1.1",
         {"host": "10.2.0.2", **VIA}),
    Good("a query goes along", get(target=A + b"/a/b?c=d&e=%20"), b"GET /a/b?c=d&e=%20 HTTP/1.1"),
    Good("an empty path becomes a slash", get(target=A), b"GET / HTTP/1.1"),
    Good("an empty path with a query gets a slash", get(target=A + b"?q=1"), b"GET /?q=1 HTTP/1.1"),
    Good("a path is not normalised", get(target=A + b"/a/../b//c/%2e%2E/;x"),
         b"GET /a/../b//c/%2e%2E/;x HTTP/1.1"),
    Good("a port goes into Host", get(target=b"http://10.2.0.2:8080/p", host=b"Host: 10.2.0.2:8080\r\n"),
         b"GET /p HTTP/1.1", {"host": "10.2.0.2:8080"}, port=8080),
    Good("the target's authority wins over Host", get(host=b"Host: evil.example\r\n"),
         b"GET /x HTTP/1.1", {"host": "10.2.0.2"}),
    Good("the target's port wins over Host's", get(host=b"Host: 10.2.0.2:8080\r\n"),
         b"GET /x HTTP/1.1", {"host": "10.2.0.2"}),
    Good("an empty Host beside an absolute target", get(host=b"Host:\r\n"), b"GET /x HTTP/1.1",
         {"host": "10.2.0.2"}),
    Good("the scheme is case-insensitive", get(target=b"HTTP://10.2.0.2/x"), b"GET /x HTTP/1.1",
         {"host": "10.2.0.2"}),
    Good("OPTIONS for a whole server becomes an asterisk", get(target=A, method=b"OPTIONS"),
         b"OPTIONS * HTTP/1.1", {"host": "10.2.0.2"}),
    Good("OPTIONS with a slash keeps it", get(target=A + b"/", method=b"OPTIONS"),
         b"OPTIONS / HTTP/1.1"),
    Good("an unknown method passes", get(method=b"PROPFIND"), b"PROPFIND /x HTTP/1.1"),
    Good("methods are case-sensitive", get(method=b"get"), b"get /x HTTP/1.1"),
    Good("PUT with a body", get(b"Content-Length: 5", method=b"PUT", body=b"hello"),
         b"PUT /x HTTP/1.1", {"content-length": "5"}, b"hello"),
    Good("DELETE with a body", get(b"Content-Length: 2", method=b"DELETE", body=b"hi"),
         b"DELETE /x HTTP/1.1", {}, b"hi"),
    Good("GET with a body", get(b"Content-Length: 2", body=b"hi"), b"GET /x HTTP/1.1", {}, b"hi"),
    Good("POST without a body", post(b"Content-Length: 0"), b"POST /x HTTP/1.1",
         {"content-length": "0"}),
    Good("equal repeated Content-Length counts once",
         post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"), b"POST /x HTTP/1.1",
         {"content-length": "3"}, b"abc"),
    Good("a chunked body", post(TE, body=chunked(b"abc", b"defgh")), b"POST /x HTTP/1.1",
         {"content-length": None}, b"abcdefgh"),
    Good("a chunked body without a byte", post(TE, body=chunked()), b"POST /x HTTP/1.1"),
    Good("the coding's name is case-insensitive",
         post(b"Transfer-Encoding: CHUNKED", body=chunked(b"abc")), b"POST /x HTTP/1.1", {}, b"abc"),
    Good("chunk sizes in upper case with leading zeros",
         post(TE, body=b"000A\r\n0123456789\r\n0\r\n\r\n"), b"POST /x HTTP/1.1", {}, b"0123456789"),
    Good("chunk extensions are dropped",
         post(TE, body=b"3;a=b;c=\"d;e\"\r\nabc\r\n0;last\r\n\r\n"), b"POST /x HTTP/1.1", {}, b"abc"),
    Good("a body full of CRLF and request lines",
         post(b"Content-Length: 40", body=b"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n\r\n\r\n"[:40]
              .ljust(40)), b"POST /x HTTP/1.1", {},
         b"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n\r\n\r\n"[:40].ljust(40)),
    Good("white space around a value is dropped", get(b"X-A: \t padded \t"), b"GET /x HTTP/1.1",
         {"x-a": "padded"}),
    Good("an empty value stays", get(b"X-A:"), b"GET /x HTTP/1.1", {"x-a": ""}),
    Good("bytes above ASCII in a value stay", get(b"X-A: \xe9\xff"), b"GET /x HTTP/1.1",
         {"x-a": "\xe9\xff"}),
    Good("hop-by-hop fields end here",
         get(b"Connection: keep-alive", b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive",
             b"TE: gzip", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
         b"GET /x HTTP/1.1", {"keep-alive": None, "proxy-connection": None, "upgrade": None,
                              "http2-settings": None, "te": None}),
    Good("fields that Connection names end here",
         get(b"Connection: X-Secret, x-other", b"X-Secret: 1", b"x-OTHER: 2", b"X-Third: 3"),
         b"GET /x HTTP/1.1", {"x-secret": None, "x-other": None, "x-third": "3"}),
    Good("Connection may stand after what it names, and twice",
         get(b"X-A: 1", b"X-B: 2", b"Connection: x-a", b"Connection: x-b"), b"GET /x HTTP/1.1",
         {"x-a": None, "x-b": None}),
    Good("Connection can't take Host away", get(b"Connection: Host"), b"GET /x HTTP/1.1",
         {"host": "10.2.0.2"}),
    Good("Connection can't take framing away",
         post(b"Connection: Content-Length", b"Content-Length: 3", body=b"abc"),
         b"POST /x HTTP/1.1", {"content-length": "3"}, b"abc"),
    Good("Connection can't take chunked framing away",
         post(b"Connection: Transfer-Encoding", TE, body=chunked(b"abc")), b"POST /x HTTP/1.1",
         {"transfer-encoding": "chunked"}, b"abc"),
    Good("Connection can't take Via away", get(b"Connection: Via", b"Via: 1.0 first"),
         b"GET /x HTTP/1.1", {"via": "1.0 first, 1.1 sluice"}),
    Good("Via is appended to", get(b"Via: 1.0 fred, 1.1 p.example"), b"GET /x HTTP/1.1",
         {"via": "1.0 fred, 1.1 p.example, 1.1 sluice"}),
    Good("repeated fields keep their order", get(b"X-L: 1", b"X-M: a", b"X-L: 2"),
         b"GET /x HTTP/1.1", {"x-l": ["1", "2"]}),
    Good("credentials for the proxy stay here", get(b"Proxy-Authorization: Basic eDp5"),
         b"GET /x HTTP/1.1", {"proxy-authorization": None}),
    Good("credentials for the origin go on", get(b"Authorization: Basic eDp5", b"Cookie: a=b"),
         b"GET /x HTTP/1.1", {"authorization": "Basic eDp5", "cookie": "a=b"}),
    Good("Connection: close ends the client's connection, not the origin's",
         get(b"Connection: close"), b"GET /x HTTP/1.1", close=True),
    Good("HTTP/1.0 is answered and closed", get(version=b"1.0"), b"GET /x HTTP/1.1",
         {"via": "1.0 sluice", "host": "10.2.0.2"}, close=True),
    Good("HTTP/1.0 without Host", get(version=b"1.0", host=b""), b"GET /x HTTP/1.1",
         {"host": "10.2.0.2"}, close=True),
    Good("one empty line before the request", b"\r\n" + get(), b"GET /x HTTP/1.1"),
    Good("Max-Forwards on OPTIONS counts down",
         get(b"Max-Forwards: 5", target=A + b"/", method=b"OPTIONS"), b"OPTIONS / HTTP/1.1",
         {"max-forwards": "4"}),
    Good("Max-Forwards on GET is not ours", get(b"Max-Forwards: 0"), b"GET /x HTTP/1.1",
         {"max-forwards": "0"}),
    Good("no Forwarded fields are added by default", get(), b"GET /x HTTP/1.1",
         {"forwarded": None, "x-forwarded-for": None}),
    Good("a hundred-character method", get(method=b"M" * 32), b"M" * 32 + b" /x HTTP/1.1"),
    Good("ninety fields", get(*[b"X-%d: %d" % (i, i) for i in range(90)]), b"GET /x HTTP/1.1",
         {"x-0": "0", "x-89": "89"}),
]

BAD = [
    # the request line
    Bad("no Host in HTTP/1.1", get(host=b"")),
    Bad("two Host fields", get(host=HOST + HOST)),
    Bad("two differing Host fields", get(host=HOST + b"Host: evil\r\n")),
    Bad("a list in Host", get(host=b"Host: 10.2.0.2, evil\r\n")),
    Bad("userinfo in Host", get(host=b"Host: u@10.2.0.2\r\n")),
    Bad("a path in Host", get(host=b"Host: 10.2.0.2/x\r\n")),
    Bad("a space in Host", get(host=b"Host: 10.2.0.2 evil\r\n")),
    Bad("a bad port in Host", get(host=b"Host: 10.2.0.2:99999\r\n")),
    Bad("a bad IPv6 literal in Host", get(host=b"Host: [::g]\r\n")),
    Bad("two Host fields in HTTP/1.0", get(host=HOST + HOST, version=b"1.0")),
    Bad("userinfo in the target", get(target=b"http://u:p@10.2.0.2/x")),
    Bad("a fragment in the target", get(target=A + b"/x#y")),
    Bad("another scheme", get(target=b"ftp://10.2.0.2/x"), (400, 501, 502), False),
    Bad("https in absolute-form", get(target=b"https://10.2.0.2/x"), (400, 501, 502), False),
    Bad("no host in the target", get(target=b"http:///x")),
    Bad("no authority in the target", get(target=b"http:/x")),
    Bad("port zero", get(target=b"http://10.2.0.2:0/x")),
    Bad("port 65536", get(target=b"http://10.2.0.2:65536/x")),
    Bad("a signed port", get(target=b"http://10.2.0.2:+80/x")),
    Bad("a zone id", get(target=b"http://[fe80::1%25eth0]/x")),
    Bad("an unclosed bracket", get(target=b"http://[fd00:2::2/x")),
    Bad("a percent in the host", get(target=b"http://10.2.0.2%2f/x")),
    Bad("an asterisk with GET", get(target=b"*")),
    Bad("authority-form with GET", get(target=b"10.2.0.2:80")),
    Bad("an empty target", b"GET  HTTP/1.1\r\n" + HOST + b"\r\n"),
    Bad("a relative target", get(target=b"x/y")),
    Bad("a space in the target", get(target=A + b"/a b")),
    Bad("a tab in the target", get(target=A + b"/a\tb")),
    Bad("bytes above ASCII in the target", get(target=A + b"/\xc3\xa9")),
    Bad("NUL in the target", get(target=A + b"/\0")),
    Bad("two spaces before the version", b"GET http://10.2.0.2/x  HTTP/1.1\r\n" + HOST + b"\r\n"),
    Bad("a space behind the version", b"GET http://10.2.0.2/x HTTP/1.1 \r\n" + HOST + b"\r\n"),
    Bad("a space before the method", b" GET http://10.2.0.2/x HTTP/1.1\r\n" + HOST + b"\r\n"),
    Bad("no version", b"GET http://10.2.0.2/x\r\n\r\n"),
    Bad("a version in lower case", b"GET http://10.2.0.2/x http/1.1\r\n" + HOST + b"\r\n"),
    Bad("HTTP/1.2 or HTTP/2.0", get(version=b"2.0"), (400, 505)),
    Bad("HTTP/0.9", get(version=b"0.9"), (400, 505)),
    Bad("HTTP/11.1", get(version=b"11.1"), (400, 505)),
    Bad("HTTP/1.10", get(version=b"1.10"), (400, 505)),
    Bad("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    Bad("a bad character in the method", get(method=b"G(T")),
    Bad("an empty method", b" http://10.2.0.2/x HTTP/1.1\r\n" + HOST + b"\r\n"),
    Bad("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
    Bad("two empty lines before the request", b"\r\n\r\n" + get()),
    # lines
    Bad("lines that end in LF", get().replace(b"\r\n", b"\n")),
    Bad("one line that ends in LF", get(b"X-A: 1\nX-B: 2")),
    Bad("the last line ends in LF", get()[:-2] + b"\n"),
    Bad("a bare CR in a value", get(b"X-A: 1\rX-B: 2")),
    Bad("a bare CR in the request line", get(target=A + b"/x\r")),
    Bad("CR CR LF", get(b"X-A: 1\r")),
    Bad("NUL in a value", get(b"X-A: a\0b")),
    Bad("NUL in a name", get(b"X\0A: b")),
    Bad("DEL in a value", get(b"X-A: a\x7fb")),
    Bad("a control character in a value", get(b"X-A: a\x01b")),
    Bad("obs-fold with a space", get(b"X-A: 1", b" 2")),
    Bad("obs-fold with a tab", get(b"X-A: 1", b"\t2")),
    Bad("a folded first field", b"GET http://10.2.0.2/x HTTP/1.1\r\n Host: 10.2.0.2\r\n\r\n"),
    Bad("a space before the colon", get(b"X-A : 1")),
    Bad("a tab before the colon", get(b"X-A\t: 1")),
    Bad("a space before the colon of Content-Length", post(b"Content-Length : 3", body=b"abc")),
    Bad("a space before the colon of Transfer-Encoding",
        post(b"Transfer-Encoding : chunked", body=chunked(b"abc"))),
    Bad("a line without a colon", get(b"X-A")),
    Bad("an empty name", get(b": 1")),
    Bad("a space in a name", get(b"X A: 1")),
    Bad("bytes above ASCII in a name", get(b"X\xe9: 1")),
    Bad("a comma in Connection's token", get(b"Connection: close;x=1 y")),
    # framing
    Bad("Content-Length with Transfer-Encoding",
        post(b"Content-Length: 4", TE, body=chunked(b"abc"))),
    Bad("Transfer-Encoding with Content-Length",
        post(TE, b"Content-Length: 4", body=chunked(b"abc"))),
    Bad("Content-Length 0 with Transfer-Encoding", post(b"Content-Length: 0", TE, body=chunked())),
    Bad("differing Content-Length", post(b"Content-Length: 3", b"Content-Length: 4", body=b"abc")),
    Bad("a differing list in Content-Length", post(b"Content-Length: 3, 4", body=b"abc")),
    Bad("a sign before Content-Length", post(b"Content-Length: +3", body=b"abc")),
    Bad("a negative Content-Length", post(b"Content-Length: -3", body=b"abc")),
    Bad("an empty Content-Length", post(b"Content-Length:", body=b"abc")),
    Bad("Content-Length in hex", post(b"Content-Length: 0x3", body=b"abc")),
    Bad("Content-Length with a fraction", post(b"Content-Length: 3.0", body=b"abc")),
    Bad("Content-Length with a space inside", post(b"Content-Length: 3 3", body=b"abc")),
    Bad("a Content-Length of 2^64+3", post(b"Content-Length: 18446744073709551619", body=b"abc"),
        (400, 413)),
    Bad("chunked twice", post(b"Transfer-Encoding: chunked, chunked", body=chunked(b"abc"))),
    Bad("chunked in two fields", post(TE, TE, body=chunked(b"abc"))),
    Bad("chunked is not final", post(b"Transfer-Encoding: chunked, gzip", body=chunked(b"abc")),
        (400, 501)),
    Bad("identity", post(b"Transfer-Encoding: identity", body=b"abc"), (400, 501)),
    Bad("an unknown coding", post(b"Transfer-Encoding: xchunked", body=chunked(b"abc")), (400, 501)),
    Bad("gzip before chunked", post(b"Transfer-Encoding: gzip, chunked", body=chunked(b"abc")),
        (400, 501)),
    Bad("an empty Transfer-Encoding", post(b"Transfer-Encoding:", body=chunked(b"abc")), (400, 501)),
    Bad("chunked in quotes", post(b'Transfer-Encoding: "chunked"', body=chunked(b"abc")),
        (400, 501)),
    Bad("chunked with a parameter", post(b"Transfer-Encoding: chunked;q=1", body=chunked(b"abc")),
        (400, 501)),
    Bad("chunked behind a vertical tab", post(b"Transfer-Encoding: \x0bchunked",
                                             body=chunked(b"abc"))),
    Bad("Transfer-Encoding in HTTP/1.0", post(TE, version=b"1.0", body=chunked(b"abc"))),
    # expectations and hops
    Bad("an unknown expectation", post(b"Expect: 200-ok", b"Content-Length: 3", body=b"abc"), (417,)),
    Bad("a loop", get(b"Via: 1.1 sluice"), (400, 502, 508), False),
    Bad("a loop further back", get(b"Via: 1.0 a, 1.1 sluice (x), 1.1 b"), (400, 502, 508), False),
    # limits
    Bad("a long request line", get(target=A + b"/" + b"a" * 9000), (414,)),
    Bad("a long field", get(b"X-A: " + b"a" * 17000), (431,)),
    Bad("a long head", get(*[b"X-%d: %s" % (i, b"a" * 400) for i in range(50)]), (431,)),
    Bad("too many fields", get(*[b"X-%d: 1" % i for i in range(120)]), (431,)),
    Bad("a body over the limit", post(b"Content-Length: 1048577"), (413,)),
    # CONNECT
    Bad("CONNECT without a port", get(target=b"10.2.0.2", method=b"CONNECT")),
    Bad("CONNECT with an empty port", get(target=b"10.2.0.2:", method=b"CONNECT")),
    Bad("CONNECT with port zero", get(target=b"10.2.0.2:0", method=b"CONNECT")),
    Bad("CONNECT with a path", get(target=b"10.2.0.2:80/", method=b"CONNECT")),
    Bad("CONNECT in absolute-form", get(target=A + b":80/", method=b"CONNECT")),
    Bad("CONNECT in origin-form", get(target=b"/", method=b"CONNECT")),
    Bad("CONNECT with userinfo", get(target=b"u@10.2.0.2:80", method=b"CONNECT")),
    Bad("CONNECT without Host", get(target=b"10.2.0.2:80", host=b"", method=b"CONNECT")),
    Bad("CONNECT with Transfer-Encoding", get(TE, target=b"10.2.0.2:80", method=b"CONNECT",
                                              body=chunked(b"abc")), (400, 200)),
]

# Bodies that go wrong after a good head: the origin must never see a complete message, and a client
# that is still there gets 400 or the end of the connection.
BROKEN_BODIES = [
    ("a chunk size that overflows", b"FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n"),
    ("a chunk size of 2^64", b"10000000000000000\r\nabc\r\n0\r\n\r\n"),
    ("a negative chunk size", b"-3\r\nabc\r\n0\r\n\r\n"),
    ("a chunk size with 0x", b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("an empty chunk size", b"\r\nabc\r\n0\r\n\r\n"),
    ("a space before a chunk size", b" 3\r\nabc\r\n0\r\n\r\n"),
    ("garbage behind a chunk size", b"3 x\r\nabc\r\n0\r\n\r\n"),
    ("a chunk size that ends in LF", b"3\nabc\r\n0\r\n\r\n"),
    ("a chunk size that ends in CR", b"3\rabc\r\n0\r\n\r\n"),
    ("a chunk that is longer than its size", b"3\r\nabcd\r\n0\r\n\r\n"),
    ("a chunk that is shorter than its size", b"4\r\nabc\r\n0\r\n\r\n"),
    ("chunk data that ends in LF", b"3\r\nabc\n0\r\n\r\n"),
    ("a chunk extension with a bare LF", b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    ("a chunk extension with a bare CR", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    ("a chunk extension with NUL", b"3;a\0b\r\nabc\r\n0\r\n\r\n"),
    ("endless chunk extensions", b"3;" + b"a" * 20000 + b"\r\nabc\r\n0\r\n\r\n"),
    ("a trailer with a bare LF", b"3\r\nabc\r\n0\r\nX: 1\n\r\n"),
    ("a trailer with a space before the colon", b"3\r\nabc\r\n0\r\nX : 1\r\n\r\n"),
    ("a trailer line without a colon", b"3\r\nabc\r\n0\r\nGET / HTTP/1.1\r\n\r\n"),
    ("endless trailers", b"3\r\nabc\r\n0\r\n" + b"X: %s\r\n" % (b"a" * 8000) * 5 + b"\r\n"),
    ("the end in the middle of a chunk", b"8\r\nabc"),
    ("the end behind a chunk", b"3\r\nabc\r\n"),
    ("the end behind the last chunk", b"3\r\nabc\r\n0\r\n"),
]


def cuts(data, how, seed):
    if how == "whole":
        return []
    if how == "bytes":
        return range(1, len(data))
    return random.Random(seed).sample(range(1, len(data)), min(3, len(data) - 1))


def ways(data):
    """How a row is sent: very long ones not byte by byte."""
    yield "whole"
    if len(data) <= 400:
        yield "bytes"
    yield "cut"


def good_row(row):
    def test(lab):
        origin = lab.origin if row.port == 80 else lab.other
        for how in ways(row.send):
            origin.reset()
            with lab.sluice.connect() as client:
                client.send_split(row.send, cuts(row.send, how, row.what))
                answer = client.response(row.send.split(b" ")[0].decode())
                equal(answer.status, row.status, f"status, sent {how}")
                check(answer.complete, "the answer is complete")
                if row.close:
                    equal(client.rest(), b"", "bytes behind the answer")
                else:
                    check(client.silent(0.02), "the connection stays open and quiet")
                    client.send(get(target=b"http://10.2.0.2:%d/again" % row.port))
                    equal(client.response().status, 200, "status of a second request")
            seen(origin, row, how)
        return True
    return test


def seen(origin, row, how):
    equal(origin.errors, [], "the origin's complaints")
    equal(len(origin.requests), 1 if row.close else 2, f"requests at the origin, sent {how}")
    request = origin.requests[0]
    equal(request.start, row.sees, f"request line, sent {how}")
    equal(request.body, row.body, f"body, sent {how}")
    for name, value in row.fields.items():
        wanted = value if isinstance(value, list) else [] if value is None else [value]
        got = request.all(name)
        if name == "via":
            got = [", ".join(got)]
        equal(got, wanted, f"{name} at the origin, sent {how}")
    for name in ("proxy-authorization", "proxy-connection", "keep-alive"):
        equal(request.all(name), [], name)
    equal(len(request.all("host")), 1, "Host fields at the origin")


def bad_row(row):
    def test(lab):
        for how in ways(row.send):
            lab.origin.reset()
            with lab.sluice.connect() as client:
                client.send_split(row.send, cuts(row.send, how, row.what))
                answer = client.response()
                check(answer.status in row.status,
                      f"status {answer.status}, wanted one of {row.status}, sent {how}")
                if row.ends:
                    equal(client.rest(), b"", "bytes behind the refusal")
            equal(lab.origin.received, b"", f"what the origin sees, sent {how}")
    return test


def broken_body(what, body):
    def test(lab):
        send = post(TE, target=A + b"/broken") + body
        for how in ("whole", "cut"):
            lab.origin.reset()
            with lab.sluice.connect() as client:
                client.send_split(send, cuts(send, how, what))
                with contextlib.suppress(OSError):
                    client.fin()
                data = client.rest()
                check(data == b"" or data.startswith(b"HTTP/1.1 400 ") or
                      data.startswith(b"HTTP/1.1 431 "), lambda: f"answer {data[:80]!r}")
            equal(lab.origin.requests, [], f"complete requests at the origin, sent {how}")
            check(not lab.origin.received.endswith(b"0\r\n\r\n"), "the origin sees no last chunk")
    return test


for r in GOOD:
    suite.add(f"forwarded: {r.what}", good_row(r))
for r in BAD:
    suite.add(f"refused: {r.what}", bad_row(r))
for w, b in BROKEN_BODIES:
    suite.add(f"never complete at the origin: {w}", broken_body(w, b))


@suite.test()
def an_ipv6_literal_is_a_target(lab):
    origin = Origin(lab.net.server, "fd00:2::2", 80)
    try:
        equal(lab.sluice.get("http://[fd00:2::2]/six").body, b"ok", "body")
        equal(origin.requests[0].get("host"), "[fd00:2::2]", "Host")
    finally:
        origin.close()


@suite.test()
def a_request_for_the_proxy_itself_is_answered_by_the_proxy(lab):
    lab.origin.reset()
    for target in (b"/", b"/x?y", b"http://10.1.0.1:3128/x"):
        with lab.sluice.connect() as client:
            client.send(get(target=target, host=b"Host: 10.1.0.1:3128\r\n"))
            answer = client.response()
            check(400 <= answer.status < 500 or answer.status == 200, f"status {answer.status}")
    with lab.sluice.connect() as client:
        client.send(get(target=b"*", host=b"Host: 10.1.0.1:3128\r\n", method=b"OPTIONS"))
        check(client.response().status in (200, 204, 400, 404, 405), "OPTIONS * is answered")
    equal(lab.origin.received, b"", "what the origin sees")


@suite.test()
def origin_form_with_a_foreign_host_goes_nowhere(lab):
    """A forward proxy that routes by Host lets a page reach inside."""
    lab.origin.reset()
    with lab.sluice.connect() as client:
        client.send(get(target=b"/x"))
        check(400 <= client.response().status < 500, "refused")
    equal(lab.origin.received, b"", "what the origin sees")


@suite.test()
def trace_with_max_forwards_zero_ends_at_the_proxy(lab):
    for method in (b"TRACE", b"OPTIONS"):
        lab.origin.reset()
        with lab.sluice.connect() as client:
            client.send(get(b"Max-Forwards: 0", b"Cookie: secret", method=method))
            answer = client.response()
            check(answer.status in (200, 204, 405, 501), f"{method} is answered: {answer.status}")
            check(b"secret" not in answer.body, "no credentials are echoed")
        equal(lab.origin.received, b"", "what the origin sees")


@suite.test()
def a_bad_max_forwards_is_refused_or_goes_nowhere_wrong(lab):
    for value in (b"-1", b"x", b"99999999999999999999", b"1, 2", b""):
        lab.origin.reset()
        with lab.sluice.connect() as client:
            client.send(get(b"Max-Forwards: " + value, method=b"TRACE"))
            status = client.response("TRACE").status
        if lab.origin.requests:
            check(lab.origin.requests[0].get("max-forwards") is not None, "kept")
        else:
            check(status >= 400 or status == 200, f"status {status}")


@suite.test()
def trailers_pass_but_never_those_that_frame_or_route(lab):
    lab.origin.reset()
    body = chunked(b"abc", trailer=b"X-Sum: 1\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\n"
                                   b"Host: evil\r\nAuthorization: x\r\n")
    with lab.sluice.connect() as client:
        client.send(post(TE, b"Trailer: X-Sum", body=body))
        status = client.response().status
    if status == 200:
        names = {n.lower() for n, _ in lab.origin.requests[0].trailers}
        check(names <= {b"x-sum"}, f"trailers at the origin: {names}")
    else:
        equal(status, 400, "status")
        equal(lab.origin.requests, [], "complete requests at the origin")


@suite.test()
def an_endless_chunked_body_over_the_limit_is_413_or_cut(lab):
    lab.origin.reset()
    with lab.sluice.connect() as client:
        client.send(post(TE))
        chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(64):
                client.send(chunk)
        data = client.rest()
        check(data == b"" or data.startswith(b"HTTP/1.1 413 "), lambda: f"answer {data[:80]!r}")
    equal(lab.origin.requests, [], "complete requests at the origin")
    check(len(lab.origin.received) < 2 << 20, "the limit holds")


@suite.test()
def bytes_behind_a_refused_request_are_never_a_request(lab):
    lab.origin.reset()
    smuggled = get(target=A + b"/smuggled")
    for head in (get(b"X-A : 1"), post(b"Content-Length: 4", TE), get(host=b"")):
        with lab.sluice.connect() as client:
            client.send(head + smuggled * 3)
            equal(client.response().status, 400, "status")
            client.rest()
    check(b"smuggled" not in lab.origin.received, "the origin saw what followed a bad request")


@suite.test()
def only_the_bytes_of_the_body_are_the_body(lab):
    """TE.CL and CL.TE at one remove: whatever follows the framing is the next request."""
    lab.origin.reset()
    with lab.sluice.connect() as client:
        client.send(post(b"Content-Length: 3", target=A + b"/one", body=b"abc") +
                    post(TE, target=A + b"/two", body=chunked(b"x")) + get(target=A + b"/three"))
        for _ in range(3):
            equal(client.response().status, 200, "status")
    equal([r.start.split(b" ")[1] for r in lab.origin.requests], [b"/one", b"/two", b"/three"],
          "requests at the origin")


@suite.test(timeout=40)
def random_garbage_is_refused_without_harm(lab):
    lab.origin.reset()
    rng = random.Random(7)
    sample = post(TE, b"X-A: b", body=chunked(b"abc", b"d" * 40))
    for _ in range(300):
        data = bytearray(sample if rng.random() < 0.8 else rng.randbytes(200))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.choice(b"\0\r\n\t :;,x0\x7f\xff")
        with lab.sluice.connect() as client, contextlib.suppress(OSError):
            client.send(bytes(data))
            client.fin()
            client.rest()
    equal(lab.origin.errors, [], "the origin's complaints")
    equal(lab.sluice.get("http://10.2.0.2/alive").status, 200, "status of a good request")


@suite.test(timeout=30)
def after_all_this_nothing_is_left_open(lab):
    lab.origin.reset()
    lab.other.reset()
    lab.sluice.settles()
    lab.sluice.healthy()


if __name__ == "__main__":
    sys.exit(suite.main(RequestLab))
