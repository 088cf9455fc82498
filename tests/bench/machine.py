# SPDX-License-Identifier: BSD-2-Clause
"""What the machine is, what runs on it, and how busy it is by itself."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

from contenders import version_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"haproxy": "haproxy", "nginx": "nginx", "squid": "squid", "tinyproxy": "tinyproxy-bin"}


def sluice_version():
    done = subprocess.run(["git", "-c", "safe.directory=*", "describe", "--always", "--dirty"], cwd=ROOT,
                          capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def busy_seconds():
    words = [int(w) for w in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(words[:3]) + words[5] + words[6]) / os.sysconf("SC_CLK_TCK")


def background(seconds):
    """Percent of the machine that others use."""
    before = busy_seconds()
    time.sleep(seconds)
    return 100 * (busy_seconds() - before) / seconds / (os.cpu_count() or 1)


def describe(seconds):
    """seconds: for how long other work is looked at."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    versions = {name: version_of(package) for name, package in PACKAGES.items()}
    return {"cpu": cpu[1] if cpu else platform.machine(), "cores": os.cpu_count(),
            "memory_gib": round(int(memory[1]) / (1 << 20)), "kernel": platform.release(),
            "sluice": sluice_version(), "versions": {n: v for n, v in versions.items() if v},
            "day": time.strftime("%Y-%m-%d"), "background": background(seconds)}
