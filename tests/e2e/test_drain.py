#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Listeners, and the whole of sluice, taken out of service under load: who has a connection gets its
answer, nobody else notices, and it ends in time."""

import json
import os
import socket
import subprocess
import sys
import threading

from lab import SERVER, Fresh, Origin, Suite, check, equal, until
from lab.busy import Load, echo
from lab.net import DPDK
from lab.origin import OK
from lab.reverse import Reverse, ask
from lab.sluice import in_thread
from lab.standing import Standing, worker_thread
from lab.successor import upgrade
from lab.wire import Ended, Wire

suite = Suite()

DRAINS = int(os.environ.get("SLUICE_DRAINS", "4"))

APP = {"name": "app", "servers": [f"{SERVER}:80"]}
ECHO = {"name": "echo", "servers": [f"{SERVER}:82"]}
ROUTES = [{"host": "app.test", "upstream": "app"}]
WEB = {"name": "web", "listen": "0.0.0.0:3128", "mode": "http", "routes": ROUTES}
TUNNEL = {"name": "tunnel", "listen": "0.0.0.0:3130", "mode": "tcp", "upstream": "echo"}
OTHER = {"name": "other", "listen": "0.0.0.0:3131", "mode": "http", "routes": ROUTES}


class Draining(Fresh):
    """A sluice for each test, with three listeners."""

    def open(self, **timeouts):
        self.close()
        self.lab = Reverse(ROUTES, [APP, ECHO], config={
            "workers": 2, "listeners": [WEB, TUNNEL, OTHER], "timeouts": {"idle": "30s", **timeouts}})
        self.lab.__enter__()
        self.echo = Origin(self.lab.net.server, SERVER, 82, echo)
        return self.lab

    def end(self, kind):
        self.echo.close()
        super().end(kind)


def connect(lab, port):
    return Wire(lab.net.client.connect("10.1.0.1", port, 10))


def refused(lab, port):
    try:
        connect(lab, port).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it waited when the address closed, where nothing prevents that
        check(DPDK, "a connection was made, and then reset")
    return False


def get(wire):
    return wire.send(ask()).response()


def last(wire):
    """The next answer says that it is the last one, and it is."""
    got = get(wire)
    equal((got.status, got.get("Connection")), (200, "close"), "the last answer")
    equal(wire.rest(), b"", "what comes behind it")


def state(lab, name):
    return {li["listener"]: li["state"] for li in lab.sluice.ask("listeners")["listeners"]}[name]


def drain(lab, name, **arguments):
    return lab.sluice.ask("drain-listener", listener=name, **arguments)["drain-listener"]


def ready(lab, name=""):
    return int(lab.sluice.http_get(f"/readyz{name and '/'}{name}").split()[1])


def drained_metric(lab, name):
    text = lab.sluice.http_get("/metrics").decode()
    return int(text.split(f'sluice_listener_drained{{listener="{name}"}} ')[1].split()[0])


@suite.test(timeout=60)
def a_drained_listener_answers_whom_it_has_and_refuses_others(labs):
    lab = labs.open()
    with connect(lab, 3128) as kept, connect(lab, 3131) as other:
        equal(get(kept).get("Connection"), None, "before")
        get(other)
        equal(drain(lab, "web"), "draining", "answer")
        until(lambda: refused(lab, 3128), 5, "it refuses")
        equal((state(lab, "web"), state(lab, "other")), ("draining", "up"), "states")
        last(kept)
        equal(get(other).get("Connection"), None, "at another listener")
    until(lambda: state(lab, "web") == "drained", 5, "nothing is left")
    equal((ready(lab), ready(lab, "web"), ready(lab, "other")), (200, 503, 200), "readiness")
    equal((drained_metric(lab, "web"), drained_metric(lab, "other")), (1, 0), "metrics")
    done = lab.sluice.cli("listeners")
    check(any(line.split()[:3] == ["web", "http", "drained"] for line in done.stdout.splitlines()), done.stdout)
    equal(lab.sluice.cli("enable", "listener", "web").stdout, "enabled\n", "answer")
    with connect(lab, 3128) as again:
        equal(get(again).get("Connection"), None, "in service again")
    equal((state(lab, "web"), ready(lab, "web")), ("up", 200), "state")


@suite.test(timeout=60)
def a_request_on_its_way_and_what_waits_are_answered(labs):
    lab = labs.open()
    go = threading.Event()

    def slow(wire, origin):
        check(wire.request().complete, "a request")
        go.wait(20)
        wire.send(OK)
    lab.origin.reset(slow)
    with connect(lab, 3128) as busy:
        busy.send(ask())
        until(lambda: b"\r\n\r\n" in lab.origin.received, what="the request at the origin")
        lab.sluice.freeze()
        waiting = [connect(lab, 3128) for _ in range(20)]
        for client in waiting:
            client.send(ask())
        asked = in_thread(drain, lab, "web")
        lab.sluice.kill(18)
        asked.join(10)
        until(lambda: refused(lab, 3128), 5, "it refuses")
        go.set()
        for client in [busy, *waiting]:
            got = client.response()
            equal((got.status, got.get("Connection")), (200, "close"), "answer")
            client.close()


@suite.test(timeout=60)
def own_answers_end_connections_too(labs):
    lab = labs.open()
    with connect(lab, 3128) as kept:
        equal(kept.send(ask(host=b"nowhere.test")).response().status, 404, "no route")
        drain(lab, "web")
        got = kept.send(ask(host=b"nowhere.test")).response()
        equal((got.status, got.get("Connection")), (404, "close"), "no route, drained")
        equal(kept.rest(), b"", "the end")


@suite.test(timeout=60)
def the_bound_cuts_what_is_left(labs):
    lab = labs.open()
    with connect(lab, 3130) as tunnel, connect(lab, 3128) as idle, connect(lab, 3131) as other:
        tunnel.send(b"word")
        equal(tunnel.exactly(4), b"word", "an echo")
        get(idle)
        get(other)
        for name in ("tunnel", "web"):
            drain(lab, name, timeout_ms=60000)
            check(drain(lab, name) == "draining already", "asked again")
        until(lambda: refused(lab, 3130), 5, "it refuses")
        tunnel.send(b"more")
        equal(tunnel.exactly(4), b"more", "tunnels go on")
        drain(lab, "tunnel", timeout_ms=300)
        drain(lab, "web", timeout_ms=300)
        try:
            equal(tunnel.rest(), b"", "the end")
        except (Ended, ConnectionResetError):
            pass
        equal(idle.rest(), b"", "an idle connection closes")
        until(lambda: state(lab, "tunnel") == "drained", 5, "drained")
        equal([lab.sluice.ask("drain-progress", listener=n)["drain-progress"]["reset"] for n in ("tunnel", "web")],
              [1, 0], "connections that were reset")
        equal(get(other).status, 200, "elsewhere nothing was cut")
    until(lambda: [r["listener"] for r in map(json.loads, lab.sluice.log.read_text().splitlines())
                   if r["reason"] == "stopped"] == ["tunnel"], 10, "its reason in the log")


@suite.test(timeout=60)
def the_command_shows_what_is_left_and_says_how_it_ended(labs):
    lab = labs.open()
    with connect(lab, 3130) as tunnel:
        tunnel.send(b"word")
        tunnel.exactly(4)
        done = lab.sluice.cli("drain", "listener", "tunnel", "--wait=300ms")
        equal(done.returncode, 1, "exit status while something is left")
        check("1 connections left: 0 idle, 0 in requests, 1 tunnels; reset in" in done.stdout, done.stdout)
        check(done.stdout.endswith("still draining\n"), done.stdout)
        done = lab.sluice.cli("drain", "listener", "tunnel", "--timeout", "300ms", "--json")
        equal(done.returncode, 1, "exit status when something was reset")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        equal((lines[0]["tunnels"], lines[-1]["state"], lines[-1]["reset"]), (1, "drained", 1), "as JSON")
    done = lab.sluice.cli("drain", "listener", "web")
    equal((done.returncode, done.stdout.splitlines()[-1]), (0, "drained"), "of one that has nothing")
    equal(lab.sluice.cli("drain", "listener", "web", "--no-wait").stdout, "draining already\n", "again")
    for words, text in ((["drain", "listener", "nobody"], "there is no such listener"),
                        (["enable", "listener", "nobody"], "there is no such listener"),
                        (["enable", "listener", "other"], "the listener is not drained")):
        done = lab.sluice.cli(*words)
        equal(done.returncode, 1, f"exit status of {words}")
        check(text in done.stderr, done.stderr)


@suite.test(timeout=60)
def readiness_goes_first_and_answers_tell_it(labs):
    lab = labs.open(drain_delay="3s")
    with connect(lab, 3128) as kept:
        get(kept)
        drain(lab, "web")
        equal((ready(lab, "web"), ready(lab)), (503, 200), "readiness")
        with connect(lab, 3128) as late:
            last(late)
        last(kept)
    until(lambda: refused(lab, 3128), 5, "then it closes")
    for name in ("tunnel", "other"):
        drain(lab, name)
    equal(ready(lab), 503, "readiness without any listener")
    lab.sluice.ask("enable-listener", listener="other")
    equal(ready(lab), 200, "with one again")
    with connect(lab, 3131) as kept, connect(lab, 3131) as second:
        get(kept)
        lab.sluice.ask("drain")
        equal(ready(lab), 503, "readiness while sluice drains")
        last(kept)
        last(second)
        got = lab.sluice.cli("enable", "listener", "web")
        check("sluice is draining" in got.stderr, got.stderr)
    equal(lab.sluice.process.wait(30), 0, "exit status")
    lab.sluice.process = None


@suite.test(timeout=60)
def a_drained_listener_stays_so_over_reloads(labs):
    lab = labs.open()
    first = lab.sluice.file.read_text()

    def reload(*listeners):
        lab.sluice.file.write_text(json.dumps({**json.loads(first), "listeners": listeners}))
        lab.sluice.ask("reload")

    def goes_on(tunnel):
        tunnel.send(b"word")
        equal(tunnel.exactly(4), b"word", "a tunnel of the drained listener")

    with connect(lab, 3130) as tunnel:
        goes_on(tunnel)
        for name in ("web", "tunnel"):
            drain(lab, name)
        until(lambda: refused(lab, 3128) and refused(lab, 3130), 5, "both refuse")
        reload({**WEB, "limits": {"connections": 7}}, TUNNEL, OTHER)
        check(refused(lab, 3128) and refused(lab, 3130), "both refuse after a reload")
        reload({**WEB, "listen": "0.0.0.0:3132"}, TUNNEL, OTHER)
        check(refused(lab, 3132), "so does its new address")
        reload(TUNNEL, {**OTHER, "listen": "0.0.0.0:3128"})
        with connect(lab, 3128) as client:
            equal(get(client).status, 200, "another listener at its address")
        reload(WEB, TUNNEL, OTHER)
        with connect(lab, 3128) as client:
            equal(get(client).get("Connection"), None, "one that was gone begins anew")
        equal(state(lab, "tunnel"), "draining", "the other one")
        goes_on(tunnel)
    lab.sluice.ask("enable-listener", listener="tunnel")
    with connect(lab, 3130) as tunnel:
        goes_on(tunnel)


def is_shut(lab, port):
    """A SYN gets no answer, not in the time in which it would be sent again."""
    try:
        Wire(lab.net.client.connect("10.1.0.1", port, 0.5)).close()
    except TimeoutError:
        return True
    return False


@suite.test(timeout=60)
def one_of_a_socket_unit_stays_shut_over_reloads(labs):
    """systemd has the socket, too, so it stays open; what a reload let in nobody accepted."""
    lab = labs.open()
    lab.sluice.stop()
    with lab.net.proxy.listen("0.0.0.0", 3128) as lent:
        lab.sluice.start_with([lent])
        with connect(lab, 3128) as client:
            get(client)
            drain(lab, "web")
            last(client)
        until(lambda: state(lab, "web") == "drained", 5, "drained")
        check(is_shut(lab, 3128), "once drained it is shut")
        lab.sluice.ask("reload")
        check(is_shut(lab, 3128), "so it is after a reload")
        drain(lab, "other")
        lab.sluice.ask("enable-listener", listener="other")
        check(is_shut(lab, 3128), "and after another listener's return")
        lab.sluice.ask("enable-listener", listener="web")
        with connect(lab, 3128) as client:
            equal(get(client).get("Connection"), None, "in service again")


@suite.test(timeout=60)
def what_only_lingers_is_not_counted_as_reset(labs):
    """It has its answer, and is closed when the bound has passed."""
    lab = labs.open()
    with connect(lab, 3128) as client:
        get(client)
        drain(lab, "web", timeout_ms=500)
        equal(get(client).get("Connection"), "close", "the last answer")
        equal(client.rest(), b"", "FIN, and sluice waits for the client's")
        until(lambda: state(lab, "web") == "drained", 10, "drained")
        equal(lab.sluice.ask("drain-progress", listener="web")["drain-progress"]["reset"], 0, "resets")


@suite.test(timeout=90)
def a_worker_that_stood_still_at_the_bound_ends_its_connections_later(labs):
    """They were left for good."""
    lab = labs.open()
    tunnels = [connect(lab, 3130) for _ in range(16)]
    for tunnel in tunnels:
        tunnel.send(b"word")
        equal(tunnel.exactly(4), b"word", "an echo")
    drain(lab, "tunnel", timeout_ms=60000)
    until(lambda: refused(lab, 3130), 5, "it refuses")
    with Standing(worker_thread(lab.sluice.process.pid, 1)):
        drain(lab, "tunnel", timeout_ms=100)
        until(lambda: "worker 1 does not answer" in lab.sluice.tell(), 15, "it was asked")
    until(lambda: state(lab, "tunnel") == "drained", 15, "drained")
    equal(lab.sluice.ask("drain-progress", listener="tunnel")["drain-progress"]["reset"], 16, "resets")
    for tunnel in tunnels:
        tunnel.close()


@suite.test(timeout=60)
def an_upgrade_keeps_it_out_and_lets_it_end(labs):
    lab = labs.open()
    with connect(lab, 3128) as kept, connect(lab, 3130) as tunnel:
        get(kept)
        tunnel.send(b"word")
        tunnel.exactly(4)
        drain(lab, "web")
        drain(lab, "tunnel", timeout_ms=3000)
        until(lambda: refused(lab, 3128) and refused(lab, 3130), 5, "both refuse")
        lab.sluice.ask("drain-server", upstream="echo", server=f"{SERVER}:82")
        old = upgrade(lab.sluice)
        states = {s["upstream"]: s["state"] for s in lab.sluice.ask("servers")["servers"]}
        equal(states, {"app": "up", "echo": "drained"}, "servers in the new process")
        equal((state(lab, "web"), state(lab, "other")), ("drained", "up"), "states in the new process")
        check(refused(lab, 3128), "it refuses still")
        last(kept)
        try:
            equal(tunnel.rest(), b"", "the tunnel's end at its bound")
        except (Ended, ConnectionResetError):
            pass
    equal(old.wait(30), 0, "exit status of the old one")
    lab.sluice.ask("enable-listener", listener="web")
    with connect(lab, 3128) as client:
        equal(get(client).status, 200, "enabled in the new process")
    lab.sluice.stop()
    lab.sluice.start()
    equal(state(lab, "tunnel"), "up", "after a restart")


@suite.test(timeout=120)
def listeners_come_and_go_under_load(labs):
    """At other listeners nothing fails; who is not refused at the drained one gets the answers."""
    lab = labs.open()
    lab.reset()
    load = Load(lab)
    over, answered = threading.Event(), [0]

    def keep_alive():
        while not over.is_set():
            try:
                wire = connect(lab, 3131)
            except ConnectionRefusedError:
                continue
            with wire:
                kept = True
                while kept and not over.is_set():
                    got = get(wire)
                    equal(got.status, 200, "status at the listener that comes and goes")
                    kept = got.get("Connection") != "close"
                    answered[0] += 1
    clients = [in_thread(keep_alive) for _ in range(3)]
    for _ in range(DRAINS):
        before = answered[0]
        until(lambda: answered[0] > before, 10, "answers at the listener")
        load.progress()
        drain(lab, "other")
        until(lambda: state(lab, "other") == "drained", 10, "drained")
        load.progress()
        lab.sluice.ask("enable-listener", listener="other")
    over.set()
    for t in clients:
        t.join(30)
    load.end()
    lab.sluice.settles()


@suite.test(timeout=60)
def the_command_of_the_whole_tells_its_end(labs):
    """Also how many were reset; new connections are refused at once."""
    for timeout, status, words in (("300ms", 1, "drained: 1 connections were reset"), ("60s", 0, "drained")):
        lab = labs.open()
        with connect(lab, 3130) as tunnel:
            tunnel.send(b"word")
            tunnel.exactly(4)
            command = lab.net.proxy.start(lab.sluice.binary, "drain", "--timeout", timeout, "--admin",
                                          lab.sluice.admin, stdout=subprocess.PIPE, text=True)
            until(lambda: refused(lab, 3128), 5, "it refuses")
            if not status:
                tunnel.send(b"more")
                equal(tunnel.exactly(4), b"more", "tunnels go on")
                tunnel.sock.shutdown(socket.SHUT_WR)
            out, _ = command.communicate(timeout=30)
        equal((command.returncode, out.splitlines()[-1]), (status, words), "how it ended")
        equal(lab.sluice.process.wait(30), 0, "exit status of sluice")
        lab.sluice.process = None


@suite.test(timeout=60)
def the_end_resets_nobody_who_only_lingers(labs):
    """Who has the last answer, and the FIN behind it, reads both."""
    lab = labs.open(drain_delay="1s")
    with connect(lab, 3128) as client:
        get(client)
        command = lab.net.proxy.start(lab.sluice.binary, "drain", "--timeout", "1ms", "--admin",
                                      lab.sluice.admin, stdout=subprocess.PIPE, text=True)
        until(lambda: ready(lab) == 503, 5, "the drain begins")
        client.send(ask())
        out, _ = command.communicate(timeout=30)
        equal((command.returncode, out.splitlines()[-1]), (0, "drained"), "how it ended")
        equal(client.response().status, 200, "the last answer")
        equal(client.rest(), b"", "the end")
        equal(client.ended, "fin", "how")
    equal(lab.sluice.process.wait(30), 0, "exit status of sluice")
    lab.sluice.process = None


if __name__ == "__main__":
    sys.exit(suite.main(Draining))
