#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""splice: auto. Conversations that the packet engine refuses go to the sockmap engine while that pays, and
come back; tunnels to where tunnels are short are not prepared for packets. What the host's CPUs are said to
be busy with is this suite's to choose. Needs root with CAP_BPF."""

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab import Skip, Suite, Topology, check, equal, until
from lab.net import PATIENCE
from lab.busy import echo
from lab.place import Place
from lab.stream import Source

suite = Suite()
AUTO = {"splice": {"engine": "auto", "after": "20ms", "devices": "none"}}
PATIENCE_S = 30 * PATIENCE
ATTEMPTS = 5
PENALTY_S = 2  # before the first offer after a pair was sent back


class AutoPlace(Place):
    """The packet engine may use no device here, so it refuses every pair for good."""

    def __init__(self, net):
        super().__init__(net, config=AUTO)
        self.pressure = tempfile.NamedTemporaryFile("w", prefix="pressure-")
        self.set_busy(0)
        self.fake_pressure()

    def fake_pressure(self):
        path = "/proc/pressure/cpu"
        if not Path(path).exists():
            raise Skip("the kernel has no pressure stall information")
        done = subprocess.run([*self.bpffs.prefix, "mount", "--bind", self.pressure.name, path],
                              capture_output=True, text=True)
        if done.returncode:
            raise Skip(f"{path} can't be replaced: {done.stderr.strip()}")

    def set_busy(self, percent):
        """The share of time in which tasks wait for a CPU."""
        self.pressure.seek(0)
        self.pressure.write(f"some avg10={percent}.00 avg60=0.00 avg300=0.00 total=0\n" + " " * 20)
        self.pressure.flush()

    def start(self):
        self.sluice.start()
        report = self.engine("sockmap")
        if not report["available"]:
            raise Skip(f"the sockmap engine is not available: {report['reason']}")

    def engine(self, name):
        return next(e for e in self.sluice.ask("stats")["stats"]["engines"] if e["name"] == name)

    def discard(self):
        super().discard()
        self.pressure.close()


class PolicyLab:
    def __init__(self):
        self.place = AutoPlace(Topology())

    def __enter__(self):
        try:
            self.place.start()
        except Skip:
            self.place.discard()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.place.sluice.stop()
        finally:
            self.place.discard()

    def tell(self):
        return self.place.sluice.tell()


class Conversation:
    """Both ends of a tunnel: what is sent is a function of its position, and checked."""

    def __init__(self, place, client, server):
        self.place, self.ends = place, (client, server)
        self.sources = [(Source(i), Source(i)) for i in (1, 2)]

    def pass_on(self, side, size):
        sent, expected = self.sources[side]
        self.ends[side].sendall(sent.take(size))
        left = size
        while left:
            data = self.ends[1 - side].recv(left)
            check(data, "the stream ended")
            equal(data, expected.take(len(data)), "bytes")
            left -= len(data)

    def go_round(self, size):
        self.pass_on(0, size)
        self.pass_on(1, size)

    def flow(self):
        (flow,) = self.place.sluice.flows()
        return flow

    def talk(self, size=64):
        for _ in range(20):
            self.go_round(size)
            time.sleep(0.001)

    def talk_until(self, engine, size=64, reason=None):
        """The flow, once the engine carries it (for that reason); and the last moment at which it did not
        yet."""
        end, before = time.monotonic() + PATIENCE_S, time.monotonic()
        while time.monotonic() < end:
            self.talk(size)
            now = time.monotonic()
            flow = self.flow()
            if flow["engine"] == engine and reason in (None, flow["reason"]):
                return flow, before
            before = now
        raise AssertionError(f"not with {engine} in {PATIENCE_S} s, but: {flow['engine']}, {flow['reason']}")

    def leave(self, size, reason):
        """As talk_until("copy"), from sockmap. On a host that really is busy it may be sent back for another
        reason first."""
        for _ in range(ATTEMPTS):
            flow, before = self.talk_until("copy", size)
            if flow["reason"] == reason:
                return flow, before
            self.talk_until("sockmap")
        raise AssertionError(f"sent back {ATTEMPTS} times for another reason: {flow}")


