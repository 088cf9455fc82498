# SPDX-License-Identifier: BSD-2-Clause
"""The kernel matrix: BPF tests and short end-to-end runs on the kernels that Debian offers, in
emulated machines. Every test is counted under its kernel's name."""

import re
import shutil
import time

import tap
from vm import kernel

BOOT_TIMEOUT_S = 480
CONSOLE_LINES = 60

# What runs inside: name, time limit in seconds, command. {build} and {sluice} are built without
# sanitizers, which are slow in emulation. End-to-end tests are chosen, so that the suites may grow.
BPF = ["rewrite", "handover", "loader", "live"]
JOBS = [
    *[(f"bpf-{name}", 60, f"{{build}}/tests/bpf/bpf-{name}") for name in BPF],
    ("bpf-sockmap-stress", 90, "env SLUICE_STRESS_TUNNELS=150 SLUICE_STRESS_BYTES=200000"
     " {build}/tests/bpf/bpf-sockmap-stress"),
    ("e2e-packet", 240, "env SLUICE={sluice} python3 tests/e2e/test_packet.py -k a_quiet -k half_close -k a_reset"
     " -k answer_and_close -k killing -k without_privileges"),
    ("e2e-copy", 120, "env SLUICE={sluice} python3 tests/e2e/test_tunnels.py -k random_sizes"
     " -k half_closed -k reset_of -k early_bytes_arrive -k twenty_busy"),
]


def _judge(name, out, pattern):
    """The results of a job. That a whole program was skipped is a failure: here it can run."""
    path, status = out / f"{name}.tap", out / f"{name}.status"
    text = path.read_text(errors="backslashreplace") if path.exists() else ""
    ended = int(status.read_text() or -1) if status.exists() else -1
    results = tap.parse(text, ended, pattern)
    if re.search(r"^1\.\.0\b", text, re.MULTILINE):
        return [tap.Result(tap.FAIL, f"{name} ran nothing", text.splitlines()[-30:])]
    return results


def _boot(runner, series, machine, built, folder):
    out = folder / f"{series}.out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / "project").write_text(f"{runner.root}\n")
    (out / "jobs").write_text("".join(f"{name} {limit_s} {command.format(**built)}\n"
                                      for name, limit_s, command in JOBS))
    start = time.monotonic()
    console, _ = runner.run(machine.command(runner.root, out), timeout_s=BOOT_TIMEOUT_S)
    (folder / f"{series}.console").write_text(console)
    results = []
    for name, *_ in JOBS:
        found = _judge(name, out, runner.pattern)
        for r in found:
            r.name = f"{machine.release} {name}: {r.name}"
        results += found
    if any(r.outcome == tap.FAIL for r in results):
        results.append(tap.Result(tap.FAIL, f"{machine.release}: the end of the console",
                                  console.splitlines()[-CONSOLE_LINES:]))
    runner.report(f"kernel {series}", results, time.monotonic() - start)


def run(runner, built, folder):
    def skip(name, reason):
        runner.report(name, [tap.Result(tap.SKIP, name, [f"# {reason}"])], 0)

    try:
        for series, found in kernel.available(folder):
            if isinstance(found, kernel.Kernel):
                _boot(runner, series, found, built, folder)
            else:
                skip(f"kernel {series}", found)
    except kernel.Unavailable as reason:
        skip("kernels", reason)
