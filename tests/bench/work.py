# SPDX-License-Identifier: BSD-2-Clause
"""HTTP under conditions that are not the best: at a fixed rate, beside hard work, beyond a limit,
beside clients that stall, and while the configuration is read again."""

import contextlib
import re
import subprocess
import threading
import time
from pathlib import Path

import calls
from contenders import DIRECT, PEERS, SLUICE, SluiceRuns
from field import LoadFailed
from logins import LOGIN
from section import ANSWERED, CPU, P50, P99, P999, RATE, Section, answered

SERVERS = [calls.REVERSE, PEERS["haproxy-http"], PEERS["nginx-http"]]


# --- open loop ---

def at_rate(rate):
    def measure(contender, effort):
        got = answered(contender, effort, "--connections", 64, "--rate", rate, "--url",
                       contender.url(100))
        if got["overdue"] > rate * effort.seconds * 0.01:
            raise LoadFailed(f"{got['overdue']} requests were never begun: it can't take {rate}/s")
        return got
    return measure


def open_sections(effort):
    for rate in (2000, 10000) if effort.quick else (1000, 5000, 10000, 15000):
        yield Section(
            f"{rate} requests a second, answers of 100 B",
            "Open loop: a request has a time at which it is due, and its latency counts from there, also "
            "if no connection was free (no coordinated omission). 64 kept connections.",
            [DIRECT, *SERVERS], [P50, P99, P999, *CPU], at_rate(rate))


# --- accept ---

class Beside:
    """Clients that log in with passwords that are all wrong, and each needs its hash, while others
    are measured."""

    def __init__(self, contender, clients, seconds):
        self.contender, self.clients, self.seconds = contender, clients, seconds
        self.got = {"done": 0}

    def __enter__(self):
        if self.clients:
            self.thread = threading.Thread(target=self.work)
            self.thread.start()
        return self

    def work(self):
        c = self.contender
        with contextlib.suppress(LoadFailed, subprocess.SubprocessError):
            self.got = c.field.load("http", c.logins, "--url", c.url(12), "--login", "--connections",
                                    self.clients, "--seconds", self.seconds, "--warm", 0, timeout=60)

    def __exit__(self, *_):
        if self.clients:
            self.thread.join()


def accepted(logins):
    def measure(contender, effort):
        seconds = effort.seconds + effort.warm_ms / 1000 + 1
        with Beside(contender, logins, seconds) as beside:
            got = answered(contender, effort, "--connections", 32, "--once", "--url", contender.url(12))
        if logins and not beside.got["done"]:
            raise LoadFailed(f"no login was judged: {beside.got.get('error', 'the load did not run')}")
        got["logins"] = beside.got["done"] / seconds
        return got
    return measure


def accept_sections(effort):
    columns = [RATE, P50, P99, ("logins", "logins judged", "1/s", None), *CPU]
    for logins in (0, 16):
        yield Section(
            "A request on a connection of its own" +
            (f", while {logins} clients try passwords" if logins else ", and nothing else"),
            "One worker each. Passwords are kept as SHA-512 crypt of 5000 rounds (some 3 ms), and no two "
            "are alike. sluice forwards, the others are reverse proxies.",
            LOGIN, columns, accepted(logins), options={"workers": 1})


# --- overload ---

LIMIT = 200


class SluiceWaits(SluiceRuns):
    """Those beyond the limit wait, as haproxy's do."""

    def start(self):
        self.options["sluice"] = {"limits": {"connections": LIMIT, "when_full": "wait"}}
        super().start()


WAITS = ("sluice copy, wait", lambda name: SluiceWaits(name, "copy", note="limits.when_full: wait"))


def overload(connections):
    return lambda contender, effort: answered(contender, effort, "--connections", connections, "--url",
                                              contender.url(1024))


def tcp_pages():
    text = Path("/proc/net/sockstat").read_text()
    return int(re.search(r"^TCP:.* mem (\d+)$", text, re.MULTILINE)[1])


def wait_until_full(bound_s=30):
    """Until all buffers are full that those who don't read can fill."""
    pages = 0
    for _ in range(bound_s):
        time.sleep(1)
        before, pages = pages, tcp_pages()
        if pages < before * 1.01:
            return
    raise LoadFailed("the kernel's TCP buffers go on growing")


def stalled(stalling):
    def measure(contender, effort):
        child, ready = contender.field.hold(contender.to, "--url", contender.url(1 << 20), "--stall",
                                            "--connections", stalling)
        try:
            if ready < stalling:
                raise LoadFailed(f"{ready} of {stalling} connections are open")
            wait_until_full()
            return answered(contender, effort, "--connections", 64, "--url", contender.url(1024))
        finally:
            child.stdin.close()
            child.wait(30)
    return measure


def overload_sections(effort):
    for connections in (LIMIT // 2, 2 * LIMIT, 5 * LIMIT):
        yield Section(
            f"{connections} clients, a limit of {LIMIT} connections",
            "Kept connections, answers of 1 KB. sluice refuses by 503 and the client comes again 10 ms "
            "later; haproxy, and sluice where it is told to, lets what is over the limit wait unaccepted, so "
            "some clients get no answer.",
            [SLUICE["copy"], WAITS, PEERS["haproxy-http"]],
            [("rate", "answered", "1/s", "more"), ("refused", "refused", "1/s", None),
             ("p50", "p50 of the answered", "us", "less"), P99,
             ("own", "CPU of the proxy per answer", "us", "less"), CPU[2]],
            overload(connections),
            options={"sluice": {"limits": {"connections": LIMIT}}, "limit": LIMIT})
    yield Section(
        "64 clients beside 1000 that asked for 1 MB and don't read it",
        "Kept connections, answers of 1 KB. A fresh process each time.",
        SERVERS, ANSWERED, stalled(1000), options={"fresh": True})


# --- reload ---

def reloaded(every_s, *options):
    def measure(contender, effort):
        stop, done = threading.Event(), []

        def again():
            while not stop.wait(every_s):
                contender.reload()
                done.append(1)

        thread = threading.Thread(target=again)
        if every_s:
            thread.start()
        try:
            got = answered(contender, effort, "--connections", 64, *options, "--url", contender.url(100),
                           errors=1 << 30)
        finally:
            stop.set()
            if every_s:
                thread.join()
        return {**got, "reloads": len(done)}
    return measure


def reload_sections(effort):
    columns = [("failed", "failed requests", "", "less"), RATE, P99, P999, ("reloads", "reloads", "", None)]
    for kind, options in (("on kept connections", ()), ("with a connection of its own", ("--once",))):
        for every_s in (0, 0.5):
            yield Section(
                f"A request {kind}, " + (f"a reload every {every_s} s" if every_s else "no reload"),
                "64 clients, answers of 100 B, two workers. sluice and nginx by HUP, haproxy in "
                "master-worker mode by USR2. Clients heed Connection: close.",
                [calls.REVERSE, PEERS["haproxy-master"], PEERS["nginx-http"]], columns,
                reloaded(every_s, *options), ratio=False)
