#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Peers that vanish without a word from connections where nothing is under way: keepalive finds out. Who
lives, and only rests, is left alone."""

import json
import sys

from lab import PROXY_C, SERVER, Origin, Suite, Wire, answers, equal, until
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
RESTING = 24
SOON = 20  # it takes 4 s; the rest is for a busy machine


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
    # Many that rest: whom a timer looks at late is not to be given up unasked.
    resting = [Wire(lab.net.client.connect(PROXY_C, 3129)) for _ in range(RESTING)]
    for wire in resting:
        to_and_fro(wire, 3129)
    equal([lab.connections(name) for name in ports], [2, 2 + RESTING, 2], "connections")
    lab.net.client.ip(f"addr del {GONE_CLIENT}/24 dev to-proxy")  # what is sent there gets no answer
    for name, left in (("web", 1), ("tunnels", 1 + RESTING)):
        until(lambda: lab.connections(name) == left, SOON, f"{name}: the client that vanished is missed")
    equal(lab.connections("patient"), 2, "connections without keepalive")
    for wire in resting:
        to_and_fro(wire, 3129)
        wire.close()
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


@suite.test(timeout=60)
def a_reload_changes_it(lab):
    config = json.loads(lab.sluice.file.read_text())
    (patient,) = (one for one in config["listeners"] if one["name"] == "patient")
    patient["keepalive"] = "1s"
    lab.sluice.file.write_text(json.dumps(config))
    equal(lab.sluice.cli("reload").returncode, 0, "reload")
    with Wire(lab.net.client.connect(PROXY_C, 3130, source=GONE_CLIENT)) as client:
        to_and_fro(client, 3130)
        lab.net.client.ip(f"addr del {GONE_CLIENT}/24 dev to-proxy")
        until(lambda: lab.connections("patient") == 0, SOON, "the client that vanished is missed")


suite.test()(nothing_is_left_behind)


if __name__ == "__main__":
    sys.exit(suite.main(KeepaliveLab))
