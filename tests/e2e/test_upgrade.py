#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The program is replaced while clients are busy: a new process takes the listening sockets and the
spliced pairs, and the old one ends with its connections."""

import os
import shutil
import signal
import socket
import sys
from pathlib import Path

from lab import SERVER, Fresh, Origin, Suite, check, equal, until
from lab.busy import Load, echo
from lab.reverse import Reverse, ask
from lab.stream import receive_stream, send_stream
from lab.sluice import in_thread
from lab.successor import follow, upgrade

suite = Suite()

UPGRADES = int(os.environ.get("SLUICE_UPGRADES", "5"))
APP = {"name": "app", "servers": [f"{SERVER}:80"]}
ECHO = {"name": "echo", "servers": [f"{SERVER}:82"]}
WEB = {"name": "web", "listen": "0.0.0.0:3128", "mode": "http",
       "routes": [{"host": "app.test", "upstream": "app"}]}
TUNNEL = {"name": "tunnel", "listen": "0.0.0.0:3130", "mode": "tcp", "upstream": "echo"}


class Upgrading(Fresh):
    """A sluice for each test: what a process leaves must not be the next one's."""

    def open(self, **config):
        self.close()
        self.lab = Reverse(WEB["routes"], [APP, ECHO], config={
            "workers": 2, "listeners": [WEB, TUNNEL], "timeouts": {"idle": "5s", **config}})
        self.lab.__enter__()
        self.echo = Origin(self.lab.net.server, SERVER, 82, echo)
        return self.lab


def get(wire):
    return wire.send(ask()).response()


@suite.test(timeout=120)
def many_upgrades_under_load_cost_nothing(labs):
    lab = labs.open()
    load = Load(lab)
    olds = []
    load.progress()
    before = lab.sluice.descriptors()
    for n in range(UPGRADES):
        olds.append(upgrade(lab.sluice, by_signal=n % 2))
        load.progress()
    load.end()
    for old in olds:
        equal(old.wait(60), 0, "exit status of a process that was")
    lab.sluice.baseline = before
    lab.sluice.settles()
    lab.sluice.healthy()


@suite.test(timeout=60)
def what_waits_to_be_accepted_is_the_new_process_s(labs):
    """Both are stopped in turn, so that connections pile up in the queues."""
    lab = labs.open()
    lab.sluice.freeze()
    waiting = [lab.sluice.connect() for _ in range(40)]
    for client in waiting:
        client.send(ask())
    lab.sluice.kill(signal.SIGUSR2)
    lab.sluice.kill(signal.SIGCONT)
    for client in waiting:
        equal(client.response().status, 200, "status")
        client.close()
    equal(follow(lab.sluice).wait(30), 0, "exit status of the old one")


@suite.test(timeout=60)
def a_program_that_can_not_serve_leaves_the_old_one_alone(labs):
    lab = labs.open()
    text = lab.sluice.file.read_text()
    pid = lab.sluice.process.pid
    with lab.sluice.connect() as client:
        for n, wrong in enumerate((text + "}", text.replace('"workers": 2', '"workers": 999'),
                                   text.replace("3130", "1").replace("0.0.0.0:1", "192.0.2.1:1")), 1):
            lab.sluice.file.write_text(wrong)
            lab.sluice.ask("upgrade")
            until(lambda: lab.sluice.tell(200).count("this process goes on") == n, 20, "it goes on")
            equal(get(client).status, 200, "status")
            until(lambda: not Path(f"/proc/{pid}/task/{pid}/children").read_text().strip(), 5,
                  "no child is left")
    lab.sluice.file.write_text(text)
    lab.sluice.settles()
    old = upgrade(lab.sluice)
    equal(old.wait(30), 0, "exit status of the old one")
    check(b" 200 " in lab.sluice.http_get("/readyz"), "the new one is ready")


@suite.test(timeout=60)
def a_program_that_is_gone_costs_no_descriptor(labs):
    """Each attempt left both ends of a socket pair open."""
    lab = labs.open()
    lab.sluice.stop()
    program, lab.sluice.binary = lab.sluice.binary, lab.sluice.dir / "sluice"
    shutil.copy(program, lab.sluice.binary)
    lab.sluice.start()
    lab.sluice.binary.unlink()
    lab.sluice.binary = program
    before = lab.sluice.descriptors()
    for _ in range(5):
        check("No such file" in lab.sluice.cli("upgrade").stderr, "it says why")
    until(lambda: lab.sluice.descriptors() <= before, 5, "no descriptor is left")


@suite.test(timeout=60)
def an_idle_connection_ends_with_its_next_answer(labs):
    lab = labs.open()
    with lab.sluice.connect() as client:
        equal(get(client).get("Connection"), None, "before")
        old = upgrade(lab.sluice)
        got = get(client)
        equal((got.status, got.get("Connection")), (200, "close"), "after")
        equal(client.rest(), b"", "then")
    equal(old.wait(30), 0, "exit status of the old one")


@suite.test(timeout=60)
def a_tunnel_of_the_old_process_ends_at_the_bound(labs):
    lab = labs.open(upgrade="1s")
    with labs.lab.net.client.connect("10.1.0.1", 3130, 10) as tunnel:
        tunnel.sendall(b"x")
        equal(tunnel.recv(1), b"x", "an echo")
        old = upgrade(lab.sluice)
        equal(old.wait(30), 0, "exit status of the old one")
        try:
            equal(tunnel.recv(1), b"", "the end")
        except ConnectionResetError:
            pass


@suite.test(timeout=60)
def systemd_s_sockets_are_taken(labs):
    """As in sd_listen_fds(3); what is not configured is closed."""
    lab = labs.open()
    lab.sluice.stop()
    socks = [lab.net.proxy.listen("0.0.0.0", port) for port in (3128, 3199)]
    inodes = [os.fstat(s.fileno()).st_ino for s in socks]
    waiting = lab.sluice.connect()
    waiting.send(ask())
    lab.sluice.start_with(socks)
    equal(waiting.response().status, 200, "status of whom the socket had before")
    fds = {os.stat(f).st_ino for f in Path(f"/proc/{lab.sluice.process.pid}/fd").iterdir()
           if os.path.exists(f)}
    check(inodes[0] in fds, "the socket is used")
    check("1 sockets came" in lab.sluice.tell(), lab.sluice.tell())
    for s in socks:
        s.close()


if __name__ == "__main__":
    sys.exit(suite.main(Upgrading))
