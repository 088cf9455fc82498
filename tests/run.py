#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Builds sluice and runs its tests; scripts/test is the way to call it.

TAP is the common language: unit programs, checks and end-to-end suites print it, tap.py counts it.
Everything that is written goes to build/test/. Each suite is a process group of its own, which is
ended when the run is interrupted."""

import argparse
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import tap
from vm import kernels

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "test"
SUITE_TIMEOUT_S = 600
PATIENCE = "3"  # for end-to-end suites: several run at once, on a machine that may have more to do

# name: (compiler, meson options). ASan+UBSan for what must be correct, release for bulk, clang for
# its warnings and for libFuzzer's replay of the corpus.
TREES = {
    "asan": ("gcc", ["-Dwerror=true", "-Db_sanitize=address,undefined"]),
    "release": ("gcc", ["-Dwerror=true", "--buildtype=release", "-Db_lto=true"]),
    "clang": ("clang", ["-Dwerror=true", "-Dfuzz=true", "-Db_sanitize=address,undefined",
                        "-Db_lundef=false"]),
}
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
SANITIZER_REPORT = re.compile(r"(Address|Leak|Thread)Sanitizer|runtime error:")
# What they prove depends on how busy the host is, or they keep it busy: not beside others.
ALONE = {"stress", "policy"}
QUICK = {"requests", "answers", "access", "seeing"}
# Run a second time over ports that DPDK owns.
OVER_DPDK = {"requests", "answers", "exchanges", "tunnels", "reverse", "routes", "retries",
             "servers", "keepalive"}
# And there with the kernel's stack behind the ports.
OVER_KERNEL = {"dpdk_life", "dpdk_splice"}


class Runner:
    root = ROOT

    def __init__(self, pattern):
        self.pattern = pattern
        self.results = []
        self.children = set()
        self.lock = threading.Lock()
        self.stopped = False

    def run(self, command, timeout_s=SUITE_TIMEOUT_S, **env):
        """Output and exit status of a command; its whole process group is gone afterwards."""
        with self.lock:
            if self.stopped:
                raise KeyboardInterrupt
            child = subprocess.Popen(
                [str(c) for c in command], cwd=ROOT, stdin=subprocess.DEVNULL, text=True,
                errors="backslashreplace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env={**os.environ, **SANITIZERS, **env}, start_new_session=True)
            self.children.add(child)
        try:
            output, _ = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.end(child)
            output = child.communicate()[0] + f"\nBail out! no end after {timeout_s} s\n"
        finally:
            self.children.discard(child)
        return output, child.returncode

    @staticmethod
    def end(child):
        """TERM lets a suite clean up behind itself; KILL follows for those that don't."""
        for sig, wait_s in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            try:
                os.killpg(child.pid, sig)
                child.wait(wait_s)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    def stop(self):
        with self.lock:
            self.stopped = True
            children = list(self.children)
        for child in children:
            self.end(child)

    def report(self, name, results, seconds):
        with self.lock:
            self.results += results
            passed, failed, skipped = tap.count(results)
            print(f"{'FAILED' if failed else 'ok':>6}  {name:<22} {passed:>4} passed, {failed} failed, "
                  f"{skipped} skipped  ({seconds:.1f} s)")
            for r in results:
                if r.outcome == tap.FAIL:
                    print(f"          not ok: {r.name}")
                    for note in r.notes[:60]:
                        print(f"            {note}")
                elif r.outcome == tap.SKIP:
                    print(f"          skipped: {r.name} {' '.join(r.notes[:1])}".rstrip())
            sys.stdout.flush()

    def step(self, name, command, ok=lambda output: True, **env):
        """A command that is one test: it passes with exit status 0."""
        start = time.monotonic()
        output, status = self.run(command, **env)
        passed = status == 0 and ok(output)
        notes = [] if passed else output.splitlines()[-40:]
        self.report(name, [tap.Result(tap.PASS if passed else tap.FAIL, name, notes)],
                    time.monotonic() - start)
        return passed

    def program(self, name, command, excuse=False, **env):
        """A program that prints TAP. False, and nothing counted, if it failed and has an excuse; a
        sanitizer's report has none."""
        start = time.monotonic()
        output, status = self.run(command, **env)
        (OUT / f"{name}.tap").write_text(output)
        results = tap.parse(output, status, self.pattern)
        if excuse and not SANITIZER_REPORT.search(output):
            failed = [r for r in results if r.outcome == tap.FAIL]
            if failed:
                with self.lock:
                    print(f" again  {name:<22} failed beside others: {'; '.join(r.name for r in failed)}",
                          *(f"          {note}" for r in failed for note in r.notes[:20]), sep="\n",
                          flush=True)
                return False
        self.report(name, results, time.monotonic() - start)
        return True


