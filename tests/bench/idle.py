# SPDX-License-Identifier: BSD-2-Clause
"""What connections cost that do nothing: memory, and the time of a processor."""

import time
from pathlib import Path

from contenders import DIRECT, PEERS, SLUICE
from field import LoadFailed
from section import Section, memory_of, slab

COLUMNS = [("own", "memory of the proxy", "B each", "less"),
           ("kernel", "kernel slabs of all three hosts", "B each", "less"),
           ("both", "both", "B each", "less")]
RESTING = ("cpu", "CPU of the proxy meanwhile", "% of a core", "less")


def cpu_seconds(pids):
    """That all threads of processes have run."""
    files = [f for pid in pids for f in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(f.read_text().split()[0]) for f in files) / 1e9


def resting(contender, seconds):
    before, begun = cpu_seconds(contender.pids()), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(contender.pids()) - before) / (time.monotonic() - begun)


def idle(connections, in_tunnel, rest=False):
    """rest: also what the proxy does while they rest."""
    def measure(contender, effort):
        way = (contender.tunnel() if in_tunnel else (contender.to, "--url", contender.url(12)))
        own, kernel = memory_of(contender.pids()), slab()
        child, ready = contender.field.hold(*way, "--connections", connections)
        try:
            if ready < connections:
                raise LoadFailed(f"{ready} of {connections} connections are open")
            time.sleep(1 + effort.settle_ms / 1000)
            contender.check(in_tunnel and connections, patience_s=15)
            got = {"own": (memory_of(contender.pids()) - own) / connections,
                   "kernel": (slab() - kernel) / connections}
            got["both"] = got["own"] + got["kernel"]
            if rest:
                got["cpu"] = resting(contender, effort.seconds)
        finally:
            child.stdin.close()
            child.wait(30)
        return got
    return measure


def sections(effort):
    for connections in (1000,) if effort.quick else (1000, 5000):
        yield Section(
            f"{connections} idle connections, after a request of 12 B",
            "The slabs are those of the whole machine: client and server hold sockets, too; without a "
            "proxy one sees how much. A fresh process each time.",
            [DIRECT, SLUICE["copy"], PEERS["haproxy-http"], PEERS["nginx-http"], PEERS["squid"]],
            COLUMNS, idle(connections, False), options={"fresh": True}, ratio=False)
        yield Section(
            f"{connections} idle tunnels", "As above; each has carried a byte each way.",
            [DIRECT, SLUICE["auto"], SLUICE["tc"], SLUICE["copy"], PEERS["haproxy"], PEERS["nginx"],
             PEERS["squid"]],
            COLUMNS, idle(connections, True), options={"fresh": True}, ratio=False, judged="both")
