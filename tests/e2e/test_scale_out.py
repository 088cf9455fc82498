#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Two hosts with one address: behind a router that spreads flows over both (ECMP, BIRD), or in one network
where the address moves (VRRP, keepalived). The configuration files are those of docs/scale-out.

               +-------- 10.2.1.0/24 -- host a (.2) --+
    client ----+ router                               +---- lan 10.4.0.0/24 (bridge in the router)
    10.1.0.2   +-------- 10.2.2.0/24 -- host b (.2) --+
               +-------- 10.3.0.0/24 -- server (.2)
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from lab import Ended, Namespace, Origin, Skip, Sluice, Suite, Wire, check, equal, until
from lab.net import PATIENCE

suite = Suite()
FILES = Path(__file__).resolve().parents[2] / "docs" / "scale-out"
SHARED, MOVING = "10.9.0.1", "10.4.0.10"
SERVERS = [f"10.3.0.2:{port}" for port in (80, 81, 82)]
CONFIG = {
    "listeners": [{"name": "web", "listen": "0.0.0.0:3128", "mode": "http", "routes": [{"upstream": "app"}]},
                  {"name": "raw", "listen": "0.0.0.0:3129", "mode": "tcp", "upstream": "echo"}],
    "upstreams": [{"name": "app", "servers": SERVERS, "balance": "maglev", "key": "header:X-Key"},
                  {"name": "echo", "servers": ["10.3.0.2:90"]}],
}


def echo(wire, origin):
    while data := wire.sock.recv(4096):
        wire.sock.sendall(data)


def named(name):
    def handler(wire, origin):
        while wire.request().complete:
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name))
    return handler


class Host:
    """One of the two: its namespace and its sluice."""

    def __init__(self, lab, number):
        self.lab, self.number = lab, number
        self.address, self.lan = f"10.2.{number}.2", f"10.4.0.{10 + number}"
        self.ns = Namespace()
        lab.router.ip(f"link add to-{number} type veth peer name uplink netns {self.ns.path}",
                      f"addr add 10.2.{number}.1/24 dev to-{number}", f"link set to-{number} up",
                      f"link add lan-{number} type veth peer name lan netns {self.ns.path}",
                      f"link set lan-{number} master lan", f"link set lan-{number} up")
        self.ns.ip("link set lo up", f"addr add {SHARED}/32 dev lo", f"addr add {self.address}/24 dev uplink",
                   "link set uplink up", f"route add default via 10.2.{number}.1",
                   f"addr add {self.lan}/24 dev lan", "link set lan up")
        self.sluice = Sluice(SimpleNamespace(client=lab.client, proxy=self.ns), CONFIG, start=False)
        self.sluice.address = self.address

    def requests(self):
        return self.sluice.stats()["requests_total"]


