#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Peers that vanish without a word from connections where nothing is under way: keepalive finds out. Who
lives, and only rests, is left alone."""

import sys

from lab import PROXY_C, SERVER, Origin, Suite, Wire, answers, check, equal, until
from lab.origin import OK
from lab.reverse import Reverse, ask, nothing_is_left_behind

suite = Suite()

GONE_CLIENT, GONE_SERVER = "10.1.0.77", "10.2.0.77"
TUNNEL = {"mode": "tcp", "upstream": "echo"}
CONFIG = {
    "listeners": [
        {"name": "web", "listen": "0.0.0.0:3128", "mode": "http", "upstream": "kept", "keepalive": "1s"},
        {"name": "tunnels", "listen": "0.0.0.0:3129", "keepalive": "1s", **TUNNEL},
        {"name": "patient", "listen": "0.0.0.0:3130", **TUNNEL}],
    "upstreams": [
        {"name": "kept", "servers": [f"{SERVER}:80", f"{GONE_SERVER}:80"], "pool": {"keepalive": "1s"}},
        {"name": "echo", "servers": [f"{SERVER}:7"]}]}
SOON = 20  # twice the time and 2 s; the rest is for a busy machine


def echo(wire, origin):
    while data := wire.sock.recv(4096):
        wire.sock.sendall(data)


class KeepaliveLab(Reverse):
    def __init__(self):
        super().__init__([], [], CONFIG)
        self.net.client.ip(f"addr add {GONE_CLIENT}/24 dev to-proxy")
        self.net.server.ip(f"addr add {GONE_SERVER}/24 dev to-proxy")
        self.other = Origin(self.net.server, GONE_SERVER, 80, answers(OK))
        self.echo = Origin(self.net.server, SERVER, 7, echo)

    def connections(self, listener):
        name = f'sluice_listener_connections{{listener="{listener}"}} '.encode()
        (line,) = [line for line in self.sluice.http_get("/metrics").splitlines() if line.startswith(name)]
        return int(line[len(name):])

    def idle(self):
        """Idle connections to each server of `kept`."""
        return {s["server"].split(":")[0]: s["idle"] for s in self.sluice.ask("servers")["servers"]
                if s["upstream"] == "kept"}


def to_and_fro(wire, port):
    """A request, or a word by the tunnel."""
    if port == 3128:
        equal(wire.send(ask()).response().status, 200, "status")
    else:
        equal(wire.send(b"hello").exactly(5), b"hello", "the echo")


@suite.test(timeout=60)
def clients_that_vanished_are_missed(lab):
    ports = {"web": 3128, "tunnels": 3129, "patient": 3130}
    gone, there = {}, {}
    for port in ports.values():
        for wires, source in ((gone, GONE_CLIENT), (there, None)):
            wires[port] = Wire(lab.net.client.connect(PROXY_C, port, source=source))
            to_and_fro(wires[port], port)
    equal([lab.connections(name) for name in ports], [2, 2, 2], "connections")
    lab.net.client.ip(f"addr del {GONE_CLIENT}/24 dev to-proxy")  # what is sent there gets no answer
    for name in ("web", "tunnels"):
        until(lambda: lab.connections(name) == 1, SOON, f"{name}: the client that vanished is missed")
    equal([lab.connections(name) for name in ports], [1, 1, 2], "connections: those without keepalive stay")
    for port, wire in there.items():
        to_and_fro(wire, port)
    lab.net.client.ip(f"addr add {GONE_CLIENT}/24 dev to-proxy")  # else the patient one never ends
    for wire in (*gone.values(), *there.values()):
        wire.close()


@suite.test(timeout=60)
def servers_that_vanished_are_missed(lab):
    with lab.sluice.connect() as client:
        for _ in range(4):
            to_and_fro(client, 3128)
        until(lambda: lab.idle() == {SERVER: 1, GONE_SERVER: 1}, 5, "both servers have an idle connection")
        lab.net.server.ip(f"addr del {GONE_SERVER}/24 dev to-proxy")
        until(lambda: lab.idle()[GONE_SERVER] == 0, SOON, "the server that vanished is missed")
        equal(lab.idle()[SERVER], 1, "idle connections to the other")


suite.test()(nothing_is_left_behind)


if __name__ == "__main__":
    sys.exit(suite.main(KeepaliveLab))
