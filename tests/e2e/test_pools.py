#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Connections to upstreams as a bounded, shared resource: reuse by every worker, limits, the queue,
and connections that have served their time."""

import contextlib
import ctypes
import json
import os
import socket
import sys
import threading
import time

from lab import SERVER, Suite, answers, check, equal, until
from lab.http import response
from lab.origin import OK
from lab.reverse import Reverse, ask, nothing_is_left_behind
from lab.sluice import in_thread

suite = Suite()

APP = f"{SERVER}:80"
UPSTREAMS = [
    {"name": "app", "servers": [APP]},
    {"name": "one", "servers": [APP],
     "pool": {"max": 1, "queue": 2, "queue_timeout": "10s"}},
    {"name": "impatient", "servers": [APP],
     "pool": {"max": 1, "queue": 8, "queue_timeout": "100ms"}},
    {"name": "two", "servers": [APP, f"{SERVER}:81"], "pool": {"max": 1, "queue": 0}},
    {"name": "few", "servers": [APP], "pool": {"idle": 2}},
    {"name": "four", "servers": [APP, f"{SERVER}:81"],
     "pool": {"max": 4, "queue": 64, "queue_timeout": "15s"}},
    {"name": "worn", "servers": [APP], "pool": {"requests": 3}},
    {"name": "old", "servers": [APP], "pool": {"age": "300ms"}},
    {"name": "short", "servers": [APP], "pool": {"idle_timeout": "50ms"}},
]
ROUTES = [{"host": f"{u['name']}.test", "upstream": u["name"]} for u in UPSTREAMS]


class Gate:
    """An origin's handler that answers when it is told to."""

    def __init__(self):
        self.open, self.waiting = threading.Semaphore(0), 0

    def __call__(self, wire, origin):
        while True:
            request = wire.request()
            origin.requests.append(request)
            self.waiting += 1
            self.open.acquire(timeout=15)
            self.waiting -= 1
            wire.send(OK)


def host(name):
    return f"{name}.test".encode()


def get(lab, name):
    with lab.sluice.connect(15) as client:
        return client.send(ask(b"/", host(name))).response()


@suite.test()
def an_idle_connection_serves_every_worker(lab):
    lab.reset()
    before = lab.sluice.stats()["upstream_taken_over_total"]
    for _ in range(40):
        equal(get(lab, "app").status, 200, "status")
        until(lambda: lab.sluice.ask("servers")["servers"][0]["idle"] == 1, 5, "given back")
    check(lab.origin.accepted <= 2, f"{lab.origin.accepted} connections")
    check(lab.sluice.stats()["upstream_taken_over_total"] > before, "no worker took one over")


PIDFD_GETFD = 438


def connections(process):
    """Duplicates of the TCP connections that a process has open."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(process.pid)
    try:
        for fd in os.listdir(f"/proc/{process.pid}/fd"):
            copy = libc.syscall(PIDFD_GETFD, pidfd, int(fd), 0)
            try:
                sock = socket.socket(fileno=copy)
            except OSError:  # no socket, or closed meanwhile
                if copy >= 0:
                    os.close(copy)
                continue
            with sock:
                if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
                    with contextlib.suppress(OSError):
                        sock.getpeername()
                        yield sock
    finally:
        os.close(pidfd)


@suite.test()
def small_writes_wait_for_no_ack(lab):
    lab.reset()
    with lab.sluice.connect() as client:
        equal(client.send(ask()).response().status, 200, "status")
        until(lambda: lab.sluice.ask("servers")["servers"][0]["idle"] == 1, 5, "given back")
        set_ = [s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for s in connections(lab.sluice.process)]
    equal(set_, [1, 1], "TCP_NODELAY of the client's and the server's")


@suite.test()
def the_connection_that_was_used_last_is_used_again(lab):
    """Of four clients two at least are one worker's, which then has connections to choose from."""
    used, together = [], threading.Barrier(4)

    def origin(wire, _):
        while True:
            wire.request()
            used.append(wire)
            if len(used) <= 4:
                together.wait(15)
            wire.send(OK)

    lab.reset(first=origin)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(lab.sluice.connect()) for _ in range(4)]
        for client in clients:
            client.send(ask())
        equal([client.response().status for client in clients], [200] * 4, "answers")
        until(lambda: lab.sluice.ask("servers")["servers"][0]["idle"] == 4, 5, "four idle connections")
        for client in clients:
            before = len(used)
            for _ in range(8):
                equal(client.send(ask()).response().status, 200, "status")
            equal(len({id(wire) for wire in used[before:]}), 1, "connections for one after the other")


