#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Servers that are found by name: addresses come and go in DNS, and no request notices."""

import sys
import threading

from lab import SERVER, Origin, Suite, check, equal, until
from lab.dns import AAAA, Dns
from lab.http import response
from lab.reverse import Reverse, ask
from lab.sluice import in_thread

suite = Suite()

HOSTS = [f"10.2.0.{n}" for n in (21, 22, 23)]
FAST = {"min": "30ms", "max": "60ms"}
CHECK = {"path": "/healthz", "interval": "30ms", "fall": 1, "rise": 1}
UPSTREAMS = [
    {"name": "app", "servers": ["app.internal:80"], "resolve": FAST},
    {"name": "one", "servers": ["one.internal:80"], "resolve": {**FAST, "addresses": "one"}},
    {"name": "hashed", "servers": ["hashed.internal:80", f"{HOSTS[2]}:80"], "resolve": FAST,
     "balance": "maglev", "key": "path"},
    {"name": "late", "servers": ["late.internal:80"], "resolve": FAST},
    {"name": "srv", "servers": [{"srv": "_http._tcp.srv.internal"}], "resolve": FAST},
    {"name": "checked", "servers": ["checked.internal:83"], "resolve": FAST, "health": CHECK},
    {"name": "many", "servers": ["many.internal:80"], "resolve": FAST},
    {"name": "slow", "servers": ["slow.internal:80"], "resolve": FAST},
]
ROUTES = [{"host": f"{u['name']}.test", "upstream": u["name"]} for u in UPSTREAMS]


class Discovering(Reverse):
    def __init__(self):
        self.names = {"app.internal": HOSTS[:1], "one.internal": HOSTS[:2],
                      "hashed.internal": HOSTS[:2], "checked.internal": HOSTS[:1],
                      "slow.internal": HOSTS[:1], "many.internal": HOSTS[:1]}
        super().__init__(ROUTES, UPSTREAMS, config={
            "resolver": {"servers": [f"{SERVER}:53"], "timeout": "300ms", "tries": 2}, "workers": 2},
            start=False)
        self.net.server.ip(*[f"addr add {a}/24 dev to-proxy" for a in HOSTS])
        self.dns = Dns(self.net.server, SERVER, self.names)
        self.origins = {a: Origin(self.net.server, a, 80, named(a)) for a in HOSTS}

    def __enter__(self):
        self.sluice.start()
        return self

    def servers(self, upstream, *states):
        """Addresses of the servers in one of the states; all but removed ones unless told."""
        states = states or ("up", "down", "ejected", "drained")
        return sorted(s["server"] for s in self.sluice.ask("servers")["servers"]
                      if s["upstream"] == upstream and s["state"] in states)

    def becomes(self, name, addresses, upstream=None, ports=(80,)):
        """The name gets addresses; waits until sluice has them."""
        self.names[f"{name}.internal"] = addresses
        wanted = sorted(f"{a}:{p}" for a in addresses for p in ports)
        until(lambda: self.servers(upstream or name) == wanted, 5, f"{name} is {wanted}")


def named(address):
    """Says which origin it is."""
    def handler(wire, origin):
        while True:
            request = wire.request()
            if not request.complete:
                return
            origin.requests.append(request)
            body = address.encode()
            wire.send(response(b"Content-Length: %d" % len(body), body=body))
    return handler


def get(lab, name, path=b"/"):
    with lab.sluice.connect() as client:
        got = client.send(ask(path, f"{name}.test".encode())).response()
        return got.body.decode() if got.status == 200 else got.status


class Clients:
    """Ask without a pause, over kept and over fresh connections, until stopped."""

    def __init__(self, lab, name, n=4):
        self.lab, self.name, self.stopped = lab, name, threading.Event()
        self.answers = []
        self.threads = [in_thread(self._run, i % 2) for i in range(n)]

    def _run(self, fresh):
        client = self.lab.sluice.connect()
        while not self.stopped.is_set():
            got = client.send(ask(b"/", f"{self.name}.test".encode())).response()
            self.answers.append(got.body.decode() if got.status == 200 else got.status)
            if fresh:
                client.close()
                client = self.lab.sluice.connect()
        client.close()

    def until_answer_of(self, address):
        n = len(self.answers)
        until(lambda: address in self.answers[n:], 5, f"an answer of {address}")

    def stop(self):
        self.stopped.set()
        for t in self.threads:
            t.join(10)
        bad = [a for a in self.answers if a not in HOSTS]
        check(self.answers and not bad, f"{len(bad)} of {len(self.answers)} failed: {bad[:5]}")


