#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tunnels, checked byte by byte in both directions. Everything runs against the build with
sanitizers but for the tests of numbers, which take the release build beside it on port 3129."""

import contextlib
import random
import socket
import sys
import threading
import time

from lab import SERVER, Lab, Origin, Sluice, Suite, check, equal, until
from lab.net import DPDK
from lab.sluice import in_thread
from lab.stream import expect_end, receive_stream, send_stream

suite = Suite()
PIPES = 2 * 2 * 64 + 16  # descriptors of empty pipes that two workers may keep for the next bulk

class Fast(Sluice):
    port = 3129


class TunnelLab(Lab):
    def __init__(self):
        super().__init__({"workers": 2})
        self.origin.handler = echo
        if DPDK:  # two can't own the same ports
            self.fast = self.sluice
            return
        self.fast = Fast(self.net, {"workers": 2, "metrics": "127.0.0.1:9146"}, release=True,
                         start=False)
        self.fast.port = 3129

    def __enter__(self):
        if self.fast is self.sluice:
            return self
        self.fast.config["listeners"][0]["listen"] = "0.0.0.0:3129"
        self.fast.start()
        return self

    def __exit__(self, kind, *more):
        try:
            if kind is None and self.fast is not self.sluice:
                self.fast.stop()
        finally:
            if self.fast is not self.sluice:
                self.fast.discard()
            super().__exit__(kind, *more)


def echo(wire, origin):
    while data := wire.sock.recv(65536):
        wire.sock.sendall(data)


def nothing_left(lab, sluice=None):
    lab.origin.reset(echo)
    (sluice or lab.sluice).settles(spare=PIPES)


def both_ways(lab, sluice, seed, up, down, half_close=None):
    """A tunnel that carries `up` bytes to the server and `down` bytes back at the same time, in writes
    of random sizes. half_close: the side that ends its direction before the other side starts."""
    result = []

    def server(wire, origin):
        sock, rng = wire.sock, random.Random(seed + 2)
        if half_close == "client":
            receive_stream(sock, seed, up)
            expect_end(sock)
            send_stream(sock, seed + 1, down, rng)
            sock.shutdown(socket.SHUT_WR)
        elif half_close == "server":
            send_stream(sock, seed + 1, down, rng)
            sock.shutdown(socket.SHUT_WR)
            receive_stream(sock, seed, up)
            expect_end(sock)
        else:
            sender = in_thread(send_stream, sock, seed + 1, down, rng)
            receive_stream(sock, seed, up)
            sender.join(30)
            sock.shutdown(socket.SHUT_WR)
            expect_end(sock)
        result.append("whole")

    origin = Origin(lab.net.server, SERVER, 0, server)
    try:
        with sluice.tunnel(SERVER, origin.port) as client:
            sock, rng = client.sock, random.Random(seed + 3)
            sock.settimeout(30)
            check(not client.unread(), "nothing before its time") if half_close == "client" else None
            early = client.unread()

            class Rest:
                """The socket behind what came with the answer to CONNECT."""
                left = early

                def recv(self, n):
                    if self.left:
                        out, self.left = self.left[:n], self.left[n:]
                        return out
                    return sock.recv(n)

            def send():
                send_stream(sock, seed, up, rng)
                sock.shutdown(socket.SHUT_WR)

            if half_close == "client":
                send()
                receive_stream(Rest(), seed + 1, down)
            elif half_close == "server":
                rest = Rest()
                receive_stream(rest, seed + 1, down)
                expect_end(rest)
                send()
            else:
                sender = in_thread(send)
                receive_stream(Rest(), seed + 1, down)
                sender.join(30)
            if half_close != "server":
                expect_end(sock)
        until(lambda: result or origin.errors, 10, "the server's side")
        equal(result, ["whole"], f"the server's side ({origin.errors})")
    finally:
        origin.close()


@suite.test(timeout=90)
def random_sizes_arrive_whole_both_ways(lab):
    rng = random.Random(1)
    for i in range(24):
        up, down = (rng.choice((0, 1, rng.randrange(5000), rng.randrange(3_000_000)))
                    for _ in range(2))
        both_ways(lab, lab.sluice, 100 * i, up, down)


@suite.test(timeout=60)
def the_client_may_end_its_direction_first(lab):
    for i, (up, down) in enumerate(((0, 0), (0, 100), (100, 0), (1, 1), (2_000_000, 2_000_000))):
        both_ways(lab, lab.sluice, 5000 + 100 * i, up, down, "client")


@suite.test(timeout=60)
def the_server_may_end_its_direction_first(lab):
    for i, (up, down) in enumerate(((0, 0), (0, 100), (100, 0), (1, 1), (2_000_000, 2_000_000))):
        both_ways(lab, lab.sluice, 6000 + 100 * i, up, down, "server")


@suite.test()
def a_half_closed_tunnel_stays_usable(lab):
    def server(wire, origin):
        wire.rest()
        equal(wire.ended, "fin", "the client's end")
        for i in range(10):
            wire.send(b"%d" % i)
            time.sleep(0.05)

    lab.origin.reset(server)
    with lab.sluice.tunnel(SERVER, 80) as client:
        client.fin()
        equal(client.rest(), b"0123456789", "bytes behind the half-close")
        equal(client.ended, "fin", "the end")


@suite.test()
def the_server_speaks_first(lab):
    lab.origin.reset(lambda wire, origin: (wire.send(b"220 hello\r\n"), echo(wire, origin)))
    for _ in range(50):
        with lab.sluice.tunnel(SERVER, 80) as client:
            equal(client.until(b"\r\n"), b"220 hello\r\n", "greeting")
            equal(client.send(b"EHLO").exactly(4), b"EHLO", "echo")


@suite.test()
def the_server_speaks_and_leaves(lab):
    lab.origin.reset(lambda wire, origin: wire.send(b"bye"))
    for _ in range(100):
        with lab.sluice.tunnel(SERVER, 80) as client:
            equal(client.rest(), b"bye", "everything it said")
            equal(client.ended, "fin", "the end")


@suite.test()
def early_bytes_arrive_first_and_in_order(lab):
    """Bytes sent along with CONNECT, before its answer."""
    lab.origin.reset(echo)
    connect = f"CONNECT {SERVER}:80 HTTP/1.1\r\nHost: {SERVER}:80\r\n\r\n".encode()
    for size in (1, 100, 5000, 70_000, 400_000):
        data = random.Random(size).randbytes(size)
        with lab.sluice.connect() as client:
            sender = in_thread(client.send, connect + data + b"later")
            equal(client.response("CONNECT").status, 200, "status")
            check(client.exactly(size + 5) == data + b"later", f"{size} early bytes come back")
            sender.join(5)


@suite.test()
def a_connect_request_may_come_byte_by_byte(lab):
    lab.origin.reset(echo)
    connect = f"CONNECT {SERVER}:80 HTTP/1.1\r\nHost: {SERVER}:80\r\n\r\nearly".encode()
    with lab.sluice.connect() as client:
        client.send_split(connect, range(1, len(connect)))
        equal(client.response("CONNECT").status, 200, "status")
        equal(client.exactly(5), b"early", "echo")


@suite.test()
def the_answer_to_connect_has_no_body(lab):
    lab.origin.reset(lambda wire, origin: (wire.sock.recv(1), wire.send(b"x")))
    with lab.sluice.tunnel(SERVER, 80) as client:
        check(client.silent(), "nothing behind the head")
        check(b"content-length" not in client.received.lower() and
              b"transfer-encoding" not in client.received.lower(), "no framing fields in a 2xx")


@suite.test()
def early_bytes_of_a_refused_connect_go_nowhere(lab):
    lab.origin.reset(echo)
    with lab.sluice.connect() as client:
        client.send(b"CONNECT 10.2.0.2:1 HTTP/1.1\r\nHost: 10.2.0.2:1\r\n\r\n"
                    b"GET http://10.2.0.2/smuggled HTTP/1.1\r\nHost: 10.2.0.2\r\n\r\n")
        equal(client.response("CONNECT").status, 502, "status")
        client.rest()
    check(b"smuggled" not in lab.origin.received, "they were taken for a request")


@suite.test()
def a_byte_at_a_time_there_and_back(lab):
    lab.origin.reset(echo)
    with lab.sluice.tunnel(SERVER, 80) as client:
        for i in range(1000):
            byte = bytes([i % 256])
            equal(client.send(byte).exactly(1), byte, f"byte {i}")


@suite.test()
def a_reset_of_the_client_reaches_the_server_as_a_reset(lab):
    for talk in (b"", b"x" * 100):
        lab.origin.reset(lambda wire, origin: wire.rest())
        client = lab.sluice.tunnel(SERVER, 80)
        client.send(talk)
        until(lambda: lab.origin.received == talk, what="the bytes before it")
        client.rst()
        until(lambda: lab.origin.wires and lab.origin.wires[0].ended, what="the end")
        equal(lab.origin.wires[0].ended, "rst", "how it ended")
    nothing_left(lab)


@suite.test()
def a_reset_of_the_server_reaches_the_client_as_a_reset(lab):
    def server(wire, origin):
        wire.exactly(1)
        wire.rst()

    lab.origin.reset(server)
    with lab.sluice.tunnel(SERVER, 80) as client:
        client.send(b"x")
        client.rest()
        equal(client.ended, "rst", "how it ended")
    nothing_left(lab)


@suite.test()
def a_reset_behind_a_half_close_is_still_a_reset(lab):
    def server(wire, origin):
        wire.rest()
        wire.send(b"half")
        wire.rst()

    lab.origin.reset(server)
    with lab.sluice.tunnel(SERVER, 80) as client:
        client.fin()
        client.rest()
        equal(client.ended, "rst", "how it ended for the client")

    def other(wire, origin):
        wire.fin()
        wire.rest()
        origin.requests.append(wire.ended)

    lab.origin.reset(other)
    client = lab.sluice.tunnel(SERVER, 80)
    equal(client.rest(), b"", "bytes")
    client.rst()
    until(lambda: lab.origin.requests, what="the end at the server")
    equal(lab.origin.requests, ["rst"], "how it ended for the server")
    nothing_left(lab)


@suite.test()
def a_reset_under_load_frees_everything(lab):
    """Resets from either side while both directions are full."""
    for side in ("client", "server"):
        def server(wire, origin):
            sender = threading.Thread(target=flood, args=(wire.sock,), daemon=True)
            sender.start()
            time.sleep(0.2)
            if side == "server":
                wire.rst()
            sender.join(10)

        lab.origin.reset(server)
        clients = [lab.sluice.tunnel(SERVER, 80) for _ in range(10)]
        floods = [in_thread(flood, c.sock) for c in clients]
        time.sleep(0.2)
        if side == "client":
            for c in clients:
                # shutdown wakes the flooding thread; the linger makes the close a reset
                c.rst()
        for f in floods:
            f.join(10)
        for c in clients:
            c.close()
        nothing_left(lab)


def flood(sock):
    with contextlib.suppress(OSError):
        sock.settimeout(1)
        while True:
            sock.sendall(bytes(65536))


@suite.test()
def an_ipv6_target_with_a_port(lab):
    origin = Origin(lab.net.server, "fd00:2::2", 7000, echo)
    with lab.sluice.tunnel("fd00:2::2", 7000) as client:
        equal(client.send(b"six").exactly(3), b"six", "echo")
    origin.close()


@suite.test()
def a_port_where_nobody_listens_is_502(lab):
    with lab.sluice.connect() as client:
        client.send(b"CONNECT 10.2.0.2:9 HTTP/1.1\r\nHost: 10.2.0.2:9\r\n\r\n")
        equal(client.response("CONNECT").status, 502, "status")


@suite.test(timeout=60)
def a_stalled_reader_holds_the_other_side_back(lab):
    """At most 1 MiB is held for a stalled pair, whatever carries it: what the server could send less
    what the kernel's own (here: small) socket buffers hold."""
    small = "4096 65536 131072"
    spaces = (lab.net.client, lab.net.proxy, lab.net.server)
    saved = [ns.run("sysctl", "-n", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", text=True)
             .stdout.split("\n") for ns in spaces]
    for ns in spaces:
        ns.write_sysctl("net.ipv4.tcp_rmem", small)
        ns.write_sysctl("net.ipv4.tcp_wmem", small)
    try:
        sent = [0] * 20
        total = 8 << 20

        def server(wire, origin):
            i = int(wire.exactly(2))
            source_seed = 900 + i
            from lab.stream import Source
            source = Source(source_seed)
            wire.sock.settimeout(40)
            while sent[i] < total:
                wire.sock.sendall(source.take(65536))
                sent[i] += 65536
            wire.fin()

        lab.origin.reset(server)
        before = lab.sluice.memory_bytes()
        clients = []
        for i in range(20):
            client = lab.sluice.tunnel(SERVER, 80, receive_buffer=65536)
            client.send(b"%02d" % i)
            clients.append(client)

        def steady():
            was = list(sent)
            time.sleep(0.4)
            return was == sent and all(sent)
        until(steady, 20, "the servers are held back")
        check(max(sent) <= (1 << 20) + (1 << 20), f"a server could send {max(sent)} bytes")
        grown = lab.sluice.memory_bytes() - before
        check(grown < (20 << 20) + (8 << 20), f"memory grew by {grown} bytes for 20 stalled pairs")
        for i, client in enumerate(clients):
            client.sock.settimeout(30)
            receive_stream(client.sock, 900 + i, total)
            client.close()
    finally:
        for ns, (rmem, wmem, *_) in zip(spaces, saved):
            ns.write_sysctl("net.ipv4.tcp_rmem", rmem)
            ns.write_sysctl("net.ipv4.tcp_wmem", wmem)
    nothing_left(lab)


@suite.test(timeout=60)
def five_hundred_tunnels_at_once(lab):
    lab.origin.reset(echo)
    for sluice, size in ((lab.sluice, 2000), (lab.fast, 20_000)):
        clients = [sluice.tunnel(SERVER, 80) for _ in range(500)]
        until(lambda s=sluice: s.stats()["tunnels_active"] == 500, 5, "all tunnels are counted")
        equal(len(sluice.flows()), 500, "flows shown")
        words = [random.Random(i).randbytes(size) for i in range(500)]
        for client, word in zip(clients, words):
            client.send(word)
        for i, (client, word) in enumerate(zip(clients, words)):
            check(client.exactly(size) == word, f"tunnel {i} carries its own bytes")
        for i, client in enumerate(clients):
            client.rst() if i % 7 == 0 else client.close()
        until(lambda s=sluice: s.stats()["tunnels_active"] == 0, 10, "all tunnels have ended")
    nothing_left(lab)
    nothing_left(lab, lab.fast)


@suite.test(timeout=120)
def five_thousand_tunnels_in_sequence(lab):
    lab.origin.reset(echo)
    before = lab.fast.memory_bytes()
    for i in range(5000):
        with lab.fast.tunnel(SERVER, 80) as client:
            word = b"%d" % i * 10
            check(client.send(word).exactly(len(word)) == word, f"tunnel {i}")
        if i == 500:
            before = lab.fast.memory_bytes()
        if i % 500 == 0:
            lab.origin.wires.clear()
    until(lambda: lab.fast.stats()["tunnels_active"] == 0, 10, "all tunnels have ended")
    check(lab.fast.memory_bytes() - before < 4 << 20, "memory grows with the number of tunnels")
    nothing_left(lab, lab.fast)


@suite.test(timeout=90)
def bulk_goes_through_unharmed(lab):
    both_ways(lab, lab.fast, 77, 64_000_000, 64_000_000)
    both_ways(lab, lab.sluice, 78, 20_000_000, 20_000_000)


def everything(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


@suite.test(timeout=60)
def urgent_data_stops_nothing_behind_it(lab):
    """splice(2) does not get past it: what came behind it in bulk stayed there, and was lost with a FIN."""
    lab.origin.reset(echo)
    rng = random.Random(7)
    for _ in range(20):
        with lab.sluice.tunnel(SERVER, 80) as wire:
            back, sent = in_thread(everything, wire.sock), b""
            for i in range(40):
                sent += (piece := bytes([128 + i]) * rng.choice((1, 1400, 9000, 40000)))
                wire.sock.sendall(piece)
                if rng.random() < 0.5:
                    wire.sock.send(b"!", socket.MSG_OOB)
            wire.sock.sendall(b"end")
            wire.sock.shutdown(socket.SHUT_WR)
            got = back.join(20).replace(b"!", b"")  # lwIP takes it for bytes
            check(got == sent + b"end", f"{len(got)} bytes of {len(sent) + 3} came back")
    nothing_left(lab)


@suite.test(timeout=60)
def twenty_busy_tunnels_share_the_proxy(lab):
    workers = [in_thread(both_ways, lab, lab.fast, 10_000 + 10 * i, 500_000 + i, 700_000 - i)
               for i in range(20)]
    for w in workers:
        w.join(50)


@suite.test()
def a_quiet_tunnel_costs_no_cpu_and_still_works(lab):
    lab.origin.reset(echo)
    with lab.sluice.tunnel(SERVER, 80) as client:
        equal(client.send(b"one").exactly(3), b"one", "echo")
        before = lab.sluice.cpu_seconds()
        time.sleep(2)
        check(lab.sluice.cpu_seconds() - before < 0.2, "sluice works while nothing happens")
        equal(client.send(b"two").exactly(3), b"two", "echo")


@suite.test(timeout=30)
def pipes_are_given_back_after_bulk(lab):
    """splice(2) takes two descriptors a direction; quiet tunnels keep none."""
    lab.origin.reset(echo)
    clients = [lab.fast.tunnel(SERVER, 80) for _ in range(100)]
    for client in clients:
        data = bytes(300_000)
        sender = in_thread(client.send, data)
        check(client.exactly(len(data)) == data, "echo")
        sender.join(5)
    extra = lab.fast.descriptors() - lab.fast.baseline
    check(extra <= 200 + 64, f"{extra} descriptors for 100 quiet tunnels")
    for client in clients:
        client.close()
    nothing_left(lab, lab.fast)


@suite.test(timeout=30)
def after_all_this_nothing_is_left_open(lab):
    for sluice in (lab.sluice, lab.fast):
        nothing_left(lab, sluice)
        sluice.healthy()


if __name__ == "__main__":
    sys.exit(suite.main(TunnelLab))
