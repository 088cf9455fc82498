#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The demonstration itself; scripts/demo builds sluice and then runs this. Built of the end-to-end
suites' laboratory (tests/e2e/lab), so nothing outlives it."""

import argparse
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "e2e"))

import demo_dpdk  # noqa: E402
import demo_packet  # noqa: E402
import demo_reverse  # noqa: E402
from demo_tools import (DEFAULTS, PROBLEMS, Failed, Results, echo, make_random,  # noqa: E402
                        rate, say, sha, show, size)
from lab import SERVER, Bpffs, Origin, Skip, Sluice, Topology, until  # noqa: E402
from lab.nginx import Nginx  # noqa: E402

PROXY = "http://10.1.0.1:3128"
HOSTS = f"127.0.0.1 localhost\n{SERVER} origin.test\n"
GB = 1_000_000_000
PARALLEL, PART = 200, 1_000_000
QUIET_S = 10

PICTURE = """
   client  10.1.0.2 ──── 10.1.0.1  sluice  10.2.0.1 ──── 10.2.0.2  server
   curl, nc, iperf3      forward proxy on port 3128      nginx: HTTP and HTTPS, echo, iperf3
"""


class Demo:
    def __init__(self, where, bytes_big, results):
        self.where, self.big = where, bytes_big
        self.done = results.done
        self.net = Topology()
        self.nginx = Nginx(self.net.server, SERVER, where)
        self.echo = Origin(self.net.server, SERVER, 7, echo)
        self.bpffs = Bpffs()
        self.sluice = Sluice(self.net, DEFAULTS, release=True, hosts=HOSTS, bpffs=self.bpffs)
        (self.nginx.files / "hello").write_text("hello through the gate\n")

    def curl(self, *arguments, timeout=120):
        done = self.net.client.run("curl", "-sS", "--proxy", PROXY, "--noproxy", "", "--cacert",
                                   self.nginx.certificate, "-m", timeout, *arguments, text=True,
                                   timeout=timeout + 10)
        if done.returncode:
            raise Failed(f"curl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    # --- the acts ---

    def small_requests(self):
        for what, url in (("curl GET by absolute-form", "http://origin.test/hello"),
                          ("curl GET by CONNECT and TLS", "https://origin.test/hello")):
            start = time.monotonic()
            if self.curl(url) != (self.nginx.files / "hello").read_text():
                raise Failed(f"{url} gave something else")
            self.done(what, f"{(time.monotonic() - start) * 1000:.0f} ms, content verified")

    def open_quiet_tunnel(self):
        self.tunnel = self.sluice.tunnel("origin.test", 7)
        if self.tunnel.send(b"are you there?").exactly(14) != b"are you there?":
            raise Failed("the tunnel does not echo")
        self.quiet_since = time.monotonic()
        say("  · an interactive tunnel is open, and quiet from now on")

    def bulk(self):
        source = self.nginx.files / "big"
        digest = make_random(source, self.big)
        out = self.where / "out"
        for what, url in ((f"{size(self.big)} downloaded", "http://origin.test/big"),
                          (f"{size(self.big)} downloaded by CONNECT and TLS",
                           "https://origin.test/big")):
            took = float(self.curl("-o", out, "-w", "%{time_total}", url))
            self.judge(what, out, digest, took)
        for what, url in ((f"{size(self.big)} uploaded", "http://origin.test/up/big"),
                          (f"{size(self.big)} uploaded by CONNECT and TLS",
                           "https://origin.test/up/big")):
            took = float(self.curl("-T", source, "-o", "/dev/null", "-w", "%{time_total}", url))
            self.judge(what, self.nginx.files / "up" / "big", digest, took)
        source.unlink()

    def judge(self, what, path, digest, took):
        if path.stat().st_size != self.big or sha(path) != digest:
            raise Failed(f"{what}: the SHA-256 is wrong")
        path.unlink()
        self.done(what, f"{rate(self.big, took)}, SHA-256 verified")

    def parallel(self):
        digest = make_random(self.nginx.files / "part", PART)
        parts = self.where / "parts"
        parts.mkdir()
        start = time.monotonic()
        half = PARALLEL // 2
        self.curl("--parallel", "--parallel-max", PARALLEL, "--parallel-immediate",
                  "-o", parts / "plain-#1", f"http://origin.test/part?[1-{half}]",
                  "-o", parts / "tls-#1", f"https://origin.test/part?[1-{half}]")
        took = time.monotonic() - start
        got = [sha(p) for p in parts.iterdir()]
        if len(got) != PARALLEL or set(got) != {digest}:
            raise Failed(f"{sum(g == digest for g in got)} of {PARALLEL} transfers are right")
        shutil.rmtree(parts)
        self.done(f"{PARALLEL} parallel transfers of {size(PART)}",
                  f"{rate(PARALLEL * PART, took)}, each verified")

    def end_quiet_tunnel(self):
        left = QUIET_S - (time.monotonic() - self.quiet_since)
        if left > 0:
            time.sleep(left)
        quiet = time.monotonic() - self.quiet_since
        if self.tunnel.send(b"still there?").exactly(12) != b"still there?":
            raise Failed("the quiet tunnel does not work any more")
        self.tunnel.close()
        self.done(f"an interactive tunnel, quiet for {quiet:.0f} s", "still works")

    def command(self, *arguments):
        done = self.sluice.cli(*arguments)
        if done.returncode:
            raise Failed(f"sluice {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.rstrip()

    def stop(self):
        self.sluice.stop()
        self.nginx.stop()

    def discard(self):
        self.sluice.discard()
        self.nginx.stop()
        self.bpffs.close()


def choose_place():
    """A directory with room for the big file twice; memory if there is plenty of it."""
    for base, spare in (("/dev/shm", 2 * GB), ("/var/tmp", GB), (tempfile.gettempdir(), GB)):
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(base).free
            if base == "/dev/shm":
                free = min(free, available_memory())
            if free > GB + spare:
                return base, GB // 2
    say("  · there is not enough room for files of 500 MB: 50 MB instead")
    return tempfile.gettempdir(), GB // 20


def available_memory():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def keep(demo):
    """Stays until Enter; the namespaces get names meanwhile."""
    names = {f"demo-{n}": getattr(demo.net, n) for n in ("client", "proxy", "server")}
    Path("/run/netns").mkdir(exist_ok=True)
    try:
        for name, ns in names.items():
            (Path("/run/netns") / name).touch()
            subprocess.run(["mount", "--bind", ns.path, f"/run/netns/{name}"], check=True)
        show("still running: try", "\n".join((
            f"  sudo ip netns exec demo-client curl -x {PROXY} http://origin.test/hello",
            f"  sudo ip netns exec demo-client curl -x {PROXY} -k https://origin.test/hello",
            f"  sudo {demo.sluice.binary} stats --admin {demo.sluice.admin}",
            f"  sudo {demo.sluice.binary} flows --admin {demo.sluice.admin}",
            f"  sudo tail -f {demo.sluice.log}")))
        with contextlib.suppress(EOFError, KeyboardInterrupt):
            input("\nPress Enter to end. ")
    finally:
        for name in names:
            subprocess.run(["umount", f"/run/netns/{name}"], stderr=subprocess.DEVNULL)
            (Path("/run/netns") / name).unlink(missing_ok=True)


def play(demo, stay):
    demo.small_requests()
    demo.open_quiet_tunnel()
    demo.bulk()
    demo.parallel()
    flows = demo.command("flows")
    demo.end_quiet_tunnel()
    until(lambda: demo.sluice.stats()["connections_active"] == 0, 10, "all connections done")
    stats = demo.sluice.stats()
    show("sluice flows, while the quiet tunnel was open", flows)
    show("sluice stats", demo.command("stats"))
    if stay:
        keep(demo)
    cpu, peak = demo.sluice.cpu_seconds(), demo.sluice.memory_bytes("VmHWM")
    demo.stop()
    moved = stats["client_bytes_in_total"] + stats["client_bytes_out_total"]
    say(f"\n  {stats['connections_accepted_total']} connections, {stats['requests_total']} requests, "
        f"{stats['tunnels_total']} tunnels, {size(moved)} carried")
    say(f"  {stats['upstream_reused_total']} requests on kept upstream connections, "
        f"{stats['upstream_failures_total']} failures")
    say(f"  {cpu:.1f} s of CPU, {size(peak)} of memory at most; sluice ended with exit status 0")


def play_forward(where, big, results, stay):
    results.act("Forward proxy")
    say(PICTURE)
    demo = Demo(where, big, results)
    try:
        play(demo, stay)
    except BaseException:
        say(demo.sluice.tell())
        raise
    finally:
        demo.discard()


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--keep", action="store_true")
    args.add_argument("--quick", action="store_true", help="without the forward proxy's act")
    args = args.parse_args()
    for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(s, lambda *_: sys.exit(130))
    if not args.keep:
        signal.signal(signal.SIGALRM, lambda *_: sys.exit("demo: no end within 5 minutes"))
        signal.alarm(300)
    base, big = choose_place()
    results = Results()
    with tempfile.TemporaryDirectory(prefix="sluice-demo-", dir=base) as where:
        try:
            if not args.quick:
                play_forward(Path(where), big, results, args.keep)
            demo_packet.play(Path(where), results)
            demo_reverse.play(Path(where), results)
            demo_dpdk.play(Path(where), results)
        except Skip as reason:
            say(f"  ✗ it can't be shown: {reason}")
            return 77
        except PROBLEMS as problem:
            say(f"  ✗ {problem}")
            return 1
    results.summary()
    return 0


if __name__ == "__main__":
    sys.exit(main())
