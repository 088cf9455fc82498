#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Servers that fail are left out for a time, servers that checks find ill until they are well again,
drained ones until they are enabled; operators see which and why."""

import json
import sys

from lab import SERVER, Origin, Suite, check, equal, until
from lab.http import response
from lab.origin import OK
from lab.reverse import Reverse, ask, nothing_is_left_behind
from lab.sluice import in_thread

suite = Suite()

BOTH = [f"{SERVER}:80", f"{SERVER}:81"]
CHECKED = [f"{SERVER}:83", f"{SERVER}:84"]  # checks are requests, too: not at the others' origins
UPSTREAMS = [
    {"name": "app", "servers": BOTH, "eject": {"failures": 3, "time": "300ms", "max": "20s"}},
    {"name": "errors", "servers": BOTH,
     "eject": {"failures": 3, "errors": True, "time": "20s"}},
    {"name": "ratio", "servers": BOTH,
     "eject": {"failures": 0, "ratio": 40, "errors": True, "time": "20s"}},
    {"name": "checked", "servers": CHECKED, "health": {
        "path": "/healthz", "interval": "50ms", "timeout": "300ms", "fall": 2, "rise": 2}},
    {"name": "connected", "servers": [f"{SERVER}:82", CHECKED[0]],
     "health": {"interval": "50ms", "fall": 2, "rise": 1}},
    {"name": "wants204", "servers": CHECKED, "health": {
        "path": "/healthz", "status": 204, "interval": "50ms", "timeout": "300ms", "fall": 1, "rise": 1}},
    {"name": "plain", "servers": BOTH},
    {"name": "tight", "servers": BOTH, "pool": {"max": 2, "queue": 16, "queue_timeout": "15s"}},
    {"name": "told1", "servers": [f"{SERVER}:85"], "proxy_protocol": "v1",
     "health": {"path": "/healthz", "interval": "50ms", "fall": 1, "rise": 1}},
    {"name": "told2", "servers": [f"{SERVER}:86"], "proxy_protocol": "v2",
     "health": {"interval": "50ms", "fall": 1, "rise": 1}},
]
ROUTES = [{"host": f"{u['name']}.test", "upstream": u["name"]} for u in UPSTREAMS]
BROKEN = response(b"Content-Length: 0", status=b"500 Internal Server Error")


def get(lab, name):
    with lab.sluice.connect() as client:
        return client.send(ask(b"/", f"{name}.test".encode())).response().status


def server(lab, upstream, i):
    return next(s for s in lab.sluice.ask("servers")["servers"]
                if (s["upstream"], s["server"]) ==
                (upstream, (CHECKED if upstream in ("checked", "wants204") else BOTH)[i]))


def enable(lab, upstream):
    for address in BOTH:
        lab.sluice.ask("enable-server", upstream=upstream, server=address)


def hang_up(wire, origin):
    origin.requests.append(wire.request())


def until_ejected(lab, name, i, most=60):
    for n in range(most):
        get(lab, name)
        if server(lab, name, i)["state"] == "ejected":
            return n + 1
    raise AssertionError(f"{name}: not ejected after {most} requests")


@suite.test()
def a_server_that_fails_in_a_row_is_left_out_for_longer_each_time(lab):
    lab.reset(first=hang_up)
    until_ejected(lab, "app", 0)
    seen = server(lab, "app", 0)
    check(0 < seen["back_in_ms"] <= 300 and seen["why"], lambda: f"{seen}")
    until(lambda: server(lab, "app", 0)["state"] == "up", 5, "it is back")
    until_ejected(lab, "app", 0)
    check(server(lab, "app", 0)["back_in_ms"] > 300, "the second time is not longer")
    before = len(lab.origin.requests)
    equal([get(lab, "app") for _ in range(6)], [200] * 6, "answers meanwhile")
    equal(len(lab.origin.requests), before, "requests at the ejected server")
    enable(lab, "app")
    equal(server(lab, "app", 0)["state"], "up", "state after it was enabled")


@suite.test()
def at_most_half_of_the_servers_are_left_out(lab):
    lab.reset(first=hang_up, second=hang_up)
    for _ in range(20):
        equal(get(lab, "errors"), 502, "status")
    states = sorted(server(lab, "errors", i)["state"] for i in (0, 1))
    equal(states, ["ejected", "up"], "states")
    enable(lab, "errors")


@suite.test()
def error_responses_count_where_configured(lab):
    def broken(wire, origin):
        while True:
            origin.requests.append(wire.request())
            wire.send(BROKEN)

    lab.reset(first=broken)
    for _ in range(20):
        get(lab, "plain")
    equal(server(lab, "plain", 0)["state"], "up", "state without errors: true")
    until_ejected(lab, "errors", 0)
    enable(lab, "errors")


@suite.test()
def a_share_of_failures_is_enough(lab):
    def every_other(wire, origin):
        while True:
            origin.requests.append(wire.request())
            wire.send(OK if len(origin.requests) % 2 else BROKEN)

    lab.reset(first=every_other)
    n = until_ejected(lab, "ratio", 0, 100)
    check(n >= 20, f"after {n} requests already")
    enable(lab, "ratio")


@suite.test()
def an_ejected_server_is_asked_when_all_others_fail(lab):
    lab.reset(first=hang_up)
    until_ejected(lab, "errors", 0)
    lab.reset(second=hang_up)
    equal([get(lab, "errors") for _ in range(4)], [200] * 4, "answers")
    enable(lab, "errors")


def healthz(status):
    """Answers checks with status[0], everything else with 200."""
    def handler(wire, origin):
        while True:
            request = wire.request()
            if b"/healthz" in request.start:
                wire.send(response(b"Content-Length: 0", status=status[0]))
            else:
                origin.requests.append(request)
                wire.send(OK)
    return handler


@suite.test()
def a_server_whose_checks_fail_gets_nothing_until_they_succeed(lab):
    status = [b"204 No Content"]
    first = Origin(lab.net.server, SERVER, 83, healthz(status))
    second = Origin(lab.net.server, SERVER, 84, healthz([b"204 No Content"]))
    until(lambda: [server(lab, "checked", i)["state"] for i in (0, 1)] == ["up"] * 2, 5, "up")
    until(lambda: [server(lab, "wants204", i)["state"] for i in (0, 1)] == ["up"] * 2, 5, "the wanted status")
    status[0] = b"200 OK"
    until(lambda: server(lab, "wants204", 0)["state"] == "down", 5, "another good one")
    status[0] = b"503 Service Unavailable"
    until(lambda: server(lab, "checked", 0)["state"] == "down", 5, "down")
    equal(server(lab, "checked", 0)["why"], "check got another status", "why")
    before = len(first.requests)
    equal([get(lab, "checked") for _ in range(6)], [200] * 6, "answers")
    equal(len(first.requests), before, "requests at the one that is down")
    status[0] = b"200 OK"
    until(lambda: server(lab, "checked", 0)["state"] == "up", 5, "up again")
    until(lambda: get(lab, "checked") == 200 and len(first.requests) > before, 5, "it serves")
    first.close()
    second.close()


@suite.test()
def the_log_names_the_upstream_and_the_server_that_answered(lab):
    lab.reset(first=hang_up)
    log = lab.sluice.log
    known = len(log.read_text().splitlines()) if log.exists() else 0
    equal(sorted(get(lab, "plain") for _ in range(2)), [200, 200], "answers, one after a retry")
    records = lab.sluice.log_records(known + 2)[known:]
    equal({(r["upstream_name"], r["server"], r["upstream"]) for r in records},
          {("plain", BOTH[1], BOTH[1])}, "names")


@suite.test()
def a_check_without_a_path_wants_a_connection(lab):
    def state():
        return next(s["state"] for s in lab.sluice.ask("servers")["servers"]
                    if s["server"] == f"{SERVER}:82")

    lab.reset()
    until(lambda: state() == "down", 5, "down")
    third = Origin(lab.net.server, SERVER, 82)
    until(lambda: state() == "up", 5, "up")
    third.close()
    until(lambda: state() == "down", 5, "down again")


@suite.test()
def checks_introduce_themselves_where_a_header_is_wanted(lab):
    headers = {"told1": b"PROXY UNKNOWN\r\n",
               "told2": b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"}

    def wants(header):
        def handler(wire, seen):
            seen.requests.append(wire.exactly(len(header)))
            if header == headers["told1"]:
                seen.requests.append(wire.request().start)
                wire.send(OK)
        return handler

    origins = {name: Origin(lab.net.server, SERVER, port, wants(headers[name]))
               for name, port in (("told1", 85), ("told2", 86))}
    for name, origin in origins.items():
        until(lambda: server_of(lab, name)["state"] == "up" and origin.requests, 5, f"{name} is up")
        equal(origin.requests[0], headers[name], "header")
    until(lambda: len(origins["told1"].requests) > 1, 5, "the check itself")
    check(b"/healthz" in origins["told1"].requests[1], "what it asks for")
    for origin in origins.values():
        origin.close()


def server_of(lab, upstream):
    return next(s for s in lab.sluice.ask("servers")["servers"] if s["upstream"] == upstream)


@suite.test()
def a_drained_server_gets_nothing_until_it_is_enabled(lab):
    lab.reset()
    done = lab.sluice.cli("drain", "server", f"plain/{BOTH[0]}")
    equal((done.returncode, done.stdout), (0, "drained\n"), "sluice drain server")
    equal([get(lab, "plain") for _ in range(4)], [200] * 4, "answers")
    equal(len(lab.origin.requests), 0, "requests at the drained server")
    lab.sluice.ask("drain-server", upstream="plain", server=BOTH[1])
    equal(get(lab, "plain"), 503, "status without any server")
    for address in BOTH:
        done = lab.sluice.cli("enable", "server", f"plain/{address}")
        equal((done.returncode, done.stdout), (0, "enabled\n"), "sluice enable server")
    equal([get(lab, "plain") for _ in range(4)], [200] * 4, "answers")
    equal(len(lab.origin.requests), 2, "requests at the first server")


@suite.test(timeout=40)
def servers_are_drained_and_enabled_under_load(lab):
    lab.reset()
    stop = []

    def client():
        n = 0
        with lab.sluice.connect() as wire:
            while not stop:
                equal(wire.send(ask(b"/", b"tight.test")).response().status, 200, "status")
                n += 1
        return n

    clients = [in_thread(client) for _ in range(6)]
    for turn in range(30):
        for i in (0, 1):
            for command in ("drain-server", "enable-server"):
                lab.sluice.ask(command, upstream="tight", server=BOTH[(turn + i) % 2])
    stop.append(True)
    check(min(c.join(20) for c in clients) > 0, "somebody was never answered")


@suite.test()
def operators_see_servers_and_why(lab):
    lab.reset(first=hang_up)
    until_ejected(lab, "app", 0)
    shown = lab.sluice.cli("servers")
    equal(shown.returncode, 0, "exit status")
    lines = [line.split() for line in shown.stdout.splitlines()]
    equal(lines[0][:3], ["UPSTREAM", "SERVER", "STATE"], "headings")
    equal(lines[1][:3], ["app", BOTH[0], "ejected"], "first server")
    equal(len(json.loads(lab.sluice.cli("servers", "--json").stdout)), 18, "servers as JSON")
    metrics = lab.sluice.http_get("/metrics").decode()
    check(f'sluice_server_up{{upstream="app",server="{BOTH[0]}"}} 0\n' in metrics, "metrics")
    for words in (["drain", "server", "app"], ["enable", "server"], ["enable", "app/x"]):
        equal(lab.sluice.cli(*words).returncode, 2, f"exit status of {words}")
    equal(lab.sluice.cli("drain", "server", "app/10.9.9.9:1").returncode, 1, "of an unknown server")
    enable(lab, "app")


suite.test()(nothing_is_left_behind)


if __name__ == "__main__":
    sys.exit(suite.main(lambda: Reverse(ROUTES, UPSTREAMS)))
