#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the access log tells of a request: where its time went, in whole and in parts."""

import sys
import time

from lab import SERVER, Suite, answers, check, equal, until
from lab.origin import OK
from lab.reverse import Reverse, ask
from lab.sluice import in_thread

suite = Suite()

# Seconds that an origin takes.
SLOW = 0.15
UPSTREAMS = [
    {"name": "app", "servers": [f"{SERVER}:80"]},
    {"name": "one", "servers": [f"{SERVER}:80"], "pool": {"max": 1, "queue_timeout": "20s"}},
    {"name": "far", "servers": ["10.2.0.77:80"]},
]
ROUTES = [{"host": f"{u['name']}.test", "upstream": u["name"]} for u in UPSTREAMS]
PARTS = ("queue_us", "connect_us", "first_byte_us")


class Records(Reverse):
    def __init__(self):
        super().__init__(ROUTES, UPSTREAMS, {"timeouts": {"connect": "300ms"}})

    def get(self, path, host, *lines):
        with self.sluice.connect(20) as wire:
            return wire.send(ask(path, host, *lines)).response()

    def record(self, path):
        def found():
            return [r for r in self.sluice.log_records(1) if r["target"] == path.decode()]
        (record,) = until(found, what=f"the record of {path}")
        return record


def slow(request):
    time.sleep(SLOW)
    return OK


def us(seconds):
    return seconds * 1_000_000


@suite.test()
def the_wait_for_a_response_is_first_byte(lab):
    lab.reset(first=answers(slow))
    equal(lab.get(b"/slow", b"app.test").status, 200, "status")
    r = lab.record(b"/slow")
    check(r["first_byte_us"] >= us(SLOW), f"first byte: {r}")
    check(r["connect_us"] < r["first_byte_us"] and r["queue_us"] == 0, f"other parts: {r}")
    check(sum(r[p] for p in PARTS) <= r["duration_us"], f"the parts are more than the whole: {r}")
    equal((r["host"], r["upstream_name"], r["server"]), ("app.test", "app", f"{SERVER}:80"), "names")


@suite.test()
def the_wait_for_a_connection_is_queue(lab):
    lab.reset(first=answers(slow))
    first = in_thread(lab.get, b"/first", b"one.test")
    until(lambda: lab.origin.accepted == 1, what="the first holds the connection")
    second = in_thread(lab.get, b"/second", b"one.test")
    until(lambda: lab.sluice.stats()["upstream_waiting"] == 1 or not second.is_alive(),
          what="the second waits")
    equal([first.join(20).status, second.join(20).status], [200, 200], "statuses")
    r = lab.record(b"/second")
    check(r["queue_us"] > 0 and r["first_byte_us"] >= us(SLOW), f"parts: {r}")
    check(sum(r[p] for p in PARTS) <= r["duration_us"], f"the parts are more than the whole: {r}")
    equal(lab.record(b"/first")["queue_us"], 0, "queue of the first")
    check(lab.sluice.stats()["queue_wait"]["count"] >= 1, "the histogram")


@suite.test()
def the_wait_for_a_server_that_does_not_answer_is_connect(lab):
    lab.reset()
    lab.net.proxy.ip("neigh add 10.2.0.77 lladdr 02:00:00:00:00:77 dev to-server")  # nobody's
    equal(lab.get(b"/far", b"far.test").status, 504, "status")
    r = lab.record(b"/far")
    check(r["connect_us"] >= us(0.3), f"connect: {r}")
    equal((r["reason"], r["first_byte_us"]), ("connect-timeout", 0), "why")


@suite.test()
def an_answer_of_our_own_took_no_upstream_time(lab):
    lab.reset()
    equal(lab.get(b"/none", b"unknown.test").status, 404, "status")
    r = lab.record(b"/none")
    equal([r[p] for p in PARTS], [0, 0, 0], "parts")
    equal(r["reason"], "no-route", "why")


if __name__ == "__main__":
    sys.exit(suite.main(Records))
