# SPDX-License-Identifier: BSD-2-Clause
"""The suites by name, and those of tunnels, kept connections and system calls."""

import dataclasses

import calls
import check
import idle
import many
import transports
import work
from contenders import DIRECT, ENGINES, NO_DEVICES, PEERS, SLUICE
from section import ANSWERED, BULK, P50, P99, Section, answered, bulk, loaded

# --- bulk ---

def bulk_sections(effort):
    relays = [DIRECT, SLUICE["auto"], SLUICE["tc"], SLUICE["xdp"], SLUICE["copy"], PEERS["haproxy"],
              PEERS["nginx"], PEERS["splice"], PEERS["copy"]]
    for on in (True, False):
        for streams in (1, 8, 64):
            if effort.quick and (streams == 64 or not on and streams == 1):
                continue
            yield Section(
                f"{streams} stream{'s' * (streams > 1)}, offloads {'on' if on else 'off'}",
                "From the server to the client through tunnels that rested before." +
                ("" if on else " Checksums and segmentation by the stacks, MTU 1500."),
                [c for c in relays if not on or c is not SLUICE["xdp"]], BULK, bulk(streams),
                prepare=lambda c, on=on: c.field.offloads(on, aggregate=c.xdp))


# --- round trips ---

def round_trips(connections):
    def measure(contender, effort):
        got = loaded(contender, "rtt", effort, "--connections", connections, "--size", 64,
                     spliced=connections)
        done = max(got["done"], 1)
        return {"p50": got["p50_us"], "p99": got["p99_us"], "p999": got["p999_us"],
                "rate": got["done"] / got["seconds"], "cpu": 1e6 * got["busy_s"] / done,
                "own": 1e6 * got["own_s"] / done, "machine": got["machine"]}
    return measure


def rtt_sections(effort):
    relays = [DIRECT, SLUICE["auto"], SLUICE["tc"], SLUICE["xdp"], SLUICE["sockmap"], SLUICE["copy"],
              PEERS["haproxy"], PEERS["nginx"],
              PEERS["splice"], PEERS["copy"]]
    columns = [("p50", "p50", "us", "less"), ("p99", "p99", "us", "less"),
               ("p999", "p99.9", "us", "less"), ("rate", "round trips", "1/s", "more"),
               ("cpu", "CPU of the machine", "us each", "less"),
               ("own", "of the proxy's processes", "us each", "less"),
               ("machine", "machine busy", "%", None)]
    for connections in (1, 64) if effort.quick else (1, 64, 1000):
        yield Section(
            f"64 B there and back, {connections} connection{'s' * (connections > 1)}",
            "Closed loop: each connection waits for its echo, so the rate is what came about. XDP: "
            "checksums by the endpoints' stacks.",
            relays, columns, round_trips(connections),
            prepare=lambda c: c.field.offloads(not c.xdp, aggregate=c.xdp))


# --- auto beside its engines ---

LOOKS_MS = 3000  # auto looks at a pair each half second while it talks


def after_looks(measure):
    """auto has decided before anything counts."""
    return lambda contender, effort: measure(contender, dataclasses.replace(
        effort, warm_ms=max(effort.warm_ms, LOOKS_MS)))


def policy_sections(effort):
    """`auto` against its engines one by one, with the packet engine and without."""
    own = ("own", "of the proxy's processes", "us each", "less")
    busy = ("machine", "machine busy", "%", None)
    for where, contenders in (("", ENGINES), (", packets can't be spliced", NO_DEVICES)):
        note = "splice.devices: none, so the packet engine refuses every pair. " if where else ""
        for n in (1, 64, 1000):
            yield Section(f"64 B there and back, {n} connection{'s' * (n > 1)}{where}",
                          note + "Closed loop.", contenders,
                          [("rate", "round trips", "1/s", "more"), P50, P99, own, busy],
                          after_looks(round_trips(n)), judged="rate")
        for n in (1, 64):
            yield Section(f"{n} stream{'s' * (n > 1)}{where}", note + "From the server to the client.",
                          contenders, [("gbps", "throughput", "Gbit/s", "more"),
                                       ("cpu", "CPU of the machine", "s/GB", "less"), busy],
                          after_looks(bulk(n)), judged="gbps")
        yield Section(f"New tunnels with one exchange of 64 B, 32 at a time{where}", note, contenders,
                      [("rate", "tunnels", "1/s", "more"), P50, P99, own, busy], tunnels, judged="rate")


