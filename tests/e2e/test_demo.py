#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The demonstration's quick half as a test: curl, iperf3 and nc in spliced tunnels, across kill -9 of
sluice and its restart, between namespaces and on loopback. It judges itself; its exit status counts."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from lab import Skip, Suite, check, equal
from lab.sluice import binary

suite = Suite()
DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo.py"
PROGRAMS = ("curl", "nginx", "openssl", "iperf3", "nc", "proxychains4", "bpftool")


@suite.test(timeout=150)
def the_demo_shows_splicing_and_survives_kill_9(lab):
    for program in PROGRAMS:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")
    done = subprocess.run(["setpriv", "--pdeathsig", "TERM", "/usr/bin/python3", "-B", DEMO, "--quick"],
                          env={**os.environ, "SLUICE": binary(release=True)}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=140)
    if done.returncode == 77:
        raise Skip(done.stdout.splitlines()[-1].strip())
    equal(done.returncode, 0, f"exit status; it said:\n{done.stdout}")
    for place in ("veth", "loopback"):
        check(f"✓ {place}: curl, across kill and restart" in done.stdout, lambda: done.stdout)


if __name__ == "__main__":
    sys.exit(suite.main(contextlib.nullcontext))
