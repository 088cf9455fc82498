#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""sluice top in a terminal of 80x24: what stands on the screen is what goes on."""

import contextlib
import re
import sys
import threading
import time

from lab import SERVER, Lab, Suite, check, equal, until
from lab.screen import DOWN, ENTER, ESCAPE, Screen

suite = Suite()
UPSTREAMS = [{"name": "app", "servers": [{"address": f"{SERVER}:80"}, {"address": f"{SERVER}:9"}]}]
LISTENERS = [{"name": "egress", "listen": "0.0.0.0:3128", "mode": "forward"},
             {"name": "web", "listen": "0.0.0.0:8080", "mode": "http", "limits": {"connections": 100},
              "routes": [{"upstream": "app"}]}]


class TopLab(Lab):
    def __init__(self):
        super().__init__({"workers": 2, "upstreams": UPSTREAMS, "listeners": LISTENERS})

    def top(self, *arguments, **options):
        return Screen(self.net.proxy.command(self.sluice.binary, "top", "--admin", self.sluice.admin,
                                             *arguments), **options)

    @contextlib.contextmanager
    def tunnel(self):
        self.origin.reset(echo)
        with self.sluice.tunnel(SERVER, 80) as wire:
            wire.send(b"hello").exactly(5)
            yield wire
        until(lambda: not self.sluice.flows(), what="the tunnel is gone")


def echo(wire, origin):
    while data := wire.sock.recv(65536):
        wire.sock.sendall(data)


def number(pattern, text):
    found = re.search(pattern, text)
    return float(found[1]) if found else None


def bytes_of(text):
    """What "1.5 KiB" stands for."""
    value, unit = text.split()
    return float(value) * 1024 ** ("B", "KiB", "MiB", "GiB").index(unit)


@contextlib.contextmanager
def steadily(act, seconds):
    """Calls act in that rhythm in a thread."""
    stop, errors = threading.Event(), []

    def run():
        due = time.monotonic()
        while not stop.wait(max(0, due - time.monotonic())):
            due += seconds
            try:
                act()
            except Exception as e:
                errors.append(e)
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(20)
    check(not errors, lambda: f"{errors}")


@suite.test(60)
def rates_of_requests_add_up_to_what_was_sent(lab):
    """Each picture's rate times the time between the pictures, summed up, is the number of requests."""
    with lab.top("--every", "500ms") as top:
        before = lab.sluice.stats()["requests_total"]
        top.until(lambda t: "a second: 0 accepted" in t, what="a quiet sluice")
        with steadily(lambda: lab.sluice.get("http://10.2.0.2:9/"), 0.05):
            rate = top.until(lambda t: (n := number(r"done, ([\d.]+) requests", t)) and n > 5 and n,
                             what="requests")
            top.until(lambda t: number(r"5xx ([\d.]+)", t), what="the answers' class")
        check(rate <= 25, f"{rate} requests a second, with one each 50 ms")
        top.until(lambda t: "done, 0 requests" in t, what="quiet again")
        sent = lab.sluice.stats()["requests_total"] - before
        samples = top.until(lambda t: number(r"\nrequest +(\d+)", t), what="samples")
        check(0 < samples <= sent, f"{samples} samples of {sent} requests")


@suite.test(60)
def a_tunnel_is_a_talker_with_its_bytes_a_second(lab):
    with lab.tunnel() as wire, lab.top("--every", "500ms") as top:
        sent = [0]

        def talk():
            wire.send(b"x" * 10_000).exactly(10_000)
            sent[0] += 10_000

        client = "%s:%d" % wire.sock.getsockname()
        start = time.monotonic()
        with steadily(talk, 0.05):
            row = re.escape(f"{SERVER}:80") + r" +" + re.escape(client) + \
                r" +\S+ +([\d.]+ \w+) +([\d.]+ \w+)  copy"
            rate = top.until(lambda t: (m := re.search(row, t)) and bytes_of(m[1]) > 50_000 and m,
                             what="the talker")
            engine = top.until(lambda t: (m := re.search(
                r"copy +1 +\S+ +\S+ +([\d.]+ \w+)/s", t)) and bytes_of(m[1]) > 50_000 and m,
                what="the engine's rate")
        # A twentieth of a second apart at the closest; a burst after a pause may be caught up.
        limit = 10_000 * (time.monotonic() - start + 1) / 0.05
        for text in (rate[1], rate[2], engine[1]):
            check(bytes_of(text) < limit, f"{text} a second, {sent[0]} bytes in all")
        top.until(lambda t: "open 1: 0 idle, 1 tunnels, 0 in requests" in t, what="the state")


