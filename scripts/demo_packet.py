# SPDX-License-Identifier: BSD-2-Clause
"""The second act of the demonstration: three programs talk through CONNECT tunnels, the tunnels
leave sluice's sockets, sluice is killed, the programs go on, a new sluice finds the tunnels. Once
between three network namespaces, once on the loopback of a single one."""

import contextlib
import json
import os
import select
import subprocess
import time

from demo_tools import DEFAULTS, Failed, echo, make_random, say, sha, show, size
from lab import SERVER, Bpffs, Namespace, Origin, Skip, Sluice, Topology, until
from lab.nginx import Nginx

MAPS = "/sys/fs/bpf/sluice"
PAIRS = 1024  # the dump shows all slots
SHOWN = ("key", "state", "bytes", "packets", "output")  # of a pair's fields
MB = 1_000_000
PACE = 4 * MB  # as nginx's /paced/
PROGRAMS_S = 7
DOWNLOAD_BYTES = PACE * (PROGRAMS_S + 3)  # curl begins before iperf3, and ends after it
PACING_US = 10_000  # between iperf3's pieces, which is when its tunnel is quiet
TRIES = 6
FLOWS = 4  # curl, the interactive session, iperf3's control connection and its stream


class Loopback:
    """A topology of one: client, proxy and server are the same. Receive buffers keep their size: where
    there is no delay, the kernel makes sluice's ten times as large as curl's if the download begins in
    a rush, and a pair like that stays copied."""

    def __init__(self):
        self.client = self.proxy = self.server = Namespace()
        self.proxy.ip("link set lo up")
        self.proxy.write_sysctl("net.ipv4.tcp_moderate_rcvbuf", 0)


def three_namespaces():
    """Receive buffers keep their size there, too: a tunnel whose ends differ much in room stays copied."""
    net = Topology()
    net.proxy.write_sysctl("net.ipv4.tcp_moderate_rcvbuf", 0)
    return net


class LoopbackSluice(Sluice):
    address = "127.0.0.1"


