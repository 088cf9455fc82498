# SPDX-License-Identifier: BSD-2-Clause
"""The field: client, proxy and server in namespaces of their own, as the end-to-end suites draw them
(tests/e2e/lab), with an origin on the server. Each contender has a field for itself, so that no
program or route of another is in its way; all fields look the same."""

import json
import os
import subprocess

from lab import SERVER, Bpffs, Topology, until

ORIGIN_PORT = 9000
PROXY, PROXY_PORT = "10.1.0.1", 3128
SPLICE_PORTS = "10000-29999"  # of the proxy's host; the kernel gives out others there
_SYSCTLS = {"net.ipv4.tcp_tw_reuse": 1, "net.ipv4.tcp_max_tw_buckets": 1000000,
            "net.core.somaxconn": 16384, "net.ipv4.tcp_max_syn_backlog": 16384}


class LoadFailed(Exception):
    pass


class Field:
    def __init__(self, tools, threads, forward=False):
        self.tools, self.threads, self.cores = tools, threads, os.cpu_count() or 1
        self.net = Topology()
        self.children = []
        for ns in (self.net.client, self.net.proxy, self.net.server):
            for name, value in _SYSCTLS.items():
                ns.write_sysctl(name, value)
        self.net.proxy.write_sysctl("net.ipv4.ip_forward", int(forward))
        self.net.proxy.write_sysctl("net.ipv4.ip_local_port_range", "30000 60999")
        self.bpffs = Bpffs()
        self.origin = self.start(self.net.server, tools / "bench-origin", SERVER, ORIGIN_PORT, threads)
        self.wait_for_port(self.net.server, SERVER, ORIGIN_PORT)

    def start(self, ns, *command, log=None):
        """A process that ends with the field. The lab's command line execs, so its id is the
        program's."""
        out = open(log, "ab") if log else subprocess.DEVNULL
        child = ns.start(*command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        if log:
            out.close()
        self.children.append(child)
        return child

    @staticmethod
    def wait_for_port(ns, address, port, alive=lambda: None):
        """alive(): raises if it is pointless to wait."""
        def listens():
            alive()
            try:
                ns.connect(address, port, 1).close()
                return True
            except OSError:
                return False
        until(listens, 15, f"{address}:{port} listens")

    def offloads(self, on, aggregate=False):
        """Segmentation and checksums by the devices, or by the stacks. aggregate: endpoints keep GRO,
        as redirects of XDP into a veth need it."""
        for ns, devices in ((self.net.client, ["to-proxy"]), (self.net.server, ["to-proxy"]),
                            (self.net.proxy, ["to-client", "to-server"])):
            for device in devices:
                gro = on or (aggregate and device == "to-proxy")
                words = [word for feature in ("tx", "sg", "tso", "gso")
                         for word in (feature, "on" if on else "off")]
                done = ns.run("ethtool", "-K", device, *words, "gro", "on" if gro else "off")
                if done.returncode:
                    raise LoadFailed(f"ethtool: {done.stderr.decode().strip()}")

    def load(self, kind, to, *options, pids=(), timeout=90):
        """Runs the load generator on the client; what it measured."""
        pids = [word for pid in pids for word in ("--pid", pid)]
        done = self.net.client.run(self.tools / "bench-load", kind, "--to", to, *options, *pids,
                                   timeout=timeout, text=True)
        if done.returncode:
            raise LoadFailed(done.stderr.strip() or f"the load generator ended: {done.returncode}")
        return json.loads(done.stdout)

    def hold(self, to, *options):
        """Starts to hold connections; the process, and how many are open."""
        child = self.net.client.start(self.tools / "bench-load", "hold", "--to", to, *options,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.children.append(child)
        line = child.stdout.readline()
        return child, json.loads(line)["ready"] if line else 0

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        self.bpffs.close()