# --- tunnels ---

def tunnels(contender, effort):
    got = loaded(contender, "tunnels", effort, "--connections", 32, "--size", 64)
    done = max(got["done"], 1)
    return {"rate": got["done"] / got["seconds"], "p50": got["p50_us"], "p99": got["p99_us"],
            "cpu": 1e6 * got["busy_s"] / done, "own": 1e6 * got["own_s"] / done,
            "machine": got["machine"]}


def tunnel_sections(effort):
    yield Section(
        "New tunnels with one exchange of 64 B, 32 at a time",
        "sluice, squid and tinyproxy: connect, CONNECT, exchange, close. haproxy relays only, so there "
        "is no CONNECT to read and answer there: connect, exchange, close.",
        [DIRECT, SLUICE["auto"], SLUICE["tc"], SLUICE["copy"], PEERS["haproxy"], PEERS["squid"],
         PEERS["tinyproxy"]],
        [("rate", "tunnels", "1/s", "more"), ("p50", "p50", "us", "less"), ("p99", "p99", "us", "less"),
         ("cpu", "CPU of the machine", "us each", "less"),
         ("own", "of the proxy's processes", "us each", "less"), ("machine", "machine busy", "%", None)],
        tunnels)


# --- keep-alive ---

def keepalive(size, connections):
    return lambda contender, effort: answered(contender, effort, "--connections", connections,
                                              "--url", contender.url(size))


def keepalive_sections(effort):
    for size, text, connections in ((12, "12 B", 64), (1024, "1 KB", 64), (16384, "16 KB", 64),
                                    (1 << 20, "1 MB", 64), (100, "100 B", 1000)):
        if effort.quick and (connections > 64 or size > 16384):
            continue
        yield Section(
            f"Requests on {connections} kept connections, answers of {text}",
            "sluice both as a reverse proxy, as haproxy and nginx are, and as a forward proxy, as squid is.",
            [DIRECT, calls.REVERSE, SLUICE["copy"], PEERS["haproxy-http"], PEERS["nginx-http"],
             PEERS["squid"]],
            ANSWERED, keepalive(size, connections))


# --- system calls ---

def call_sections(effort):
    contenders = [calls.REVERSE, SLUICE["copy"], PEERS["nginx-http"], PEERS["haproxy-http"]]
    columns = [(name, name, "each", "less" if name == "all" else None)
               for name in ("all", *calls.COUNTED)]
    for title, options in (("on one of 64 kept connections", ()),
                           ("with a connection of its own", ("--once",))):
        yield Section(f"A request {title}", "Answers of 100 B. Upstream connections are kept.",
                      contenders, columns, calls.measure(*options))


SUITES = {
    "bulk": ("Bulk", bulk_sections),
    "rtt": ("Round trips", rtt_sections),
    "tunnels": ("New tunnels", tunnel_sections),
    "policy": ("Auto beside its engines", policy_sections),
    "keepalive": ("HTTP with kept connections", keepalive_sections),
    "calls": ("System calls of a request", call_sections),
    "idle": ("Memory of idle connections", idle.sections),
    "transports": ("The kernel's TCP and DPDK", transports.sections),
    "many": ("50,000 connections", many.sections),
    "open": ("Latency at fixed rates", work.open_sections),
    "accept": ("Accepting while work is hard", work.accept_sections),
    "overload": ("Beyond the limit", work.overload_sections),
    "reload": ("Reload under load", work.reload_sections),
    "check": ("The load generator beside others", check.sections),
}
