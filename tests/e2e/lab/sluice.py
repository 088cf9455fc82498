# SPDX-License-Identifier: BSD-2-Clause
"""A running sluice: configured, started, waited for, looked into, stopped, and judged: its exit code,
its descriptors and what it wrote to stderr."""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from lab.net import DPDK, PATIENCE, until
from lab.suite import Skip, check, equal
from lab.wire import Wire

_REPORTS = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "UndefinedBehavior", "assert")


def binary(release=False):
    path = os.environ.get("SLUICE_RELEASE" if release else "SLUICE") or os.environ.get("SLUICE")
    if not path or not Path(path).exists():
        raise Skip("there is no sluice executable (set SLUICE)")
    return path


class Sluice:
    """config: keys that replace those of the default configuration (JSON is YAML, too). listener:
    keys of its one listener. hosts, resolv: texts that it sees as /etc/hosts and /etc/resolv.conf.
    prefix: a command line to run it under. bpffs: where its pins live instead of the host's."""

    address, port = "10.1.0.1", 3128

    def __init__(self, topology, config=None, listener=None, release=False, hosts=None, resolv=None,
                 prefix=(), bpffs=None, start=True):
        self.net = topology
        self.binary = binary(release)
        self.dir = Path(tempfile.mkdtemp(prefix="sluice-e2e-"))
        atexit.register(shutil.rmtree, self.dir, ignore_errors=True)
        self.admin = self.dir / "admin.sock"
        self.log = self.dir / "access.log"
        self.stderr = self.dir / "stderr"
        self.process = None
        self.config = {
            "workers": 1, "via": "sluice", "admin": str(self.admin), "metrics": "127.0.0.1:9145",
            "access_log": {"path": str(self.log), "format": "json"},
            "splice": {"engine": "copy"},  # loading programs takes time; splicing has its suites
            "listeners": [{"name": "egress", "listen": f"0.0.0.0:{self.port}", "mode": "forward",
                           **(listener or {})}],
            **(config or {}),
        }
        if DPDK:
            self.config.update(workers=1, **topology.dpdk_config())
            self.config["splice"] = {"pairs": 1024, **self.config.get("splice", {})}
        self.files = {"/etc/hosts": hosts or "127.0.0.1 localhost\n",
                      "/etc/resolv.conf": resolv or "nameserver 10.2.0.2\n"}
        self.outer, self.prefix = bpffs.prefix if bpffs else [], list(prefix)
        if start:
            self.start()

    # --- life ---

    def start(self):
        self.file = self.dir / "sluice.yaml"
        self.file.write_text(json.dumps(self.config, indent=1))
        # A bpffs of its own if none was given: no pins are shared with the host, or other suites.
        mounts = [] if self.outer else ["{ mount -t bpf bpf /sys/fs/bpf 2>/dev/null || true; }"]
        for target, text in self.files.items():
            own = self.dir / target.rsplit("/", 1)[1]
            own.write_text(text)
            mounts.append(f"mount --bind {own} {target}")
        with open(self.stderr, "ab") as stderr:
            self.process = self.net.proxy.start(
                *self.outer, "unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh",
                *self.prefix, self.binary, "run", "-c", self.file,
                stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
        until(lambda: self.ready() or self.process.poll() is not None, 15, "sluice listens")
        if self.process.poll() is not None and "built without DPDK" in self.tell():
            raise Skip("sluice was built without DPDK")
        check(self.process.poll() is None, lambda: f"sluice ended at once:\n{self.tell()}")
        self.baseline = self.descriptors()
        return self

    def start_with(self, socks):
        """As systemd does with those of a socket unit: sd_listen_fds(3)."""
        take = " ".join(f"{n}<&{s.fileno()}" for n, s in enumerate(socks, 3))
        prefix, command = self.prefix, self.net.proxy.start
        self.prefix = ["bash", "-c", f'exec {take}; export LISTEN_PID=$$ LISTEN_FDS={len(socks)}; exec "$@"',
                       "bash"]
        self.net.proxy.start = lambda *c, **o: command(*c, pass_fds=[s.fileno() for s in socks], **o)
        try:
            return self.start()
        finally:
            del self.net.proxy.start
            self.prefix = prefix

    def ready(self):
        """It says so itself where it can: a connection would be counted, sooner or later. Over DPDK one has
        to find the way, too."""
        metrics = self.config.get("metrics")
        try:
            if DPDK or not metrics:
                self.net.client.connect(self.address, self.port, 1).close()
            return not metrics or b" 200 " in self.http_get("/readyz")
        except OSError:
            return False

    def kill(self, number):
        self.process.send_signal(number)

    def freeze(self):
        """Stops every thread of it, and waits until they stand; SIGCONT lets them go on."""
        self.kill(signal.SIGSTOP)
        files = list(Path("/proc", str(self.process.pid), "task").glob("*/stat"))
        until(lambda: all(f.read_text().rpartition(")")[2].split()[0] == "T" for f in files),
              10, "all threads stand", interval=0.01)

    def stop(self, number=signal.SIGTERM, timeout=15, status=0):
        """Ends it and checks that it ended well."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.kill(number)
        try:
            got = self.process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            got = "none: it had to be killed"
        self.process = None
        self.healthy()
        equal(got, status, "exit status")

    def healthy(self):
        text = self.stderr.read_text(errors="replace")
        check(not any(r in text for r in _REPORTS), lambda: f"a report on stderr:\n{self.tell()}")

    def discard(self):
        """Ends it without judging; for after a failure."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.stop()
        finally:
            self.discard()

    def tell(self, lines=25):
        text = self.stderr.read_text(errors="replace") if self.stderr.exists() else ""
        alive = "running" if self.process and self.process.poll() is None else "not running"
        return f"sluice is {alive}; its stderr ends:\n" + "\n".join(text.splitlines()[-lines:])

    # --- traffic ---

    def connect(self, timeout=10, **options):
        return Wire(self.net.client.connect(self.address, self.port, timeout, **options))

    def tunnel(self, host, port, **options):
        """A CONNECT that must succeed; the wire is at the first tunnelled byte."""
        wire = self.connect(**options)
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        wire.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        equal(wire.response("CONNECT").status, 200, "status of CONNECT")
        return wire

    def get(self, url, timeout=10):
        """One request on a connection of its own."""
        with self.connect(timeout) as wire:
            host = url.split("/")[2]
            wire.send(f"GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return wire.response()

    # --- looking inside ---

    def cli(self, *arguments):
        return self.net.proxy.run(self.binary, *arguments, "--admin", self.admin, text=True)

    def ask(self, command, **arguments):
        """One request to the admin socket, without the cost of a process."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(str(self.admin))
            s.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            data = b""
            while not data.endswith(b"\n") and (more := s.recv(65536)):
                data += more
        answer = json.loads(data)
        check(answer.get("ok"), lambda: f"{command}: {answer}")
        return answer

    def stats(self):
        """Counters and gauges by name, summed over the workers."""
        answer = self.ask("stats")["stats"]
        flat = {}
        for key, value in answer.items():
            if isinstance(value, dict):
                flat.update({k: v for k, v in value.items() if k not in flat})
            flat[key] = value
        return flat

    def flows(self):
        return self.ask("flows")["flows"]["flows"]

    def http_get(self, path, port=9145):
        with Wire(self.net.proxy.connect("127.0.0.1", port, 5)) as wire:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return wire.rest()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory_bytes(self, name="VmRSS"):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}")

    def cpu_seconds(self):
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def settles(self, spare=16, timeout=10):
        """No client is connected any more and descriptors are back where they were, but for the few
        that are kept for reuse."""
        until(lambda: self.stats()["connections_active"] == 0, timeout, "all connections done")
        until(lambda: self.descriptors() <= self.baseline + spare, timeout,
              f"descriptors back to {self.baseline} (+{spare}), now {self.descriptors()}")

    def log_records(self, n=1, timeout=5):
        """The access log's records, once there are at least n."""
        def read():
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            return lines if len(lines) >= n else None
        return [json.loads(line) for line in until(read, timeout, f"{n} records in the access log")]


def in_thread(function, *arguments):
    """Starts a thread whose exception, if any, is raised by join()."""
    class Worker(threading.Thread):
        error = result = None

        def run(self):
            try:
                self.result = function(*arguments)
            except BaseException as e:
                self.error = e

        def join(self, timeout=None):
            super().join(timeout)
            if self.is_alive():
                raise AssertionError(f"{function.__name__} does not end")
            if self.error:
                raise self.error
            return self.result

    worker = Worker(daemon=True)
    worker.start()
    return worker
