# SPDX-License-Identifier: BSD-2-Clause
"""System calls of one request, counted by the kernel's tracepoints: noise of the machine doesn't touch
them, and what counts them doesn't slow the contender down, as strace would."""

import subprocess
import time

from contenders import HERE, ORIGIN, SluiceRuns
from field import LoadFailed

COUNTED = ("accept4", "recvfrom", "sendto", "sendmsg", "writev", "epoll_wait", "epoll_ctl", "shutdown",
           "setsockopt", "getsockopt", "close")


class SluiceServes(SluiceRuns):
    """As a reverse proxy, with pooled upstream connections: as many as it wants, as its peers have."""

    forwards = False
    more = {}  # of its configuration

    def start(self):
        self.options["sluice"] = {
            **self.more,
            "listeners": [{"name": "web", "listen": HERE, "mode": "http",
                           "routes": [{"upstream": "app"}]}],
            "upstreams": [{"name": "app", "servers": [ORIGIN], "pool": {
                "idle": self.options.get("kept", 1024), "max": 16384}}]}
        super().start()


REVERSE = ("sluice, mode http", lambda name: SluiceServes(name, "copy", note="reverse proxy, pooled"))


def count(pids, seconds):
    """Starts to count; the process that does."""
    return subprocess.Popen(
        ["perf", "stat", "-x,", "-e", ",".join(f"syscalls:sys_enter_{c}" for c in COUNTED),
         "-e", "raw_syscalls:sys_enter", "-p", ",".join(map(str, pids)), "--", "sleep", str(seconds)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def counted(perf):
    """{system call: how often}; `all` is the sum."""
    text = perf.communicate(timeout=60)[1]
    rows = [line.split(",") for line in text.splitlines() if "," in line]
    got = {row[2].rpartition("sys_enter_")[2]: row[0] for row in rows if len(row) > 2}
    if perf.returncode or not got.get("raw_syscalls:sys_enter", "").isdigit():
        raise LoadFailed(f"perf: {text.strip()[-150:]}")
    got["all"] = got.pop("raw_syscalls:sys_enter")
    return {name: int(n) for name, n in got.items() if n.isdigit()}


def measure(*options):
    def count_run(contender, effort):
        perf = count(contender.pids(), effort.seconds + 2)
        time.sleep(1)
        done = contender.field.load("http", contender.to, "--url", contender.url(100), "--connections", 64,
                                    "--seconds", effort.seconds, "--warm", 0, "--settle", 0, *options)
        got = counted(perf)
        if done["errors"] or not done["done"]:
            raise LoadFailed(f"{done['errors']} errors, the first: {done['error']}")
        return {name: n / done["done"] for name, n in got.items()}
    return count_run
