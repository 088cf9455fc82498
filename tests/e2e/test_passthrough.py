#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Listeners that pass bytes: mode tcp, mode sni with real TLS, WebSocket through routes; and PROXY
headers, taken and given."""

import contextlib
import socket
import ssl
import struct
import subprocess
import sys

from lab import CLIENT, PROXY_C, SERVER, Lab, Origin, Suite, Wire, answers, check, equal, until
from lab.origin import OK
from lab.reverse import ask
from lab.sluice import in_thread
from lab.stream import expect_end, receive_stream, send_stream

suite = Suite()

V2 = b"\r\n\r\n\0\r\nQUIT\n"
ALERT_NAME, ALERT_DECODE = b"\x15\3\3\0\2\2\x70", b"\x15\3\3\0\2\2\x32"
SIZE = 300_000

UPSTREAMS = [
    {"name": "raw", "servers": [f"{SERVER}:7"]},
    {"name": "dead", "servers": [f"{SERVER}:9"]},
    {"name": "moves", "servers": [f"{SERVER}:9", f"{SERVER}:7"]},
    {"name": "tls-a", "servers": [f"{SERVER}:443"]},
    {"name": "tls-b", "servers": [f"{SERVER}:444"]},
    {"name": "web", "servers": [f"{SERVER}:80"]},
    {"name": "hashed", "balance": "maglev", "servers": [f"{SERVER}:80", f"{SERVER}:81"]},
    {"name": "told1", "proxy_protocol": "v1", "servers": [f"{SERVER}:7"]},
    {"name": "told2", "proxy_protocol": "v2", "servers": [f"{SERVER}:7"]},
    {"name": "told-web", "proxy_protocol": "v1", "servers": [f"{SERVER}:80"]},
]
PORTS = {"web": 3128, "raw": 4001, "tls": 4002, "dead": 4003, "moves": 4004, "proxied-web": 4005,
         "proxied-raw": 4006, "told1": 4007, "told2": 4008, "told-web": 4009, "proxied-tls": 4010,
         "spliced": 4011, "few": 4012, "strict-tls": 4013, "proxied-told2": 4014, "proxied-hashed": 4015,
         "proxied-egress": 4016}


def listener(name, mode, **keys):
    return {"name": name, "listen": f"0.0.0.0:{PORTS[name]}", "mode": mode, **keys}


TLS_ROUTES = [{"sni": "a.test", "upstream": "tls-a"}, {"sni": "*.b.test", "upstream": "tls-b"}]
LISTENERS = [
    listener("web", "http", upstream="web"),
    listener("raw", "tcp", upstream="raw"),
    listener("tls", "sni", routes=[*TLS_ROUTES, {"upstream": "tls-b"}]),
    listener("strict-tls", "sni", routes=TLS_ROUTES),
    listener("dead", "tcp", upstream="dead"),
    listener("moves", "tcp", upstream="moves"),
    listener("proxied-web", "http", upstream="web", proxy_from=f"{CLIENT}/32",
             forwarded="x-forwarded-for"),
    listener("proxied-raw", "tcp", upstream="told1", proxy_from=[f"{CLIENT}/32", "fd00::/8"]),
    listener("proxied-told2", "tcp", upstream="told2", proxy_from=CLIENT),
    listener("proxied-tls", "sni", routes=TLS_ROUTES, proxy_from=CLIENT),
    listener("proxied-hashed", "http", upstream="hashed", proxy_from=CLIENT),
    listener("proxied-egress", "forward", proxy_from=CLIENT,
             acl=[{"deny": {"src": "192.0.2.0/24"}}, {"allow": {}}]),
    listener("told1", "tcp", upstream="told1"),
    listener("told2", "tcp", upstream="told2"),
    listener("told-web", "http", upstream="told-web"),
    listener("spliced", "tcp", upstream="raw", splice="packet"),
    listener("few", "tcp", upstream="raw", limits={"connections": 1}),
]


def echo(wire, origin):
    while data := wire.sock.recv(65536):
        wire.sock.sendall(data)


class Tls:
    """An origin that speaks TLS with a certificate of its own, and says its name to everyone."""

    def __init__(self, folder, ns, port, name):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}", "-days",
                        "1", "-keyout", key, "-out", cert], check=True, capture_output=True)
        self.context.load_cert_chain(cert, key)
        self.name = name.encode()
        self.origin = Origin(ns, SERVER, port, self.serve)

    def serve(self, wire, origin):
        with contextlib.suppress(ssl.SSLError, OSError):
            with self.context.wrap_socket(wire.sock, server_side=True) as s:
                s.sendall(self.name + b"\n")
                while data := s.recv(65536):
                    s.sendall(data)


class PassLab(Lab):
    def __init__(self):
        super().__init__({"listeners": LISTENERS, "upstreams": UPSTREAMS, "workers": 2,
                          "timeouts": {"header": "700ms", "connect": "2s"}})
        self.raw = Origin(self.net.server, SERVER, 7, echo)
        self.second = Origin(self.net.server, SERVER, 81)
        self.tls = [Tls(self.sluice.dir, self.net.server, 443, "first"),
                    Tls(self.sluice.dir, self.net.server, 444, "second")]

    def connect(self, name, **options):
        return Wire(self.net.client.connect(PROXY_C, PORTS[name], **options))

    def reset(self, handler=echo):
        self.raw.reset(handler)


def client_hello(name, version=None):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version:
        context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return tls, incoming, outgoing


def greeting(wire, name, cuts=(), version=None):
    """Handshake through a wire whose first flight is cut at these places; the first line after it."""
    tls, incoming, outgoing = client_hello(name, version)
    wire.send_split(outgoing.read(), cuts)
    done, line = False, b""
    while not line.endswith(b"\n"):
        try:
            if not done:
                tls.do_handshake()
                done = True
                wire.send(outgoing.read())
            line += tls.read(100)
        except ssl.SSLWantReadError:
            if outgoing.pending:
                wire.send(outgoing.read())
            incoming.write(wire.sock.recv(65536))
    return line.strip()


def is_reset(lab, name):
    """It may be reset so early that connect() sees it."""
    with contextlib.suppress(ConnectionResetError), lab.connect(name) as wire:
        equal((wire.rest(), wire.ended), (b"", "rst"), "what the client gets")


# --- tcp ---

@suite.test()
def bytes_pass_both_ways_and_half_closes_too(lab):
    lab.reset()
    with lab.connect("raw") as wire:
        up = in_thread(lambda: (send_stream(wire.sock, 5, SIZE), wire.fin()))
        receive_stream(wire.sock, 5, SIZE)
        expect_end(wire.sock)
        up.join(10)
    until(lambda: (r := lab.sluice.log_records()[-1])["listener"] == "raw" and r["reason"] == "done", 5,
          "its log record")
    record = lab.sluice.log_records()[-1]
    equal((record["method"], record["target"], record["bytes_in"], record["bytes_out"]),
          ("TCP", "raw", SIZE, SIZE), "log record")


@suite.test()
def a_server_may_speak_first(lab):
    lab.reset(lambda wire, origin: wire.sock.sendall(b"220 hello\r\n"))
    with lab.connect("raw") as wire:
        equal(wire.rest(), b"220 hello\r\n", "greeting")
        equal(wire.ended, "fin", "end")


@suite.test()
def a_reset_passes(lab):
    def reset(wire, origin):
        wire.sock.recv(1)
        wire.rst()
    lab.reset(reset)
    with lab.connect("raw") as wire:
        wire.send(b"x")
        wire.rest()
        equal(wire.ended, "rst", "end")


@suite.test()
def a_dead_server_is_a_reset_and_the_next_is_tried(lab):
    lab.reset()
    is_reset(lab, "dead")
    until(lambda: any(r["listener"] == "dead" and r["reason"] == "connect-refused"
                      for r in lab.sluice.log_records()), 5, "its log record")
    for _ in range(4):
        with lab.connect("moves") as wire:
            equal(wire.send(b"ping").exactly(4), b"ping", "echo")


@suite.test()
def a_connection_over_the_limit_is_a_reset_without_http(lab):
    lab.reset()
    with lab.connect("few") as first:
        equal(first.send(b"a").exactly(1), b"a", "echo")
        is_reset(lab, "few")
        equal(first.send(b"b").exactly(1), b"b", "echo of the first")


@suite.test()
def a_tcp_connection_can_be_spliced(lab):
    lab.reset()
    with lab.connect("spliced") as wire:
        equal(wire.send(b"ping").exactly(4), b"ping", "echo")
        flow = next(f for f in lab.sluice.flows() if f["listener"] == "spliced")
        equal(flow["target"], f"raw:{PORTS['spliced']}", "target in flows")
        if not next(e for e in lab.sluice.stats()["engines"] if e["name"] == "packet")["available"]:
            return
        until(lambda: next(f for f in lab.sluice.flows()
                           if f["listener"] == "spliced")["engine"] == "packet", 10, "it is spliced")
        up = in_thread(lambda: send_stream(wire.sock, 6, SIZE))
        receive_stream(wire.sock, 6, SIZE)
        up.join(10)


# --- sni ---

@suite.test()
def the_server_name_chooses(lab):
    for name, wanted in (("a.test", b"first"), ("A.Test", b"first"), ("x.b.test", b"second"),
                         ("y.x.b.test", b"second"), ("other.test", b"second"), (None, b"second")):
        for version in (None, ssl.TLSVersion.TLSv1_2):
            with lab.connect("tls") as wire:
                equal(greeting(wire, name, version=version), wanted, f"server for {name}")


@suite.test()
def a_hello_may_come_in_any_pieces(lab):
    hello = client_hello("a.test")[2].read()
    for cuts in (range(1, 12), range(1, len(hello), 7), [5], [len(hello) - 1]):
        with lab.connect("strict-tls") as wire:
            equal(greeting(wire, "a.test", cuts), b"first", f"server with cuts at {cuts}")


@suite.test()
def a_name_nobody_serves_is_an_alert(lab):
    before = lab.sluice.stats()["hellos_refused_total"]
    for name in ("other.test", "b.test", None):
        with lab.connect("strict-tls") as wire:
            wire.send(client_hello(name)[2].read())
            equal(wire.rest(), ALERT_NAME, f"answer to {name}")
            equal(wire.ended, "fin", "end")
    equal(lab.sluice.stats()["hellos_refused_total"] - before, 3, "refusals counted")


@suite.test()
def what_is_no_hello_is_refused(lab):
    for data, answer in ((b"GET / HTTP/1.1\r\n\r\n", b""), (b"\x16\3\1\0\5\2\0\0\1\0", ALERT_DECODE),
                         (b"\x16\3\1\x40\x01", ALERT_DECODE)):
        with lab.connect("strict-tls") as wire:
            wire.send(data)
            equal(wire.rest(), answer, f"answer to {data!r}")
            equal(wire.ended, "fin" if answer else "rst", "end")


@suite.test()
def a_hello_that_does_not_come_ends(lab):
    before = lab.sluice.stats()["timeouts_header_total"]
    with lab.connect("strict-tls") as silent, lab.connect("strict-tls") as half:
        half.send(client_hello("a.test")[2].read()[:100])
        equal((half.rest(), half.ended), (b"", "rst"), "end of the half one")
        equal((silent.rest(), silent.ended), (b"", "rst"), "end of the silent one")
    equal(lab.sluice.stats()["timeouts_header_total"] - before, 2, "timeouts counted")


# --- upgrades ---

@suite.test()
def a_websocket_passes_through_routes(lab):
    def serve(wire, origin):
        wire.request()
        wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  b"Sec-WebSocket-Accept: x\r\n\r\n\x81\2hi")
        echo(wire, origin)
    lab.origin.reset(serve)
    with lab.connect("web") as wire:
        wire.send(ask(b"/chat", b"app.test", b"Connection: Upgrade", b"Upgrade: websocket",
                      b"Sec-WebSocket-Key: y", b"Sec-WebSocket-Version: 13"))
        response = wire.response("GET")
        equal(response.status, 101, "status")
        equal(wire.exactly(4), b"\x81\2hi", "frame of the server")
        equal(wire.send(b"\x81\5hello").exactly(7), b"\x81\5hello", "echo")


# --- PROXY ---

def v2_header(source, sport, dest, dport):
    return V2 + b"\x21\x11\0\x0c" + socket.inet_aton(source) + socket.inet_aton(dest) + struct.pack(
        "!HH", sport, dport)


@suite.test()
def a_header_tells_the_client(lab):
    ask_twice = ask(b"/1") + ask(b"/2")
    for header in (b"PROXY TCP4 192.0.2.7 10.9.9.9 1234 80\r\n", v2_header("192.0.2.7", 1234, "10.9.9.9", 80)):
        for cuts in ((), (1,), (20,), range(1, len(header) + 30, 3)):
            lab.origin.reset(answers(OK))
            with lab.connect("proxied-web") as wire:
                wire.send_split(header + ask_twice, cuts)
                equal([wire.response().status, wire.response().status], [200, 200], "answers")
            equal([r.get("X-Forwarded-For") for r in lab.origin.requests], ["192.0.2.7"] * 2,
                  "client as the origin sees it")
    check(lab.sluice.log_records()[-1]["client"].startswith("192.0.2.7"), "client in the log")


@suite.test()
def who_cannot_tell_counts_itself(lab):
    for header in (b"PROXY UNKNOWN\r\n", V2 + b"\x20\0\0\0"):
        lab.origin.reset(answers(OK))
        with lab.connect("proxied-web") as wire:
            equal(wire.send(header + ask()).response().status, 200, "status")
        equal(lab.origin.requests[0].get("X-Forwarded-For"), CLIENT, "client as the origin sees it")


@suite.test()
def the_client_of_the_header_is_who_rules_and_hashing_mean(lab):
    def asked(name, host, request):
        with lab.connect(name) as wire:
            return wire.send(b"PROXY TCP4 %s 10.9.9.9 1234 80\r\n" % host + request).response().status

    lab.origin.reset(answers(OK))
    forward = ask(f"http://{SERVER}/".encode(), SERVER.encode())
    equal([asked("proxied-egress", host, forward) for host in (b"192.0.2.7", b"198.51.100.7")],
          [403, 200], "by the rules")
    places = []
    for i in range(20):
        before = len(lab.origin.requests)
        equal([asked("proxied-hashed", b"192.0.2.%d" % i, ask()) for _ in range(2)], [200] * 2, "answers")
        places.append(len(lab.origin.requests) - before)
    equal(set(places), {0, 2}, "requests of each client at the first server")


@suite.test()
def a_missing_or_wrong_header_is_refused(lab):
    lab.origin.reset(answers(OK))
    before = lab.sluice.stats()["proxy_headers_bad_total"]
    bad = (ask(), b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n",
           V2 + b"\x21\x11\0\1a", V2 + b"\x21\x11\xff\xff")
    for data in bad:
        with lab.connect("proxied-web") as wire:
            wire.send(data)
            equal((wire.rest(), wire.ended), (b"", "rst"), f"answer to {data!r}")
    equal(lab.sluice.stats()["proxy_headers_bad_total"] - before, len(bad), "refusals counted")
    equal(lab.origin.requests, [], "requests at the origin")
    with lab.connect("proxied-web") as wire:  # nothing at all
        equal((wire.rest(), wire.ended), (b"", "rst"), "end of a silent one")


@suite.test()
def who_is_not_trusted_has_no_header(lab):
    lab.origin.reset(answers(OK))
    with Wire(lab.net.server.connect("10.2.0.1", PORTS["proxied-web"])) as wire:
        equal(wire.send(ask()).response().status, 200, "plain request of another")
    with Wire(lab.net.server.connect("10.2.0.1", PORTS["proxied-web"])) as wire:
        equal(wire.send(b"PROXY TCP4 192.0.2.7 10.9.9.9 1234 80\r\n" + ask()).response().status, 400,
              "header of another")
    equal([r.get("X-Forwarded-For") for r in lab.origin.requests], [SERVER], "seen at the origin")


@suite.test()
def a_header_comes_before_a_hello_too(lab):
    with lab.connect("proxied-tls") as wire:
        wire.send(b"PROXY TCP4 192.0.2.7 10.9.9.9 1234 443\r\n")
        equal(greeting(wire, "a.test", range(1, 50, 5)), b"first", "server")


def first_line(wire, seen):
    seen.requests.append(wire.until(b"\r\n"))
    wire.sock.sendall(wire.unread())
    echo(wire, seen)


@suite.test()
def a_server_is_told_of_the_client(lab):
    lab.reset(first_line)
    with lab.connect("told1") as wire:
        port = wire.sock.getsockname()[1]
        equal(wire.send(b"ping").exactly(4), b"ping", "echo")
    equal(lab.raw.requests, [f"PROXY TCP4 {CLIENT} {PROXY_C} {port} {PORTS['told1']}\r\n".encode()],
          "header")

    def read_v2(wire, seen):
        seen.requests.append(wire.exactly(28))
        wire.sock.sendall(wire.unread())
        echo(wire, seen)
    lab.reset(read_v2)
    with lab.connect("told2") as wire:
        port = wire.sock.getsockname()[1]
        equal(wire.send(b"ping").exactly(4), b"ping", "echo")
    equal(lab.raw.requests, [v2_header(CLIENT, port, PROXY_C, PORTS["told2"])], "header")


@suite.test()
def what_was_told_is_told_on(lab):
    lab.reset(first_line)
    with lab.connect("proxied-raw") as wire:
        wire.send(b"PROXY TCP4 192.0.2.7 10.9.9.9 1234 80\r\nping")
        equal(wire.exactly(4), b"ping", "echo")
    equal(lab.raw.requests, [b"PROXY TCP4 192.0.2.7 10.9.9.9 1234 80\r\n"], "header")


@suite.test()
def extensions_are_told_on_without_their_checksum(lab):
    def tlv(kind, value):
        return struct.pack("!BH", kind, len(value)) + value

    def v2_with(*tlvs):
        header = v2_header("192.0.2.7", 1234, "10.9.9.9", 80)
        return header[:14] + struct.pack("!H", 12 + len(b"".join(tlvs))) + header[16:] + b"".join(tlvs)

    authority, own = tlv(2, b"a.test"), tlv(0xe0, b"x" * 900)
    wanted = v2_with(authority, own)

    def read_header(wire, seen):
        seen.requests.append(wire.exactly(len(wanted)))
        wire.sock.sendall(wire.exactly(4))

    lab.reset(read_header)
    with lab.connect("proxied-told2") as wire:
        wire.send(v2_with(authority, tlv(3, b"crc!"), own) + b"ping")
        equal(wire.exactly(4), b"ping", "echo")
    equal(lab.raw.requests, [wanted], "header")


@suite.test()
def a_connection_that_told_of_a_client_serves_no_other(lab):
    def serve(wire, seen):
        while True:
            head = wire.until(b"\r\n\r\n")
            seen.requests.append(head)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    lab.origin.reset(serve)
    with lab.connect("told-web") as first, lab.connect("told-web") as second:
        for wire in (first, second, first):
            equal(wire.send(ask()).response().status, 200, "status")
    equal(len(lab.origin.requests), 3, "requests")
    check(all(r.startswith(f"PROXY TCP4 {CLIENT} ".encode()) for r in lab.origin.requests),
          lambda: f"each on a connection of its own: {lab.origin.requests}")


@suite.test()
def nothing_is_left_behind(lab):
    lab.reset()
    lab.origin.reset(answers(OK))
    lab.sluice.settles(spare=150)


if __name__ == "__main__":
    sys.exit(suite.main(PassLab))
