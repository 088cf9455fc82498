#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the access log tells of a request: where its time went, in whole and in parts; which requests are
in it; the binary format and its reader."""

import json
import re
import sys
import time
from pathlib import Path

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


@suite.test()
def every_key_is_documented_and_every_documented_one_is_there(lab):
    lab.reset()
    lab.get(b"/keys", b"app.test")
    text = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
    table = text.split("| key | meaning |", 1)[1].split("\n\n", 1)[0]
    names = re.findall(r"`(\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines()[2:]))
    equal(sorted(lab.record(b"/keys")), sorted(names), "keys")


# --- which records, and the binary format ---

def log_to(lab, **keys):
    """The same sluice with another access log."""
    lab.sluice.stop()
    lab.sluice.log.unlink(missing_ok=True)
    lab.sluice.config["access_log"] = {"path": str(lab.sluice.log), **keys}
    lab.sluice.start()
    lab.reset(first=by_path)


def by_path(wire, origin):
    while (request := wire.request()).complete:
        origin.requests.append(request)
        if b"/slow" in request.start:
            time.sleep(SLOW)
        if b"/cut" in request.start:
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
            return
        wire.send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" if b"/error" in request.start else OK)


def ask_all(lab):
    for path in (b"/good", b"/slow", b"/error", b"/none"):
        lab.get(path, b"unknown.test" if path == b"/none" else b"app.test")
    with lab.sluice.connect() as wire:
        wire.send(ask(b"/cut", b"app.test"))
        wire.sock.settimeout(10)
        try:
            while wire.sock.recv(4096):
                pass
        except ConnectionResetError:
            pass


def cat(lab, *arguments, status=0, stdin=None):
    done = lab.net.proxy.run(lab.sluice.binary, "log", "cat", *arguments, stdin=stdin, text=True)
    equal(done.returncode, status, f"exit status of log cat {arguments}: {done.stderr}")
    return done


def targets(text):
    return sorted(json.loads(line)["target"] for line in text.splitlines())


@suite.test()
def errors_and_slow_requests_are_logged_whatever_is_sampled(lab):
    log_to(lab, format="json", sample=0, always={"errors": True, "slower": "100ms"})
    ask_all(lab)
    lab.sluice.stop()
    equal(targets(lab.sluice.log.read_text()), ["/cut", "/error", "/slow"], "records")
    lab.sluice.start()


@suite.test()
def a_binary_log_tells_what_the_json_one_would(lab):
    log_to(lab, format="binary")
    ask_all(lab)
    lab.sluice.stop()
    log = lab.sluice.log
    every = ["/cut", "/error", "/good", "/none", "/slow"]
    text = cat(lab, log).stdout
    equal(targets(text), every, "records")
    check(log.stat().st_size * 2 < len(text), f"{log.stat().st_size} bytes of {len(text)}")
    for filters, wanted in ((["--status", "5xx"], ["/error"]), (["--status", "404,500-503"], ["/error", "/none"]),
                            (["--host", "app.test"], ["/cut", "/error", "/good", "/slow"]),
                            (["--host", "*.test", "--slower", "100ms"], ["/slow"]),
                            (["--failed"], ["/cut", "/error"]), (["--since", "1h"], every),
                            (["--until", "1h"], []), (["--until", "2020-01-01T00:00:00Z"], []),
                            (["--since", "2020-01-01T00:00:00Z", "--status", "200"], ["/cut", "/good", "/slow"])):
        equal(targets(cat(lab, *filters, log).stdout), wanted, f"records by {filters}")
    clf = cat(lab, "--format", "clf", "--status", "404", log).stdout
    check(clf.startswith("10.1.0.2 - - [") and '"GET /none HTTP/1.1" 404 ' in clf, clf)
    with open(log, "rb") as f:
        equal(targets(cat(lab, "-", stdin=f).stdout), every, "records by standard input")
    lab.sluice.start()


@suite.test()
def damage_is_told_and_what_is_whole_is_shown(lab):
    log_to(lab, format="binary")
    ask_all(lab)
    lab.sluice.stop()
    log, cut = lab.sluice.log, lab.sluice.dir / "cut.log"
    cut.write_bytes(log.read_bytes()[:-3])
    done = cat(lab, cut, status=1)
    equal(len(targets(done.stdout)), 4, "records before the end")
    check("ends in the middle of a record" in done.stderr and "cut.log: byte " in done.stderr, done.stderr)
    lab.sluice.start()  # appends, as after a crash
    lab.get(b"/later", b"app.test")
    lab.sluice.stop()
    cut.write_bytes(cut.read_bytes() + log.read_bytes()[log.read_bytes().rindex(b"SLUICELG"):])
    done = cat(lab, cut, log, status=1)
    equal(len(targets(done.stdout)), 5 + 6, "records before and behind")
    done = cat(lab, __file__, status=1)
    check("not a binary access log" in done.stderr and not done.stdout, done.stderr)
    for wrong in (["--status", "6xx", log], ["--since", "soon", log], ["--format", "xml", log], []):
        check(cat(lab, *wrong, status=2).stderr, "it says what is wrong")
    check("No such file" in cat(lab, "/nowhere", status=1).stderr, "a file that is not there")
    lab.sluice.start()


# --- traces ---

ID, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def trace_by(lab, mode, **keys):
    lab.sluice.config["listeners"][0].update({"trace": mode, **keys})
    log_to(lab, format="json", sample=0, always={"sampled": True})


@suite.test()
def a_trace_goes_on_and_is_in_the_log(lab):
    trace_by(lab, "pass")
    parent = f"00-{ID}-{PARENT}-01"
    lab.get(b"/traced", b"app.test", f"traceparent: {parent}".encode(), b"tracestate: a=1")
    lab.get(b"/unsampled", b"app.test", f"traceparent: 00-{ID}-{PARENT}-00".encode())
    lab.get(b"/bad", b"app.test", b"traceparent: 00-x", b"tracestate: a=1")
    first, second, third = lab.origin.requests
    equal((first.get("traceparent"), first.get("tracestate")), (parent, "a=1"), "what went on")
    equal(second.get("traceparent"), f"00-{ID}-{PARENT}-00", "unsampled")
    equal((third.get("traceparent"), third.get("tracestate")), (None, None), "what was malformed")
    lab.sluice.stop()
    (r,) = [json.loads(line) for line in lab.sluice.log.read_text().splitlines()]
    equal((r["target"], r["trace_id"], r["span_id"]), ("/traced", ID, PARENT), "the only sampled one")
    lab.sluice.start()


@suite.test()
def who_has_no_trace_gets_one(lab):
    trace_by(lab, "make")
    lab.get(b"/new", b"app.test", b"tracestate: a=1")
    lab.get(b"/none", b"unknown.test")
    (request,) = lab.origin.requests
    version, trace, span, flags = request.get("traceparent").split("-")
    equal((version, len(trace), len(span), flags), ("00", 32, 16, "01"), "what was made")
    equal(request.get("tracestate"), None, "of no trace")
    lab.sluice.stop()
    records = [json.loads(line) for line in lab.sluice.log.read_text().splitlines()]
    equal([r["target"] for r in records], ["/new", "/none"], "records, of refused ones, too")
    equal((records[0]["trace_id"], records[0]["span_id"]), (trace, span), "in the log")
    check(records[1]["trace_id"] != trace, "a trace each")
    lab.sluice.start()


if __name__ == "__main__":
    sys.exit(suite.main(Records))
