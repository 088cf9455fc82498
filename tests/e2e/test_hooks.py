#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Devices, hooks and outputs of the packet engine: which devices are attached to and when, how packets
leave, and what stands beside sluice on a device. Every test has a topology of its own, as drawn in
lab/__init__.py, and a bpffs of its own. Needs root with CAP_BPF."""

import contextlib
import json
import sys

from lab import Skip, Suite, Topology, check, equal, until
from lab.place import Place
from lab.sluice import binary, in_thread
from lab.stream import receive_stream, send_stream

suite = Suite()
SIZE = 1 << 19


@contextlib.contextmanager
def place(where="veth", net=None, start=True, **splice):
    p = Place(net or Topology(), where, config={"workers": 1, "splice": splice})
    try:
        if start:
            p.start()
        yield p
        p.sluice.stop()
    finally:
        p.discard()


def command(p, *words):
    """sluice, in the proxy's namespaces."""
    return p.sluice.net.proxy.run(*p.sluice.prefix, binary(), *words, text=True)


def devices(p):
    """Where sluice's programs are attached: {device: hook}."""
    done = command(p, "status", "--json")
    equal(done.returncode, 0, done.stderr)
    return {d["device"]: d["hook"] for d in json.loads(done.stdout)["devices"]}


def both_ways(pair, seed, size=SIZE):
    client, server = pair
    jobs = [in_thread(send_stream, client, seed, size),
            in_thread(send_stream, server, seed + 1, size),
            in_thread(receive_stream, server, seed, size)]
    receive_stream(client, seed + 1, size)
    for job in jobs:
        job.join(30)


def splices(p, seed=1):
    """A tunnel is spliced, and carries bytes both ways."""
    with p.tunnels() as ([pair], flows):
        both_ways(pair, seed)
    return flows


def reason(p, text):
    """All tunnels are copied in the end, with that reason."""
    try:
        until(lambda: any(text in f["reason"] for f in p.sluice.flows()), 8)
    except AssertionError:
        raise AssertionError(f"wanted {text!r}: {p.sluice.flows()}") from None
    equal({f["engine"] for f in p.sluice.flows()}, {"copy"}, "engine")


def stays_copied(p, text):
    """A tunnel is copied, with that reason, and carries bytes both ways."""
    with p.open_tunnels() as [pair]:
        reason(p, text)
        both_ways(pair, 5, 3000)
    p.gone()


# --- devices ---

@suite.test()
def devices_are_attached_to_when_a_pair_needs_them(_):
    with place() as p:
        equal(devices(p), {}, "before")
        splices(p)
        equal(devices(p), {"to-client": "tc", "to-server": "tc"}, "after")


@suite.test()
def a_device_may_come_after_the_start(_):
    with place() as p:
        net = p.sluice.net
        splices(p)
        net.proxy.ip("link del to-server")
        net.proxy.ip(f"link add again type veth peer name to-proxy netns {net.server.path}",
                     "addr add 10.2.0.1/24 dev again", "link set again up")
        net.server.ip("addr add 10.2.0.2/24 dev to-proxy", "link set to-proxy up",
                      "route add default via 10.2.0.1")
        splices(p)
        equal(devices(p), {"to-client": "tc", "again": "tc"})


@suite.test()
def only_the_named_devices_are_attached_to_also_late_ones(_):
    with place(devices=["to-client", "late"]) as p:
        equal(devices(p), {"to-client": "tc"}, "at the start")
        stays_copied(p, "its device is not one of splice.devices")
        p.sluice.net.proxy.ip("link add late type veth peer name late2", "link set late up")
        until(lambda: devices(p) == {"to-client": "tc", "late": "tc"}, 5, "late is attached to")


@suite.test()
def with_devices_none_only_those_that_were_loaded_count(_):
    with place(devices="none") as p:
        stays_copied(p, "its device is not one of splice.devices")
        equal(devices(p), {})
        done = command(p, "load", "--dev", "to-client", "--dev", "to-server")
        equal(done.returncode, 0, done.stderr)
        p.sluice.net.proxy.ip("link set lo mtu 60000")  # any change makes it look again
        splices(p)


@suite.test()
def a_device_without_ethernet_frames_leaves_its_pairs_copied(_):
    net = Topology()
    made = net.proxy.run("ip", "link", "add", "tun0", "type", "ipip", "local", "10.2.0.1",
                         "remote", "10.2.0.2")
    if made.returncode:
        made = net.proxy.run("ip", "tuntap", "add", "tun0", "mode", "tun")
    if made.returncode:
        raise Skip("there is neither ipip nor tun here")
    with place(net=net, devices=["tun0"]) as p:
        net.proxy.ip("link set tun0 up")
        equal(devices(p), {})