@suite.test(timeout=40)
def connections_that_move_between_workers_carry_every_byte_in_step(lab):
    lab.reset(first=lambda wire, origin: echo(wire, origin))

    def client(n):
        for i in range(60):
            with lab.sluice.connect(15) as wire:
                body = f"{n}-{i}-".encode() * (1 + i * 7 % 50)
                wire.send(ask(b"/", host("few"), b"Content-Length: %d" % len(body), method=b"PUT",
                              body=body))
                equal(wire.response().body, body, "body")

    clients = [in_thread(client, n) for n in range(4)]
    for c in clients:
        c.join(35)
    stats = lab.sluice.stats()
    check(stats["upstream_taken_over_total"] > 0, "no worker took one over")
    until(lambda: lab.sluice.stats()["upstream_idle"] <= 2, 5, "at most two idle connections")


def echo(wire, origin):
    while True:
        request = wire.request()
        if not request.complete:
            return
        wire.send(response(b"Content-Length: %d" % len(request.body), body=request.body))


@suite.test()
def who_finds_the_upstream_full_waits_for_a_connection(lab):
    gate = Gate()
    lab.reset(first=gate)
    waits = lab.sluice.stats()["upstream_waits_total"]
    clients = [in_thread(get, lab, "one")]
    until(lambda: gate.waiting == 1, 5, "the first request is at the origin")
    clients += [in_thread(get, lab, "one") for _ in range(2)]
    until(lambda: lab.sluice.stats()["upstream_waiting"] == 2, 5, "two wait")
    for _ in range(3):
        gate.open.release()
    for c in clients:
        equal(c.join(10).status, 200, "status")
    equal(lab.origin.accepted, 1, "connections")
    stats = lab.sluice.stats()
    equal((stats["upstream_waits_total"] - waits, stats["upstream_waiting"]), (2, 0), "waits")


def pool(lab, name):
    return next(p for p in lab.sluice.ask("pools")["pools"] if p["upstream"] == name)


@suite.test()
def operators_see_pools(lab):
    gate = Gate()
    lab.reset(first=gate)
    before = pool(lab, "one")["servers"][0]
    clients = [in_thread(get, lab, "one")]
    until(lambda: gate.waiting == 1, 5, "the first request is at the origin")
    clients += [in_thread(get, lab, "one") for _ in range(2)]
    until(lambda: pool(lab, "one")["waiting"] == 2, 5, "two wait")
    equal(get(lab, "one").status, 503, "answer to the one too many")
    now = pool(lab, "one")
    equal([now[k] for k in ("max", "queue", "queue_timeout_ms")], [1, 2, 10000], "limits")
    equal([now["servers"][0][k] for k in ("server", "leased", "idle")], [APP, 1, 0], "while busy")
    text = lab.sluice.cli("pools").stdout
    check(any(line.split()[:5] == ["one", APP, "1", "0", "1"] for line in text.splitlines()), text)
    for _ in range(3):
        gate.open.release()
    for c in clients:
        equal(c.join(10).status, 200, "status")
    until(lambda: pool(lab, "one")["servers"][0]["idle"] == 1, 5, "given back")
    now = pool(lab, "one")
    server = now["servers"][0]
    equal([server[k] - before[k] for k in ("opened", "reused")], [1, 2], "opened and reused")
    equal(server["reuse"], server["reused"] / (server["reused"] + server["opened"]), "reuse")
    check(now["waits"] >= 2 and now["queue_full"] >= 1 and not now["waiting"], lambda: f"{now}")
    got = lab.sluice.cli("pools", "--json")
    equal(next(p for p in json.loads(got.stdout) if p["upstream"] == "one")["queue"], 2, "--json")


@suite.test()
def a_full_queue_is_503_at_once(lab):
    gate = Gate()
    lab.reset(first=gate)
    clients = [in_thread(get, lab, "one")]
    until(lambda: gate.waiting == 1, 5, "the first request is at the origin")
    clients += [in_thread(get, lab, "one") for _ in range(2)]
    until(lambda: lab.sluice.stats()["upstream_waiting"] == 2, 5, "two wait")
    got = get(lab, "one")
    equal((got.status, got.get("retry-after")), (503, "1"), "answer to the one too many")
    for _ in range(3):
        gate.open.release()
    for c in clients:
        equal(c.join(10).status, 200, "status")
    check(lab.sluice.stats()["upstream_queue_full_total"] >= 1, "counted")


@suite.test()
def waiting_ends_in_503(lab):
    gate = Gate()
    lab.reset(first=gate)
    first = in_thread(get, lab, "impatient")
    until(lambda: gate.waiting == 1, 5, "the first request is at the origin")
    got = get(lab, "impatient")
    equal((got.status, got.get("retry-after")), (503, "1"), "answer")
    gate.open.release()
    equal(first.join(10).status, 200, "status of the first")
    check(lab.sluice.stats()["upstream_queue_timeouts_total"] >= 1, "counted")
    check(pool(lab, "impatient")["queue_timeouts"] >= 1, "counted for the upstream")


