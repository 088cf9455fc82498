#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the benchmarks measure with (tests/bench) is worth trusting: the load generator's figures agree
with what others counted, and failures are told, not hidden. No speed is judged here."""

import json
import signal
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "bench"))

import plot  # noqa: E402
import report  # noqa: E402
from contenders import SLUICE, make  # noqa: E402
from field import PROXY, PROXY_PORT, Field, LoadFailed  # noqa: E402
from logins import AT, LOGIN  # noqa: E402
from lab import SERVER, Skip, Suite, check, equal, until  # noqa: E402
from lab.sluice import binary  # noqa: E402

suite = Suite()
DIRECT = f"{SERVER}:9000"
THROUGH = f"{PROXY}:{PROXY_PORT}"
SHORT = ("--warm", 50, "--settle", 10)


class BenchLab:
    def __init__(self):
        self.tools = Path(binary(release=True)).resolve().parents[2] / "tests" / "bench"
        if not (self.tools / "bench-load").exists():
            raise Skip(f"the load generator isn't built: {self.tools}")
        self.where = tempfile.TemporaryDirectory(prefix="sluice-e2e-")
        self.field = Field(self.tools, 1, forward=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.field.close()
        self.where.cleanup()

    def sluice(self, **options):
        contender = make(SLUICE["copy"])
        contender.begin(self.tools, self.where.name, 1, **options)
        return contender

    def relay(self, how):
        child = self.field.start(self.field.net.proxy, self.tools / "bench-relay", how, PROXY,
                                 PROXY_PORT, SERVER, 9000, 1)
        self.field.wait_for_port(self.field.net.client, PROXY, PROXY_PORT)
        return child


def load(field, *arguments, wanted=("done",), **options):
    """A short run; a longer one where the machine was too busy to get anything done."""
    for seconds in (0.3, 2, 8):
        got = field.load(*arguments, "--seconds", seconds, *SHORT, **options)
        if all(got[key] for key in wanted):
            break
    return got


def received(net):
    text = net.client.run("cat", "/proc/net/dev").stdout.decode()
    line = next(li for li in text.splitlines() if "to-proxy" in li)
    return int(line.split(":")[1].split()[0])


@suite.test(timeout=60)
def bulk_that_is_reported_went_over_the_wire(lab):
    before = received(lab.field.net)
    got = load(lab.field, "bulk", DIRECT, "--connections", 2, wanted=("bytes",))
    wire = received(lab.field.net) - before
    check(0 < got["bytes"] <= wire, lambda: f"{got} on a wire that saw {wire}")
    equal((got["errors"], got["refused"]), (0, 0), "errors, refused")


@suite.test(timeout=120)
def every_kind_of_load_works_directly_and_through_both_relays(lab):
    for how in (None, "splice", "copy"):
        child = how and lab.relay(how)
        to = THROUGH if how else DIRECT
        for kind, more in (("bulk", ()), ("rtt", ("--connections", 3)), ("tunnels", ()),
                           ("http", ("--url", "/16384", "--connections", 2))):
            counted = "bytes" if kind == "bulk" else "done"
            got = load(lab.field, kind, to, *more, wanted=(counted,))
            check(got[counted] > 0, lambda: f"{how} {kind}: {got}")
            equal(got["errors"], 0, f"{how} {kind}: errors")
            if kind != "bulk":
                check(0 < got["p50_us"] <= got["p99_us"] <= got["p999_us"], lambda: f"{got}")
        if child:
            child.kill()
            child.wait()


@suite.test(timeout=60)
def as_many_requests_are_reported_as_sluice_counts(lab):
    sluice = lab.sluice()
    try:
        got = load(sluice.field, "http", THROUGH, "--url", f"http://{DIRECT}/12", "--connections", 4,
                   pids=sluice.pids())
        counted = sluice.sluice.stats()["requests_total"]
        check(0 < got["done"] <= counted, lambda: f"{counted} counted, {got}")
        check(len(got["process_s"]) == len(sluice.pids()), lambda: f"{got}")
    finally:
        sluice.end()


@suite.test(timeout=60)
def refusals_are_counted_apart(lab):
    sluice = lab.sluice(sluice={"limits": {"connections": 2}})
    try:
        got = load(sluice.field, "http", THROUGH, "--url", f"http://{DIRECT}/12", "--connections", 6,
                   wanted=("done", "refused"))
        check(got["done"] > 0 and got["refused"] > 0, lambda: f"{got}")
        equal(got["errors"], 0, "errors")
    finally:
        sluice.end()


@suite.test(timeout=60)
def at_a_rate_a_pause_delays_all_who_were_due_in_it(lab):
    def rest():
        lab.field.origin.send_signal(signal.SIGSTOP)
        threading.Timer(1.6, lab.field.origin.send_signal, [signal.SIGCONT]).start()
    load(lab.field, "http", DIRECT, "--url", "/12")
    got = {}
    for name, more in (("closed", ()), ("open", ("--rate", 500))):
        threading.Timer(0.5, rest).start()
        got[name] = lab.field.load("http", DIRECT, "--url", "/12", "--connections", 4, "--seconds", 2.5,
                                   *SHORT, *more)
    check(got["open"]["p50_us"] > 100000, lambda: f"at a rate: {got['open']}")
    check(got["closed"]["p50_us"] < 50000, lambda: f"one after the other: {got['closed']}")
    check(got["open"]["done"] <= 500 * 2.6 + 4, lambda: f"more than were due: {got['open']}")


@suite.test(timeout=60)
def what_is_due_and_never_begins_is_told(lab):
    lab.field.origin.send_signal(signal.SIGSTOP)
    try:
        got = lab.field.load("http", DIRECT, "--url", "/12", "--connections", 4, "--rate", 1000,
                             "--seconds", 0.5, *SHORT)
    finally:
        lab.field.origin.send_signal(signal.SIGCONT)
    equal(got["done"], 0, "answered")
    check(got["overdue"] > 400, lambda: f"{got}")


@suite.test(timeout=60)
def passwords_are_judged_one_by_one(lab):
    sluice = make(LOGIN[0])
    sluice.begin(lab.tools, lab.where.name, 1)
    try:
        got = load(sluice.field, "http", AT, "--url", f"http://{DIRECT}/12", "--login")
        stats = sluice.sluice.stats()
        check(0 < got["done"] <= stats["responses_4xx_total"], lambda: f"{got} {stats}")
        equal((got["errors"], got["refused"]), (0, 0), "errors, refused")
        check(got["p50_us"] > 300, lambda: f"no hash is so quick: {got}")
    finally:
        sluice.end()


@suite.test(timeout=40)
def who_stalls_takes_no_byte_of_the_answer(lab):
    child, ready = lab.field.hold(DIRECT, "--url", "/1048576", "--stall", "--connections", 3)
    equal(ready, 3, "open")

    def unread():
        rows = lab.field.net.client.run("ss", "-tnH", "state", "established").stdout.decode()
        return [int(row.split()[0]) for row in rows.splitlines() if ":9000" in row]
    until(lambda: len(unread()) == 3 and min(unread()) > 10000, 10, "answers that nobody reads")
    child.stdin.close()
    equal(child.wait(10), 0, "exit status")


@suite.test(timeout=40)
def what_cannot_be_reached_is_an_error_and_no_figure(lab):
    for options in ((f"{SERVER}:9",), (DIRECT, "--ask", "10.2.0.2:9")):
        try:
            got = lab.field.load("rtt", *options, "--patience", 500, "--seconds", 0.1)
        except LoadFailed:
            continue
        raise AssertionError(f"{options}: {got}")


@suite.test()
def held_connections_stay_until_they_are_let_go(lab):
    child, ready = lab.field.hold(DIRECT, "--connections", 50)
    equal(ready, 50, "open")

    def established():
        text = lab.field.net.client.run("ss", "-tnH", "state", "established").stdout.decode()
        return text.count(":9000")
    equal(established(), 50, "established")
    child.stdin.close()
    equal(child.wait(10), 0, "exit status")
    equal(established(), 0, "established afterwards")


@suite.test()
def a_result_becomes_a_table_and_a_picture(lab):
    section = {"title": "T", "note": "N", "ratio": True,
               "columns": [["rate", "requests", "1/s", "more"]],
               "rows": [{"name": "routed", "note": "", "reason": None,
                         "runs": [{"rate": 100}, {"rate": 300}, {"rate": 200}]},
                        {"name": "sluice <x>", "note": "n", "reason": None, "runs": [{"rate": 50}]},
                        {"name": "gone", "note": "", "reason": "not installed", "runs": []}]}
    lines = report.table(section)
    equal(lines[2], "| routed | **200** (100 – 300) | 1.00 |", "the first row")
    equal(lines[3], "| sluice <x> <br> <sub>n</sub> | 50.0 | 0.25 |", "the second row")
    equal(lines[4], "| gone | not installed |  |", "the third row")
    (svg,) = report.pictures({"suite": "s", "sections": [section]}).values()
    check("sluice &lt;x&gt;" in svg and svg.count("<rect") == 3, lambda: svg)
    equal(plot.number(12345), "12,345", "a large number")
    old = f"intro\n\n{report.BEGIN}\nold"
    check(report.document(old, [], "f").startswith("intro\n\n" + report.BEGIN), "the head stays")
    json.dumps(section)


def judged(better, **runs):
    """Values by rounds; None where a round failed."""
    rows = [{"name": f"sluice {name}",
             "runs": [{"round": n, "x": v} for n, v in enumerate(values) if v is not None]}
            for name, values in runs.items()]
    return report.judgement({"columns": [("x", "x", "x", better)], "judged": "x",
                             "rows": [{"name": "squid", "runs": [{"round": 0, "x": 5000}]}, *rows]})


@suite.test()
def auto_is_judged_by_the_best_single_engine(_):
    equal(judged("more", copy=[1]), "", "without auto")
    equal(judged("more", auto=[1]), "", "without another")
    equal(judged("more", auto=[], copy=[1]), "", "auto did not run")
    for better, auto, copy, packet, outcome in (
            ("more", [9, 11, 11, 11, 11], [5, 6, 7, 6, 5], [12, 11, 12, 12, 12], "as good"),
            ("more", [9, None, 11, 11, 11, 11], [5, 6, 7, 5, 5, 5], [8, 12, 13, 12, 12, 12], "as good"),
            ("more", [None, 11, 11, 11, 11, 11], [5, 6, 7, 5, 5, 5], [8, 12, 13, 12, 12, 12], "behind"),
            ("more", [8, 8, 9, 8, 8], [5, 6, 7, 5, 5], [10, 11, 12, 10, 10], "behind"),
            ("more", [20, 21, 20, 20, 20], [5, 6, 5, 5, 5], [10, 11, 10, 10, 10], "as good"),
            ("less", [8, 8, 9, 8, 8], [5, 6, 7, 5, 5], [10, 11, 12, 10, 10], "behind"),
            ("less", [4, 4, 4, 4, 4], [5, 6, 7, 5, 5], [10, 11, 12, 10, 10], "as good"),
            ("more", [8, 8, 9, 8], [5, 6, 7, 5], [10, 11, 12, 10], "can't be judged"),
            ("less", [4], [5], [10], "can't be judged")):
        said = judged(better, auto=auto, copy=copy, packet=packet)
        best = "packet" if better == "more" else "copy"
        check(outcome in said and best in said, lambda: f"{better} {auto}: {said}")


if __name__ == "__main__":
    sys.exit(suite.main(BenchLab))