@suite.test()
def a_small_mtu_is_refused_until_the_mss_fits(_):
    net = Topology()
    with place(net=net, after="1s") as p:
        with p.open_tunnels():
            net.proxy.ip("link set to-server mtu 1300")  # behind the handshake
            reason(p, "MTU")
        net.server.ip("link set to-proxy mtu 1300")
        stays_copied(p, "larger segments")
    with place(net=net, mss=1260) as p:
        splices(p)


# --- outputs ---

@suite.test()
def a_peer_behind_a_router_is_reached_and_followed_to_another(_):
    """The server's address is behind the server's namespace; then its packets come from another MAC."""
    net = Topology()
    net.server.ip("addr add 10.3.0.1/32 dev lo")
    net.proxy.ip("route add 10.3.0.0/24 via 10.2.0.2")
    with place(net=net) as p:
        p.server_address = "10.3.0.1"
        with p.tunnels() as ([pair], _):
            both_ways(pair, 1)
            net.server.ip("link set to-proxy address 02:00:00:00:00:77")
            net.proxy.ip("neigh flush all")
            both_ways(pair, 3)
            check(p.sluice.counter("MOVED") >= 1, "it was noticed")


@suite.test()
def one_device_serves_both_peers(_):
    """One-armed: client and server are on the same wire."""
    net = Topology()
    net.client.ip("addr add 10.1.0.3/24 dev to-proxy")
    with place(net=net) as p:
        p.server, p.server_address = net.client, "10.1.0.3"
        splices(p)
        equal(devices(p), {"to-client": "tc"})


@suite.test()
def peers_on_vlans_are_told_apart_from_those_below(_):
    """The client is on a VLAN's device, and the device below has a program, too."""
    net = Topology()
    for ns, dev, host in ((net.proxy, "to-client", 1), (net.client, "to-proxy", 2)):
        made = ns.run("ip", "link", "add", "link", dev, "name", "vlan7", "type", "vlan", "id", "7")
        if made.returncode:
            raise Skip("there are no VLAN devices here")
        ns.ip(f"addr add 10.7.0.{host}/24 dev vlan7", "link set vlan7 up")
    with place(net=net, devices=["to-client", "vlan7", "to-server"]) as p:
        p.address = "10.7.0.1"
        splices(p)
        equal(devices(p), {d: "tc" for d in ("to-client", "vlan7", "to-server")})
        p.address = "10.1.0.1"
        splices(p)


@suite.test()
def asymmetric_routing_takes_the_route_to_the_peer(_):
    """The client's packets come by to-client, the route to it leads over a second wire."""
    net = Topology()
    net.proxy.ip(f"link add second type veth peer name second netns {net.client.path}",
                 "addr add 10.5.0.1/24 dev second", "link set second up",
                 "route add 10.6.0.2/32 via 10.5.0.2")
    net.client.ip("addr add 10.5.0.2/24 dev second", "link set second up",
                  "addr add 10.6.0.2/32 dev lo")
    for ns in (net.proxy, net.client):
        ns.write_sysctl("net.ipv4.conf.all.rp_filter", 0)
        for dev in ("to-client", "to-proxy", "second"):
            ns.write_sysctl(f"net.ipv4.conf.{dev}.rp_filter", 0)
    with place(net=net) as p:
        p.source = "10.6.0.2"
        with p.open_tunnels():
            until(lambda: "to-client" in devices(p), 5, "where packets come by is found out")
        p.gone()
        splices(p)
        check(p.sluice.counter("SENT_NEIGH"), "the kernel found the next hop")


@suite.test()
def a_client_on_this_host_reaches_a_remote_server(_):
    for where, address in (("veth", "127.0.0.1"), ("veth6", "::1")):
        with place(where) as p:
            p.client, p.address = p.sluice.net.proxy, address
            splices(p)
            check(p.sluice.counter("SENT_NEIGH"), "lo was reached with the kernel's route")


@suite.test()
def a_client_on_this_host_at_another_address_stays_copied(_):
    with place() as p:
        p.client = p.sluice.net.proxy
        stays_copied(p, "not at a loopback address")


# --- XDP ---

def xdp_net():
    """Endpoints that a veth with native XDP needs: whole checksums and no super-packets from them, and
    NAPI (GRO) to take redirected frames."""
    net = Topology()
    for ns in (net.client, net.server):
        done = ns.run("ethtool", "-K", "to-proxy", "tx", "off", "tso", "off", "gso", "off",
                      "gro", "on")
        if done.returncode:
            raise Skip(f"ethtool: {done.stderr.decode()}")
    return net


