#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""sluice probe judges limits and settings of a host, which here is a folder: each setting is good, bad and
missing once."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import Suite, check, equal
from lab.sluice import binary

suite = Suite()

GOOD = {
    "proc/self/limits": "Limit                     Soft Limit           Hard Limit           Units\n"
                        "Max open files            1024                 524288               files\n",
    "proc/sys/fs/nr_open": "1048576\n",
    "proc/sys/fs/file-max": "9223372036854775807\n",
    "proc/sys/net/core/somaxconn": "4096\n",
    "proc/sys/net/ipv4/tcp_max_syn_backlog": "2048\n",
    "proc/sys/net/core/netdev_max_backlog": "1000\n",
    "proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
    "proc/sys/net/ipv4/ip_local_reserved_ports": "40000-44999,45000-49999\n",
    "proc/sys/net/ipv4/tcp_rmem": "4096\t131072\t6291456\n",
    "proc/sys/net/ipv4/tcp_wmem": "4096\t16384\t4194304\n",
    "proc/meminfo": "MemTotal:       16000000 kB\nMemAvailable:   12000000 kB\n",
    "sys/devices/system/cpu/online": "0-3\n",
    "sys/class/net/eth0/device/vendor": "0x1\n",
    "sys/class/net/eth0/queues/rx-0/rps_cpus": "00\n",
    "sys/class/net/eth0/queues/rx-1/rps_cpus": "00\n",
    "sys/class/net/lo/queues/rx-0/rps_cpus": "00\n",
}
CONFIG = """splice: {ports: 40000-49999}
limits: {connections: 50000}
listeners: [{name: a, listen: "127.0.0.1:3128", mode: forward}]
"""

# setting: (file, bad text, what the change says)
BAD = {
    "descriptors": ("proc/self/limits", "Max open files 1024 4096 files\n", "LimitNOFILE=101024"),
    "fs.nr_open": ("proc/sys/fs/nr_open", "65536\n", "sysctl -w fs.nr_open=101024"),
    "fs.file-max": ("proc/sys/fs/file-max", "1000\n", "sysctl -w fs.file-max=101024"),
    "net.core.somaxconn": ("proc/sys/net/core/somaxconn", "128\n", "net.core.somaxconn=4096"),
    "net.ipv4.tcp_max_syn_backlog": ("proc/sys/net/ipv4/tcp_max_syn_backlog", "256\n", "=1024"),
    "net.core.netdev_max_backlog": ("proc/sys/net/core/netdev_max_backlog", "300\n", "=1000"),
    "net.ipv4.ip_local_port_range": ("proc/sys/net/ipv4/ip_local_port_range", "40000 50000\n", "10000 60999"),
    "net.ipv4.ip_local_reserved_ports": ("proc/sys/net/ipv4/ip_local_reserved_ports", "40000-44998\n",
                                         "=40000-49999"),
    "conntrack": ("proc/sys/net/netfilter/nf_conntrack_max", "65536\n", "notrack"),
    "memory": ("proc/meminfo", "MemAvailable:   1000 kB\n", "lower limits.connections"),
    "net.ipv4.tcp_rmem": ("proc/sys/net/ipv4/tcp_rmem", "4096 131072 212992\n", "4096 131072 4194304"),
    "net.ipv4.tcp_wmem": ("proc/sys/net/ipv4/tcp_wmem", "4096 16384 212992\n", "4096 16384 4194304"),
    "device eth0": ("sys/class/net/eth0/queues/rx-1/rps_cpus", None, "combined 4"),
}


