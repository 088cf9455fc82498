# SPDX-License-Identifier: BSD-2-Clause
"""Is our load generator to be believed? The same load by wrk and by iperf3, at the same contenders. What
they all reach without a proxy is the limit of the machine, not of a proxy."""

import json
import re
import subprocess

import calls
from contenders import DIRECT, PEERS, Unavailable
from field import LoadFailed
from lab import SERVER
from section import RATE, Section, answered, loaded

P99_MS = {"us": 1, "ms": 1e3, "s": 1e6}


def wrk(contender, effort):
    ours = answered(contender, effort, "--connections", 64, "--url", contender.url(100))
    done = contender.field.net.client.run(
        "wrk", "-t", contender.field.threads, "-c", 64, "-d", f"{max(1, round(effort.seconds))}s", "--latency",
        f"http://{contender.to}{contender.url(100)}", timeout=effort.seconds + 30, text=True)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    tail = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    if done.returncode or not rate or not tail or "Non-2xx" in done.stdout:
        raise LoadFailed(f"wrk: {(done.stdout + done.stderr).strip()[-150:]}")
    theirs = float(rate[1])
    return {"rate": ours["rate"], "wrk": theirs, "ratio": ours["rate"] / theirs, "p99": ours["p99"],
            "wrk99": float(tail[1]) * P99_MS[tail[2]]}


def iperf3(contender, effort):
    ours = loaded(contender, "bulk", effort, "--connections", 1)
    port = 5201
    server = contender.field.net.server.start("iperf3", "-s", "-1", "-p", port, stdin=subprocess.DEVNULL,
                                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    contender.field.children.append(server)
    done = contender.field.net.client.run(
        "sh", "-c", f"for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2; iperf3 -c {SERVER} -p {port} -R -J -t "
        f"{max(1, round(effort.seconds))} && exit; done; exit 1", timeout=effort.seconds + 30, text=True)
    if done.returncode:
        raise Unavailable(f"iperf3: {(done.stdout + done.stderr).strip()[-150:]}")
    got = json.loads(done.stdout[done.stdout.rindex('{\n\t"start"'):])
    theirs = got["end"]["sum_received"]["bits_per_second"] / 1e9
    gbps = ours["bytes"] * 8 / ours["seconds"] / 1e9
    return {"gbps": gbps, "iperf3": theirs, "ratio": gbps / theirs}


def sections(effort):
    yield Section(
        "Requests on 64 kept connections, answers of 100 B: our generator and wrk",
        "One after the other, the same number of threads.",
        [DIRECT, calls.REVERSE, PEERS["haproxy-http"], PEERS["nginx-http"]],
        [RATE, ("wrk", "by wrk", "1/s", "more"), ("ratio", "ours to wrk's", "", None),
         ("p99", "p99", "us", "less"), ("wrk99", "by wrk", "us", "less")], wrk, ratio=False)
    yield Section(
        "One stream from the server: our generator and iperf3", "Routed, without a proxy: iperf3 knows none. "
        "Ours drops what it receives in the kernel, iperf3 copies it.",
        [DIRECT], [("gbps", "throughput", "Gbit/s", "more"), ("iperf3", "by iperf3", "Gbit/s", "more"),
                   ("ratio", "ours to iperf3's", "", None)], iperf3, ratio=False)