@suite.test(60)
def keys_lead_into_lists_and_back(lab):
    with lab.tunnel() as wire, lab.top("--every=300ms") as top:
        client = "%s:%d" % wire.sock.getsockname()
        top.until(lambda t: "TOP TALKERS" in t)
        top.press("l")
        top.until(lambda t: re.search(r"egress +forward +0.0.0.0:3128 +up +1 ", t) and
                  re.search(r"web +http +0.0.0.0:8080 +up +0/100 +0 +0 +0\n", t), what="both listeners")
        top.press(ENTER)
        top.until(lambda t: "1 of 1 pairs of egress, by rate" in t and client in t,
                  what="the listener's flows")
        top.press("s")
        top.until(lambda t: "pairs of egress, by bytes" in t, what="another order")
        top.press(ENTER)
        top.until(lambda t: "ONE PAIR" in t and re.search(r"upstream +10.2.0.2:80\n", t) and
                  re.search(r"bytes_from_client +5 ", t), what="the whole pair")
        top.press(ESCAPE)
        top.until(lambda t: "1 of 1 pairs of egress" in t, what="the way back")
        top.press("l" + DOWN + ENTER)
        top.until(lambda t: "0 of 0 pairs of web" in t, what="the other listener's flows")
        top.press("v")
        top.until(lambda t: re.search(r"app +10.2.0.2:80 +up", t), what="servers")
        top.press("p")
        top.until(lambda t: re.search(r"app +0 +\d+ +0 +\d+ +0 +0 ", t), what="pools")
        top.press("w")
        top.until(lambda t: "LONGEST TURN" in t and len(re.findall(r"\n[01] ", t)) == 2,
                  what="workers")
        top.press("?")
        top.until(lambda t: "goes through the orders" in t, what="help")
        top.press("q")
        equal(top.wait(), 0, "exit status")


@suite.test(60)
def refusals_stand_by_reason(lab):
    before = lab.sluice.stats()["requests_denied_total"]
    for _ in range(3):
        equal(lab.sluice.get("http://127.0.0.1/").status, 403, "status")
    with lab.top("--every=300ms") as top:
        top.press("r")
        top.until(lambda t: number(r"requests_denied +\S+ +(\d+)", t) == before + 3,
                  what="the refused requests")


@suite.test(60)
def it_fits_into_80x24_and_survives_any_size(lab):
    with lab.tunnel(), lab.top("--every=300ms") as top:
        lines = top.until(lambda t: "TOP TALKERS" in t and "q quit" in t and top.lines())
        check(lines[23].startswith("q quit") and lines[23].endswith("? help"), lines[23])
        check(any(line.startswith("10.2.0.2:80") for line in lines), "the talker has room")
        for rows, columns in ((10, 40), (2, 10), (1, 1), (50, 200), (24, 80)):
            top.resize(rows, columns)
            top.press("o")
            if rows > 9:
                top.until(lambda t: top.lines()[-1].startswith("q quit"), what=f"{rows}x{columns}")
        top.until(lambda t: "TOP TALKERS" in t, what="all of it again")
        top.press("q")
        equal(top.wait(), 0, "exit status")


@suite.test(60)
def a_pause_holds_the_picture(lab):
    with lab.top("--every=100ms") as top:
        top.until(lambda t: "ready" in t)
        top.press(" ")
        held = top.until(lambda t: "paused" in t and t)
        asked = lab.sluice.stats()["requests_total"]
        lab.sluice.get("http://10.2.0.2:9/")
        until(lambda: lab.sluice.stats()["requests_total"] > asked, what="a request")
        top.press("?o")
        top.until(lambda t: t == held, what="the same figures")


@suite.test(60)
def it_says_when_sluice_goes_away_and_goes_on_when_it_is_back(lab):
    with lab.top("--every=200ms") as top:
        top.until(lambda t: "ready" in t)
        lab.sluice.stop()
        top.until(lambda t: "NO ANSWER, old figures: nothing listens at" in t, what="the message")
        lab.sluice.start()
        top.until(lambda t: "ready" in t and "NO ANSWER" not in t, what="figures again")
        top.until(lambda t: "a second: 0 accepted" in t, what="rates of the new process")


@suite.test(60)
def without_sluice_or_terminal_it_says_so(lab):
    nobody = lab.net.proxy.run(lab.sluice.binary, "top", "--admin", "/nonexistent", text=True)
    equal((nobody.returncode, nobody.stdout), (1, ""), "exit status")
    check("is sluice running?" in nobody.stderr, lambda: nobody.stderr)
    done = lab.sluice.cli("top")
    equal(done.returncode, 1, "exit status without a terminal")
    check("needs a terminal" in done.stderr, lambda: done.stderr)
    equal(lab.sluice.cli("top", "--every", "9").returncode, 2, "exit status of a bad interval")
    with lab.top(term="no-such-terminal") as top:
        equal(top.wait(), 1, "exit status with a strange terminal")
        check("not known (TERM)" in top.text(), top.text)


if __name__ == "__main__":
    sys.exit(suite.main(TopLab))