@suite.test()
def native_xdp_splices_both_ways(_):
    for where in ("veth", "veth6"):
        with place(where, xdp_net(), hook="xdp") as p:
            splices(p)
            equal(devices(p), {"to-client": "xdp", "to-server": "xdp"})


@suite.test()
def a_veth_whose_end_takes_no_frames_keeps_xdp_from_splicing(_):
    net = xdp_net()
    net.server.run("ethtool", "-K", "to-proxy", "gro", "off")
    with place(net=net, hook="xdp") as p:
        stays_copied(p, "takes no frames from XDP")


@suite.test()
def unfinished_checksums_keep_xdp_from_splicing(_):
    net = xdp_net()
    net.server.run("ethtool", "-K", "to-proxy", "tx", "on")
    with place(net=net, hook="xdp") as p:
        stays_copied(p, "leaves TCP checksums to its device")


@suite.test()
def xdp_refuses_to_pass_packets_up(_):
    with place("loopback", hook="xdp") as p:
        stays_copied(p, "loopback has no native XDP")
    with place("loopback", hook="xdp-generic") as p:
        stays_copied(p, "XDP can't pass packets up")


@suite.test()
def a_device_with_xdp_and_one_with_tc_work_together(_):
    """What tc sends to a device with XDP, and the other way round."""
    with place(net=xdp_net()) as p:
        equal(command(p, "load", "--dev", "to-client", "--hook", "xdp").returncode, 0)
        p.sluice.net.proxy.run("ethtool", "-K", "to-server", "gro", "on")
        p.sluice.net.proxy.ip("link set lo mtu 60000")
        splices(p)
        equal(devices(p), {"to-client": "xdp", "to-server": "tc"})


# --- beside others ---

OTHER = "/sys/fs/bpf/other"


def load_other(p, *arguments):
    """Programs of another folder: to ours they are a stranger's."""
    done = command(p, "load", "--folder", OTHER, "--pairs", "16", *arguments)
    equal(done.returncode, 0, done.stderr)


def devices_of_other(p):
    done = command(p, "status", "--json", "--folder", OTHER)
    return {d["device"]: d["hook"] for d in json.loads(done.stdout)["devices"]}


@suite.test()
def another_xdp_program_keeps_its_device(_):
    with place(net=xdp_net(), hook="xdp") as p:
        load_other(p, "--dev", "to-server", "--hook", "xdp")
        stays_copied(p, "another program holds the XDP hook")
        done = command(p, "load", "--dev", "to-server", "--hook", "xdp")
        equal(done.returncode, 1, "load")
        check("use --hook tc" in done.stderr, lambda: done.stderr)
        equal(devices_of_other(p), {"to-server": "xdp"}, "the other's")


@suite.test()
def tc_splices_behind_another_xdp_program_and_leaves_it_alone(_):
    with place(net=xdp_net()) as p:
        load_other(p, "--dev", "to-server", "--hook", "xdp")
        splices(p)
        p.sluice.stop()
        equal(command(p, "unload").returncode, 0, "unload")
        equal(devices_of_other(p), {"to-server": "xdp"}, "the other's")


@suite.test()
def tc_splices_beside_another_tc_program_before_or_behind_it(_):
    for late in (False, True):
        with place() as p:
            if late:
                splices(p)
            load_other(p, "--dev", "to-client", "--dev", "to-server")
            splices(p)
            p.sluice.stop()
            equal(command(p, "unload").returncode, 0, "unload")
            equal(devices_of_other(p), {"to-client": "tc", "to-server": "tc"}, "the other's")


@suite.test()
def tc_splices_beside_a_clsact_filter(_):
    with place() as p:
        load_other(p, "--dev", "lo")
        run = lambda *words: p.sluice.net.proxy.run(*p.sluice.prefix, "tc", *words, text=True)
        made = run("qdisc", "add", "dev", "to-server", "clsact")
        if made.returncode:
            raise Skip(f"clsact: {made.stderr}")
        made = run("filter", "add", "dev", "to-server", "ingress", "prio", "7", "bpf", "da",
                   "pinned", f"{OTHER}/splice_tc")
        equal(made.returncode, 0, made.stderr)
        splices(p)
        p.sluice.stop()
        equal(command(p, "unload").returncode, 0, "unload")
        check("pref 7" in run("filter", "show", "dev", "to-server", "ingress").stdout,
              "the filter is still there")


