#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Limits of requests: by source and by route, in a second and at once. A slow machine sees more requests
allowed, never fewer."""

import sys

from lab import CLIENT, PROXY_C, SERVER, Ended, Suite, Wire, answers, equal, until
from lab.origin import OK
from lab.reverse import Reverse, ask
from lab.sluice import in_thread

suite = Suite()

SLOW = {"rate": 1, "burst": 3}
ROUTES = [
    {"host": "source.test", "upstream": "app", "limits": {"requests_per_source": {"rate": 1, "burst": 2}}},
    {"host": "all.test", "upstream": "app", "limits": {"requests": {"rate": 1, "burst": 2}}},
    {"host": "busy.test", "upstream": "app", "limits": {"concurrent": 1}},
    {"host": "fixed.test", "respond": {"status": 200},
     "limits": {"requests_per_source": {"rate": 1, "burst": 2}, "concurrent": 1}},
    {"host": "free.test", "upstream": "app", "limits": {"requests": {"rate": 1000000}}},
    {"upstream": "app"},
]


class Limited(Reverse):
    def __init__(self):
        super().__init__(ROUTES, [{"name": "app", "servers": [f"{SERVER}:80"]}])

    def again(self):
        """A sluice that has forgotten all rates."""
        self.origin.reset(answers(OK))
        self.sluice.stop()
        self.sluice.start()

    def statuses(self, host, n, ns=None, address=PROXY_C):
        with Wire((ns or self.net.client).connect(address, 3128)) as wire:
            return [wire.send(ask(b"/", host)).response().status for _ in range(n)]


@suite.test()
def a_source_has_its_rate(lab):
    lab.again()
    before = lab.sluice.stats()["requests_rate_total"]
    got = lab.statuses(b"source.test", 6)
    equal(got[:2], [200, 200], "within the burst")
    equal(429 in got, True, f"beyond it: {got}")
    equal(lab.statuses(b"source.test", 1, lab.net.server, "10.2.0.1"), [200], "another source")
    equal(lab.statuses(b"free.test", 20), [200] * 20, "another route")
    equal(lab.sluice.stats()["requests_rate_total"] - before, got.count(429), "counted")


@suite.test()
def a_refusal_says_when_to_come_back(lab):
    lab.again()
    with lab.sluice.connect() as wire:
        for _ in range(5):
            response = wire.send(ask(b"/", b"source.test")).response()
            if response.status == 429:
                break
        equal((response.status, response.get("Retry-After")), (429, "1"), "status and Retry-After")
        equal(wire.send(ask(b"/", b"free.test")).response().status, 200, "the connection goes on")
    until(lambda: "rate-limit" in [r["reason"] for r in lab.sluice.log_records()], 5, "its log record")


@suite.test()
def a_route_has_its_rate_whoever_asks(lab):
    lab.again()
    got = lab.statuses(b"all.test", 2) + lab.statuses(b"all.test", 3, lab.net.server, "10.2.0.1")
    equal(got[:2], [200, 200], "within the burst")
    equal(429 in got, True, f"beyond it: {got}")


@suite.test()
def a_route_has_its_number_at_once(lab):
    lab.again()
    with lab.sluice.connect() as first, lab.sluice.connect() as second:
        first.send(ask(b"/", b"busy.test", b"Content-Length: 5", method=b"POST"))
        until(lambda: lab.origin.accepted, 5, "the first is on its way")
        equal(second.send(ask(b"/", b"busy.test")).response().status, 503, "the second")
        equal(second.send(ask(b"/", b"free.test")).response().status, 200, "another route")
        equal(first.send(b"hello").response().status, 200, "the first")
        until(lambda: second.send(ask(b"/", b"busy.test")).response().status == 200, 5, "room again")
    equal(lab.sluice.stats()["requests_concurrent_total"] >= 1, True, "counted")


@suite.test()
def an_answer_of_sluices_own_counts_and_ends(lab):
    lab.again()
    got = lab.statuses(b"fixed.test", 5)
    equal(got[:2], [200, 200], "one after another, within the burst")
    equal(503 in got, False, f"none is left in progress: {got}")
    equal(429 in got, True, f"beyond the burst: {got}")


@suite.test()
def listeners_of_every_mode_have_a_rate_by_source(lab):
    lab.sluice.stop()
    limits = {"requests_per_source": SLOW}
    config = dict(lab.sluice.config)
    lab.sluice.config["listeners"] = [
        config["listeners"][0],
        {"name": "forward", "listen": "0.0.0.0:4001", "mode": "forward", "limits": limits},
        {"name": "tcp", "listen": "0.0.0.0:4002", "mode": "tcp", "upstream": "app", "limits": limits},
        {"name": "proxied", "listen": "0.0.0.0:4003", "mode": "http", "upstream": "app", "limits": limits,
         "proxy_from": CLIENT},
    ]
    lab.sluice.start()
    lab.origin.reset(answers(OK))
    with Wire(lab.net.client.connect(PROXY_C, 4001)) as wire:
        url = f"http://{SERVER}/".encode()
        got = [wire.send(ask(url, SERVER.encode())).response().status for _ in range(7)]
        equal((got[:3], 429 in got), ([200] * 3, True), f"forward: {got}")
    ends = []
    for _ in range(7):
        try:
            with Wire(lab.net.client.connect(PROXY_C, 4002)) as wire:
                ends.append(wire.send(ask()).response().status)
        except (ConnectionResetError, BrokenPipeError):
            ends.append("rst")
        except Ended as e:
            ends.append(e.how)
    equal((ends[:3], "rst" in ends), ([200] * 3, True), f"tcp: {ends}")
    for last in range(1, 9):  # each client of its own
        with Wire(lab.net.client.connect(PROXY_C, 4003)) as wire:
            wire.send(b"PROXY TCP4 192.0.2.%d 10.9.9.9 1234 80\r\n" % last + ask())
            equal(wire.response().status, 200, f"client {last} behind a PROXY header")


@suite.test(timeout=30)
def many_workers_share_a_rate(lab):
    lab.sluice.stop()
    lab.sluice.config["workers"] = 2
    lab.sluice.start()
    lab.origin.reset(answers(OK))
    threads = [in_thread(lab.statuses, b"all.test", 5) for _ in range(8)]
    got = sum((t.join(20) for t in threads), [])
    equal(2 <= got.count(200) < 40, True, f"200s of 40: {got.count(200)}")


if __name__ == "__main__":
    sys.exit(suite.main(Limited))
