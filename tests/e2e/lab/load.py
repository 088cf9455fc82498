# SPDX-License-Identifier: BSD-2-Clause
"""The load generator (tests/load) against a place with a sluice, and what came of it: its own report
of every tunnel, the engine of each out of the access log, and the counters of the TCP stacks."""

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

from lab.net import PATIENCE, until
from lab.sluice import binary
from lab.suite import Skip

_WATCHED = ("RetransSegs", "OutRsts", "PAWSActive", "PAWSEstab", "TCPTimeouts", "TCPSpuriousRTOs",
            "TCPLossProbes", "TCPDSACKRecv", "TCPFastRetrans", "BeyondWindow", "TCPBacklogDrop", "TCPRcvQDrop",
            "PruneCalled", "RcvPruned", "OfoPruned", "TCPZeroWindowDrop", "TCPOFODrop")


def load_binary():
    path = Path(binary(release=True)).parents[2] / "tests" / "load" / "load"
    if not path.exists():
        raise Skip(f"there is no load generator at {path}")
    return path


def tcp_counters(ns):
    """Counters of a namespace's TCP, by name."""
    text = ns.run("cat", "/proc/net/snmp", "/proc/net/netstat", text=True).stdout
    lines = [line.split() for line in text.splitlines() if line.startswith("Tcp")]
    counters = {}
    for names, values in zip(lines[::2], lines[1::2]):
        counters.update(zip(names[1:], map(int, values[1:])))
    return {name: counters.get(name, 0) for name in _WATCHED}


def dropped_frames(ns):
    """What the devices of a namespace dropped, because a queue was full: a veth's ring holds 256 frames."""
    lines = ns.run("cat", "/proc/net/dev", text=True).stdout.splitlines()[2:]
    return sum(int(column[3]) + int(column[11]) for column in (li.split(":")[1].split() for li in lines))


class Load:
    """A run of the generator. client, server: namespaces; proxy: (address, port); server_address;
    devices: their devices, to count RSTs and to disturb packets on; fault: lost, duplicated, delayed,
    and RSTs lost, of 65536; others: namespaces whose counters are wanted, too, by name."""

    def __init__(self, client, server, proxy, server_address, devices=(), fault=None, others=None,
                 **options):
        self.namespaces = {"client": client, "server": server, **(others or {})}
        self.before = {name: tcp_counters(ns) for name, ns in self.namespaces.items()}
        self.dropped = self.count_dropped()
        options.setdefault("patience", int(30000 * PATIENCE))
        command = [load_binary(), "--client-ns", f"/proc/{os.getpid()}/fd/{client.fd}",
                   "--server-ns", f"/proc/{os.getpid()}/fd/{server.fd}",
                   "--proxy", f"{proxy[0]},{proxy[1]}", "--server", server_address]
        for device in devices:
            command += ["--device", device]
        if fault:
            command += ["--fault", ",".join(map(str, fault))]
        for name, value in options.items():
            option = "--" + name.replace("_", "-")
            command += [option] if value is True else [option, str(value)]
        self.command = ["setpriv", "--pdeathsig", "KILL", *map(str, command)]
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def count_dropped(self):
        return sum(map(dropped_frames, self.namespaces.values()))

    def result(self, timeout=300):
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            out, err = self.process.communicate(timeout=10)
        if self.process.returncode == 77:
            raise Skip(err.strip())
        if self.process.returncode not in (0, 1):
            raise AssertionError(f"load ended with {self.process.returncode}: {err}")
        return Result(json.loads(out), {
            name: Counter(tcp_counters(ns)) - Counter(self.before[name])
            for name, ns in self.namespaces.items()}, self.count_dropped() - self.dropped)


class Result:
    def __init__(self, report, tcp, dropped):
        self.report, self.tcp, self.dropped = report, tcp, dropped
        self.tunnels = report["list"]
        self.failures = [t for t in self.tunnels if "failure" in t]

    def join_log(self, sluice):
        """Looks up which engine ended each tunnel. Those that failed may have no record."""
        engines = {}
        for record in sluice.log_records(len(self.tunnels) - len(self.failures), 20):
            if not record["target"]:  # its head did not arrive
                continue
            key = int(record["client"].rsplit(":", 1)[1]), int(record["target"].rsplit(":", 1)[1])
            engines[key] = record
        for t in self.tunnels:
            record = engines.get(tuple(t["ports"]), {})
            t["engine"], t["reason"] = record.get("engine"), record.get("reason")
        return self

    def quiet(self):
        """Tunnels that had a quiet moment, and whose ends had room for what the other was promised: the
        others are copied."""
        return [t for t in self.rested() if t["room"] or t.get("engine") == "packet"]

    def rested(self):
        """Tunnels that had a quiet moment, and ends with ordinary buffers."""
        return [t for t in self.tunnels if t["quiet"] and not t["small"] and "failure" not in t]

    def spliced(self, tunnels=None):
        return [t for t in (self.tunnels if tunnels is None else tunnels)
                if t.get("engine") == "packet"]

    def asked(self):
        """Tunnels that learnt of their reset only when the end that waited for it sent another byte."""
        return [t for t in self.tunnels if t["asked"]]

    def retransmitted(self):
        return sum(sum(t["retransmitted"]) for t in self.tunnels)

    def tell(self):
        quiet = self.quiet()
        lines = [f"{len(self.tunnels)} tunnels, {self.report['bytes']} bytes in {self.report['ms']} ms,"
                 f" {len(self.failures)} failures, {len(self.spliced())} spliced,"
                 f" {len(self.spliced(quiet))} of {len(quiet)} quiet ones;"
                 f" {len(self.asked())} asked for a reset; devices dropped {self.dropped} frames;"
                 f" {self.retransmitted()} retransmissions;"
                 f" injected: {self.report['lost']} losses, {self.report['lost_resets']} of RSTs, {self.report['duplicated']} duplicates,"
                 f" {self.report['delayed']} delays; RSTs {self.report['resets']}"]
        lines += [f"{name}: {dict(c)}" for name, c in self.tcp.items()]
        kinds = Counter((t["failure"], t["ending"], t.get("engine")) for t in self.failures)
        lines += [f"{n} x {kind}" for kind, n in kinds.most_common(12)]
        lines += [str(t) for t in self.failures[:4]]
        return "\n".join(lines)
