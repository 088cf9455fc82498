# SPDX-License-Identifier: BSD-2-Clause
"""One worker each: sluice over the kernel's sockets and over ports that DPDK owns, beside its peers."""

import dataclasses

from calls import REVERSE, SluiceServes
from contenders import PEERS, SLUICE, SluiceRuns
from field import LoadFailed
from idle import COLUMNS, RESTING, idle
from section import ANSWERED, BULK, Section, answered, bulk

# Driver and stack.
WAYS = {"sluice, DPDK af_xdp": ("af_xdp", "lwip"), "sluice, DPDK af_packet": ("af_packet", "lwip"),
        "sluice, DPDK, kernel stack": ("af_packet", "kernel")}
# Two descriptors a connection, of the 20,000 that a process may have here.
MOST = 9800
RESTING_CONNECTIONS = 5000


def leave_to_dpdk(contender, way):
    """The proxy's devices are DPDK's; the configuration that says so. Endpoints write checksums
    themselves: a packet socket, and an XDP program, hand frames on as they are."""
    contender.field.net.leave_to_dpdk()
    driver, stack = way
    config = contender.field.net.dpdk_config(driver)
    config["dpdk"].update(memory="512m", stack=stack)
    return config


class SluiceDpdk(SluiceServes):
    def __init__(self, name, way):
        super().__init__(name, "copy", note=f"transport: dpdk, {' and '.join(way)}; endpoints without "
                                            "offloads")
        self.way = way

    def start(self):
        self.more = leave_to_dpdk(self, self.way)
        super().start()


class SluiceDpdkTunnels(SluiceRuns):
    """Forward proxy. engine: copy, or auto, which is to rewrite packets where they arrive."""

    def __init__(self, name, way, engine):
        super().__init__(name, engine, note=f"{' and '.join(way)}, splice: {engine}")
        self.way = way

    def start(self):
        self.options["sluice"] = leave_to_dpdk(self, self.way)
        super().start()

    def report(self):
        engines = self.sluice.ask("stats")["stats"]["engines"]
        return next(e for e in engines if e["name"] == "dpdk")

    def check(self, tunnels, patience_s=0):
        if self.engine == "auto":
            taken, self.joined = self.report()["joined"] - self.joined, self.report()["joined"]
            if taken < tunnels:
                raise LoadFailed(f"{taken} of {tunnels} tunnels were spliced")


DPDK = [(title, lambda name, way=way: SluiceDpdk(name, way)) for title, way in WAYS.items()]
TUNNELS = [(f"{title}, {engine}", lambda name, way=way, engine=engine: SluiceDpdkTunnels(name, way, engine))
           for title, way in WAYS.items() for engine in ("auto", "copy")]
SERVERS = [REVERSE, *DPDK, PEERS["haproxy-http"], PEERS["nginx-http"]]


NOTE = ("Answers of 100 B, reverse proxies. Where the machine is busy, compare the CPU: what the kernel does "
        "for a socket is the process's own work with DPDK.")


def requests(title, connections, *options):
    return Section(title, NOTE, SERVERS, ANSWERED, lambda contender, effort: answered(
        contender, effort, "--connections", connections, *options, "--url", contender.url(100)),
        options={"workers": 1})


def most(contender, effort):
    """A request takes a second and more. Who finds a ring full may be told so by a reset."""
    effort = dataclasses.replace(effort, seconds=max(effort.seconds, 3), warm_ms=2000)
    return answered(contender, effort, "--connections", MOST, "--url", contender.url(100),
                    errors=MOST // 10)


def sections(effort):
    yield requests("Requests on 64 kept connections", 64)
    if not effort.quick:
        yield requests("Requests on 1000 kept connections", 1000)
        yield Section(
            f"Requests on {MOST} kept connections", NOTE + " A fresh process each time.", SERVERS,
            [*ANSWERED, ("failed", "failed requests", "", "less")], most,
            options={"workers": 1, "kept": MOST, "limit": MOST + 100, "fresh": True})
    yield requests("A request with a connection of its own, 64 at a time", 64, "--once")
    if effort.quick:
        return
    for streams in (1, 8):
        yield Section(
            f"{streams} tunnelled stream{'s' * (streams > 1)} from the server to the client",
            "MTU 1500, checksums and segmentation by the stacks everywhere: DPDK has no offloads on these "
            "devices. With them the kernel moves super-packets, as in the chapter on bulk.",
            [SLUICE["auto"], SLUICE["copy"], *TUNNELS, PEERS["haproxy"], PEERS["nginx"]], BULK,
            bulk(streams), prepare=lambda contender: contender.field.offloads(False),
            options={"workers": 1})
    yield Section(
        f"{RESTING_CONNECTIONS} idle connections, after a request of 12 B",
        "The slabs are those of the whole machine: client and server hold sockets, too. DPDK's frames are "
        "there from the start, 512 MB, and not counted. A fresh process each time.",
        SERVERS, [*COLUMNS, RESTING], idle(RESTING_CONNECTIONS, False, rest=True),
        options={"fresh": True, "workers": 1}, ratio=False)