class Session:
    """nc through a CONNECT tunnel, typed into line by line."""

    def __init__(self, stage):
        self.nc = stage.net.client.start(
            "nc", "-N", "-X", "connect", "-x", stage.proxy, stage.server, 7,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def say(self, line):
        self.nc.stdin.write(line.encode() + b"\n")
        self.nc.stdin.flush()
        if not select.select([self.nc.stdout], [], [], 5)[0]:
            raise Failed(f"the interactive session: no answer to {line!r}")
        answer = os.read(self.nc.stdout.fileno(), 4096).decode().rstrip("\n")
        if answer != line:
            raise Failed(f"the interactive session: {line!r} came back as {answer!r}")
        say(f"    nc> {line}\n    nc< {answer}")

    def end(self):
        self.nc.stdin.close()
        if self.nc.wait(10):
            raise Failed(f"nc ended with {self.nc.returncode}")


class Stage:
    """Where it is played: addresses, servers, a sluice, and a bpffs that outlives it."""

    def __init__(self, where, name, net, address, server, kind, results):
        self.name, self.net, self.server = name, net, server
        self.results, self.done = results, results.done
        self.proxy = f"{address}:{kind.port}"
        self.where = where / name.split()[0]
        self.where.mkdir()
        self.nginx = self.echo = self.iperf = self.bpffs = self.sluice = None
        self.started = []
        self.out, self.chain = self.where / "out", self.where / "proxychains.conf"
        self.chain.write_text("strict_chain\nquiet_mode\ntcp_connect_time_out 8000\n"
                              "tcp_read_time_out 15000\n[ProxyList]\n"
                              f"http {address} {kind.port}\n")
        try:
            self.nginx = Nginx(net.server, server, self.where)
            self.echo = Origin(net.server, server, 7, echo)
            self.iperf = net.server.start("iperf3", "-s", "-B", server, stdin=subprocess.DEVNULL,
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.bpffs = Bpffs()
            self.sluice = kind(net, {**DEFAULTS, "splice": {"pairs": PAIRS}}, release=True, bpffs=self.bpffs)
            until(self.iperf_listens, 10, "iperf3 listens")
        except BaseException:
            self.discard()
            raise

    def iperf_listens(self):
        table = self.net.server.run("ss", "-ltnH", "sport = :5201")
        return b":5201" in table.stdout

    def discard(self):
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        if self.sluice:
            self.sluice.discard()
        if self.nginx:
            self.nginx.stop()
        if self.iperf:
            self.iperf.kill()
            self.iperf.wait()
        if self.echo:
            self.echo.close()
        if self.bpffs:
            self.bpffs.close()

    # --- the programs ---

    def open_session(self):
        """The first tunnel: with the default configuration it leaves sluice's sockets, or this host
        can't splice packets, and sluice says why."""
        (engine,) = [e for e in self.sluice.ask("stats")["stats"]["engines"] if e["name"] == "packet"]
        if not engine["available"]:
            raise Skip(f"there is no packet engine here: {engine['reason']}")
        self.session = Session(self)
        self.started.append(self.session.nc)
        self.session.say("is anybody there?")
        until(lambda: self.spliced() == 1, 10, "the interactive tunnel is spliced")

    def start_curl(self):
        self.curl = self.start(
            "curl", "-sS", "--proxy", f"http://{self.proxy}", "--noproxy", "", "--cacert",
            self.nginx.certificate, "-m", 60, "-o", self.out,
            f"https://{self.server}/paced/big")
        return self.curl

    def start_iperf(self):
        self.load = self.start("proxychains4", "-q", "-f", self.chain, "iperf3", "-c", self.server,
                               "-t", PROGRAMS_S, "-b", "1G", "--pacing-timer", PACING_US, "-J")
        return self.load

    def start_spliced(self, what, start, flows):
        """A program whose tunnels make so many spliced ones. Whether a tunnel is ever quiet is up to
        its ends: if it isn't, as on a crowded machine, sluice says why, and another one may be."""
        before = len(self.sluice.flows())
        for _ in range(TRIES):
            program = start()
            with contextlib.suppress(AssertionError):
                return until(lambda: self.spliced() == flows, 4)
            reasons = {f["reason"] for f in self.sluice.flows() if f["engine"] != "packet"}
            say(f"  · {what} again: {', '.join(reasons)}")
            program.kill()
            program.wait()
            until(lambda: len(self.sluice.flows()) == before, 10, f"{what}'s tunnels are gone")
        raise Failed(f"{what}'s tunnels are not spliced")

    def start(self, *command):
        log = open(self.where / "log", "ab+")
        process = self.net.client.start(*command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE if "iperf3" in command else log,
                                        stderr=log)
        log.close()
        self.started.append(process)
        return process

    def finish(self):
        """Each program ends as if nothing had been."""
        sent = json.loads(self.load.communicate(timeout=60)[0])
        if self.load.returncode:
            raise Failed(f"iperf3: {sent.get('error')}")
        bps = sent["end"]["sum_received"]["bits_per_second"]
        gaps = [i["sum"]["bytes"] for i in sent["intervals"]].count(0)
        if gaps:
            raise Failed(f"iperf3 stood still for {gaps} s")
        self.done("iperf3, across kill and restart", f"{bps / 1e9:.2f} of 1 Gbit/s, no gap")
        if self.curl.wait(60):
            raise Failed(f"curl: {(self.where / 'log').read_text()}")
        if sha(self.out) != self.digest:
            raise Failed("curl: the SHA-256 is wrong")
        self.done("curl, across kill and restart", f"{size(DOWNLOAD_BYTES)}, SHA-256 verified")
        self.session.say("and good bye")
        self.session.end()
        self.done("interactive session, across both", "each line came back")

    # --- looking inside ---

    def spliced(self):
        return sum(f["engine"] == "packet" for f in self.sluice.flows())

    def descriptors_at_rest(self):
        """How many there are, if no more than before. Pipes don't count: the copy engine keeps a few
        for the next pair."""
        folder = f"/proc/{self.sluice.process.pid}/fd"
        n = 0
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                n += not os.readlink(f"{folder}/{name}").startswith("pipe:")
        return n if n <= self.sluice.baseline else None

    def flows(self):
        done = self.sluice.cli("flows")
        if done.returncode:
            raise Failed(f"sluice flows: {done.stderr.strip()}")
        return done.stdout.rstrip()

    def bpftool(self, *arguments):
        done = self.net.proxy.run(*self.bpffs.prefix, "bpftool", *arguments, text=True)
        if done.returncode:
            raise Failed(f"bpftool {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def carried(self):
        """Bytes spliced so far by the kernel's own account: no process of sluice's is asked."""
        slots = json.loads(self.bpftool("-j", "map", "dump", "pinned", f"{MAPS}/flows"))
        return sum(leg["bytes"] for s in slots for leg in s["formatted"]["value"]["leg"])

    # --- the acts ---

    def splice(self):
        self.open_session()
        self.digest = make_random(self.nginx.files / "big", DOWNLOAD_BYTES)
        self.start_spliced("curl", self.start_curl, 2)
        self.start_spliced("iperf3", self.start_iperf, FLOWS)
        stats = self.sluice.stats()
        now = until(self.descriptors_at_rest, 5, "the sockets are closed")
        show("sluice flows", self.flows())
        dump = self.bpftool("map", "dump", "pinned", f"{MAPS}/flows").splitlines()
        lines = [line for line in dump if line.split('"')[1:2] and line.split('"')[1] in SHOWN]
        show(f"bpftool map dump pinned {MAPS}/flows | grep -E '{'|'.join(SHOWN)}'",
             "\n".join([*lines[:2 * 8], "        ..."]))
        say()
        self.done("curl, iperf3, nc through tunnels", f"{FLOWS} tunnels spliced at packet level")
        if stats["buffers_in_use"]:
            raise Failed(f"{stats['buffers_in_use']} buffers are in use")
        self.done("sluice's descriptors, before, now", f"{self.sluice.baseline}, {now}; 0 buffers")

    def kill(self):
        self.session.say("about to be killed")
        say(f"    $ kill -9 {self.sluice.process.pid}")
        self.sluice.process.kill()
        self.sluice.process.wait()
        self.sluice.process = None
        start, before = time.monotonic(), self.carried()
        self.session.say("still there?")
        time.sleep(max(0, start + 1 - time.monotonic()))
        moved, took = self.carried() - before, time.monotonic() - start
        if moved < 50 * MB:
            raise Failed(f"only {size(moved)} passed without sluice")
        self.done("kill -9, and no sluice runs", f"{size(moved)} in {took:.1f} s went on")

    def restart(self):
        say("    $ sluice run")
        self.sluice.start()
        with contextlib.suppress(AssertionError):
            until(lambda: self.spliced() == FLOWS, 5)
        found = self.spliced()
        show("sluice flows, of the new process", self.flows())
        say()
        if found != FLOWS:
            raise Failed(f"the new process lists {found} of {FLOWS} spliced tunnels")
        self.done("the next sluice run adopts them", f"{found} tunnels listed again")

    def play(self):
        self.results.act(f"Packet splicing, {self.name}")
        self.splice()
        self.kill()
        self.restart()
        self.finish()
        until(lambda: not self.sluice.flows(), 10, "no flow is left")
        self.sluice.stop()


def stages(where, results):
    yield lambda: Stage(where, "between three namespaces (veth)", three_namespaces(), "10.1.0.1", SERVER,
                        Sluice, results)
    yield lambda: Stage(where, "within one host (loopback)", Loopback(), "127.0.0.1", "127.0.0.1",
                        LoopbackSluice, results)


def play(where, results):
    """Both places. A failure tells what sluice said."""
    for make in stages(where, results):
        stage = make()
        try:
            stage.play()
        except BaseException:
            say(stage.sluice.tell())
            raise
        finally:
            stage.discard()