@suite.test()
def a_second_sluice_in_a_network_namespace_copies(_):
    with place() as p:
        second = Place(p.sluice.net, "veth", (3130, 9147))
        try:
            second.sluice.start()
            report = second.sluice.engine()
            equal((report["available"], report["reason"]),
                  (False, "another sluice splices in this network namespace"))
            second.sluice.stop()
        finally:
            second.discard()
        splices(p)


# --- ports ---

@suite.test()
def ports_in_the_kernels_range_have_to_be_reserved(_):
    net = Topology()
    with place(net=net, start=False, ports="40000-40009") as p:
        p.sluice.start()
        report = p.sluice.engine()
        equal(report["available"], False, "available")
        check("ip_local_reserved_ports" in report["reason"], lambda: str(report))
    net.proxy.write_sysctl("net.ipv4.ip_local_reserved_ports", "40000-40009")
    with place(net=net, ports="40000-40009") as p:
        (flow,) = splices(p)
        check(flow["upstream_local"].startswith("10.2.0.1:4000"), lambda: str(flow))


# --- privileges ---

def limited(*capabilities):
    """A command line that leaves nothing but these."""
    names = ",".join(["-all", *[f"+{c}" for c in capabilities]])
    return ["setpriv", f"--bounding-set={names}", f"--inh-caps={names}"]


NEEDED = ("bpf", "perfmon", "net_admin")


@suite.test()
def splicing_needs_three_capabilities(_):
    for missing in (None, *NEEDED):
        with place(start=False) as p:
            p.sluice.prefix += limited(*[c for c in NEEDED if c != missing])
            p.sluice.start()
            report = p.sluice.engine()
            equal(report["available"], not missing, f"available without {missing}: {report}")
            if missing:
                check("CAP_" in report["reason"], lambda: str(report))
            else:
                splices(p)


@suite.test()
def what_was_loaded_before_needs_two(_):
    with place(start=False) as p:
        equal(command(p, "load", "--dev", "to-client", "--dev", "to-server").returncode, 0)
        p.sluice.prefix += limited("bpf", "net_admin")
        p.sluice.start()
        equal(p.sluice.engine()["available"], True, str(p.sluice.engine()))
        splices(p)


@suite.test()
def commands_need_no_more_than_they_say(_):
    table = {("load", "--dev", "lo"): NEEDED, ("status",): ("bpf",), ("unload",): ("bpf", "net_admin")}
    with place(start=False) as p:
        for words, capabilities in table.items():
            done = p.sluice.net.proxy.run(*p.sluice.prefix, *limited(*capabilities), binary(),
                                          *words, text=True)
            equal(done.returncode, 0, f"{words} with {capabilities}: {done.stderr}")
        p.sluice.start()


# --- probe ---

@suite.test()
def probe_says_what_works_and_leaves_nothing(_):
    with place(start=False) as p:
        folder = lambda: p.sluice.net.proxy.run(*p.sluice.prefix, "ls", "/sys/fs/bpf").stdout
        before = folder()
        done = command(p, "probe", "--json")
        equal(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        found = {f["name"]: f for f in report["findings"]}
        for name in ("CAP_BPF", "bpffs", "programs and maps", "control program", "tc rewrite",
                     "xdp rewrite", "tc hook", "engine packet", "engine copy"):
            check(found[name]["ok"], lambda name=name: str(found[name]))
        libraries = p.sluice.net.proxy.run("ldd", binary(), text=True).stdout
        equal(found["DPDK"]["ok"], "librte_ethdev" in libraries, "DPDK, as it is linked")
        hooks = {d["device"]: d["hook"] for d in report["devices"]}
        equal(hooks["to-client"], "tc", "the hook for a veth")
        equal(folder(), before, "what is left")
        text = command(p, "probe")
        equal(text.returncode, 0, text.stderr)
        check("its self-test succeeded" in text.stdout, lambda: text.stdout)
        equal(command(p, "probe", "now").returncode, 2, "usage")
        p.sluice.start()


@suite.test()
def probe_without_privileges_says_what_is_missing(_):
    with place(start=False) as p:
        done = p.sluice.net.proxy.run(*p.sluice.prefix, *limited(), binary(), "probe", "--json",
                                      text=True)
        equal(done.returncode, 0, done.stderr)
        found = {f["name"]: f for f in json.loads(done.stdout)["findings"]}
        for name in ("CAP_BPF", "CAP_NET_ADMIN", "programs and maps", "engine packet"):
            equal(found[name]["ok"], False, name)
            check(found[name]["advice"], lambda name=name: str(found[name]))
        p.sluice.start()


if __name__ == "__main__":
    sys.exit(suite.main(lambda: contextlib.nullcontext()))
