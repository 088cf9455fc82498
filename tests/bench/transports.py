# SPDX-License-Identifier: BSD-2-Clause
"""One worker each: sluice over the kernel's sockets and over ports that DPDK owns, beside its peers."""

from calls import REVERSE, SluiceServes
from contenders import PEERS
from section import ANSWERED, Section, answered


class SluiceDpdk(SluiceServes):
    """The proxy's devices are DPDK's. Endpoints write checksums themselves: a packet socket, and an XDP
    program, hand frames on as they are."""

    def __init__(self, name, driver, stack):
        super().__init__(name, "copy", note=f"transport: dpdk, {driver}, stack: {stack}; endpoints without "
                                            "offloads")
        self.driver, self.stack = driver, stack

    def start(self):
        config = self.field.net.dpdk_config(self.driver)
        config["dpdk"].update(memory="512m", stack=self.stack)
        self.field.net.leave_to_dpdk()
        self.more = config
        super().start()


DPDK = [(title, lambda name, driver=driver, stack=stack: SluiceDpdk(name, driver, stack))
        for title, driver, stack in (("sluice, DPDK af_xdp", "af_xdp", "lwip"),
                                     ("sluice, DPDK af_packet", "af_packet", "lwip"),
                                     ("sluice, DPDK, kernel stack", "af_packet", "kernel"))]


def sections(effort):
    for title, connections, options in (
            ("Requests on 64 kept connections", 64, ()),
            ("Requests on 1000 kept connections", 1000, ()),
            ("A request with a connection of its own, 64 at a time", 64, ("--once",))):
        if effort.quick and connections > 64:
            continue
        yield Section(
            title, "Answers of 100 B, reverse proxies. Where the machine is busy, compare the CPU: what the "
            "kernel does for a socket is the process's own work with DPDK.",
            [REVERSE, *DPDK, PEERS["haproxy-http"], PEERS["nginx-http"]], ANSWERED,
            lambda contender, effort, n=connections, options=options: answered(
                contender, effort, "--connections", n, *options, "--url", contender.url(100)),
            options={"workers": 1})
