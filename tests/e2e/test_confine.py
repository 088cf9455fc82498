#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Least privilege: what a sluice keeps that was started as root, and that everything works with it. Needs
root."""

import os
import signal
import sys
from pathlib import Path

from lab import SERVER, Place, Suite, Topology, check, equal, until
from lab.reverse import Reverse, ask
from lab.successor import upgrade

suite = Suite()

APP = {"name": "app", "servers": [f"{SERVER}:80"]}
ROUTES = [{"host": "app.test", "upstream": "app"}]
# The leak check needs ptrace(2), which the filter forbids.
NO_LEAKS = ["env", "ASAN_OPTIONS=detect_leaks=0"]
BIND, NET_ADMIN, NET_RAW, PERFMON, BPF = (1 << n for n in (10, 12, 13, 38, 39))


def facts(sluice):
    """What the kernel says of each thread."""
    for status in Path(f"/proc/{sluice.process.pid}/task").glob("*/status"):
        lines = (line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        yield {key: value for key, value in lines}


def confined(sluice, keeps, seccomp=True):
    uid = next(int(line.split(":")[2]) for line in Path("/etc/passwd").read_text().splitlines()
               if line.startswith("nobody:"))
    for thread in facts(sluice):
        equal(set(thread["Uid"].split()), {str(uid)}, "user")
        check(int(thread["CapPrm"], 16) in (keeps, 0), lambda: f"{thread['Name']}: {thread['CapPrm']}")
        if seccomp:
            equal((thread["NoNewPrivs"], thread["Seccomp"]), ("1", "2"), "no_new_privs and seccomp")
        if int(thread["CapPrm"], 16):
            equal(int(thread["CapBnd"], 16), keeps, "bounding set")
    equal(int(next(facts(sluice))["CapEff"], 16), keeps, "capabilities of the first thread")


class Confined(Reverse):
    def __init__(self):
        super().__init__(ROUTES, [APP], config={"workers": 2, "user": "nobody", "seccomp": True},
                         start=False)
        self.sluice.prefix = NO_LEAKS
        os.chmod(self.sluice.dir, 0o777)  # the user's: log, socket, configuration
        self.sluice.start()


def get(wire):
    return wire.send(ask()).response()


@suite.test()
def a_copying_sluice_keeps_only_what_binds_ports(lab):
    confined(lab.sluice, BIND)
    with lab.sluice.connect() as client:
        equal(get(client).status, 200, "status")
    check("core" not in os.listdir(lab.sluice.dir), "no core")
    limits = Path(f"/proc/{lab.sluice.process.pid}/limits").read_text()
    equal(next(line.split()[4:6] for line in limits.splitlines() if "core file" in line), ["0", "0"], "core")


@suite.test()
def it_reloads_rotates_and_listens_below_1024(lab):
    text = lab.sluice.file.read_text()
    try:
        lab.sluice.file.write_text(text.replace("0.0.0.0:3128", "0.0.0.0:128"))
        lab.sluice.ask("reload")
        lab.net.client.connect("10.1.0.1", 128, 5).close()
    finally:
        lab.sluice.file.write_text(text)
        lab.sluice.ask("reload")
    lab.sluice.log.rename(lab.sluice.log.with_suffix(".1"))
    lab.sluice.kill(signal.SIGUSR1)
    until(lab.sluice.log.exists, 5, "a new log")
    check(lab.sluice.cli("stats").returncode == 0, "the admin socket answers")


@suite.test(timeout=60)
def an_upgrade_is_confined_too(lab):
    old = upgrade(lab.sluice)
    equal(old.wait(30), 0, "exit status of the old one")
    confined(lab.sluice, BIND)
    with lab.sluice.connect() as client:
        equal(get(client).status, 200, "status")


@suite.test(timeout=60)
def engines_work_without_root(lab):
    """Pairs are spliced, move bytes and end, under the filter; and without it, so that leaks are looked
    for."""
    for engine, seccomp in (("sockmap", True), ("packet", True), ("sockmap", False), ("packet", False)):
        place = Place(Topology(), "veth", config={
            "user": "nobody", "seccomp": seccomp, "splice": {"engine": engine, "after": "1ms"}})
        os.chmod(place.sluice.dir, 0o777)
        place.sluice.prefix = [
            *(NO_LEAKS if seccomp else []), "sh", "-c", 'chmod o+x /sys/fs/bpf; exec "$@"', "sh"]
        try:
            place.start()
            confined(place.sluice, BIND | NET_ADMIN | NET_RAW | PERFMON | BPF, seccomp)
            with place.open_tunnels(3) as pairs:
                for client, server in pairs:
                    for _ in range(50):
                        client.sendall(b"question")
                        equal(server.recv(8, 0x100), b"question", "bytes to the server")
                        server.sendall(b"answer")
                        equal(client.recv(6, 0x100), b"answer", "bytes to the client")
                until(lambda: {f["engine"] for f in place.sluice.flows()} == {engine}, 10,
                      f"all pairs are {engine}'s: "
                      f"{[(f['engine'], f['reason']) for f in place.sluice.flows()]} {place.sluice.tell()}")
            until(lambda: place.sluice.stats()["tunnels_active"] == 0, 10, "the tunnels are over")
            place.sluice.stop()
        finally:
            place.discard()


@suite.test()
def nothing_is_left_behind(lab):
    lab.sluice.settles()
    lab.sluice.healthy()


if __name__ == "__main__":
    sys.exit(suite.main(Confined))
