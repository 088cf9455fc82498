#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The packet engine under stress: many tunnels of all kinds at once, every byte compared by its position,
every ending as it was meant. The load generator (tests/load) holds both ends of each tunnel. Each test
has namespaces and a bpffs of its own. STRESS_SCALE multiplies the number of tunnels (nightly: 20),
STRESS_SEED moves the whole run to other tunnels. Needs root with CAP_BPF."""

import contextlib
import os
import sys

from lab import Skip, Suite, Topology, check, equal, until
from lab.bpffs import Bpffs
from lab.load import Load, tcp_counters
from lab.net import PATIENCE
from lab.sluice import Sluice, in_thread
from lab.stream import receive_stream, retransmissions, send_stream

suite = Suite()
SCALE = float(os.environ.get("STRESS_SCALE", "1"))
SEED = int(os.environ.get("STRESS_SEED", "1"))
CONCURRENCY = 150
OFFLOADS = ("tso", "gso", "gro", "tx")
# Of 65536 packets: lost, duplicated, held back for some milliseconds. Of as many RSTs: lost.
BAD_NETWORK = (330, 330, 650, 0)
NO_RESETS = (0, 0, 0, 13000)
ALLOW_ALL = {"acl": [{"allow": {"dst": "0.0.0.0/0"}}, {"allow": {"dst": "::/0"}}]}


class StressSluice(Sluice):
    def __init__(self, net, prefix, engine, address, release):
        self.address = address
        anywhere = "[::]" if ":" in address else "0.0.0.0"
        super().__init__(net, {"workers": 2, "splice": {"engine": engine, "after": "20ms"},
                               "timeouts": {"drain": "200ms"}, "limits": {"connections": 20000}},
                         listener={**ALLOW_ALL, "listen": f"{anywhere}:{self.port}"}, release=release,
                         prefix=prefix, start=False)

    def ready(self):
        try:
            return b" 200 " in self.http_get("/readyz")
        except OSError:
            return False


class Arena:
    """Namespaces, a bpffs, and a sluice between them, or all on loopback."""

    def __init__(self, engine="packet", loopback=False, v6=False, release=True):
        net = self.net = Topology()
        self.client, self.server = (net.proxy, net.proxy) if loopback else (net.client, net.server)
        if loopback:
            self.proxy = self.target = "::1" if v6 else "127.0.0.1"
        else:
            self.proxy, self.target = (("fd00:1::1", "fd00:2::2") if v6 else
                                       ("10.1.0.1", "10.2.0.2"))
        self.devices = ["lo"] if loopback else ["to-proxy", "to-proxy"]
        self.bpffs = Bpffs()
        self.sluice = StressSluice(net, self.bpffs.prefix, engine, self.proxy, release)

    def all_devices(self):
        net = self.net
        return ((net.client, "to-proxy"), (net.proxy, "to-client"), (net.proxy, "to-server"),
                (net.server, "to-proxy"))

    def start(self):
        self.sluice.start()
        if self.sluice.config["splice"]["engine"] == "packet":
            engine = self.engine()
            if not engine["available"]:
                raise Skip(f"the packet engine is not available: {engine['reason']}")
        return self

    def engine(self):
        engines = self.sluice.ask("stats")["stats"]["engines"]
        return [e for e in engines if e["name"] == "packet"][0]

    def load(self, tunnels, seed=0, **options):
        return Load(self.client, self.server, (self.proxy, self.sluice.port), self.target,
                    self.devices, others={"proxy": self.net.proxy}, tunnels=max(1, int(tunnels * SCALE)), concurrency=CONCURRENCY,
                    seed=SEED * 1000 + seed, **options)

    def run(self, tunnels, **options):
        return self.load(tunnels, **options).result().join_log(self.sluice)

    def close(self):
        self.sluice.discard()
        self.bpffs.close()


@contextlib.contextmanager
def arena(**options):
    a = Arena(**options)
    try:
        yield a
        a.sluice.stop()
    finally:
        a.close()


def whole(result):
    print("# " + result.tell().replace("\n", "\n# "), flush=True)
    check(not result.failures, result.tell)
    lost = result.dropped + result.report["lost_resets"]
    check(len(result.asked()) <= lost + len(result.tunnels) // 200, result.tell)


def mostly_spliced(result):
    quiet = result.quiet()
    check(len(quiet) > 0.8 * len(result.rested()), lambda: f"too few had room: {result.tell()}")
    check(len(result.spliced(quiet)) > 0.9 * len(quiet), lambda: f"too few spliced: {result.tell()}")


def undisturbed(result):
    """No packet was refused as too old by an end's protection against wrapped sequence numbers."""
    for name, tcp in result.tcp.items():
        equal((tcp["PAWSEstab"], tcp["PAWSActive"]), (0, 0), f"PAWS drops at the {name}")


