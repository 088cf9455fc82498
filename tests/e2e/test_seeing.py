#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What operators see: the admin socket and the commands on it, flows, the access log that nobody can
forge, and metrics."""

import json
import re
import signal
import stat
import sys
import time

from lab import SERVER, Lab, Sluice, Suite, answers, check, equal, until
from lab.origin import OK
from lab.sluice import in_thread

suite = Suite()


class SeeingLab(Lab):
    def __init__(self):
        super().__init__({"workers": 2})


def echo(wire, origin):
    while data := wire.sock.recv(65536):
        wire.sock.sendall(data)


@suite.test()
def the_admin_socket_is_for_its_owner_alone(lab):
    mode = lab.sluice.admin.stat().st_mode
    check(stat.S_ISSOCK(mode), "a socket")
    equal(stat.S_IMODE(mode), 0o600, "mode")


@suite.test()
def stats_count_what_happened(lab):
    before = lab.sluice.stats()
    for _ in range(7):
        equal(lab.sluice.get("http://10.2.0.2/").status, 200, "status")
    equal(lab.sluice.get("http://10.2.0.2:9/").status, 502, "status")
    until(lambda: lab.sluice.stats()["connections_active"] == 0, what="all are done")
    after = lab.sluice.stats()
    for name, grown in (("connections_accepted_total", 8), ("connections_done_total", 8),
                        ("requests_total", 8), ("responses_2xx_total", 7),
                        ("responses_5xx_total", 1), ("responses_own_total", 1),
                        ("upstream_failures_total", 1)):
        equal(after[name] - before[name], grown, name)


@suite.test()
def stats_and_flows_as_json_and_as_text(lab):
    lab.origin.reset(echo)
    with lab.sluice.tunnel(SERVER, 80) as client:
        client.send(b"hello").exactly(5)
        for command in ("stats", "flows"):
            done = lab.sluice.cli(command, "--json")
            equal(done.returncode, 0, f"exit status of {command} ({done.stderr})")
            json.loads(done.stdout)
            done = lab.sluice.cli(command)
            equal(done.returncode, 0, f"exit status of {command}")
            check(len(done.stdout.splitlines()) > 1, "something to read")
    bad = lab.net.proxy.run(lab.sluice.binary, "stats", "--admin", "/nowhere", text=True)
    equal(bad.returncode, 1, "exit status without a proxy")
    check(bad.stderr.strip(), "and it says why")


@suite.test()
def flows_show_both_ends_and_the_engine(lab):
    lab.origin.reset(echo)
    with lab.sluice.tunnel(SERVER, 80) as client:
        client.send(b"x" * 1000).exactly(1000)
        until(lambda: lab.sluice.flows()[0]["bytes_from_upstream"] == 1000, what="bytes counted")
        (flow,) = lab.sluice.flows()
        name = "%s:%d" % client.sock.getsockname()
        equal(flow["client"], name, "client")
        equal(flow["client_local"], "10.1.0.1:3128", "client_local")
        equal(flow["upstream"], "10.2.0.2:80", "upstream")
        check(re.fullmatch(r"10\.2\.0\.1:\d+", flow["upstream_local"]), "upstream_local")
        equal(flow["target"], "10.2.0.2:80", "target")
        equal(flow["bytes_from_client"], 1000, "bytes from the client")
        equal(flow["engine"], "copy", "engine")
        check(flow["reason"], "a reason")
        check(flow["age_ms"] >= 0 and flow["listener"] == "egress", "age and listener")
    until(lambda: not lab.sluice.flows(), what="the flow is gone")


@suite.test()
def the_admin_socket_survives_nonsense(lab):
    import socket
    for data in (b"\n", b"nonsense\n", b"{}\n", b'{"command": 5}\n', b'{"command": "no"}\n',
                 b"[" * 60000 + b"\n", b"x" * 100_000 + b"\n", b"\xff\xfe\n", b'{"command":"stats"'):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(8)
            s.connect(str(lab.sluice.admin))
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                answer = s.recv(65536)
            except (BrokenPipeError, ConnectionResetError, OSError):
                continue
            if answer:
                equal(json.loads(answer)["ok"], False, f"answer to {data[:30]!r}")
    hanging = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    for s in hanging:
        s.connect(str(lab.sluice.admin))
    until(lambda: asks(lab), 10, "the socket answers again")
    for s in hanging:
        s.close()
    equal(lab.sluice.get("http://10.2.0.2:9/").status, 502, "the proxy serves")


def asks(lab):
    try:
        return lab.sluice.stats()
    except (OSError, ValueError, AssertionError):
        return None


@suite.test()
def metrics_are_prometheus_text(lab):
    text = lab.sluice.http_get("/metrics").decode()
    head, body = text.split("\r\n\r\n", 1)
    check(head.startswith("HTTP/1.1 200 "), "status")
    check("text/plain" in head.lower() and "version=0.0.4" in head.lower(), "content type")
    typed = {}
    for line in body.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            check(name not in typed, f"{name} has two types")
            typed[name] = kind
        elif line and not line.startswith("#"):
            m = re.fullmatch(r'([a-z_:][a-z0-9_:]*)(\{([a-z_]+="[^"\n]*",?)*\})? '
                             r'(-?[0-9.e+-]+|\+Inf|NaN)', line)
            check(m, f"bad line {line!r}")
            base = re.sub(r"_(bucket|sum|count)$", "", m[1])
            check(m[1] in typed or typed.get(base) == "histogram", f"{m[1]} has no type")
            check(m[1].startswith(("sluice_", "process_")), f"{m[1]} is not ours")
    for name in ("sluice_connections_accepted_total", "sluice_connections_active",
                 "sluice_requests_total", "sluice_tunnels_active"):
        check(name in typed, f"{name} is missing")
    for name, kind in typed.items():
        check(name.endswith("_total") == (kind == "counter"), f"{name} is a {kind}")


@suite.test()
def the_metrics_address_knows_its_paths_and_no_proxying(lab):
    check(b" 200 " in lab.sluice.http_get("/healthz")[:20], "healthz")
    check(b" 200 " in lab.sluice.http_get("/readyz")[:20], "readyz")
    check(b" 404 " in lab.sluice.http_get("/nothing")[:20], "another path")
    lab.origin.reset(answers(OK))
    check(b" 200 " not in lab.sluice.http_get("http://10.2.0.2/other")[:20], "no proxy")
    equal(lab.origin.accepted, 0, "connections at the origin")


@suite.test()
def metrics_survive_slow_and_bad_clients(lab):
    wires = [lab.net.proxy.connect("127.0.0.1", 9145) for _ in range(30)]
    for i, w in enumerate(wires):
        w.sendall((b"GET /me", b"\0\0\0", b"GET /metrics HTTP/1.1\r\n", b"")[i % 4])
    def answers():
        try:
            return b" 200 " in lab.sluice.http_get("/healthz")[:20]
        except OSError:
            return False
    until(answers, 12, "it answers again")
    for w in wires:
        w.close()


# --- the access log ---

FORGERIES = [
    b'GET http://10.2.0.2/%22,%22status%22:200 HTTP/1.1\r\nHost: x\r\n',
    b'GET http://10.2.0.2/"quote\\ HTTP/1.1\r\nHost: x\r\n',
    b'GET http://10.2.0.2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: a"\\ b\xff\xc3\x28\xe2\x80\xa8\t<end>\r\n',
    b'GET http://10.2.0.2/ HTTP/1.1\r\nHost: x\r\nReferer: "} {"forged": true}\r\n',
    b'GET http://10.2.0.2/%0d%0aforged HTTP/1.1\r\nHost: x\r\n',
    b'GET http://10.2.0.2/' + b"a" * 5000 + b' HTTP/1.1\r\nHost: x\r\nUser-Agent: ' + b"u" * 3000 + b"\r\n",
    b'GET http://10.2.0.2/\x1b[31m HTTP/1.1\r\nHost: x\r\n',
    b'FORGED\r\n{"forged": true} HTTP/1.1\r\nHost: x\r\n',
    b"GET' http://10.2.0.2/ HTTP/1.1\r\nHost: x\r\n",
]


def send_forgeries(sluice):
    for head in FORGERIES:
        with sluice.connect() as wire:
            wire.send(head + b"Connection: close\r\n\r\n")
            wire.rest()
    with sluice.connect() as wire:
        wire.send(b'CONNECT ex"ample:80 HTTP/1.1\r\nHost: x\r\n\r\n')
        wire.rest()


@suite.test()
def every_record_is_one_json_object(lab):
    lab.origin.reset(answers(OK))
    with Sluice(lab.net, start=False) as s:
        restart(lab, s)
        send_forgeries(s)
        equal(s.get("http://10.2.0.2/last").status, 200, "status")
        until(lambda: s.log.exists() and b"/last" in s.log.read_bytes(), what="the last record")
        raw = s.log.read_bytes()
        check(all(32 <= b < 127 or b == 10 for b in raw), "only printable ASCII in the log")
        for line in raw.decode().splitlines():
            record = json.loads(line)
            check(isinstance(record, dict) and "forged" not in record, f"forged: {line}")
            check(len(line) < 4096, "records are bounded")
        record = json.loads(raw.decode().splitlines()[-1])
        equal((record["status"], record["method"]), (200, "GET"), "the last record")
        check("10.1.0.2" in str(record) and "10.2.0.2:80" in str(record), "both ends")
    lab.sluice.start()


def restart(lab, sluice):
    """The listening port is one: the suite's own sluice gives way."""
    lab.sluice.stop()
    sluice.start()


