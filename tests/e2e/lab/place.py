# SPDX-License-Identifier: BSD-2-Clause
"""A place where tunnels are spliced: a sluice with the packet engine and a bpffs of its own, a client's
and an origin's namespace."""

import contextlib
import json
import socket
import struct
import threading
from pathlib import Path

from lab.bpffs import Bpffs
from lab.net import Topology, until
from lab.origin import Origin
from lab.sluice import Sluice, in_thread
from lab.stream import expect_end, receive_stream, send_stream
from lab.suite import Fresh, Skip, check, equal

PACKET = {"workers": 2, "timeouts": {"drain": "200ms"}}
SPLICE = {"engine": "packet", "after": "20ms"}

# Where: the proxy's address and the server's. On loopback everything is in the proxy's namespace.
WHERE = {"veth": ("10.1.0.1", "10.2.0.2"), "loopback": ("127.0.0.1", "127.0.0.1"),
         "veth6": ("fd00:1::1", "fd00:2::2"), "loopback6": ("::1", "::1")}


MAPS = "/sys/fs/bpf/sluice"


class PacketSluice(Sluice):
    """splice and timeouts are added to the defaults, other keys replace them."""

    def __init__(self, net, listen, metrics, prefix, config):
        self.port, self.metrics = int(listen.rsplit(":", 1)[1]), metrics
        config = {**PACKET, "metrics": f"127.0.0.1:{metrics}", **config}
        config["splice"] = {**SPLICE, **config.get("splice", {})}
        config["timeouts"] = {**PACKET["timeouts"], **config["timeouts"]}
        super().__init__(net, config, {"listen": listen}, start=False, prefix=prefix)

    def ready(self):
        try:
            return b" 200 " in self.http_get("/readyz", self.metrics)
        except OSError:
            return False

    def engine(self):
        engines = self.ask("stats")["stats"]["engines"]
        wanted = self.config["splice"]["engine"].replace("auto", "packet")
        return [e for e in engines if e["name"] == wanted][0]

    def figures(self):
        return self.ask("stats")["stats"]["figures"]

    def status(self):
        """Slots by state, as the kernel has them."""
        done = self.net.proxy.run(*self.prefix, self.binary, "status", "--json", text=True)
        equal(done.returncode, 0, f"sluice status: {done.stderr}")
        return json.loads(done.stdout)["pairs"]

    def bpftool(self, *arguments):
        """The output of a bpftool command, read as JSON."""
        done = self.net.proxy.run(*self.prefix, "bpftool", "-j", *arguments, text=True)
        equal(done.returncode, 0, f"bpftool {arguments}: {done.stdout} {done.stderr}")
        return json.loads(done.stdout)

    def dump(self, name):
        """A pinned map's elements with named fields, as bpftool shows them."""
        return [e["formatted"] for e in self.bpftool("map", "dump", "pinned", f"{MAPS}/{name}")]

    def counter(self, name):
        """One of the programs' counters, summed over the CPUs."""
        (counters,) = self.dump("counters")
        return sum(v["value"][name]["packets"] for v in counters["values"])

    def steal_events(self):
        """How many there were that sluice will never see. It is stopped meanwhile."""
        done = self.net.proxy.run(*self.prefix, "/usr/bin/python3", "-B",
                                  Path(__file__).with_name("events.py"), text=True)
        equal(done.returncode, 0, f"events.py: {done.stderr}")
        return int(done.stdout)

    def crash(self):
        self.process.kill()
        self.process.wait()
        self.process = None