class TwoHosts:
    def __init__(self):
        for program, package in (("bird", "bird2"), ("keepalived", "keepalived"), ("curl", "curl")):
            if not shutil.which(program, path="/usr/sbin:/usr/bin"):
                raise Skip(f"there is no {program} (package {package})")
        self.dir = Path(tempfile.mkdtemp(prefix="sluice-scale-out-"))
        self.children, self.gates, self.n_files = [], [], 0
        self.client, self.router, self.server = Namespace(), Namespace(), Namespace()
        self.router.ip("link set lo up", "link add lan type bridge", "link set lan up",
                       "addr add 10.4.0.1/24 dev lan")
        for ns, net in ((self.client, 1), (self.server, 3)):
            self.router.ip(f"link add net-{net} type veth peer name uplink netns {ns.path}",
                           f"addr add 10.{net}.0.1/24 dev net-{net}", f"link set net-{net} up")
            ns.ip("link set lo up", f"addr add 10.{net}.0.2/24 dev uplink", "link set uplink up",
                  f"route add default via 10.{net}.0.1")
        self.router.write_sysctl("net.ipv4.ip_forward", 1)
        self.router.write_sysctl("net.ipv4.fib_multipath_hash_policy", 1)
        self.hosts = [Host(self, 1), Host(self, 2)]
        for host in self.hosts:  # by way of the lan: replies leave by the default route
            for name in ("all", "lan", "uplink"):
                host.ns.write_sysctl(f"net.ipv4.conf.{name}.rp_filter", 0)
        self.origins = [Origin(self.server, "10.3.0.2", port, named(b"%d" % port)) for port in (80, 81, 82)]
        self.origins.append(Origin(self.server, "10.3.0.2", 90, echo))
        self.client.wait_for(*[h.address for h in self.hosts], "10.3.0.2")
        for host in self.hosts:
            host.sluice.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for child in self.children:
            child.kill()
        for host in self.hosts:
            try:
                if kind is None and host.sluice.process.poll() is None:  # else a test killed it
                    host.sluice.stop()
            finally:
                host.sluice.discard()
        shutil.rmtree(self.dir, ignore_errors=True)

    def tell(self):
        logs = [f"{p.name}: " + " / ".join(p.read_text(errors="replace").splitlines()[-6:])
                for p in self.dir.glob("*.out")]
        return "\n".join(logs + [h.sluice.tell(6) for h in self.hosts])

    def start(self, ns, *command):
        self.n_files += 1
        out = self.dir / f"{Path(command[0]).name}-{self.n_files}.out"
        with open(out, "wb") as f:
            child = ns.start(*command, stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        self.children.append(child)
        return child

    def configured(self, name, number, **replace):
        """A file of the documentation, with what differs from host to host."""
        text = (FILES / name).read_text()
        for old, new in replace.items():
            check(old in text, f"{name} has no {old}")
        for old, new in replace.items():
            text = text.replace(old, f"\0{new}")
        path = self.dir / f"{name}-{number}"
        path.write_text(text.replace("\0", "").replace("log syslog all", "log stderr all"))
        return path

    def bird(self, ns, conf):
        """Returns what birdc needs to talk to it."""
        control = f"{conf}.ctl"
        self.start(ns, "/usr/sbin/bird", "-f", "-c", conf, "-s", control, "-P", f"{conf}.pid")
        until(Path(control).exists, 10, "BIRD runs")
        return ["-s", control]

    def hops(self):
        """How many ways the router knows to the shared address."""
        text = self.router.run("ip", "route", "show", SHARED, text=True).stdout
        return text.count("via ")

    def get(self, address, key="k", timeout=10):
        with Wire(self.client.connect(address, 3128, timeout * PATIENCE)) as wire:
            return wire.send(f"GET / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\nConnection: close\r\n\r\n"
                             .encode()).response().body

    def tunnels(self, address, n):
        """Connections that stay, by the number of their host."""
        found = {1: [], 2: []}
        for _ in range(n):
            before = [h.sluice.stats()["tunnels_total"] for h in self.hosts]
            wire = Wire(self.client.connect(address, 3129))
            wire.send(b"hello").exactly(5)
            after = [h.sluice.stats()["tunnels_total"] for h in self.hosts]
            found[1 if after[0] > before[0] else 2].append(wire)
        return found


def is_alive(wire):
    try:
        wire.send(b"again").exactly(5)
        return True
    except (Ended, OSError):
        return False


def spread(lab):
    """ECMP is up: BIRD on all three, a gate on each host."""
    if not lab.gates:
        start_birds(lab)
    until(lambda: lab.hops() == 2, 30, "both hosts are announced", 0.05)


def start_birds(lab):
    lab.bird(lab.router, lab.configured("bird-router.conf", 0))
    for host in lab.hosts:
        conf = lab.configured("bird-host.conf", host.number,
                              **{"10.2.1.2": host.address, "10.2.1.1": f"10.2.{host.number}.1"})
        lab.gates.append(lab.start(host.ns, FILES / "gate", *lab.bird(host.ns, conf)))


@suite.test(timeout=60)
def both_hosts_serve_the_address(lab):
    spread(lab)
    before = [h.requests() for h in lab.hosts]
    for i in range(40):
        check(lab.get(SHARED, i) in (b"80", b"81", b"82"), "an answer")
    after = [h.requests() for h in lab.hosts]
    check(all(a > b for a, b in zip(after, before)), f"both had requests: {before} {after}")


@suite.test()
def a_key_has_the_same_server_on_each_host(lab):
    chosen = [[lab.get(h.address, key) for key in range(40)] for h in lab.hosts]
    equal(chosen[0], chosen[1], "servers by host")
    equal(len(set(chosen[0])), 3, "servers that are used")


@suite.test(timeout=60)
def a_host_that_dies_takes_its_own_connections_alone(lab):
    spread(lab)
    held = lab.tunnels(SHARED, 16)
    check(held[1] and held[2], "connections on both hosts")
    first = lab.hosts[0]
    first.sluice.process.kill()
    first.sluice.process.wait()
    until(lambda: lab.hops() == 1, 20, "it is withdrawn", 0.05)
    equal([is_alive(w) for w in held[1]], [False] * len(held[1]), "connections of the dead host")
    equal([is_alive(w) for w in held[2]], [True] * len(held[2]), "connections of the other")
    for i in range(10):
        lab.get(SHARED, i)
    first.sluice.start()
    until(lambda: lab.hops() == 2, 20, "it is announced again", 0.05)
    before = first.requests()
    for i in range(30):
        lab.get(SHARED, i)
    check(first.requests() > before, "it has requests again")


@suite.test(timeout=60)
def a_host_whose_link_fails_is_left_out(lab):
    spread(lab)
    second = lab.hosts[1]
    second.ns.ip("link set uplink down")
    until(lambda: lab.hops() == 1, 20, "it is left out", 0.05)
    for i in range(10):
        lab.get(SHARED, i)
    second.ns.ip("link set uplink up", "route add default via 10.2.2.1")
    until(lambda: lab.hops() == 2, 30, "it is back", 0.05)


@suite.test(timeout=60)
def the_end_of_a_gate_withdraws_the_address(lab):
    spread(lab)
    lab.gates[0].terminate()
    until(lambda: lab.hops() == 1, 20, "it is withdrawn", 0.05)
    before = lab.hosts[0].requests()
    for i in range(10):
        lab.get(SHARED, i)
    equal(lab.hosts[0].requests(), before, "requests of the host that is out")


def answers(lab):
    try:
        return lab.get(MOVING, timeout=1)
    except OSError:
        return None


@suite.test(timeout=60)
def vrrp_moves_the_address_to_the_host_that_is_ready(lab):
    def owner():
        return [h.number for h in lab.hosts
                if f" {MOVING}/" in h.ns.run("ip", "addr", "show", "dev", "lan", text=True).stdout]

    for host, peer in (lab.hosts, lab.hosts[::-1]):
        conf = lab.configured("keepalived.conf", host.number, **{
            "unicast_src_ip 10.4.0.11": f"unicast_src_ip {host.lan}", "\t\t10.4.0.12": f"\t\t{peer.lan}",
            "priority 100": "priority 100" if host.number == 1 else "priority 90"})
        lab.start(host.ns, "/usr/sbin/keepalived", "-n", "-l", "-P", "-f", conf, "-p", f"{conf}.pid",
                  "-r", f"{conf}.vrrp")
    until(lambda: owner() == [1], 20, "the first has the address", 0.1)
    check(lab.get(MOVING) in (b"80", b"81", b"82"), "an answer")
    first = lab.hosts[0]
    first.sluice.process.kill()
    first.sluice.process.wait()
    until(lambda: owner() == [2], 20, "the second has it", 0.1)
    before = lab.hosts[1].requests()
    until(lambda: answers(lab), 20, "an answer of the other host")  # a neighbour is slow to believe it
    check(lab.hosts[1].requests() > before, "requests")
    first.sluice.start()
    until(lambda: owner() == [1], 20, "the first has it again", 0.1)


if __name__ == "__main__":
    sys.exit(suite.main(TwoHosts))
