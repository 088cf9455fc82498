# SPDX-License-Identifier: BSD-2-Clause
"""Reads TAP (Test Anything Protocol) into results. Counts sub-tests, never programs; a program that
ends early, crashes or says nothing is one failed test more."""

import re
from dataclasses import dataclass, field

PASS, FAIL, SKIP = "passed", "failed", "skipped"

_LINE = re.compile(r"^(not )?ok\b *\d* *(?:- *)?(.*)$")
_PLAN = re.compile(r"^1\.\.(\d+) *(?:# *skip\w* *(.*))?$", re.IGNORECASE)
_SKIP = re.compile(r" *# *skip\w*:? *(.*)$", re.IGNORECASE)


@dataclass
class Result:
    outcome: str
    name: str
    notes: list = field(default_factory=list)


def parse(text, exit_status=0, pattern=""):
    """The results of one program that printed `text` and ended with `exit_status`."""
    results, plan, seen = [], None, 0
    for line in text.splitlines():
        if m := _PLAN.match(line):
            plan = int(m[1])
            if plan == 0:
                results.append(Result(SKIP, m[2] or "nothing to run"))
        elif m := _LINE.match(line):
            seen += 1
            results.append(_result(bool(m[1]), m[2]))
        elif line.startswith("Bail out!"):
            results.append(Result(FAIL, line))
        elif results and line.strip():
            results[-1].notes.append(line)
    # cmocka and our runner print what went wrong before or after the line; keep both in reach.
    results = [r for r in results if pattern in r.name]
    if plan is None or plan != seen:
        results.append(Result(FAIL, f"ended early: {seen} of {plan or 'unknown'} tests reported, "
                                    f"exit status {exit_status}", text.splitlines()[-30:]))
    elif exit_status not in (0, 77) and not any(r.outcome == FAIL for r in results):
        results.append(Result(FAIL, f"exit status {exit_status}", text.splitlines()[-30:]))
    return results


def _result(bad, rest):
    skip = _SKIP.search(rest)
    if skip:  # cmocka says "not ok" of those, too
        name = rest[:skip.start()].strip()
        return Result(SKIP, name or skip[1], [f"# {skip[1]}"] if name else [])
    return Result(FAIL if bad else PASS, rest.strip())


def count(results):
    return tuple(sum(r.outcome == o for r in results) for o in (PASS, FAIL, SKIP))
