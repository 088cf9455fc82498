# SPDX-License-Identifier: BSD-2-Clause
"""Nanoseconds a packet of the BPF programs, by tests/bpf/bench.c, as a suite's result."""

import re
import subprocess

from field import LoadFailed

_LINE = re.compile(r"^(\w+)\s+(IPv\d) (.+?)\s+(\d+) ns, over empty\s+(-?\d+) ns")
COLUMNS = [("over", "over an empty program", "ns", "less"), ("ns", "in all", "ns", "less")]


def run_once(program):
    """{hook: {kind of packet: (ns, over an empty program)}}"""
    done = subprocess.run([program], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise LoadFailed(f"{program.name}: {done.stdout.strip()} {done.stderr.strip()}")
    found = {}
    for line in done.stdout.splitlines():
        if m := _LINE.match(line):
            found.setdefault(m[1], {})[f"{m[2]}, {m[3].strip()}"] = (int(m[4]), int(m[5]))
    if not found:
        raise LoadFailed(f"{program.name} said nothing that is understood")
    return found


def sections(program, rounds, say):
    """As the other suites' sections: a table a hook, a row a kind of packet."""
    tables = {}
    for n in range(rounds):
        say(f"  round {n + 1}/{rounds}")
        for hook, rows in run_once(program).items():
            for kind, (ns, over) in rows.items():
                tables.setdefault(hook, {}).setdefault(kind, []).append({"ns": ns, "over": over})
    return [{"title": f"One packet at {hook}", "columns": COLUMNS, "ratio": False,
             "note": "BPF_PROG_TEST_RUN: the program alone, without device and stack. A super-packet of "
                     "64 KB costs as much as a small one.",
             "rows": [{"name": kind, "note": "", "reason": None, "runs": runs}
                      for kind, runs in rows.items()]} for hook, rows in tables.items()]