@suite.test(timeout=40)
def addresses_come_and_go_under_load_without_a_failed_request(lab):
    lab.becomes("app", HOSTS[:1])
    clients = Clients(lab, "app")
    for addresses in (HOSTS[:2], HOSTS[1:2], HOSTS[2:], HOSTS[:1], HOSTS, HOSTS[1:]) * 3:
        lab.becomes("app", addresses)
        for address in addresses:
            clients.until_answer_of(address)
    clients.stop()


@suite.test()
def a_removed_server_gets_nothing_and_its_idle_connections_end(lab):
    lab.becomes("app", HOSTS[:2])
    until(lambda: {get(lab, "app") for _ in range(2)} == set(HOSTS[:2]), 5, "both answer")
    lab.becomes("app", HOSTS[1:2])
    until(lambda: not lab.servers("app", "removed"), 5, "no connection is left")
    before = len(lab.origins[HOSTS[0]].requests)
    equal([get(lab, "app") for _ in range(6)], [HOSTS[1]] * 6, "answers")
    equal(len(lab.origins[HOSTS[0]].requests), before, "requests at the removed server")


@suite.test()
def a_busy_connection_to_a_removed_server_ends_its_work(lab):
    go = threading.Event()

    def slow(wire, origin):
        request = wire.request()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
        go.wait(15)
        wire.send(b"lf")
        origin.requests.append(request)
        wire.silent(0.2)

    lab.becomes("slow", HOSTS[:1])
    lab.origins[HOSTS[0]].handler = slow
    with lab.sluice.connect() as client:
        client.send(ask(b"/", b"slow.test"))
        client.until(b"ha")
        lab.becomes("slow", HOSTS[1:2])
        equal(lab.servers("slow", "removed"), [f"{HOSTS[0]}:80"], "shown while it is busy")
        equal(get(lab, "slow"), HOSTS[1], "the others' answer")
        go.set()
        equal(client.exactly(2), b"lf", "the rest")
        until(lambda: not lab.servers("slow", "removed"), 5, "it is gone")
    lab.origins[HOSTS[0]].handler = named(HOSTS[0])


@suite.test()
def failures_leave_the_last_good_answer(lab):
    lab.becomes("app", HOSTS[:2])
    for what in ("fail", "nx", "refused", "silent", "garbage", []):
        lab.names["app.internal"] = what
        asked = lab.dns.count("app.internal")
        until(lambda: lab.dns.count("app.internal") > asked + 4, 10, f"asked again after {what}")
        equal(lab.servers("app", "up"), [f"{a}:80" for a in HOSTS[:2]], f"servers after {what}")
        check(get(lab, "app") in HOSTS[:2], f"no answer after {what}")
    lab.becomes("app", HOSTS[2:])


@suite.test()
def a_family_that_fails_keeps_its_addresses(lab):
    """AAAA fails while A changes."""
    lab.becomes("app", HOSTS[:1])
    lab.dns.failing = {("app.internal", AAAA)}
    try:
        lab.becomes("app", HOSTS[1:2])
    finally:
        lab.dns.failing = set()


@suite.test()
def a_name_without_an_answer_at_the_start_is_down_until_there_is_one(lab):
    def late():
        return [(s["server"], s["state"], s["why"]) for s in lab.sluice.ask("servers")["servers"]
                if s["upstream"] == "late"]

    until(lambda: late() == [("late.internal:80", "down", "dns-no-name")], 5, "down, and why")
    equal(get(lab, "late"), 503, "status")
    lab.becomes("late", HOSTS[:1])
    equal(get(lab, "late"), HOSTS[0], "answer")


@suite.test()
def srv_records_give_ports_weights_and_backups(lab):
    second = Origin(lab.net.server, HOSTS[1], 8080, named("second"))
    until(lambda: lab.servers("srv") == ["_http._tcp.srv.internal"], 5, "down at first")
    lab.names["a.internal"], lab.names["b.internal"] = HOSTS[:1], HOSTS[1:2]
    lab.names["_http._tcp.srv.internal"] = [(10, 3, 80, "a.internal"), (10, 1, 8080, "b.internal"),
                                            (20, 9, 80, "b.internal"), (10, 1, 80, ".")]
    wanted = {f"{HOSTS[0]}:80": (3, False, "a.internal:80"),
              f"{HOSTS[1]}:8080": (1, False, "b.internal:8080"),
              f"{HOSTS[1]}:80": (9, True, "b.internal:80")}
    until(lambda: {s["server"]: (s["weight"], s["backup"], s["found_as"])
                   for s in lab.sluice.ask("servers")["servers"] if s["upstream"] == "srv"} == wanted,
          5, "three servers")
    seen = [get(lab, "srv") for _ in range(16)]
    check({seen.count(HOSTS[0]), seen.count("second")} <= {10, 11, 12, 13, 3, 4, 5, 6}, f"{seen}")
    check(HOSTS[1] not in seen, "the backup was asked")
    lab.names["_http._tcp.srv.internal"] = [(20, 9, 80, "b.internal")]
    until(lambda: lab.servers("srv") == [f"{HOSTS[1]}:80"], 5, "one server")
    equal(get(lab, "srv"), HOSTS[1], "answer of what is no backup any more")
    second.close()


