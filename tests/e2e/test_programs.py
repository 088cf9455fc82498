#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Real programs on both sides: curl, nginx with and without TLS, wrk. The release build carries them;
what was transferred is judged by its SHA-256."""

import contextlib
import hashlib
import re
import shutil
import sys
import tempfile
from pathlib import Path

from lab import SERVER, Lab, Skip, Sluice, Suite, Topology, check, equal, until
from lab.nginx import Nginx
from lab.stream import Source

suite = Suite()
PROXY = "http://10.1.0.1:3128"
BIG = 64_000_000
PIPES = 2 * 2 * 64 + 16  # see test_tunnels.py


class ProgramLab(Lab):
    def __init__(self):
        for program in ("curl", "nginx", "openssl"):
            if not shutil.which(program):
                raise Skip(f"{program} is not installed")
        self.net = Topology()
        self.dir = Path(tempfile.mkdtemp(prefix="sluice-e2e-"))
        self.nginx = None
        try:
            self.nginx = Nginx(self.net.server, SERVER, self.dir)
            self.sluice = Sluice(self.net, {"workers": 2}, release=True)
        except BaseException:
            self.clean()
            raise
        (self.nginx.files / "big").write_bytes(Source(1).take(BIG))
        self.sha = hashlib.sha256((self.nginx.files / "big").read_bytes()).hexdigest()
        (self.nginx.files / "word").write_bytes(b"small\n")

    def __exit__(self, *error):
        try:
            super().__exit__(*error)
        finally:
            self.clean()

    def clean(self):
        if self.nginx:
            self.nginx.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def curl(self, *arguments, timeout=60, **options):
        return self.net.client.run("curl", "-sS", "--proxy", PROXY, "--noproxy", "",
                                   "--cacert", self.nginx.certificate, "-m", timeout, *arguments,
                                   **options)


def sha(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@suite.test()
def curl_gets_by_absolute_form(lab):
    done = lab.curl("-w", "%{http_code} %{num_connects}", "http://10.2.0.2/word")
    equal(done.stdout, b"small\n200 1", f"output ({done.stderr})")


@suite.test()
def curl_gets_https_by_connect(lab):
    done = lab.curl("-w", "%{http_connect} %{http_code}", "https://10.2.0.2/word")
    equal(done.stdout, b"small\n200 200", f"output ({done.stderr})")


@suite.test()
def curl_reuses_its_connection(lab):
    done = lab.curl("-w", "%{num_connects}\n", *["http://10.2.0.2/word"] * 5)
    equal(done.stdout.split(), [b"small", b"1", *[b"small", b"0"] * 4], "connects")


@suite.test()
def curl_asks_for_the_head_a_range_and_what_is_not_there(lab):
    done = lab.curl("-I", "http://10.2.0.2/big")
    check(b"content-length: %d" % BIG in done.stdout.lower(), "the length of HEAD")
    equal(lab.curl("-r", "1-3", "http://10.2.0.2/word").stdout, b"mal", "a range")
    done = lab.curl("-w", "%{http_code}", "-o", "/dev/null", "http://10.2.0.2/nothing")
    equal(done.stdout, b"404", "status")


@suite.test(timeout=90)
def large_downloads_arrive_whole(lab):
    for url in ("http://10.2.0.2/big", "https://10.2.0.2/big"):
        out = lab.dir / "out"
        done = lab.curl("-o", out, url)
        equal(done.returncode, 0, f"curl ({done.stderr})")
        equal(sha(out), lab.sha, f"SHA-256 of {url}")
        out.unlink()


@suite.test(timeout=90)
def large_uploads_arrive_whole(lab):
    for i, (url, options) in enumerate((
            ("http://10.2.0.2/up/a", ()), ("https://10.2.0.2/up/b", ()),
            ("http://10.2.0.2/up/c", ("-H", "Expect: 100-continue")),
            ("http://10.2.0.2/up/d", ("-H", "Transfer-Encoding: chunked")))):
        done = lab.curl("-T", lab.nginx.files / "big", "-w", "%{http_code}", *options, url)
        equal(done.stdout[-3:], b"201", f"status of upload {i} ({done.stderr})")
        stored = lab.nginx.files / "up" / url[-1]
        equal(sha(stored), lab.sha, f"SHA-256 of upload {i}")
        stored.unlink()


@suite.test(timeout=90)
def two_hundred_transfers_at_once(lab):
    for scheme in ("http", "https"):
        size = 300_000
        (lab.nginx.files / "part").write_bytes(Source(2).take(size))
        wanted = sha(lab.nginx.files / "part")
        done = lab.curl("--parallel", "--parallel-max", 200, "--parallel-immediate",
                        "-o", lab.dir / "part-#1", f"{scheme}://10.2.0.2/part?[1-200]")
        equal(done.returncode, 0, f"curl ({done.stderr[:300]})")
        parts = list(lab.dir.glob("part-*"))
        equal(len(parts), 200, "files")
        check(all(sha(p) == wanted for p in parts), "each has its SHA-256")
        for p in parts:
            p.unlink()


@suite.test(timeout=60)
def wrk_sees_no_errors(lab):
    """Connections that stay, a minute of load in small: nothing fails, nothing is left."""
    if not shutil.which("wrk"):
        raise Skip("wrk is not installed")
    script = lab.dir / "proxy.lua"
    script.write_text('request = function() return "GET http://10.2.0.2/word HTTP/1.1\\r\\n'
                      'Host: 10.2.0.2\\r\\n\\r\\n" end\n')
    before = lab.sluice.stats()
    done = lab.net.client.run("wrk", "-t1", "-c50", "-d3s", "-s", script, PROXY + "/", text=True)
    equal(done.returncode, 0, f"wrk ({done.stderr})")
    check("Socket errors" not in done.stdout and "Non-2xx" not in done.stdout, done.stdout)
    requests = int(re.search(r"(\d+) requests in", done.stdout)[1])
    check(requests > 100, done.stdout)
    until(lambda: lab.sluice.stats()["connections_active"] == 0, what="all are done")
    grown = lab.sluice.stats()["requests_total"] - before["requests_total"]
    check(grown >= requests, f"{grown} requests counted, {requests} made")


@suite.test(timeout=30)
def curl_upgrades_nothing_and_survives_a_dead_target(lab):
    done = lab.curl("-w", "%{http_code}", "-o", "/dev/null", "--http2", "http://10.2.0.2/word")
    equal(done.stdout, b"200", "status with h2c offered")
    done = lab.curl("-w", "%{http_code}", "-o", "/dev/null", "http://10.2.0.2:9/")
    equal(done.stdout, b"502", "status of a dead port")
    check(lab.curl("https://10.2.0.2:9/").returncode != 0, "CONNECT to a dead port fails")


@suite.test(timeout=30)
def after_all_this_nothing_is_left_open(lab):
    lab.nginx.stop()
    with contextlib.suppress(AssertionError):
        until(lambda: lab.sluice.stats()["upstream_idle"] == 0, 5)
    lab.sluice.settles(spare=PIPES)
    lab.sluice.healthy()


if __name__ == "__main__":
    sys.exit(suite.main(ProgramLab))
