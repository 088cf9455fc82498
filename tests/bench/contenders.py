# SPDX-License-Identifier: BSD-2-Clause
"""Who takes part: sluice by engine, its peers, the least that a relay can do, and no proxy at all.
Each listens on PROXY:PROXY_PORT of its own field and has as many workers as there are cores, unless
its note says otherwise."""

import contextlib
import re
import shutil
import signal
import subprocess
from pathlib import Path

from field import ORIGIN_PORT, PROXY, PROXY_PORT, SPLICE_PORTS, Field, LoadFailed
from lab import SERVER, Sluice, until

ORIGIN = f"{SERVER}:{ORIGIN_PORT}"
HERE = f"{PROXY}:{PROXY_PORT}"
SPLICERS = ("packet", "sockmap")
MSS = 1460  # all devices have an MTU of 1500


class Unavailable(Exception):
    """Can't take part here; its text says why."""


class Contender:
    """name, note: as in the tables. connects: asks by CONNECT. forwards: takes http:// URLs; else
    it is a reverse proxy, or none."""

    connects = forwards = routed = False
    xdp = False
    to = HERE
    note = ""

    def __init__(self, name):
        self.name = name

    def begin(self, tools, where, threads, **options):
        """The field is made and the contender started. options: what a suite asks for."""
        self.where = Path(where) / re.sub(r"\W+", "-", self.name)
        self.where.mkdir(parents=True, exist_ok=True)
        self.options = options
        self.field = Field(tools, threads, forward=self.routed)
        try:
            self.start()
            if not self.routed:
                self.field.wait_for_port(self.field.net.client, PROXY, PROXY_PORT, self.alive)
        except BaseException:
            self.field.close()
            raise

    def threads(self):
        """How many workers it has: as many as the machine has cores, if the suite asks for no other."""
        return self.options.get("workers", self.field.threads)

    def start(self):
        pass

    def alive(self):
        if self.main.poll() is None:
            return
        log = self.where / "log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        raise Unavailable(f"{self.name} ended at once: {lines[-1] if lines else 'without a word'}")

    def run(self, *command, alone=None):
        """alone: a folder that it has for itself."""
        if not shutil.which(str(command[0])):
            raise Unavailable(f"{command[0]} is not installed")
        if alone:
            command = ("unshare", "--mount", "sh", "-c",
                       f'mount -t tmpfs none {alone} && chmod 1777 {alone} && exec "$@"', "sh", *command)
        self.main = self.field.start(self.field.net.proxy, *command, log=self.where / "log")

    def write(self, name, text):
        (self.where / name).write_text(text)
        return self.where / name

    def pids(self):
        """The processes that are the contender."""
        if self.routed:
            return []
        children = Path(f"/proc/{self.main.pid}/task/{self.main.pid}/children").read_text().split()
        return [self.main.pid, *map(int, children)]

    def descriptors(self):
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.pids())

    def tunnel(self):
        """Options of the load generator for a way to the origin."""
        return (self.to, *(("--ask", ORIGIN) if self.connects else ()))

    def url(self, size):
        return f"http://{ORIGIN}/{size}" if self.forwards else f"/{size}"

    def check(self, tunnels, patience_s=0):
        """After a run with so many tunnels that rested: was it what it was meant to be?"""

    def reload(self):
        """Its configuration is read again; what is served goes on."""
        self.main.send_signal(signal.SIGHUP)

    def end(self):
        self.field.close()


class Direct(Contender):
    """No proxy: the client's packets are routed by the proxy's host."""

    routed = True
    to = ORIGIN


class SluiceRuns(Contender):
    connects = forwards = True

    def __init__(self, name, engine, hook="auto", note="", devices=None):
        super().__init__(name)
        self.engine, self.hook, self.note, self.devices = engine, hook, note, devices
        self.xdp = hook == "xdp"

    def start(self):
        splice = {"engine": self.engine}
        if self.engine in ("auto", "packet"):
            splice |= {"hook": self.hook, "mss": MSS, "ports": SPLICE_PORTS}
        if self.devices:
            splice["devices"] = self.devices
        config = {"workers": self.threads(), "splice": splice, **self.options.get("sluice", {})}
        self.sluice = Sluice(self.field.net, config, release=True, bpffs=self.field.bpffs,
                             start=False)
        del self.sluice.config["access_log"]
        self.sluice.start()
        self.main = self.sluice.process
        if self.engine in SPLICERS and not (report := self.report())["available"]:
            raise Unavailable(f"{self.engine} engine: {report['reason']}")
        self.joined = 0

    def report(self):
        engines = self.sluice.ask("stats")["stats"]["engines"]
        return next(e for e in engines if e["name"] == self.engine)

    def check(self, tunnels, patience_s=0):
        """The engine that is measured must have taken them all."""
        if self.engine not in SPLICERS or not tunnels:
            return
        with contextlib.suppress(AssertionError):
            until(lambda: self.report()["joined"] - self.joined >= tunnels, patience_s)
        now = self.report()["joined"]
        taken, self.joined = now - self.joined, now
        if taken < tunnels:
            flows = self.sluice.flows()
            why = {f["reason"] for f in flows if f["engine"] != self.engine}
            raise LoadFailed(f"{taken} of {tunnels} tunnels were spliced {' '.join(why)}")

    def end(self):
        if hasattr(self, "sluice"):
            self.sluice.discard()
        super().end()


