#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What sluice tells of its own inside: static probes that bpftrace finds and reads, and where the time of
the workers' loops goes."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import Lab, Skip, Suite, answers, check, equal, until
from lab.origin import OK
from lab.reverse import BOTH_MODES

suite = Suite()
PROBES = {"accept": 4, "parse": 4, "route": 3, "connect": 3, "flip": 3, "done": 6, "close": 2}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


class ProbesLab(Lab):
    def __init__(self):
        super().__init__({"workers": 2, **BOTH_MODES})

    def web(self):
        with self.net.client.connect("10.1.0.1", 8080, 5) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while s.recv(65536):
                pass


def documented(pattern):
    return re.findall(pattern, DOCS.read_text())


@suite.test()
def the_program_has_the_probes_that_are_documented(lab):
    notes = subprocess.run(["readelf", "-n", lab.sluice.binary], capture_output=True, text=True).stdout
    found = {}
    for name, arguments in re.findall(
            r"Provider: sluice\n\s+Name: (\w+)\n[^\n]*\n\s+Arguments: ([^\n]*)", notes):
        found[name] = len(arguments.split())
    if not found:
        raise Skip("built without <sys/sdt.h>")
    equal(found, PROBES, "probes and the number of their arguments")
    equal(set(documented(r"\| `sluice:(\w+)` \|")), set(PROBES), "documented probes")


@suite.test(120)
def the_documented_bpftrace_lines_show_the_traffic(lab):
    """Every example of the documentation, each with a program of its own, over one request and one
    tunnel."""
    if not shutil.which("bpftrace"):
        raise Skip("bpftrace is not installed")
    lines = documented(r"\nbpftrace -p \$PID -e '([^']+)'")
    equal(len(lines), len(PROBES), "examples")
    lab.origin.reset(answers(OK))
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "all.bt")
        script.write_text("BEGIN { printf(\"ready\\n\"); }\n" + "\n".join(lines))
        trace = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "bpftrace", "-p", str(lab.sluice.process.pid), script],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            first = trace.stdout.readline()
            while first and first != "ready\n":
                first = trace.stdout.readline()
            if not first:
                raise Skip(f"bpftrace can't attach here: {trace.communicate()[1][-200:].strip()}")
            lab.web()
            until(lambda: lab.sluice.stats()["connections_active"] == 0, what="the request is over")
        finally:
            trace.send_signal(2)
            out, err = trace.communicate(timeout=60)
    for wanted in (r"accept \d+ from 10.1.0.2 at web", r"parse \d+: \d+ bytes, error 0",
                   r"route \d+: web -> app", r"connect \d+: 10.2.0.2 after \d+ us",
                   r"done \d+: 200 done, \d+ bytes in, \d+ out, \d+ us", r"@lives_us"):
        check(re.search(wanted, out), lambda: f"{wanted} in {out}{err}")


@suite.test()
def stats_loop_accounts_for_the_workers_time(lab):
    lab.origin.reset(answers(OK))
    for _ in range(20):
        equal(lab.sluice.get("http://10.2.0.2/").status, 200, "status")
    lab.sluice.flows()  # each worker is asked by a task
    until(lambda: all(w["loop"]["timers"] for w in lab.sluice.ask("stats")["stats"]["workers"]),
          what="ticks of all workers")
    workers = lab.sluice.ask("stats")["stats"]["workers"]
    for w in workers:
        loop = w["loop"]
        inside = loop["io_us"] + loop["timer_us"] + loop["task_us"]
        check(inside <= w["busy_us"] + 5, lambda: f"{w}")
        check(loop["posted"] > 0, lambda: f"a question: {w}")
    check(sum(w["loop"]["readable"] for w in workers) >= 40, lambda: f"{workers}")
    check(sum(w["loop"]["io_us"] for w in workers) > 0, lambda: f"{workers}")
    up_us = lab.sluice.ask("stats")["stats"]["uptime_ms"] * 1000
    for w in workers:
        check(w["loop"]["wait_us"] + w["busy_us"] <= up_us + 2_000_000, lambda: f"{w}, up {up_us}")
    done = lab.sluice.cli("stats", "--loop")
    equal(done.returncode, 0, done.stderr)
    check(re.search(r"WORKER +WAITING +I/O +TIMERS +TASKS", done.stdout) and
          len(re.findall(r"\n[01] ", done.stdout)) == 4, done.stdout)


if __name__ == "__main__":
    sys.exit(suite.main(ProbesLab))
