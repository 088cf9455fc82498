# SPDX-License-Identifier: BSD-2-Clause
"""The third act of the demonstration, the reverse proxy: two nginx origins behind one address, one
of them killed and revived under load without a failed request; then TLS passed to either by its name,
without a key in sluice."""

import contextlib
import json
import select
import signal
import subprocess

from demo_tools import DEFAULTS, Failed, say, show
from lab import PROXY_C, SERVER, Bpffs, Sluice, Topology, until
from lab.nginx import Nginx

PICTURE = """
                                                      ┌── 10.2.0.2  nginx "one"
   client  10.1.0.2 ──── 10.1.0.1  sluice  10.2.0.1 ──┤
   wrk, curl, openssl    ports 80 and 443             └── 10.2.0.3  nginx "two"
"""
ORIGINS = {"one": SERVER, "two": "10.2.0.3"}
CONNECTIONS = 32
ENOUGH = 1000  # requests, to say that a server takes part
SHOWN = ("requests_total", "responses_2xx_total", "upstream_connects_total",
         "upstream_reused_total", "upstream_retries_total")
REPORT = """
done = function(summary, latency, requests)
	local e = summary.errors
	io.write(string.format(
		'\\nREPORT {"requests": %d, "us": %d, "p99_us": %d, "failed": %d}\\n',
		summary.requests, summary.duration, latency:percentile(99),
		e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class ReverseSluice(Sluice):
    port = 80


def config():
    checks = {"path": "/who", "interval": "200ms", "timeout": "2s", "fall": 2, "rise": 2}
    return {
        **DEFAULTS,
        "listeners": [
            {"name": "web", "listen": "0.0.0.0:80", "mode": "http",
             "routes": [{"host": "app.test", "upstream": "app"}]},
            {"name": "tls", "listen": "0.0.0.0:443", "mode": "sni",
             "routes": [{"sni": f"{name}.test", "upstream": f"tls-{name}"} for name in ORIGINS]}],
        "upstreams": [
            {"name": "app", "servers": [f"{a}:80" for a in ORIGINS.values()], "health": checks,
             "eject": {"time": "1s"}},
            *({"name": f"tls-{name}", "servers": [f"{a}:443"]} for name, a in ORIGINS.items())],
    }


class Reverse:
    def __init__(self, where, results):
        self.where, self.done = where, results.done
        self.net = Topology()
        self.net.server.ip(f"addr add {ORIGINS['two']}/24 dev to-proxy")
        self.nginx, self.bpffs, self.sluice, self.started = {}, None, None, []
        try:
            for name, address in ORIGINS.items():
                self.nginx[name] = Nginx(self.net.server, address, where / name, f"{name}.test")
                (self.nginx[name].files / "who").write_text(name)
            self.bpffs = Bpffs()
            self.sluice = ReverseSluice(self.net, config(), release=True, bpffs=self.bpffs)
        except BaseException:
            self.discard()
            raise

    def discard(self):
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        if self.sluice:
            self.sluice.discard()
        for nginx in self.nginx.values():
            nginx.stop()
        if self.bpffs:
            self.bpffs.close()

    def start(self, *command, **options):
        process = self.net.client.start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, **options)
        self.started.append(process)
        return process

    # --- looking inside ---

    def server(self, name):
        return next(s for s in self.sluice.ask("servers")["servers"]
                    if s["server"] == f"{ORIGINS[name]}:80")

    def until_asked(self, name, what):
        before = self.server(name)["requests"]
        until(lambda: self.server(name)["requests"] > before + ENOUGH, 20, what)

    def command(self, *arguments):
        done = self.sluice.cli(*arguments)
        if done.returncode:
            raise Failed(f"sluice {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.rstrip()

    def show_servers(self, when):
        lines = self.command("servers").splitlines()
        show(f"sluice servers, {when}",
             "\n".join(line for line in lines if line.startswith(("UPSTREAM", "app "))))

    # --- the acts ---

    def start_load(self):
        script = self.where / "report.lua"
        script.write_text(REPORT)
        self.load = self.start("wrk", "-t", 2, "-c", CONNECTIONS, "-d", "120s", "-s", script, "-H",
                               "Host: app.test", f"http://{PROXY_C}/small",
                               stdin=subprocess.DEVNULL)
        say(f"    $ wrk -c {CONNECTIONS} -H 'Host: app.test' http://{PROXY_C}/small &")

    def end_load(self):
        if self.load.poll() is not None:
            raise Failed(f"wrk ended by itself: {self.load.stdout.read()}")
        self.load.send_signal(signal.SIGINT)
        out = self.load.communicate(timeout=20)[0]
        (report,) = [line for line in out.splitlines() if line.startswith("REPORT ")]
        return json.loads(report.removeprefix("REPORT "))

    def kill_and_revive(self):
        self.start_load()
        for name in ORIGINS:
            self.until_asked(name, f"{name} is asked")
        self.show_servers("under load")
        victim, other = self.nginx["two"], "one"
        say(f"\n    $ kill -9 {victim.process.pid}   # two")
        victim.kill()
        until(lambda: self.server("two")["state"] != "up", 20, "two is left out")
        self.until_asked(other, f"{other} takes over")
        self.show_servers("one of them killed")
        say("\n    $ nginx &   # two again")
        victim.start()
        until(lambda: self.server("two")["state"] == "up", 20, "two is back")
        self.until_asked("two", "two is asked again")
        self.show_servers("revived")
        say()
        self.judge(self.end_load())

    def judge(self, report):
        stats = self.sluice.stats()
        lines = self.command("stats").splitlines()
        show("sluice stats (of these)", "\n".join(
            line for line in lines if line.split(" ")[0] in SHOWN))
        say()
        errors = stats["responses_5xx_total"] + stats["responses_4xx_total"]
        if report["failed"] or errors:
            raise Failed(f"{report['failed']} requests failed, {errors} were answered by errors")
        met = self.server("two")["failures"]
        if not met:
            raise Failed("no request met the origin that was killed")
        reused = stats["upstream_reused_total"] / stats["requests_total"]
        if reused < 0.9:
            raise Failed(f"only {reused:.1%} of the requests went over kept connections")
        self.done("an origin killed and revived under load",
                  f"0 of {report['requests']:,} requests failed")
        self.done("requests that met the dead origin", f"{met}, answered by the other one")
        self.done("meanwhile",
                  f"{report['requests'] / report['us'] * 1e6:,.0f} requests/s, "
                  f"99 % within {report['p99_us'] / 1000:.0f} ms")
        self.done("requests over kept connections",
                  f"{reused * 100:.2f} %: {stats['upstream_connects_total']} were opened")

    def pass_tls(self):
        for name in ORIGINS:
            got = self.net.client.run(
                "curl", "-sS", "-m", 20, "--noproxy", "*", "--cacert", self.nginx[name].certificate,
                "--resolve", f"{name}.test:443:{PROXY_C}", f"https://{name}.test/who", text=True)
            if got.returncode or got.stdout != name:
                raise Failed(f"https://{name}.test: {got.stdout}{got.stderr}")
        self.done("curl, TLS to one.test and two.test", "each origin's own certificate, verified")

    def refuse_tls(self):
        other = self.net.client.run("openssl", "s_client", "-connect", f"{PROXY_C}:443",
                                    "-servername", "three.test", text=True,
                                    stdin=subprocess.DEVNULL)
        if other.returncode == 0 or "unrecognized name" not in other.stderr:
            raise Failed(f"three.test is not refused: {other.stderr}")
        self.done("openssl, TLS to three.test", "refused: unrecognized name")

    def splice_tls(self):
        """A TLS session that is idle leaves sluice's sockets, and goes on."""
        session = self.start(
            "openssl", "s_client", "-quiet", "-verify_return_error", "-verify_hostname", "two.test",
            "-CAfile", self.nginx["two"].certificate, "-servername", "two.test", "-connect",
            f"{PROXY_C}:443", stdin=subprocess.PIPE)
        until(lambda: any(f["engine"] == "packet" for f in self.sluice.flows()), 10,
              "an idle TLS session is spliced")
        session.stdin.write("GET /who HTTP/1.0\r\nHost: two.test\r\n\r\n")
        session.stdin.flush()
        if not select.select([session.stdout], [], [], 10)[0]:
            raise Failed("the spliced TLS session does not answer")
        answer = session.communicate(timeout=10)[0]
        if "200 OK" not in answer or not answer.rstrip().endswith("two"):
            raise Failed(f"the spliced TLS session: {answer}")
        self.done("openssl, an idle TLS session", "spliced at packet level, then answered")

    def play(self):
        say(PICTURE)
        self.kill_and_revive()
        self.pass_tls()
        self.refuse_tls()
        self.splice_tls()
        until(lambda: not self.sluice.flows(), 10, "no flow is left")
        self.sluice.stop()


def play(where, results):
    """A failure tells what sluice said."""
    (where / "reverse").mkdir()
    results.act("Reverse proxy: two nginx origins behind one address")
    act = Reverse(where / "reverse", results)
    try:
        act.play()
    except BaseException:
        say(act.sluice.tell())
        raise
    finally:
        act.discard()