@suite.test()
def a_hashed_key_keeps_its_server_when_others_come_and_go(lab):
    def mapping():
        return {n: get(lab, "hashed", b"/%d" % n) for n in range(30)}

    until(lambda: len(lab.servers("hashed")) == 3, 5, "three servers")
    before = mapping()
    equal(set(before.values()), set(HOSTS), "servers of the keys")
    lab.names["hashed.internal"] = HOSTS[:1]
    until(lambda: len(lab.servers("hashed")) == 2, 5, "two servers")
    fewer = mapping()
    moved = [n for n in before if before[n] != fewer[n] and before[n] != HOSTS[1]]
    check(len(moved) <= 3, f"keys that moved without need: {moved}")
    lab.names["hashed.internal"] = HOSTS[:2]
    until(lambda: len(lab.servers("hashed")) == 3, 5, "three servers again")
    equal(mapping(), before, "keys' servers")


@suite.test()
def an_address_that_is_configured_and_found_is_one_server(lab):
    lab.names["hashed.internal"] = HOSTS
    until(lambda: len(lab.servers("hashed")) == 3, 5, "three servers")
    lab.names["hashed.internal"] = HOSTS[:2]
    asked = lab.dns.count("hashed.internal")
    until(lambda: lab.dns.count("hashed.internal") > asked + 4, 5, "asked again")
    equal(len(lab.servers("hashed")), 3, "servers: a configured address stays")


@suite.test()
def found_servers_are_checked_by_the_name_they_were_found_by(lab):
    status = [b"200 OK"]
    hosts = []

    def healthz(wire, origin):
        request = wire.request()
        hosts.append(request.get("host"))
        wire.send(response(b"Content-Length: 0", b"Connection: close", status=status[0]))

    origins = [Origin(lab.net.server, a, 83, healthz) for a in HOSTS[:2]]
    until(lambda: hosts, 5, "a check")
    equal(hosts[0], "checked.internal:83", "Host")
    status[0] = b"500 Ill"
    until(lambda: lab.servers("checked", "down") == [f"{HOSTS[0]}:83"], 5, "down")
    lab.becomes("checked", HOSTS[:2], ports=(83,))
    until(lambda: len(lab.servers("checked", "down")) == 2, 5, "the new one is down, too")
    status[0] = b"200 OK"
    until(lambda: len(lab.servers("checked", "up")) == 2, 5, "up")
    lab.becomes("checked", HOSTS[1:2], ports=(83,))
    seen = origins[0].accepted
    n = origins[1].accepted
    until(lambda: origins[1].accepted > n + 3, 5, "checks of the one that stays")
    check(origins[0].accepted <= seen + 1, "the removed one is still checked")
    for o in origins:
        o.close()


@suite.test()
def a_name_may_be_one_server(lab):
    equal(lab.servers("one"), ["one.internal:80"], "servers")
    check(get(lab, "one") in HOSTS[:2], "no answer")


@suite.test()
def an_answer_of_very_many_addresses_is_cut(lab):
    lab.names["many.internal"] = [f"10.2.0.{n}" for n in range(21, 46)]
    until(lambda: len(lab.servers("many")) == 16, 5, "sixteen servers")
    check(get(lab, "many") in HOSTS, "no answer")
    lab.becomes("many", HOSTS[:1])


@suite.test()
def operators_see_where_servers_come_from_and_drain_them(lab):
    lab.becomes("app", HOSTS[:2])
    shown = lab.sluice.cli("servers").stdout
    check(f"{HOSTS[0]}:80" in shown and "app.internal:80" in shown, shown)
    equal(lab.sluice.cli("drain", "server", f"app/{HOSTS[0]}:80").returncode, 0, "exit status")
    equal([get(lab, "app") for _ in range(4)], [HOSTS[1]] * 4, "answers")
    lab.sluice.cli("enable", "server", f"app/{HOSTS[0]}:80")
    check(f'sluice_server_up{{upstream="app",server="{HOSTS[0]}:80"}} 1' in
          lab.sluice.http_get("/metrics").decode(), "metrics")


@suite.test()
def nothing_is_left_behind(lab):
    lab.sluice.settles()
    lab.sluice.healthy()


if __name__ == "__main__":
    sys.exit(suite.main(Discovering))
