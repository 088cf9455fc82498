#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The packaged unit, configuration and user under a real systemd: start, reload, upgrade, watchdog, a crash,
socket activation, stop; with the unit's sandbox on and BPF at work in it. SLUICE_DEB names a package to
install instead of the tree's own files. Needs root and systemd's programs."""

import errno
import json
import os
import shutil
import sys
import threading
from pathlib import Path

from lab import SERVER, Origin, Skip, Suite, Topology, check, equal, until
from lab.busy import echo
from lab.origin import OK, answers
from lab.reverse import ask
from lab.sluice import binary, in_thread
from lab.standing import Standing, worker_thread
from lab.systemd import Systemd
from lab.wire import Wire

suite = Suite()

PACKAGING = Path(__file__).resolve().parents[2] / "scripts" / "packaging"
CONFIG = Path("etc/sluice/sluice.yaml")
# Behind the packaged configuration, whose last key is its listeners.
MORE = f"""\
  - {{name: web, listen: "0.0.0.0:8080", mode: http, routes: [{{upstream: app}}]}}
  - {{name: out, listen: "0.0.0.0:3130", mode: forward}}
upstreams: [{{name: app, servers: ["{SERVER}:80"]}}]
splice: {{after: 20ms, pairs: 1024}}
limits: {{connections: 1000}}
"""
DROP_IN = """\
[Service]
WatchdogSec=2s
RestartSec=1500ms
"""
SOCKET = """\
[Socket]
ListenStream=0.0.0.0:8080
"""
BIND, NET_ADMIN, NET_RAW, PERFMON, BPF = (1 << n for n in (10, 12, 13, 38, 39))


class Installed:
    """A container with sluice installed and configured."""

    def __init__(self):
        self.program = binary(release=True)
        self.net = Topology()
        self.origin = Origin(self.net.server, SERVER, 80, answers(OK))
        self.echo = Origin(self.net.server, SERVER, 82, echo)
        self.systemd = Systemd(self.net.proxy)
        try:
            self.install()
        except BaseException:
            self.systemd.close()
            raise

    def install(self):
        s = self.systemd
        if deb := os.environ.get("SLUICE_DEB"):
            shutil.copy(deb, s.root / "root/sluice.deb")
            s.do("dpkg", "--force-unsafe-io", "--no-triggers", "-i", "/root/sluice.deb")
        else:
            for source, target in ((Path(self.program), "usr/bin/sluice"),
                                   (PACKAGING / "debian/sluice.service", "lib/systemd/system/sluice.service"),
                                   (PACKAGING / "debian/sluice.postinst", "root/postinst"),
                                   (PACKAGING / "debian/sluice.logrotate", "etc/logrotate.d/sluice"),
                                   (PACKAGING / "sluice.yaml", CONFIG)):
                (s.root / target).parent.mkdir(exist_ok=True)
                shutil.copy(source, s.root / target)
            s.do("sh", "/root/postinst", "configure")
        self.first = (s.root / CONFIG).read_text() + MORE
        (s.root / CONFIG).write_text(self.first)
        (s.root / "etc/systemd/system/sluice.service.d").mkdir()
        (s.root / "etc/systemd/system/sluice.service.d/test.conf").write_text(DROP_IN)
        (s.root / "etc/systemd/system/sluice.socket").write_text(SOCKET)
        s.do("systemctl", "daemon-reload")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.systemd.close()

    def tell(self):
        return self.systemd.journal()

    # --- the service ---

    def start(self):
        """What tests find: in service, as installed."""
        (self.systemd.root / CONFIG).write_text(self.first)
        self.systemd.do("systemctl", "start", "sluice")
        self.origin.reset(answers(OK))

    def main_pid(self):
        return int(self.systemd.show("sluice", "MainPID"))

    def outer_pid(self):
        """What this host calls the main process."""
        wanted, inner = os.readlink(f"/proc/{self.systemd.pid}/ns/pid"), str(self.main_pid())
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(entry / "ns/pid") == wanted and (
                        entry / "status").read_text().split("NSpid:")[1].split("\n")[0].split()[-1] == inner:
                    return int(entry.name)
            except OSError:
                continue
        raise AssertionError(f"no process {inner} in the container")

    def flows(self):
        return json.loads(self.systemd.do("sluice", "flows", "--json"))["flows"]

    def connect(self, port=8080):
        return Wire(self.net.client.connect("10.1.0.1", port, 20))

    def tunnel(self):
        """One that is spliced."""
        wire = self.connect(3130)
        wire.send(f"CONNECT {SERVER}:82 HTTP/1.1\r\nHost: {SERVER}:82\r\n\r\n".encode())
        equal(wire.response("CONNECT").status, 200, "CONNECT")
        self.echoes(wire)
        try:
            until(lambda: [f["engine"] for f in self.flows()] == ["packet"], 10, interval=0.1)
        except AssertionError:
            raise AssertionError(f"not spliced: {self.flows()}") from None
        self.echoes(wire)
        return wire

    @staticmethod
    def echoes(wire):
        wire.send(b"word")
        equal(wire.exactly(4), b"word", "an echo")


def get(wire):
    return wire.send(ask()).response()


@suite.test(timeout=60)
def it_is_started_when_it_serves_with_few_privileges(lab):
    lab.start()
    with lab.connect() as client:
        equal(get(client).status, 200, "status, right behind systemctl start")
    check(int(lab.systemd.show("sluice", "NFileDescriptorStore")) >= 3, "listening sockets are stored")
    uid = lab.systemd.do("id", "-u", "sluice").strip()
    inner = lab.main_pid()
    for path in (lab.systemd.root / f"proc/{inner}/task").glob("*/status"):
        status = dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)
        equal(set(status["Uid"].split()), {uid}, "user")
        check(int(status["CapPrm"], 16) in (BIND | NET_ADMIN | NET_RAW | PERFMON | BPF, 0), status["CapPrm"])
        equal((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"), "no_new_privs and seccomp")


@suite.test(timeout=60)
def pairs_are_spliced_in_its_sandbox(lab):
    lab.start()
    engines = {e["name"]: e for e in json.loads(lab.systemd.do("sluice", "stats", "--json"))["engines"]}
    if not engines["packet"]["available"] and "CAP" not in engines["packet"]["reason"]:
        raise Skip(f"no packet engine in a container: {engines['packet']['reason']}")
    lab.tunnel().close()
    sees = Path(f"/proc/{lab.outer_pid()}/root")
    for name in ("etc", "usr/bin", "var/lib"):
        try:
            (sees / name / "sluice-was-here").touch()
        except OSError as e:
            equal(e.errno, errno.EROFS, name)
        else:
            raise AssertionError(f"/{name} can be written")
    equal(sorted(p.name for p in (sees / "dev").iterdir() if p.is_block_device() or p.name in ("mem", "kmem")), [],
          "devices")


@suite.test(timeout=60)
def reload_takes_a_right_file_and_tells_of_a_wrong_one(lab):
    lab.start()
    path = lab.systemd.root / CONFIG
    with lab.connect() as client:
        path.write_text(lab.first.replace("{upstream: app}", "{respond: {status: 404}}"))
        lab.systemd.do("systemctl", "reload", "sluice")
        equal(get(client).status, 404, "by the new file")
        path.write_text(lab.first + "colour: red\n")
        check(lab.systemd.run("systemctl", "reload", "sluice").returncode, "a wrong file is told")
        equal(get(client).status, 404, "the old one goes on")
        equal(lab.systemd.show("sluice", "ActiveState"), "active", "state")
        path.write_text(lab.first)
        lab.systemd.do("systemctl", "reload", "sluice")
        equal(get(client).status, 200, "again")


@suite.test(timeout=60)
def an_upgrade_has_another_main_process_and_the_same_pairs(lab):
    lab.start()
    before = lab.main_pid()
    with lab.tunnel() as tunnel:
        lab.systemd.do("sluice", "upgrade")
        until(lambda: lab.main_pid() not in (0, before), 20, "another main process", interval=0.1)
        lab.echoes(tunnel)
        equal([f["engine"] for f in lab.flows()], ["packet"], "adopted")
        with lab.connect() as client:
            equal(get(client).status, 200, "status")
        equal(lab.systemd.show("sluice", "ActiveState"), "active", "state")
        until(lambda: not (lab.systemd.root / f"proc/{before}").exists(), 20, "the old one ends", interval=0.1)
    equal(lab.systemd.show("sluice", "NRestarts"), "0", "restarts")


@suite.test(timeout=60)
def what_comes_while_it_is_dead_is_served_afterwards(lab):
    lab.start()
    before = lab.main_pid()
    with lab.tunnel() as tunnel:
        lab.systemd.do("systemctl", "kill", "--signal=KILL", "sluice")
        until(lambda: lab.systemd.show("sluice", "SubState") == "auto-restart", 10, "it is dead", interval=0.05)
        with lab.connect() as client:
            client.send(ask())
            lab.echoes(tunnel)
            equal(client.response().status, 200, "status, by the next process")
        check(lab.main_pid() != before, "another process")
        lab.echoes(tunnel)
    lab.systemd.do("systemctl", "stop", "sluice")


@suite.test(timeout=60)
def a_stuck_worker_makes_systemd_restart_it(lab):
    lab.start()
    before = lab.main_pid()
    with Standing(worker_thread(lab.outer_pid(), 0)) as standing:
        until(lambda: standing.is_reaped() and lab.main_pid() not in (0, before), 30, "a restart", interval=0.2)
    check("Watchdog timeout" in lab.systemd.journal(100), "by the watchdog")
    with lab.connect() as client:
        equal(get(client).status, 200, "status")


@suite.test(timeout=60)
def logrotate_gives_it_a_new_log(lab):
    if lab.systemd.run("which", "logrotate").returncode:
        raise Skip("there is no logrotate")
    lab.start()
    logs = lab.systemd.root / "var/log/sluice"
    with lab.connect() as client:
        get(client)
        until(lambda: (logs / "access.log").stat().st_size, 10, "a line in the log")
        lab.systemd.do("logrotate", "-f", "/etc/logrotate.d/sluice")
        check((logs / "access.log.1").stat().st_size, "the old log is kept")
        # It reopens when the signal comes.
        until(lambda: get(client).status == 200 and (logs / "access.log").stat().st_size, 10, "a line in the new log",
              interval=0.1)
    equal(lab.systemd.do("stat", "-c", "%U:%G %a", "/var/log/sluice/access.log").strip(), "sluice:adm 640", "owner")


@suite.test(timeout=60)
def stop_lets_requests_end(lab):
    lab.start()
    go = threading.Event()
    lab.origin.reset(lambda wire, origin: (wire.request(), go.wait(20), wire.send(OK)))
    with lab.connect() as busy:
        busy.send(ask())
        until(lambda: b"\r\n\r\n" in lab.origin.received, 10, "the request at the origin")
        stop = in_thread(lab.systemd.do, "systemctl", "stop", "sluice")
        until(lambda: lab.systemd.show("sluice", "ActiveState") == "deactivating", 10, "it stops", interval=0.05)
        go.set()
        got = busy.response()
        equal((got.status, got.get("Connection")), (200, "close"), "the answer")
        stop.join(30)
    equal((lab.systemd.show("sluice", "ActiveState"), lab.systemd.show("sluice", "Result")), ("inactive", "success"),
          "state and result")
    check(not (lab.systemd.root / "run/sluice").exists(), "nothing is left in /run")


@suite.test(timeout=60)
def a_connection_to_its_socket_unit_starts_it(lab):
    lab.systemd.run("systemctl", "stop", "sluice")
    lab.systemd.do("systemctl", "start", "sluice.socket")
    try:
        lab.origin.reset(answers(OK))
        with lab.connect() as client:
            equal(get(client).status, 200, "status")
        equal(lab.systemd.show("sluice", "ActiveState"), "active", "state")
    finally:
        lab.systemd.run("systemctl", "stop", "sluice.socket", "sluice")


if __name__ == "__main__":
    sys.exit(suite.main(Installed))
