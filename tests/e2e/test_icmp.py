#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""ICMP errors about spliced packets: what routers behind the proxy say reaches the endpoint whose packet
it is about, and nothing else is believed. Each test has a topology and a bpffs of its own. Needs root
with CAP_BPF.

    client 10.3.0.2 --- router 10.1.0.2 --- proxy --- 10.2.0.2 router --- 10.4.0.2 server
           fd00:3::2           fd00:1::2              fd00:2::2           fd00:4::2"""

import contextlib
import errno
import socket
import struct
import sys

from lab import Namespace, Place, Skip, Suite, Topology, check, equal, until
from lab.sluice import in_thread
from lab.stream import receive_stream, send_stream

suite = Suite()
MTU = 1300
SIZE = 1 << 18
CLIENT, SERVER = 0, 1
SYSCTLS = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1,
           "net.ipv4.icmp_ratelimit": 0, "net.ipv6.icmp.ratelimit": 0}
# The same by IP version.
IP_MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}
IP_RECVERR = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}
IP_TTL = {4: (socket.IPPROTO_IP, socket.IP_TTL), 6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)}
UNREACHABLE = {4: "IcmpInDestUnreachs", 6: "Icmp6InDestUnreachs"}
TIME_EXCEEDED = {4: "IcmpInTimeExcds", 6: "Icmp6InTimeExcds"}


class Routed(Topology):
    """A router on each side of the proxy; all devices have an MTU of 1500."""

    def __init__(self):
        super().__init__()
        self.routers = [self.client, self.server]
        self.ends = [Namespace(), Namespace()]
        for side, (router, end) in enumerate(zip(self.routers, self.ends)):
            near, far = 1 + side, 3 + side
            router.ip(f"link add to-end type veth peer name to-router netns {end.path}",
                      f"addr add 10.{far}.0.1/24 dev to-end",
                      f"addr add fd00:{far}::1/64 dev to-end nodad", "link set to-end up")
            end.ip("link set lo up", f"addr add 10.{far}.0.2/24 dev to-router",
                   f"addr add fd00:{far}::2/64 dev to-router nodad", "link set to-router up",
                   f"route add default via 10.{far}.0.1", f"route add ::/0 via fd00:{far}::1")
            for name, value in SYSCTLS.items():
                router.write_sysctl(name, value)
            self.proxy.ip(f"route add 10.{far}.0.0/24 via 10.{near}.0.2",
                          f"route add fd00:{far}::/64 via fd00:{near}::2")
            end.wait_for(f"10.{near}.0.1", f"fd00:{near}::1")

    def route(self, side, version, action, kind="", rest="dev to-end"):
        """The router's route to the end of its side."""
        address = f"10.{3 + side}.0.2/32" if version == 4 else f"fd00:{3 + side}::2/128"
        self.routers[side].ip(f"route {action} {kind} {address} {rest}")

    def narrow(self, side, version):
        """Only small packets get to that end from now on."""
        self.route(side, version, "add", rest=f"dev to-end mtu lock {MTU}")

    def refuse(self, side, version):
        self.route(side, version, "add", "unreachable", "")

    def restore(self, side, version):
        self.route(side, version, "del", "unreachable", "")

    def for_xdp(self):
        """What veth needs: whole checksums and no super-packets on the wires of the proxy."""
        for ns, device in (*((r, "to-proxy") for r in self.routers),
                           *((e, "to-router") for e in self.ends)):
            done = ns.run("ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "on")
            if done.returncode:
                raise Skip(f"ethtool: {done.stderr.decode()}")


class Tunnel:
    def __init__(self, place, version, pair, flow):
        self.place, self.net, self.version = place, place.sluice.net, version
        self.pair, self.flow = pair, flow

    def path_mtu(self, side):
        return self.pair[side].getsockopt(*IP_MTU[self.version])

    def counter(self, name):
        return self.place.sluice.counter(name)

    def acknowledged(self):
        """What the server has acknowledged, in the numbers of its leg."""
        pairs = [e["value"] for e in self.place.sluice.dump("flows") if e["value"]["state"] != "SL_FLOW_FREE"]
        equal(len(pairs), 1, "pairs")
        return pairs[0]["leg"][1]["ack"]

    def flows(self, side, seed, size=SIZE):
        """Bytes from one side to the other, compared."""
        job = in_thread(send_stream, self.pair[side], seed, size)
        receive_stream(self.pair[1 - side], seed, size)
        job.join(30)

    def endpoint_counter(self, side, name):
        text = self.net.ends[side].run("nstat", "-asz", name, text=True).stdout
        return int(text.split(name)[1].split()[0])


@contextlib.contextmanager
def tunnel(version, hook):
    net = Routed()
    if hook == "xdp":
        net.for_xdp()
    place = Place(net, "veth6" if version == 6 else "veth",
                  config={"workers": 1, "splice": {"hook": hook, "pairs": 64}})
    place.client, place.server = net.ends
    place.server_address = "fd00:4::2" if version == 6 else "10.4.0.2"
    try:
        place.start()
        with place.tunnels() as ([pair], [flow]):
            yield Tunnel(place, version, pair, flow)
        place.sluice.stop()
    finally:
        place.discard()


def everywhere(function):
    for version in (4, 6):
        for hook in ("tc", "xdp"):
            def test(_, version=version, hook=hook):
                with tunnel(version, hook) as t:
                    function(t)
            suite.add(f"{function.__name__.replace('_', ' ')}, IPv{version} at {hook}", test, 60)
    return function


# --- path MTU ---

@everywhere
def a_sender_learns_of_a_smaller_mtu_behind_the_proxy(t):
    for sender in (CLIENT, SERVER):
        t.flows(sender, 1)
        equal(t.path_mtu(sender), 1500, "before")
        before = t.counter("ICMP")
        t.net.narrow(1 - sender, t.version)
        t.flows(sender, 3)
        equal(t.path_mtu(sender), MTU, "the sender's path MTU")
        check(t.counter("ICMP") > before, "the error went through the proxy")
        equal(t.path_mtu(1 - sender), 1500 if sender == CLIENT else MTU, "the receiver's")
    equal(t.counter("DROP_ICMP"), 0, "errors that were not believed")
    equal(t.place.carried()[0]["client"], t.flow["client"], "still spliced")


# --- unreachable, time exceeded ---

def broken(t, side, name, error, cause, repair):
    """What `cause` breaks is told to the end that sends, and to nobody else; the connection goes on once
    it is repaired."""
    one, other = t.pair[side], t.pair[1 - side]
    before = [t.endpoint_counter(end, name) for end in (CLIENT, SERVER)]
    one.setsockopt(*IP_RECVERR[t.version], 1)
    cause()
    one.sendall(b"lost?")
    # A socket that is in use at the moment that an error arrives keeps it to itself; another follows.
    got = until(lambda: one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 10, "the sender's error")
    equal(errno.errorcode[got], errno.errorcode[error], "the sender's error")
    one.setsockopt(*IP_RECVERR[t.version], 0)
    one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    repair()
    equal(other.recv(5), b"lost?", "the word, in the end")
    check(t.endpoint_counter(side, name) > before[side], f"{name} at the sender")
    equal(t.endpoint_counter(1 - side, name), before[1 - side], f"{name} at the receiver")
    t.flows(side, 7, 4096)


@everywhere
def unreachable_reaches_the_end_that_sent(t):
    error = errno.EHOSTUNREACH if t.version == 4 else errno.ENETUNREACH
    for side in (CLIENT, SERVER):
        broken(t, side, UNREACHABLE[t.version], error,
               lambda: t.net.refuse(1 - side, t.version), lambda: t.net.restore(1 - side, t.version))


@everywhere
def time_exceeded_reaches_the_end_that_sent(t):
    option = IP_TTL[t.version]
    for side in (CLIENT, SERVER):
        ttl = t.pair[side].getsockopt(*option)
        broken(t, side, TIME_EXCEEDED[t.version], errno.EHOSTUNREACH,
               lambda: t.pair[side].setsockopt(*option, 3),  # router, proxy, router
               lambda: t.pair[side].setsockopt(*option, ttl))


# --- forged ---

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def too_big(version, source, target, seq, mtu):
    """ICMP's "too big" about a segment from source to target (address, port), its checksum done for IPv4."""
    tcp = struct.pack("!HHI", source[1], target[1], seq)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    addresses = socket.inet_pton(family, source[0]) + socket.inet_pton(family, target[0])
    if version == 6:
        return struct.pack("!BBHI", 2, 0, 0, mtu) + struct.pack("!IHBB", 6 << 28, 1400, 6, 60) + \
            addresses + tcp
    quoted = struct.pack("!BBHIBBH", 0x45, 0, 1400, 0x4000, 60, 6, 0) + addresses + tcp
    sum_ = checksum(struct.pack("!BBHI", 3, 4, 0, mtu) + quoted)
    return struct.pack("!BBHI", 3, 4, sum_, mtu) + quoted


def split(address):
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


@everywhere
def an_error_with_a_guessed_number_is_dropped_and_counted(t):
    """Who doesn't see the traffic can't shrink a path. The legs' own numbers, one byte off, are tried, too."""
    source, target = split(t.flow["upstream_local"]), split(t.flow["upstream"])
    family = socket.AF_INET if t.version == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if t.version == 4 else socket.IPPROTO_ICMPV6
    next_seq = t.acknowledged()
    with t.net.routers[SERVER].socket(family, socket.SOCK_RAW, protocol) as raw:
        guesses = [next_seq + n for n in (-1, 1, 1 << 20, -(1 << 20), 1 << 31)]
        for seq in guesses:
            raw.sendto(too_big(t.version, source, target, seq & 0xffffffff, MTU), (source[0], 0))
        until(lambda: t.counter("DROP_ICMP") == len(guesses), 10, "all are counted as dropped")
        equal(t.counter("ICMP"), 0, "translated errors")
        t.flows(CLIENT, 5)
        equal(t.path_mtu(CLIENT), 1500, "path MTU")
        # The same with the right number is believed: so it is the number that they failed by.
        next_seq = t.acknowledged()
        raw.sendto(too_big(t.version, source, target, next_seq, MTU), (source[0], 0))
        until(lambda: t.counter("ICMP") == 1, 10, "it went through the proxy")
        until(lambda: t.path_mtu(CLIENT) == MTU, 10, "and is believed")


if __name__ == "__main__":
    sys.exit(suite.main(contextlib.nullcontext))