@suite.test(timeout=600)
def on_a_clean_link_nothing_is_lost_or_reset(_):
    with arena() as a:
        result = a.start().run(2000, no_resets=True)
        whole(result)
        mostly_spliced(result)
        undisturbed(result)
        equal((result.tcp["server"]["BeyondWindow"], result.tcp["client"]["BeyondWindow"]), (0, 0),
              "segments beyond a window")
        equal(result.report["resets"], {"in": 0, "out": 0}, "RSTs on the wire")


@contextlib.contextmanager
def tunnel(a, receive_buffer):
    """Through a sluice, to a server with so much room."""
    listener = a.server.listen(a.target, receive_buffer=receive_buffer)
    authority = f"{a.target}:{listener.getsockname()[1]}"
    with listener, a.client.connect(a.proxy, a.sluice.port) as client:
        client.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        with listener.accept()[0] as server:
            check(b" 200 " in client.recv(4096), "CONNECT")
            yield client, server


def carry(client, server, seed, size):
    job = in_thread(send_stream, client, seed, size)
    receive_stream(server, seed, size)
    job.join(10)


SPLICED = "packet", "ripe"
NO_ROOM = "copy", "a peer has less room than the other was promised"


def judged(a):
    """What the engine made of the only tunnel, once that is quiet."""
    def verdict():
        flow = a.sluice.flows()[0]
        return flow["engine"], flow["reason"]

    until(lambda: verdict() in (SPLICED, NO_ROOM), 5, "the engine was asked")
    return verdict()


@suite.test(timeout=60)
def a_server_with_little_room_is_not_flooded(_):
    """After the flip a client sends what the proxy's window allowed. It retransmitted what a server with
    a small buffer had to drop."""
    with arena() as a:
        a.start()
        with tunnel(a, 4096) as (client, server):
            equal(judged(a), NO_ROOM, "flow")
            before = tcp_counters(a.server)["BeyondWindow"]
            carry(client, server, 1, 50000)
            equal(tcp_counters(a.server)["BeyondWindow"], before, "segments beyond the window")


@suite.test(timeout=60)
def a_server_with_somewhat_less_room_gets_no_flight_beyond_it(_):
    """A client that has sent much may send at once all that it was promised. A server that had room for
    more than half of that got it, dropped the super-packet whole, and it had to come again."""
    with arena() as a:
        a.start()
        before = tcp_counters(a.server)["BeyondWindow"]
        for buffer in (36000, 40000, 44000, 48000, 52000):
            with tunnel(a, buffer) as (client, server):
                carry(client, server, 1, 150000)
                verdict = judged(a)
                carry(client, server, 2, 65536)
                equal((tcp_counters(a.server)["BeyondWindow"] - before, retransmissions(client)), (0, 0),
                      f"segments beyond the window, retransmitted; {buffer}: {verdict}")
            until(lambda: not a.sluice.flows(), 10, "the tunnel is over")


@suite.test(timeout=60)
def a_client_that_has_sent_little_is_spliced_to_a_server_with_less_room(_):
    """Its congestion window keeps it from sending what it was promised at once, and the server's first ACK
    tells it of the room that there is."""
    with arena() as a:
        a.start()
        before = tcp_counters(a.server)["BeyondWindow"]
        with tunnel(a, 24000) as (client, server):
            carry(client, server, 1, 100)
            equal(judged(a), SPLICED, "flow")
            carry(client, server, 2, 65536)
            equal((tcp_counters(a.server)["BeyondWindow"] - before, retransmissions(client)), (0, 0),
                  "segments beyond the window, retransmitted")


@suite.test(timeout=600)
def resets_and_cuts_arrive_as_such(_):
    with arena() as a:
        result = a.start().run(1000, seed=1)
        whole(result)
        mostly_spliced(result)
        undisturbed(result)