@suite.test()
def who_stops_waiting_leaves_its_turn_to_the_next(lab):
    gate = Gate()
    lab.reset(first=gate)
    first = in_thread(get, lab, "one")
    until(lambda: gate.waiting == 1, 5, "the first request is at the origin")
    gone = lab.sluice.connect().send(ask(b"/", host("one")))
    until(lambda: lab.sluice.stats()["upstream_waiting"] == 1, 5, "one waits")
    second = in_thread(get, lab, "one")
    until(lambda: lab.sluice.stats()["upstream_waiting"] == 2, 5, "two wait")
    gone.rst()
    until(lambda: lab.sluice.stats()["upstream_waiting"] == 1, 5, "one is gone")
    gate.open.release()
    gate.open.release()
    equal([c.join(10).status for c in (first, second)], [200, 200], "answers")


@suite.test()
def a_full_server_leaves_requests_to_the_others(lab):
    gates = Gate(), Gate()
    lab.reset(*gates)
    clients = [in_thread(get, lab, "two")]
    until(lambda: sum(g.waiting for g in gates) == 1, 5, "one request at an origin")
    clients.append(in_thread(get, lab, "two"))
    until(lambda: [g.waiting for g in gates] == [1, 1], 5, "one request at each origin")
    equal(get(lab, "two").status, 503, "status of the third")
    for g in gates:
        g.open.release()
    equal([c.join(10).status for c in clients], [200, 200], "answers")


@suite.test()
def all_who_wait_go_on_when_there_is_room_for_all(lab):
    """A server that came back used to get one request, and another whenever one ended."""
    gates = Gate(), Gate()
    lab.reset(*gates)
    second = {"upstream": "four", "server": f"{SERVER}:81"}
    lab.sluice.ask("drain-server", **second)
    clients = [in_thread(get, lab, "four") for _ in range(8)]
    until(lambda: gates[0].waiting == 4 and pool(lab, "four")["waiting"] == 4, 10, "four wait")
    lab.sluice.ask("enable-server", **second)
    until(lambda: [g.waiting for g in gates] == [4, 4], 10, "all eight are at origins")
    for g in gates:
        for _ in range(4):
            g.open.release()
    equal([c.join(10).status for c in clients], [200] * 8, "answers")


@suite.test()
def a_connection_is_closed_when_it_has_served_its_time(lab):
    for name, pause, connections in (("worn", 0, 3), ("old", 0.4, 2), ("short", 0.2, 2)):
        lab.reset()
        for i in range(7 if name == "worn" else 2):
            equal(get(lab, name).status, 200, "status")
            time.sleep(pause)
        equal(lab.origin.accepted, connections, f"connections of {name}")


def hang_up_later(gate):
    """An origin's handler that answers once, and hangs up when it is told to."""
    def handler(wire, origin):
        wire.request()
        wire.send(OK)
        gate.acquire(timeout=15)
    return handler


@suite.test()
def every_close_has_a_reason_and_every_connection_one_close(lab):
    def closed(name):
        return pool(lab, name)["closed"]

    def grows(name, reason, by, act):
        before = closed(name)
        act()
        until(lambda: closed(name)[reason] == before[reason] + by, 10, f"{by} more {reason}")
        equal({k: v for k, v in closed(name).items() if v != before[k] and k != reason}, {},
              f"other reasons beside {reason}")

    def several(name, n):
        gate = Gate()
        lab.reset(first=gate)
        clients = [in_thread(get, lab, name) for _ in range(n)]
        until(lambda: gate.waiting == n, 10, "all are at the origin")
        for _ in clients:
            gate.open.release()
        equal([c.join(10).status for c in clients], [200] * n, "answers")

    lab.reset()
    until(lambda: pool(lab, "worn")["servers"][0]["idle"] == 0, 10, "the pool is empty")
    grows("worn", "worn", 2, lambda: [get(lab, "worn") for _ in range(6)])
    grows("short", "idle", 1, lambda: get(lab, "short"))
    until(lambda: pool(lab, "few")["servers"][0]["idle"] == 0, 10, "the pool is empty")
    grows("few", "full", 2, lambda: several("few", 4))
    lab.reset(first=answers(response(b"Connection: close", b"Content-Length: 3", body=b"bye")))
    grows("app", "spent", 1, lambda: get(lab, "app"))
    gate = threading.Semaphore(0)
    lab.reset(first=hang_up_later(gate))
    get(lab, "app")
    grows("app", "server", 1, gate.release)
    metrics = lab.sluice.http_get("/metrics").decode()
    for p in lab.sluice.ask("pools")["pools"]:
        opened = sum(s["opened"] for s in p["servers"])
        there = sum(s["idle"] + s["leased"] for s in p["servers"])
        equal(there + sum(p["closed"].values()), opened, f"connections of {p['upstream']}")
        for reason, n in p["closed"].items():
            line = f'sluice_pool_closed_total{{upstream="{p["upstream"]}",reason="{reason}"}} {n}\n'
            check(line in metrics, line)


suite.test()(nothing_is_left_behind)


if __name__ == "__main__":
    sys.exit(suite.main(lambda: Reverse(ROUTES, UPSTREAMS, {"workers": 2})))
