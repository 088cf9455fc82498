# SPDX-License-Identifier: BSD-2-Clause
"""What the suites are made of: sections, the effort of a run, and one run of the load generator.

A section is one table and one picture: contenders, a way to measure one of them once, and the columns
that come out. A column is (key, title, unit, better): better is "more" or "less". The first one is
drawn."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from field import LoadFailed


@dataclass
class Effort:
    """How long a run takes: rounds, counted seconds of a measurement, and what goes before."""
    rounds: int = 5
    seconds: float = 4
    warm_ms: int = 500
    settle_ms: int = 400
    quick: bool = False


@dataclass
class Section:
    title: str
    note: str
    contenders: list
    columns: list
    measure: object  # (contender, effort) -> {column: value}
    prepare: object = None  # (contender): before each measurement
    options: dict = field(default_factory=dict)
    ratio: bool = True  # a column that compares the first one with the first row
    judged: str = ""  # the column by which auto is compared with its engines


def timing(effort):
    return ("--seconds", effort.seconds, "--warm", effort.warm_ms, "--settle", effort.settle_ms)


def loaded(contender, kind, effort, *options, tunnel=True, spliced=0, errors=None):
    """One run of the load generator, with what each kind of run tells. errors: so many are no failure."""
    to = contender.tunnel() if tunnel else (contender.to,)
    threads = ("--threads", contender.field.threads)
    got = contender.field.load(kind, *to, *threads, *options, *timing(effort), pids=contender.pids(),
                               timeout=effort.seconds + 60)
    if got["errors"] > (max(5, got["done"] // 1000) if errors is None else errors):
        raise LoadFailed(f"{got['errors']} errors, the first: {got['error']}")
    contender.check(spliced)
    got["own_s"] = sum(got["process_s"])
    got["machine"] = 100 * got["busy_s"] / got["seconds"] / contender.field.cores
    return got


def answered(contender, effort, *options, kind="http", errors=None):
    """A run of HTTP requests, by the columns of ANSWERED. errors: how many may fail, else a few."""
    got = loaded(contender, kind, effort, *options, tunnel=False, errors=errors)
    done = max(got["done"], 1)
    return {"rate": got["done"] / got["seconds"], "p50": got["p50_us"], "p99": got["p99_us"],
            "p999": got["p999_us"], "refused": got["refused"] / got["seconds"],
            "failed": got["errors"], "overdue": got["overdue"],
            "cpu": 1e6 * got["busy_s"] / done, "own": 1e6 * got["own_s"] / done,
            "cores": got["own_s"] / got["seconds"], "machine": got["machine"]}


def bulk(streams):
    """Tunnels that carry as much as they can, by the columns of BULK."""
    def measure(contender, effort):
        got = loaded(contender, "bulk", effort, "--connections", streams, spliced=streams)
        gb = max(got["bytes"], 1) / 1e9
        return {"gbps": got["bytes"] * 8 / got["seconds"] / 1e9, "cpu": got["busy_s"] / gb,
                "own": got["own_s"] / gb, "machine": got["machine"]}
    return measure


RATE = ("rate", "requests", "1/s", "more")
P50, P99, P999 = (("p50", "p50", "us", "less"), ("p99", "p99", "us", "less"),
                  ("p999", "p99.9", "us", "less"))
CPU = [("cpu", "CPU of the machine", "us each", "less"),
       ("own", "of the proxy's processes", "us each", "less"), ("machine", "machine busy", "%", None)]
ANSWERED = [RATE, P50, P99, *CPU]
BULK = [("gbps", "throughput", "Gbit/s", "more"), ("cpu", "CPU of the machine", "s/GB", "less"),
        ("own", "of the proxy's processes", "s/GB", "less"), CPU[2]]


def memory_of(pids):
    """Proportional set size, bytes."""
    total = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024
    return total


def slab():
    text = Path("/proc/meminfo").read_text()
    return int(re.search(r"^Slab:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024