class Host:
    """A folder that has a host's proc and sys."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="sluice-host-")
        self.path = Path(self.folder.name)
        (self.path / "sluice.yaml").write_text(CONFIG)
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def set(self, files):
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text)

    def run(self, *arguments):
        return subprocess.run([binary(), "probe", "--root", self.path, "-c", self.path / "sluice.yaml",
                               *arguments], capture_output=True, text=True)

    def tuning(self):
        done = self.run("--json")
        equal(done.returncode, 0, done.stderr)
        return {row["name"]: row for row in json.loads(done.stdout)["tuning"]}


@suite.test()
def a_host_that_fits_needs_no_change(_):
    with Host() as host:
        host.set(GOOD)
        rows = host.tuning()
        equal(set(rows), set(BAD), "settings")
        equal([n for n, r in rows.items() if r["ok"] is not True or r["change"]], [], "bad ones")
        equal(rows["conntrack"]["value"], "not on the path", "conntrack")
        text = host.run().stdout
        check("->" not in text and "net.core.somaxconn" in text, text)


@suite.test()
def each_setting_that_does_not_fit_is_told_with_its_change(_):
    for name, (file, bad, change) in BAD.items():
        with Host() as host:
            host.set(GOOD)
            host.set({file: bad})
            rows = host.tuning()
            equal([n for n, r in rows.items() if r["ok"] is not True], [name], f"bad ones with {file}")
            check(change in rows[name]["change"] and rows[name]["why"], lambda: f"{rows[name]}")
            check(rows[name]["change"] in host.run().stdout, "the text has it, too")


@suite.test()
def one_queue_that_is_spread_by_rps_is_enough(_):
    with Host() as host:
        host.set({**GOOD, "sys/class/net/eth0/queues/rx-0/rps_cpus": "f\n"})
        host.set({"sys/class/net/eth0/queues/rx-1/rps_cpus": None})
        equal(host.tuning()["device eth0"]["ok"], True, "device")


DPDK = """transport: dpdk
dpdk: {memory: 256m, %s ports: [{device: net_null0, addresses: 10.9.0.1/24}]}
listeners: [{name: a, listen: "10.9.0.1:3128", mode: forward}]
"""


@suite.test()
def huge_pages_must_hold_the_memory_of_dpdk_where_they_are_wanted(_):
    for wanted, pages, size, ok in (("", 0, 2048, True), ("huge_pages: true,", 0, 2048, False),
                                    ("huge_pages: true,", 127, 2048, False), ("huge_pages: true,", 128, 2048, True),
                                    ("huge_pages: true,", 1, 1048576, True), ("huge_pages: true,", 1, 0, None)):
        with Host() as host:
            host.set({**GOOD, "sluice.yaml": DPDK % wanted})
            host.set({"proc/meminfo": GOOD["proc/meminfo"] + f"HugePages_Total:  {pages}\n"
                                                             f"Hugepagesize:  {size} kB\n"})
            row = host.tuning()["huge pages"]
            what = f"{pages} pages of {size} KiB, {wanted or 'not wanted'}"
            equal(row["ok"], ok, what)
            equal(row["value"], f"{pages} of {size} KiB" if ok is not None else "not known", f"value with {what}")
            equal(row["change"] or "", "sysctl -w vm.nr_hugepages=129" if ok is False else "", f"change with {what}")
            host.set({"proc/meminfo": GOOD["proc/meminfo"]})
            equal(host.tuning()["huge pages"]["ok"], None, "a kernel without huge pages")


# Offloads are asked of the driver, so the device is a real one, which sysfs shows as hardware.
MAKE_DEVICE = """ip link add eth0 type veth peer name far
mount --bind "$1" /sys/class/net
mount -t bpf bpf /sys/fs/bpf
ethtool -K eth0 gro "$2" tso "$3" >/dev/null
shift 3
exec "$@"
"""


@suite.test(timeout=60)
def offloads_that_are_off_are_told(_):
    for gro, tso in (("on", "on"), ("off", "on"), ("on", "off")):
        with Host() as host:
            queue = host.path / "net/eth0/queues/rx-0/rps_cpus"
            queue.parent.mkdir(parents=True)
            queue.write_text("f\n")
            (host.path / "net/eth0/device").mkdir()
            done = subprocess.run(
                ["unshare", "--net", "--mount", "sh", "-ec", MAKE_DEVICE, "sh", host.path / "net", gro, tso,
                 binary(), "probe", "-c", host.path / "sluice.yaml", "--json"], capture_output=True, text=True)
            equal(done.returncode, 0, done.stderr)
            rows = {r["name"]: r for r in json.loads(done.stdout)["tuning"]}
            row = rows["offloads eth0"]
            equal((row["value"], row["ok"]), (f"GRO {gro}, TSO {tso}", gro == tso), "GRO and TSO")
            equal((row["change"] or "").startswith("ethtool -K eth0 gro on tso on"), not row["ok"], "the change")
            equal(rows["device eth0"]["ok"], True, "its queue, of the same folder")


@suite.test()
def what_is_missing_or_nonsense_is_not_known(_):
    with Host() as host:
        rows = host.tuning()
        equal({n for n, r in rows.items() if r["ok"] is not None}, {"conntrack"}, "judged without files")
        host.set({name: "nonsense\n" for name in GOOD})
        rows = host.tuning()
        equal([n for n, r in rows.items() if r["ok"] is False and not n.startswith("device")], [],
              "bad for nonsense")


@suite.test()
def wrong_usage_and_a_bad_configuration_are_told_apart(_):
    with Host() as host:
        host.set(GOOD)
        equal(host.run("--frobnicate").returncode, 2, "exit status of a strange option")
        (host.path / "sluice.yaml").write_text("listeners: 7\n")
        done = host.run()
        equal((done.returncode, done.stdout), (1, ""), "exit status of a bad configuration")
        check("sluice.yaml:1:" in done.stderr, done.stderr)


if __name__ == "__main__":
    sys.exit(suite.main(Host))