class Place:
    def __init__(self, net, where="veth", ports=(3128, 9145), config=None):
        self.where = where
        self.address, self.server_address = WHERE[where]
        self.source = None  # the client's address, if it matters
        here = where.startswith("loopback")
        self.client, self.server = (net.proxy, net.proxy) if here else (net.client, net.server)
        any_address = "[::]" if ":" in self.address else "0.0.0.0"
        self.bpffs = Bpffs()
        self.sluice = PacketSluice(net, f"{any_address}:{ports[0]}", ports[1], self.bpffs.prefix,
                                   config or {})

    def start(self):
        self.sluice.start()
        report = self.sluice.engine()
        if not report["available"]:
            raise Skip(f"the {report['name']} engine is not available: {report['reason']}")

    def origin(self, handler):
        return Origin(self.server, self.server_address, 0, handler)

    def tunnel(self, port, client_port=0):
        """A client socket behind an answered CONNECT."""
        host = f"[{self.server_address}]" if ":" in self.server_address else self.server_address
        sock = self.client.connect(self.address, self.sluice.port, source=self.source,
                                   client_port=client_port)
        sock.settimeout(20)
        sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = sock.recv(1)
            check(byte, lambda: f"CONNECT: {head!r}")
            head += byte
        check(b" 200 " in head, lambda: f"CONNECT: {head!r}")
        return sock

    def carried(self, by="packet"):
        return [f for f in self.sluice.flows() if f["engine"] == by]

    def spliced(self, n=1, timeout=10):
        """The flows, once n of them are carried by the packet engine and their sockets are gone."""
        try:
            flows = until(lambda: len(self.carried()) >= n and self.carried(), timeout)
        except AssertionError:
            reasons = [(f["engine"], f["reason"]) for f in self.sluice.flows()]
            raise AssertionError(f"no {n} spliced flows: {sorted(set(reasons))}") from None
        until(lambda: self.sluice.descriptors() <= self.sluice.baseline, 5,
              "the sockets are closed")
        return flows

    def gone(self, left=0):
        until(lambda: len(self.sluice.flows()) <= left, 10, f"{left} flows")

    @contextlib.contextmanager
    def tunnels(self, n=1):
        """n tunnels that are spliced after a word each way: pairs of client socket and origin socket,
        and their flows."""
        before = len(self.sluice.flows())
        with self.open_tunnels(n) as pairs:
            yield pairs, self.spliced(before + n)
        if self.sluice.process:
            self.gone(before)

    @contextlib.contextmanager
    def open_tunnels(self, n=1):
        """The same, whoever carries them."""
        held, clients = {}, []
        stop = threading.Event()

        def handler(wire, origin):
            word = wire.sock.recv(5)
            held[word] = wire.sock
            wire.sock.settimeout(30)
            wire.sock.sendall(word)
            stop.wait()

        origin = self.origin(handler)
        try:
            for i in range(n):
                sock = self.tunnel(origin.port)
                clients.append(sock)
                word = b"%05d" % i
                sock.sendall(word)
                equal(sock.recv(5), word, "the word")
            yield [(c, held[b"%05d" % i]) for i, c in enumerate(clients)]
        finally:
            stop.set()
            for c in clients:
                c.close()
            origin.close()

    def discard(self):
        self.sluice.discard()
        self.bpffs.close()


def half_closes(place):
    """A side that has said all still hears what the other says; from each side."""
    for first in (0, 1):
        with place.tunnels() as ([pair], _):
            one, other = pair[first], pair[1 - first]
            one.sendall(b"last words")
            one.shutdown(socket.SHUT_WR)
            equal(other.recv(100, socket.MSG_WAITALL), b"last words")
            job = in_thread(send_stream, other, 7, 1 << 20)
            receive_stream(one, 7, 1 << 20)
            job.join(30)
            other.shutdown(socket.SHUT_WR)
            expect_end(one)
            place.gone()


def resets(place):
    """A side that resets, from each side: the other is reset, not ended."""
    for first in (0, 1):
        with place.tunnels() as ([pair], _):
            pair[first].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            pair[first].close()
            try:
                data = pair[1 - first].recv(1)
            except ConnectionResetError:
                data = "reset"
            equal(data, "reset", "the other end")
            place.gone()


class Places:
    """Places that a whole suite uses: {name: place}. They start together and are judged at its end."""

    def __init__(self, places):
        self.places = places

    def __enter__(self):
        try:
            for place in self.places.values():
                place.start()
        except Skip:
            self.discard()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                for place in self.places.values():
                    place.sluice.stop()
        finally:
            self.discard()

    def discard(self):
        for place in self.places.values():
            place.discard()

    def tell(self):
        return "\n".join(p.sluice.tell() for p in self.places.values())

    @staticmethod
    def everywhere(suite, names):
        """A decorator for tests of one place, which run in each of those."""
        def everywhere(timeout=60):
            return suite.each(names, timeout, lambda lab, name: lab.places[name])
        return everywhere


class FreshPlace(Fresh):
    """One place at a time. splice: keys that all of them have."""

    def __init__(self, **splice):
        self.net = Topology()
        self.splice = splice

    def open(self, where="veth", **config):
        self.close()
        config["splice"] = {**self.splice, **config.get("splice", {})}
        self.lab = Place(self.net, where, config=config)
        self.lab.start()
        return self.lab

    def end(self, kind):
        self.lab.discard()