@suite.test(timeout=600)
def a_lost_reset_is_made_up_for_by_the_next_byte(_):
    """A veth's ring that was full swallowed an RST, and the other end of the tunnel waited for ever, as
    without a proxy. Its next byte meets a reset, whoever carries the pair."""
    with arena() as a:
        result = a.start().run(200, seed=12, fault=NO_RESETS, patience=int(12000 * PATIENCE))
        whole(result)
        check(result.asked() and result.spliced(result.asked()), result.tell)


@suite.test(timeout=600)
def losses_duplicates_and_disorder_corrupt_nothing(_):
    with arena() as a:
        result = a.start().run(1000, seed=2, fault=BAD_NETWORK)
        whole(result)
        mostly_spliced(result)


@suite.test(timeout=600)
def on_loopback(_):
    with arena(loopback=True) as a:
        result = a.start().run(1000, seed=3)
        whole(result)
        mostly_spliced(result)
        undisturbed(result)


@suite.test(timeout=600)
def on_a_loopback_that_loses_packets(_):
    with arena(loopback=True) as a:
        result = a.start().run(500, seed=4, fault=BAD_NETWORK)
        whole(result)
        mostly_spliced(result)


@suite.test(timeout=600)
def over_ipv6(_):
    with arena(v6=True) as a:
        result = a.start().run(600, seed=5)
        whole(result)
        mostly_spliced(result)
        undisturbed(result)


@suite.test(timeout=600)
def without_offloads(_):
    with arena() as a:
        for ns, device in a.all_devices():
            ns.run("ethtool", "-K", device, *[word for o in OFFLOADS for word in (o, "off")])
        result = a.start().run(600, seed=6)
        whole(result)
        mostly_spliced(result)


@suite.test(timeout=600)
def at_xdp(_):
    """On a veth XDP sees no packet whose checksum is left to the device."""
    with arena() as a:
        for ns, device in a.all_devices():
            ns.run("ethtool", "-K", device, "tx", "off", "gro", "on")
        a.sluice.config["splice"]["hook"] = "xdp"
        result = a.start().run(600, seed=10)
        whole(result)
        mostly_spliced(result)


@suite.test(timeout=600)
def a_new_process_on_used_maps_serves_the_same_ports_again(_):
    """Each process begins with the same source ports, and so meets the tuples of before, in the servers'
    TIME_WAIT and in pairs that still cool down."""
    with arena() as a:
        a.start()
        for turn in range(3):
            result = a.run(400, seed=11 + turn, first_port=20000)
            whole(result)
            mostly_spliced(result)
            a.sluice.stop()
            a.sluice.log.unlink()
            a.sluice.start()


@suite.test(timeout=600)
def killing_sluice_corrupts_nothing_and_spliced_tunnels_go_on(_):
    """Tunnels that are not spliced yet may die with it; none may carry a wrong byte."""
    with arena() as a:
        a.start()
        load = a.load(600, seed=20, quiet=True)
        flows = until(lambda: [f for f in a.sluice.flows() if f["engine"] == "packet"][20:] and
                      [f for f in a.sluice.flows() if f["engine"] == "packet"], 20, "spliced tunnels")
        a.sluice.process.kill()
        a.sluice.process.wait()
        a.sluice.start()
        result = load.result()
        print("# " + result.tell().replace("\n", "\n# "))
        ports = {int(f["client"].rsplit(":", 1)[1]) for f in flows}
        harmed = [t for t in result.failures if t["ports"][0] in ports]
        check(not harmed, lambda: f"spliced, and yet: {harmed[:3]}")
        wrong = [t for t in result.failures
                 if t["failure"] in ("wrong bytes", "bytes that were never sent", "stalled")]
        check(not wrong, lambda: f"harmed: {wrong[:3]}")


@suite.test(timeout=600)
def with_a_small_mtu(_):
    with arena() as a:
        for ns, device in a.all_devices():
            ns.ip(f"link set {device} mtu 1280")
        result = a.start().run(600, seed=7)
        whole(result)
        mostly_spliced(result)
        undisturbed(result)


@suite.test(timeout=600)
def with_a_smaller_mtu_behind_the_proxy_nothing_is_lost(_):
    with arena() as a:
        for ns, device in a.all_devices()[2:]:
            ns.ip(f"link set {device} mtu 1280")
        whole(a.start().run(300, seed=8))


@suite.test(timeout=600)
def under_sanitizers(_):
    with arena(release=False) as a:
        result = a.start().run(400, seed=9)
        whole(result)
        mostly_spliced(result)


if __name__ == "__main__":
    sys.exit(suite.main(contextlib.nullcontext))
