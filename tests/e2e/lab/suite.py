# SPDX-License-Identifier: BSD-2-Clause
"""Runs test functions in order and prints TAP. A test's name is a sentence: the function's name with
its underscores as spaces."""

import argparse
import math
import os
import signal
import sys
import time
import traceback

from lab.net import PATIENCE, Namespace


class Skip(Exception):
    """Raised by a test that can't run here; its text says why."""


class Failure(AssertionError):
    pass


class TooLong(BaseException):
    """Not an Exception: no handler in a test may swallow it."""


def check(condition, what):
    if not condition:
        raise Failure(what() if callable(what) else what)


def equal(got, wanted, what="value"):
    if got != wanted:
        raise Failure(f"{what}: got {got!r}, wanted {wanted!r}")


def need_namespaces():
    """All suites live in network namespaces."""
    try:
        os.close(Namespace().fd)
    except OSError as e:
        raise Skip(e) from None


class Suite:
    """@suite.test() registers; suite.main(setup) runs. setup() returns the object handed to every
    test; it is a context manager if it has something to clean up."""

    def __init__(self):
        self.tests = []

    def test(self, timeout=20, name=None):
        def register(function):
            self.add(name or function.__name__.replace("_", " "), function, timeout)
            return function
        return register

    def add(self, name, function, timeout=20):
        self.tests.append((name, function, timeout))

    def each(self, values, timeout=60, pick=None):
        """Registers a test once for each value, which its name ends with. It is called with the lab and
        the value, or with pick(lab, value) alone."""
        def call(function, lab, value):
            if pick:
                function(pick(lab, value))
            else:
                function(lab, value)

        def register(function):
            for value in values:
                self.add(f"{function.__name__.replace('_', ' ')} on {value}",
                         lambda lab, value=value: call(function, lab, value), timeout)
            return function
        return register

    def main(self, setup):
        args = argparse.ArgumentParser()
        args.add_argument("-k", action="append", metavar="PATTERN",
                          help="part of a name, or several; underscores are spaces")
        patterns = [p.replace("_", " ") for p in args.parse_args().k or [""]]
        for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(s, lambda *_: sys.exit(130))
        signal.signal(signal.SIGALRM, _alarm)
        chosen = [t for t in self.tests if any(p in t[0] for p in patterns)]
        if not chosen:
            print(f"1..0 # SKIP no test matches {' or '.join(patterns)}")
            return 0
        try:
            need_namespaces()
            with setup() as lab:
                failed = sum([not self._run(lab, i, *t) for i, t in enumerate(chosen, 1)])
        except Skip as reason:
            print(f"1..0 # SKIP {reason}")
            return 0
        print(f"1..{len(chosen)}", flush=True)
        return 1 if failed else 0

    def _run(self, lab, number, name, function, timeout):
        start = time.monotonic()
        timeout *= PATIENCE
        signal.alarm(math.ceil(timeout))
        notes, skip, bad = "", "", False
        try:
            function(lab)
        except Skip as reason:
            skip = f" # SKIP {reason}"
        except TooLong:
            bad, notes = True, f"no end after {timeout} s\n" + traceback.format_exc(limit=-4)
        except Failure as failure:
            bad = True
            where = traceback.extract_tb(failure.__traceback__)
            here = [f for f in where if not f.filename.endswith("suite.py")][-1]
            notes = f"{failure}\nat {here.filename.rsplit('/', 1)[-1]}:{here.lineno}"
        except Exception:
            bad, notes = True, traceback.format_exc()
        finally:
            signal.alarm(0)
        if bad and hasattr(lab, "tell"):
            notes += "\n" + lab.tell()
        print(f"{'not ok' if bad else 'ok'} {number} - {name}{skip}")
        for line in notes.splitlines():
            print(f"# {line[:400]}")
        if time.monotonic() - start > 5:
            print(f"# took {time.monotonic() - start:.1f} s")
        sys.stdout.flush()
        return not bad


def _alarm(signum, frame):
    raise TooLong


class Fresh:
    """A lab whose tests open what they need for themselves, one after the other, as self.lab."""

    lab = None

    def close(self, kind=None):
        """Ends what the last test opened. kind: of the exception that this comes from."""
        if self.lab:
            self.end(kind)
        self.lab = None

    def end(self, kind):
        self.lab.__exit__(kind, None, None)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(kind)

    def tell(self):
        return self.lab.sluice.tell() if self.lab else ""
