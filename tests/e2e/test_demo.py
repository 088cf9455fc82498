#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The demonstration's quick form as a test: curl, iperf3 and nc in spliced tunnels, across kill -9 of
sluice and its restart, between namespaces and on loopback; a reverse proxy that loses an origin under
load; a tunnel over DPDK. It judges itself; its exit status counts."""

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
PROGRAMS = ("curl", "nginx", "openssl", "iperf3", "nc", "proxychains4", "bpftool", "wrk", "ethtool")
SHOWN = ("between three namespaces", "within one host", "✓ curl, across kill and restart",
         "✓ an origin killed and revived under load    ", "✓ openssl, an idle TLS session")
DPDK = ("✓ curl through sluice's own TCP", "each way through the spliced tunnel", "✓ the loop, while nothing comes")


@suite.test(timeout=150)
def the_demo_shows_splicing_and_kills_without_harm(lab):
    for program in PROGRAMS:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")
    done = subprocess.run(["setpriv", "--pdeathsig", "TERM", "/usr/bin/python3", "-B", DEMO, "--quick"],
                          env={**os.environ, "SLUICE": binary(release=True)}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=140)
    if done.returncode == 77:
        raise Skip(done.stdout.splitlines()[-1].strip())
    equal(done.returncode, 0, f"exit status; it said:\n{done.stdout}")
    summary = done.stdout.partition("── summary")[2]
    for what in SHOWN + (() if "built without DPDK" in done.stdout else DPDK):
        check(what in summary, lambda: f"no {what!r} in\n{done.stdout}")


if __name__ == "__main__":
    sys.exit(suite.main(contextlib.nullcontext))