@contextlib.contextmanager
def conversation(lab):
    lab.place.set_busy(0)
    with lab.place.open_tunnels() as [(client, server)]:
        yield Conversation(lab.place, client, server)
    lab.place.gone()


@suite.test(timeout=150)
def a_chatty_pair_is_promoted_demoted_as_bulk_and_promoted_after_the_back_off(lab):
    with conversation(lab) as c:
        before = lab.place.sluice.figures()
        flow, _ = c.talk_until("sockmap")
        equal(flow["reason"], "small messages to and fro", "reason")
        _, carried = c.leave(32768, "auto: bulk")
        c.talk_until("sockmap")
        waited = time.monotonic() - carried
        check(waited >= PENALTY_S, lambda: f"promoted again after {waited} s")
        after = lab.place.sluice.figures()
        promoted = after["policy_promotions_total"] - before["policy_promotions_total"]
        demoted = {k: v - before["policy_demotions_total"][k]
                   for k, v in after["policy_demotions_total"].items()}
        equal(promoted, sum(demoted.values()) + 1, "promotions")
        equal(demoted["auto: bulk"], 1, "demotions")
        flow = c.flow()
        equal(flow["bytes_from_client"], flow["bytes_from_upstream"], "bytes counted")


@suite.test(timeout=150)
def on_a_busy_host_a_conversation_is_copied(lab):
    with conversation(lab) as c:
        c.talk_until("sockmap")
        lab.place.set_busy(90)
        c.talk_until("copy", reason="auto: the host is busy")
        end = time.monotonic() + PENALTY_S + 2
        while time.monotonic() < end:
            c.talk()
            equal(c.flow()["engine"], "copy", "engine while the host is busy")
        equal(c.flow()["reason"], "auto: the host is busy", "reason later")
        lab.place.set_busy(0)
        c.talk_until("sockmap")


@suite.test(timeout=60)
def a_quiet_pair_stays_copied_with_the_packet_engines_reason(lab):
    with conversation(lab) as c:
        flow = until(lambda: c.flow()["reason"] != "young" and c.flow(), 10)
        equal(flow["engine"], "copy", "engine")
        check("device" in flow["reason"], lambda: f"reason: {flow}")
        c.go_round(100)


# --- where tunnels are short ---

SHORT = 1000  # far more than an address has credit for
EARLY = "auto: tunnels to there end early"


@contextlib.contextmanager
def tunnel(place, port):
    """A tunnel that carried a byte there and back."""
    with place.tunnel(port) as sock:
        sock.sendall(b"x")
        equal(sock.recv(1), b"x", "the echo")
        yield sock


def spend_all_credit(place, port):
    spared = lambda: place.sluice.figures()["policy_spared_total"]
    for n in range(SHORT):
        if not n % 20 and spared():
            return
        with tunnel(place, port):
            pass
    raise AssertionError(f"{SHORT} short tunnels, and all were prepared")


def told(place, **wanted):
    """The flow, once it is as wanted."""
    def seen():
        return next((f for f in place.sluice.flows() if wanted.items() <= f.items()), None)
    return until(seen, 10)


def is_spliced(place, port):
    """Whether another one is."""
    with tunnel(place, port):
        until(lambda: all(f["reason"] != "young" for f in place.sluice.flows()), 10)
        return any(f["engine"] == "packet" for f in place.sluice.flows())


@suite.test(timeout=120)
def where_tunnels_are_short_they_are_copied_until_one_lives(_):
    place = Place(Topology(), config={"workers": 1, "splice": {"engine": "auto"}})
    try:
        place.start()
        origin = place.origin(echo)
        with tunnel(place, origin.port):
            told(place, engine="packet")
        spend_all_credit(place, origin.port)
        with tunnel(place, origin.port) as first:
            told(place, engine="copy", reason=EARLY)
            until(lambda: is_spliced(place, origin.port), 10)
            first.sendall(b"y")
            equal(first.recv(1), b"y", "the echo of the one that is copied")
        origin.close()
        place.gone()
        place.sluice.stop()
    finally:
        place.discard()


if __name__ == "__main__":
    sys.exit(suite.main(PolicyLab))
