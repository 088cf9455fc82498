#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the benchmarks; scripts/bench builds and then calls this.

Contenders of a suite are all up, each on a field of its own, and are measured in turn, round by round,
so that what disturbs the machine disturbs all. Nothing outlives this process: namespaces have no
names, children die with their parent."""

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import machine  # noqa: E402
import packet  # noqa: E402
import report  # noqa: E402
from contenders import Unavailable, make  # noqa: E402
from field import LoadFailed  # noqa: E402
from section import Effort  # noqa: E402
from suites import SUITES  # noqa: E402

PROBLEMS = (LoadFailed, AssertionError, OSError, ValueError, subprocess.SubprocessError)
PACKET = "Packets"
QUICK_SECTIONS = 2  # of each suite
BOUND_S = {True: 600, False: 4 * 3600}


def say(text=""):
    print(text, flush=True)


def brief(reason):
    """What an exception says, on one line: its first and its last."""
    known = isinstance(reason, (Unavailable, LoadFailed, AssertionError))
    lines = str(reason if known else repr(reason)).strip().splitlines() or [type(reason).__name__]
    return " ".join(dict.fromkeys((lines[0], lines[-1])))[:200]


class Troupe:
    """The contenders of a suite, started when they are first needed."""

    def __init__(self, tools, where, threads):
        self.tools, self.where, self.threads = tools, where, threads
        self.running, self.reasons = {}, {}

    def get(self, entry, options):
        key = (entry, json.dumps(options, sort_keys=True))
        if key in self.reasons:
            raise Unavailable(self.reasons[key])
        if key not in self.running:
            contender = make(entry)
            try:
                contender.begin(self.tools, self.where, self.threads, **options)
            except (Unavailable, *PROBLEMS) as reason:
                with contextlib.suppress(AttributeError, *PROBLEMS):
                    contender.end()
                self.reasons[key] = brief(reason)
                raise Unavailable(self.reasons[key]) from None
            self.running[key] = contender
        return self.running[key]

    def dismiss(self, contender):
        self.running = {k: c for k, c in self.running.items() if c is not contender}
        contender.end()

    def close(self):
        for contender in list(self.running.values()):
            self.dismiss(contender)


def headline(section, got):
    title, unit = section.columns[0][1:3]
    return f"{title} {report.plot.number(got[section.columns[0][0]])} {unit}"


def measure(troupe, section, entry, effort):
    options = {k: v for k, v in section.options.items() if k != "fresh"}
    contender = troupe.get(entry, options)
    try:
        if section.prepare:
            section.prepare(contender)
        return contender.note, section.measure(contender, effort)
    finally:
        if section.options.get("fresh"):
            troupe.dismiss(contender)


def run_section(troupe, section, effort):
    rows = {entry[0]: {"name": entry[0], "note": "", "reason": None, "runs": []}
            for entry in section.contenders}
    rounds = 1 if effort.quick and section.options.get("fresh") else effort.rounds
    for n in range(rounds):
        turn = n % len(section.contenders)
        for entry in [*section.contenders[turn:], *section.contenders[:turn]]:
            row = rows[entry[0]]
            try:
                row["note"], got = measure(troupe, section, entry, effort)
                row["runs"].append({"round": n, **got})
                said = headline(section, got)
            except Exception as reason:  # its own trouble, not that of those who come after it
                row["reason"] = said = brief(reason)
            say(f"  round {n + 1}/{rounds}  {entry[0]:<20} {said}")
    result = {"title": section.title, "note": section.note, "columns": section.columns,
              "ratio": section.ratio, "judged": section.judged,
              "rows": list(rows.values())}
    say("\n" + report.terminal(result) + "\n")
    return result


def run_suite(name, effort, tools, threads):
    title, sections_of = SUITES.get(name, (PACKET, None))
    result = {"suite": name, "title": title, "machine": machine.describe(0.5 if effort.quick else 3),
              "effort": dataclasses.asdict(effort)}
    if name == "packet":
        say("━━ packet")
        result["sections"] = packet.sections(tools.parent / "bpf" / "bpf-bench",
                                             1 if effort.quick else 3, say)
        for section in result["sections"]:
            say("\n" + report.terminal(section) + "\n")
        return result
    sections = list(sections_of(effort))[:QUICK_SECTIONS if effort.quick else None]
    result["sections"] = []
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as where:
        troupe = Troupe(tools, Path(where), threads)
        try:
            for i, section in enumerate(sections, 1):
                say(f"━━ {name} {i}/{len(sections)}: {section.title}")
                result["sections"].append(run_section(troupe, section, effort))
        finally:
            troupe.close()
    return result


def write(result, out, docs):
    """JSON and pictures under build/; docs/benchmarks.md of all suites that have a result there."""
    (out / f"{result['suite']}.json").write_text(json.dumps(result, indent=1))
    order = [*SUITES, "packet"]
    results = [json.loads((out / f"{name}.json").read_text()) for name in order
               if (out / f"{name}.json").exists()]
    folder = docs.parent / "benchmarks"
    folder.mkdir(exist_ok=True)
    for name, svg in report.pictures(result).items():
        (folder / name).write_text(svg)
    intro = (ROOT / "docs" / "benchmarks.md").read_text()
    docs.write_text(report.document(intro, results, folder.name))


def arguments():
    args = argparse.ArgumentParser(prog="scripts/bench")
    args.add_argument("suites", nargs="*", metavar="suite", help=", ".join([*SUITES, "packet"]))
    args.add_argument("--quick", action="store_true",
                      help="two sections of each suite, under 5 minutes; writes to build/bench/quick only")
    args.add_argument("--rounds", type=int, choices=range(1, 101), metavar="N")
    args.add_argument("--seconds", type=float)
    args = args.parse_args()
    unknown = [s for s in args.suites if s not in (*SUITES, "packet")]
    if unknown:
        sys.exit(f"bench: no such suite: {unknown[0]} (there are {', '.join([*SUITES, 'packet'])})")
    effort = Effort(1, 0.5, 200, 300, True) if args.quick else Effort()
    effort.rounds = args.rounds or effort.rounds
    effort.seconds = args.seconds or effort.seconds
    return args, effort


def main():
    args, effort = arguments()
    for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(s, lambda *_: sys.exit(130))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("bench: it takes too long"))
    signal.alarm(BOUND_S[args.quick])
    out = ROOT / "build" / "bench" / ("quick" if args.quick else "")
    out.mkdir(parents=True, exist_ok=True)
    docs = out / "benchmarks.md" if args.quick else ROOT / "docs" / "benchmarks.md"
    start = time.monotonic()
    for name in args.suites or [*SUITES, "packet"]:
        write(run_suite(name, effort, Path(os.environ["BENCH_TOOLS"]), os.cpu_count() or 1), out, docs)
        say(f"   {time.monotonic() - start:.0f} s so far; written: {docs.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
