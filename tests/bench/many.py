# SPDX-License-Identifier: BSD-2-Clause
"""More connections than a process may have descriptors here: one worker, and what it still answers."""

import contextlib
import time

import calls
from contenders import DIRECT, ORIGIN, PEERS, SluiceRuns
from field import ORIGIN_PORT, PROXY, PROXY_PORT, LoadFailed
from lab import SERVER
from section import P50, P99, RATE, Section, answered, memory_of, slab

PIECE = 5000  # connections of one load process: two descriptors of sluice's for a moment
# The client's kernel tries port after port once half of them are in use towards one address.
DOORS = [f"{PROXY}:{PROXY_PORT + i}" for i in range(4)]


class SluiceMany(SluiceRuns):
    """Ports for all pairs, and slots."""

    def start(self):
        self.options["sluice"] = {
            "listeners": [{"name": f"door-{i}", "listen": door, "mode": "forward"}
                          for i, door in enumerate(DOORS)],
            "limits": {"connections": 60000},
            "splice": {"engine": "packet", "hook": "tc", "mss": 1460, "pairs": 65536,
                       "ports": "2000-59999"}}
        for ns, ports in ((self.field.net.client, "1024 65535"), (self.field.net.proxy, "60000 65535")):
            ns.write_sysctl("net.ipv4.ip_local_port_range", ports)
        for _ in range(3):  # a process has descriptors for 20,000, and the kernel deals connections out
            self.field.start(self.field.net.server, self.field.tools / "bench-origin", SERVER,
                             ORIGIN_PORT, self.field.threads)
        super().start()

    def tunnels(self):
        return [(door, "--ask", ORIGIN) for door in DOORS]


MANY = ("sluice packet, tc", lambda name: SluiceMany(name, "packet", "tc", "splice: packet, one worker"))


@contextlib.contextmanager
def held(contender, connections, ways):
    """So many connections, opened in pieces by one way after the other; each piece is there before the
    next begins."""
    children = []
    try:
        for begin in range(0, connections, PIECE):
            way = ways[len(children) % len(ways)]
            child, ready = contender.field.hold(*way, "--connections", min(PIECE, connections - begin))
            children.append(child)
            if ready < min(PIECE, connections - begin):
                raise LoadFailed(f"{begin + ready} of {connections} connections are open")
        yield
    finally:
        for child in children:
            child.stdin.close()
        for child in children:
            child.wait(60)


def held_then_answered(connections, tunnels):
    def measure(contender, effort):
        own, kernel = memory_of(contender.pids()), slab()
        ways = contender.tunnels() if tunnels else [(contender.to, "--url", contender.url(12))]
        begun = time.monotonic()
        with held(contender, connections, ways):
            opened = time.monotonic() - begun
            time.sleep(1 + effort.settle_ms / 1000)
            # The first ones come before the programs are at the devices.
            contender.check(tunnels and connections * 999 // 1000, patience_s=30)
            got = {"memory": (memory_of(contender.pids()) - own) / connections,
                   "kernel": (slab() - kernel) / connections, "opened": connections / opened,
                   "descriptors": contender.descriptors()}
            return got | answered(contender, effort, "--connections", 16, "--url", contender.url(100))
    return measure


def sections(effort):
    columns = [("memory", "memory of the proxy", "B each", "less"),
               ("kernel", "kernel slabs of all three hosts", "B each", "less"),
               ("descriptors", "descriptors of the proxy", "", "less"), ("opened", "opened", "1/s", "more"),
               RATE, P50, P99]
    tunnels, kept = (10000, 5000) if effort.quick else (50000, 9000)
    yield Section(
        f"{tunnels} tunnels held by one worker, while 16 other connections ask for 100 B",
        "Opened in pieces of 5000, each has carried a byte each way. A process may have 20,000 descriptors "
        "here: those who need two for a tunnel can't take part.",
        [MANY], columns, held_then_answered(tunnels, True), options={"fresh": True, "workers": 1}, ratio=False)
    yield Section(
        f"{kept} kept connections held by one worker, while 16 other connections ask for 100 B",
        "After a request of 12 B each; upstream connections are pooled.",
        [DIRECT, calls.REVERSE, PEERS["haproxy-http"], PEERS["nginx-http"]], columns,
        held_then_answered(kept, False), options={"fresh": True, "workers": 1, "limit": 9900}, ratio=False)