def build(runner, tree):
    compiler, options = TREES[tree]
    where = OUT / tree
    what = f"{compiler} builds {tree}" if tree != "clang" else "clang builds"
    if not (where / "build.ninja").exists():
        output, status = runner.run(["meson", "setup", where, *options], CC=compiler)
        if status:
            runner.report(what, [tap.Result(tap.FAIL, what, output.splitlines()[-30:])], 0)
            return False
    return runner.step(what, ["ninja", "-C", where])


def meson_tests(runner, tree, wanted):
    """Runs meson's tests that are wanted(suite, name) and counts what the programs printed."""
    where = OUT / tree
    listed, _ = runner.run(["meson", "introspect", "--tests", where])
    start = listed.find("[")
    tests = json.loads(listed[start:]) if start >= 0 else []
    names = [t["name"] for t in tests
             if any(wanted(s.split(":")[-1], t["name"]) for s in t.get("suite", [""]))]
    if not names:
        return
    output, _ = runner.run(["meson", "test", "-C", where, "--no-rebuild", *names])
    log = where / "meson-logs" / "testlog.json"
    if not log.exists():
        runner.report(f"{tree} tests", [tap.Result(tap.FAIL, "meson test", output.splitlines())], 0)
        return
    for line in log.read_text().splitlines():
        t = json.loads(line)
        name = t["name"].split(" / ")[-1]
        out, err = t.get("stdout") or "", t.get("stderr") or ""
        if "1.." in out:
            results = tap.parse(out + err, t.get("returncode", 0), runner.pattern)
        else:
            outcome = {"OK": tap.PASS, "SKIP": tap.SKIP}.get(t["result"], tap.FAIL)
            results = [tap.Result(outcome, name, (out + err).splitlines()[-60:])]
        runner.report(f"{tree} {name}", results, t.get("duration", 0))


def find_sluice(tree):
    found = [p for p in (OUT / tree).glob("**/sluice") if p.is_file()]
    return str(found[0]) if found else ""


def suites_to_run(quick):
    """Name, path and variables of each, the longest first."""
    for path in sorted((ROOT / "tests" / "e2e").glob("test_*.py"), key=lambda p: -p.stat().st_size):
        name = path.stem.removeprefix("test_")
        if quick and name not in QUICK:
            continue
        yield name, path, {"SLUICE_TRANSPORT": "socket"}
        if name in OVER_DPDK and not quick:
            yield f"{name}-dpdk", path, {"SLUICE_TRANSPORT": "dpdk"}
        if name in OVER_KERNEL and not quick:
            yield f"{name}-kernel", path, {"SLUICE_STACK": "kernel"}


def end_to_end(runner, quick):
    env = {"SLUICE": find_sluice("asan"), "SLUICE_RELEASE": find_sluice("release"),
           "SLUICE_PATIENCE": os.environ.get("SLUICE_PATIENCE", PATIENCE)}
    alone = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        waiting = []
        for name, path, variables in suites_to_run(quick):
            one = (name, ["/usr/bin/python3", "-B", path], {**env, **variables})
            if runner.pattern:
                one[1].extend(["-k", runner.pattern])
            if name in ALONE:
                alone.append(one)
                continue
            waiting.append((one, pool.submit(runner.program, f"e2e-{name}", one[1], excuse=True,
                                             **one[2])))
        # Several suites share the processors, which bends what they measure: a failure is one only
        # if it is there without neighbours, too. The first one is shown all the same.
        alone += [one for one, done in waiting if not done.result()]
    for name, command, variables in alone:
        runner.program(f"e2e-{name}", command, **variables)


def run(runner, what):
    trees = {"unit": ["asan"], "quick": ["asan"], "kernels": ["release"]}
    built = {tree: build(runner, tree) for tree in trees.get(what, ["asan", "release"])}
    if what not in ("e2e", "kernels"):
        runner.program("checks", ["/usr/bin/python3", "-B", "tests/checks.py"])
        if built["asan"]:
            meson_tests(runner, "asan", lambda suite, name: suite in ("unit", "bpf"))
        if what != "quick" and build(runner, "clang"):
            meson_tests(runner, "clang", lambda suite, name: name.startswith("fuzz"))
    if what in ("all", "e2e", "quick") and all(built.values()):
        end_to_end(runner, quick=what == "quick")
    if what in ("all", "kernels") and built["release"]:
        kernels.run(runner, {"build": OUT / "release", "sluice": find_sluice("release")},
                    OUT / "kernels")


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--what", choices=["all", "unit", "e2e", "quick", "kernels"], default="all")
    args.add_argument("--pattern", default="")
    args = args.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    runner = Runner(args.pattern)

    def interrupted(signum, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    try:
        run(runner, args.what)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        runner.stop()
        print("interrupted", flush=True)
        os._exit(130)
    passed, failed, skipped = tap.count(runner.results)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
