#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""How the process lives and dies: what it tells a service manager, workers that stand still, drains, and
a start after a crash."""

import array
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from lab import SERVER, Fresh, Place, Suite, Topology, check, equal, until
from lab.net import PATIENCE
from lab.reverse import Reverse, ask
from lab.sluice import binary
from lab.standing import Standing, worker_thread
from lab.successor import upgrade

suite = Suite()

APP = {"name": "app", "servers": [f"{SERVER}:80"]}
ROUTES = [{"host": "app.test", "upstream": "app"}]


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, path):
        self.path, self.said, self.inodes = path, [], {}
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                data, control, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(4))
            except OSError:
                return
            if not data:
                return
            self.said.append(data.decode())
            for _, kind, raw in control:
                fd = array.array("i", raw[:4])[0]
                name = data.decode().partition("FDNAME=")[2]
                self.inodes.setdefault(name, set()).add(os.fstat(fd).st_ino)
                os.close(fd)

    def heard(self, word):
        return any(word in said for said in self.said)


class Living(Fresh):
    def open(self, environment=(), **config):
        self.close()
        self.lab = Reverse(ROUTES, [APP], config={"workers": 2, **config}, start=False)
        self.manager = Manager(str(self.lab.sluice.dir / "notify"))
        self.lab.sluice.prefix = ["env", f"NOTIFY_SOCKET={self.manager.path}", *environment]
        self.lab.sluice.start()
        return self.lab


def metric(sluice, name):
    for line in sluice.http_get("/metrics").decode().splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise AssertionError(f"no {name}")


def get(wire):
    return wire.send(ask()).response()


@suite.test(timeout=60)
def the_service_manager_is_told(labs):
    lab = labs.open(["WATCHDOG_USEC=200000"])
    manager = labs.manager
    until(lambda: manager.heard("READY=1"), 5, "READY")
    until(lambda: manager.heard("WATCHDOG=1"), 5, "WATCHDOG")
    equal({k: len(v) for k, v in manager.inodes.items()}, {"0.0.0.0_3128": 2}, "stored descriptors")
    manager.said.clear()
    lab.sluice.ask("reload")
    until(lambda: manager.heard("RELOADING=1") and manager.heard("READY=1"), 5, "a reload")
    old = upgrade(lab.sluice)
    until(lambda: manager.heard(f"MAINPID={lab.sluice.process.pid}"), 5, "MAINPID")
    equal(old.wait(30), 0, "exit status of the old one")
    check(not manager.heard("STOPPING=1"), "the service does not stop by an upgrade")
    lab.sluice.kill(signal.SIGTERM)
    until(lambda: manager.heard("STOPPING=1"), 5, "STOPPING")


@suite.test(timeout=60)
def a_stuck_worker_is_noticed_and_hangs_nobody(labs):
    lab = labs.open(["WATCHDOG_USEC=200000"])
    manager = labs.manager
    with Standing(worker_thread(lab.sluice.process.pid, 1)):
        until(lambda: metric(lab.sluice, "sluice_workers_stuck") == 1, 15, "it is noticed")
        check("worker 1 is stuck" in lab.sluice.tell(), lab.sluice.tell())
        manager.said.clear()
        began = time.monotonic()
        equal(lab.sluice.ask("flows")["flows"]["stuck_workers"], 1, "workers that are missing")
        check(time.monotonic() - began < 3 * PATIENCE, "flows takes long")
        check("pairs of 1 worker(s) are missing" in lab.sluice.cli("flows").stdout, "the command says so")
        check("a worker is stuck" in lab.sluice.cli("reload").stderr, "a reload is refused")
        check(not manager.heard("WATCHDOG=1"), "the manager was told that all is well")
    until(lambda: metric(lab.sluice, "sluice_workers_stuck") == 0, 15, "it turns again")
    until(lambda: manager.heard("WATCHDOG=1"), 5, "WATCHDOG again")
    equal(metric(lab.sluice, "sluice_worker_stalls_total"), 1, "stalls")


@suite.test(timeout=60)
def flows_does_not_wait_for_a_worker_that_has_just_stopped(labs):
    lab = labs.open()
    with Standing(worker_thread(lab.sluice.process.pid, 0)):
        lab.sluice.ask("flows")
    with lab.sluice.connect() as client:
        equal(get(client).status, 200, "status, after the call was given up")


@suite.test(timeout=60)
def readiness_goes_before_the_listeners_do(labs):
    lab = labs.open(timeouts={"drain_delay": "1s"})
    lab.sluice.kill(signal.SIGTERM)
    until(lambda: b" 503 " in lab.sluice.http_get("/readyz"), 5, "not ready")
    with lab.sluice.connect() as client:
        equal(get(client).status, 200, "status meanwhile")
    equal(lab.sluice.process.wait(30), 0, "exit status")


@suite.test(timeout=60)
def what_a_killed_process_left_is_not_in_the_way(labs):
    lab = labs.open()
    for _ in range(3):
        lab.sluice.kill(signal.SIGKILL)
        lab.sluice.process.wait()
        check(lab.sluice.admin.exists(), "the admin socket was left")
        lab.sluice.start()
        with lab.sluice.connect() as client:
            equal(get(client).status, 200, "status")


@suite.test(timeout=90)
def it_serves_again_within_a_second_of_its_death(_):
    """With its pins there, and pairs that go on meanwhile. A release build: what is measured is its own."""
    place = Place(Topology(), "veth")
    place.sluice.binary = binary(release=True)
    try:
        place.start()
        for _ in range(3):
            with place.tunnels(5) as (pairs, flows):
                place.sluice.crash()
                died = time.monotonic()
                place.sluice.start()
                took = time.monotonic() - died
                check(took < PATIENCE, lambda: f"it serves after {took:.2f} s")
                equal(len(place.carried()), len(flows), "pairs that were adopted")
                for client, server in pairs:
                    client.sendall(b"still here")
                    equal(server.recv(10, socket.MSG_WAITALL), b"still here", "bytes to the server")
        place.sluice.stop()
    finally:
        place.discard()


if __name__ == "__main__":
    sys.exit(suite.main(Living))