class Haproxy(Contender):
    """mode tcp, splicing in the kernel; or mode http."""

    more = ""  # of its configuration

    def __init__(self, name, mode, note, master=False):
        super().__init__(name)
        self.mode, self.note, self.master = mode, note, master

    def start(self):
        options = {"tcp": "option splice-auto",
                   "http": "option http-keep-alive\n  http-reuse always"}[self.mode]
        limit = self.options.get("limit", 7000)
        config = self.write("haproxy.cfg", f"""global
  nbthread {self.threads()}
  maxconn {max(limit, 7000)}
defaults
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  timeout queue 60s
listen bench
  mode {self.mode}
  maxconn {limit}
  bind {HERE} backlog 16384
  {options}
  server origin {ORIGIN}
{self.more}
""")
        self.run("haproxy", *(["-W"] if self.master else []), "-db", "-f", config)

    def reload(self):
        self.main.send_signal(signal.SIGUSR2)


class NginxRuns(Contender):
    """As a stream proxy, or as a reverse proxy with kept upstream connections."""

    more = ""  # servers in its http block

    def __init__(self, name, mode, note):
        super().__init__(name)
        self.mode, self.note = mode, note

    def start(self):
        module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
        if self.mode == "stream" and not module.exists():
            raise Unavailable("libnginx-mod-stream is not installed")
        kept = self.options.get("kept", 1024)
        upstream = f"upstream origin {{ server {ORIGIN}; %s }}"
        blocks = {
            "stream": f"stream {{ {upstream % ''} server {{ listen {HERE} backlog=16384; "
                      "tcp_nodelay on; proxy_pass origin; } }",
            "http": f"http {{ access_log off; {upstream % f'keepalive {kept};'} keepalive_requests "
                    f"100000000; server {{ listen {HERE} backlog=16384; location / {{ proxy_pass "
                    "http://origin; proxy_http_version 1.1; proxy_set_header Connection ''; } } "
                    f"{self.more} }}",
        }
        head = f"load_module {module};\n" if self.mode == "stream" else ""
        config = self.write("nginx.conf", f"""{head}user root;
daemon off;
pid {self.where}/pid;
error_log {self.where}/log warn;
worker_processes {self.threads()};
worker_rlimit_nofile 20000;
events {{ worker_connections {max(16384, 2 * kept + 100)}; }}
{blocks[self.mode]}
""")
        self.run("nginx", "-e", self.where / "log", "-c", config)


class Squid(Contender):
    connects = forwards = True
    note = "one process, no cache"

    def start(self):
        config = self.write("squid.conf", f"""http_port {HERE}
http_access allow all
cache deny all
cache_mem 0 MB
access_log none
cache_log /dev/null
pid_filename none
coredump_dir /
pinger_enable off
cache_effective_user proxy
max_filedescriptors 20000
shutdown_lifetime 0 seconds
client_persistent_connections on
server_persistent_connections on
via off
forwarded_for delete
""")
        # Its shared memory has a fixed name, and a run that was killed leaves it behind.
        self.run("squid", "-N", "-f", config, alone="/dev/shm")


class Tinyproxy(Contender):
    connects = forwards = True
    note = "a thread a connection"

    def start(self):
        config = self.write("tinyproxy.conf", f"""Port {PROXY_PORT}
Listen {PROXY}
MaxClients 10000
Timeout 120
LogLevel Error
Allow 0.0.0.0/0
""")
        self.run("tinyproxy", "-d", "-c", config)


class Relay(Contender):
    """Our own least relay, tests/bench/relay.c."""

    note = "ours: nothing but the loop"

    def __init__(self, name, how):
        super().__init__(name)
        self.how = how

    def start(self):
        self.main = self.field.start(self.field.net.proxy, self.field.tools / "bench-relay", self.how,
                                     PROXY, PROXY_PORT, SERVER, ORIGIN_PORT, self.field.threads,
                                     log=self.where / "log")


DIRECT = ("routed, no proxy", lambda name: Direct(name))
SLUICE = {
    "tc": ("sluice packet, tc", lambda name: SluiceRuns(name, "packet", "tc", "splice: packet")),
    "xdp": ("sluice packet, xdp", lambda name: SluiceRuns(
        name, "packet", "xdp", note="native XDP; endpoints keep GRO")),
    "sockmap": ("sluice sockmap", lambda name: SluiceRuns(name, "sockmap", note="splice: sockmap")),
    "auto": ("sluice auto", lambda name: SluiceRuns(name, "auto", note="splice: auto")),
    "copy": ("sluice copy", lambda name: SluiceRuns(name, "copy", note="splice: copy")),
}
# auto and what it chooses from; then where the packet engine may use no device, and refuses every pair.
ENGINES = [SLUICE[name] for name in ("auto", "tc", "sockmap", "copy")]
NO_DEVICES = [(f"sluice {engine}", lambda name, engine=engine: SluiceRuns(
    name, engine, note=f"splice: {engine}", devices="none")) for engine in ("auto", "sockmap", "copy")]
PEERS = {
    "haproxy": ("haproxy", lambda name: Haproxy(name, "tcp", "mode tcp, splice-auto")),
    "nginx": ("nginx stream", lambda name: NginxRuns(name, "stream", "stream module")),
    "splice": ("splice(2) relay", lambda name: Relay(name, "splice")),
    "copy": ("copy relay", lambda name: Relay(name, "copy")),
    "squid": ("squid", Squid),
    "tinyproxy": ("tinyproxy", Tinyproxy),
    "haproxy-http": ("haproxy", lambda name: Haproxy(name, "http", "reverse proxy, mode http")),
    "haproxy-master": ("haproxy", lambda name: Haproxy(name, "http", "mode http, master and worker",
                                                       master=True)),
    "nginx-http": ("nginx", lambda name: NginxRuns(name, "http", "reverse proxy")),
}


def make(entry):
    name, build = entry
    return build(name)


def version_of(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True,
                          text=True)
    return done.stdout.strip() if done.returncode == 0 else None