CLF = re.compile(r'^(\S+) (\S+) (\S+) \[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] '
                 r'"((?:[^"\\]|\\.)*)" (\d{3}|-) (\d+|-)'
                 r'(?: "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)")?.*$')


@suite.test()
def the_common_log_format_parses_back(lab):
    lab.origin.reset(answers(OK))
    with Sluice(lab.net, start=False) as s:
        s.config["access_log"]["format"] = "clf"
        restart(lab, s)
        send_forgeries(s)
        equal(s.get("http://10.2.0.2/last").status, 200, "status")
        until(lambda: s.log.exists() and b"/last" in s.log.read_bytes(), what="the last record")
        for line in s.log.read_bytes().decode("ascii").splitlines():
            m = CLF.match(line)
            check(m, f"does not parse: {line[:200]}")
            equal(m[1], "10.1.0.2", "client")
    lab.sluice.start()


@suite.test()
def usr1_opens_the_log_again(lab):
    s = lab.sluice
    s.get("http://10.2.0.2/before")
    s.log_records(1)
    until(lambda: "/before" in s.log.read_text(), what="the record")
    old = s.log.rename(s.dir / "rotated.log")
    s.kill(signal.SIGUSR1)
    until(lambda: s.log.exists(), what="the new file")
    equal(stat.S_IMODE(s.log.stat().st_mode) & 0o007, 0, "others may not read it")
    s.get("http://10.2.0.2/after")
    until(lambda: "/after" in s.log.read_text(), what="the record in the new file")
    check("/after" not in old.read_text(), "nothing more in the old one")


@suite.test()
def a_tunnel_leaves_a_record_with_its_bytes(lab):
    lab.origin.reset(echo)
    with lab.sluice.tunnel(SERVER, 80) as client:
        client.send(b"y" * 12345).exactly(12345)
    def record():
        return [r for r in lab.sluice.log_records(1) if r.get("method") == "CONNECT"
                and "12345" in str(r)]
    (r,) = until(record, what="the tunnel's record")[-1:]
    equal(r["status"], 200, "status")
    check(str(r).count("12345") >= 2, f"bytes both ways: {r}")
    check("10.2.0.2:80" in str(r), "target")


@suite.test()
def a_full_disk_or_a_stuck_log_stops_nobody(lab):
    with Sluice(lab.net, start=False) as s:
        s.config["access_log"]["path"] = "/dev/full"
        restart(lab, s)
        lab.origin.reset(answers(OK))
        workers = [in_thread(lambda: [s.get("http://10.2.0.2/").status for _ in range(20)])
                   for _ in range(5)]
        for w in workers:
            equal(set(w.join(15)), {200}, "statuses")
        time.sleep(0.1)
        s.healthy()
    lab.sluice.start()


if __name__ == "__main__":
    sys.exit(suite.main(SeeingLab))
