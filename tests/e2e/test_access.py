#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Who may go where: access rules, the built-in denials, and Basic authentication whose credentials
go nowhere."""

import base64
import subprocess
import sys
from pathlib import Path

from lab import PROXY_C, SERVER, Lab, Origin, Skip, Sluice, Suite, Topology, check, equal, until
from lab.core import core
from lab.sluice import in_thread

suite = Suite()

HOSTS = """127.0.0.1 localhost
10.2.0.2 origin.test a.internal b.a.internal internal notinternal good.example
"""


class AccessLab(Lab):
    """Starts a sluice for each set of tests."""

    def __init__(self):
        self.net = Topology()
        self.origin = Origin(self.net.server, SERVER, 80)
        self.alt = Origin(self.net.server, SERVER, 8443)
        self.inside = Origin(self.net.proxy, "127.0.0.1", 80)
        self.inside6 = Origin(self.net.proxy, "::1", 80)
        self.sluice = None

    def __exit__(self, *_):
        pass

    def tell(self):
        return ""

    def run(self, *rules, **listener):
        if rules:
            listener["acl"] = list(rules)
        return Sluice(self.net, listener=listener, hosts=HOSTS)


def status(sluice, target, **options):
    with sluice.connect(**options) as client:
        client.send(f"GET http://{target}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return client.response().status


def connect_status(sluice, target, *lines, **options):
    with sluice.connect(**options) as client:
        head = "".join(line + "\r\n" for line in lines)
        client.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{head}\r\n".encode())
        return client.response("CONNECT").status


@suite.test(timeout=30)
def the_first_rule_that_matches_decides(lab):
    with lab.run({"deny": {"dst": "10.2.0.2", "port": 8443}}, {"allow": {"dst": "10.2.0.0/24"}},
                 {"deny": {"dst": ["0.0.0.0/0", "::/0"]}}) as s:
        equal(status(s, SERVER), 200, "allowed")
        equal(status(s, f"{SERVER}:8443"), 403, "denied by port")
        equal(status(s, "10.1.0.2"), 403, "denied by the last rule")
        equal(connect_status(s, f"{SERVER}:8443"), 403, "CONNECT denied")
        equal(connect_status(s, f"{SERVER}:80"), 200, "CONNECT allowed")
        equal(s.stats()["requests_denied_total"], 3, "denials counted")


@suite.test(timeout=30)
def rules_on_names_and_ports(lab):
    lab.origin.reset()
    with lab.run({"deny": {"host": "*.internal"}}, {"allow": {"port": [80, "8000-8100"]}},
                 {"deny": {"dst": "0.0.0.0/0"}}) as s:
        for name, wanted in (("origin.test", 200), ("a.internal", 403), ("b.a.internal", 403),
                             ("A.INTERNAL", 403), ("a.internal.", 403), ("internal", 200),
                             ("notinternal", 200), (SERVER, 200), (f"{SERVER}:8443", 403)):
            equal(status(s, name), wanted, f"status of {name}")


@suite.test(timeout=30)
def rules_on_the_client(lab):
    lab.net.client.ip("addr add 10.1.0.3/24 dev to-proxy")
    with lab.run({"deny": {"src": "10.1.0.3"}}) as s:
        equal(status(s, SERVER, source="10.1.0.2"), 200, "one client")
        equal(status(s, SERVER, source="10.1.0.3"), 403, "the other")
        equal(connect_status(s, f"{SERVER}:80", source="10.1.0.3"), 403, "CONNECT of the other")


@suite.test(timeout=30)
def a_pooled_connection_is_judged_like_a_new_one(lab):
    """What one listener may reach, another may not, though it is in the pool."""
    with Sluice(lab.net, {"listeners": [
            {"name": "egress", "listen": "0.0.0.0:3128", "mode": "forward"},
            {"name": "strict", "listen": "0.0.0.0:3130", "mode": "forward",
             "acl": [{"deny": {"dst": "10.2.0.0/16"}}, {"deny": {"host": "origin.test"}}]}]},
            hosts=HOSTS) as s:
        from lab import Wire
        for name in (SERVER, "origin.test"):
            lab.origin.reset()
            equal(status(s, name), 200, "status by the first listener")
            with Wire(lab.net.client.connect("10.1.0.1", 3130)) as wire:
                wire.send(f"GET http://{name}/no HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                equal(wire.response().status, 403, f"status of {name} by the second listener")
            check(b"/no" not in lab.origin.received, "the origin sees nothing of it")


@suite.test(timeout=30)
def metadata_and_link_local_addresses_are_denied(lab):
    lab.net.proxy.ip("addr add 169.254.169.254/32 dev lo", "addr add 100.100.100.200/32 dev lo",
                     "addr add fd00:ec2::254/128 dev lo nodad")
    meta = [Origin(lab.net.proxy, a, 80) for a in ("169.254.169.254", "100.100.100.200",
                                                   "fd00:ec2::254")]
    with lab.run() as s:
        for target in ("169.254.169.254", "169.254.0.1", "100.100.100.200", "[fd00:ec2::254]",
                       "[fe80::1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "0.0.0.0",
                       "[::]", "224.0.0.1", "255.255.255.255", "[ff02::1]", "240.0.0.1"):
            equal(status(s, target), 403, f"status of {target}")
            equal(connect_status(s, f"{target}:80"), 403, f"status of CONNECT {target}")
    equal([m.accepted for m in meta], [0, 0, 0], "connections there")


@suite.test(timeout=30)
def loopback_is_for_clients_on_loopback(lab):
    with lab.run() as s:
        for target in ("127.0.0.1", "127.1.2.3", "[::1]", "localhost", "[::ffff:127.0.0.1]",
                       "[::127.0.0.1]"):
            equal(status(s, target), 403, f"status of {target}")
        equal(lab.inside.accepted + lab.inside6.accepted, 0, "connections there")
        from lab import Wire
        with Wire(lab.net.proxy.connect("127.0.0.1", s.port)) as local:
            local.send(b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: x\r\n\r\n")
            equal(local.response().status, 200, "from the same host")
        equal(status(s, "127.0.0.1"), 403, "by the connection that is now in the pool")
        equal(lab.inside.accepted, 1, "connections there")


@suite.test(timeout=30)
def its_own_listeners_are_denied_even_to_an_allow_rule(lab):
    with lab.run({"allow": {"dst": ["0.0.0.0/0", "::/0"]}}) as s:
        for target in (f"{PROXY_C}:3128", "10.2.0.1:3128", "127.0.0.1:3128", "127.9.9.9:3128",
                       "127.0.0.1:9145", "[::ffff:10.1.0.1]:3128", "localhost:3128"):
            equal(connect_status(s, target), 403, f"status of CONNECT {target}")
        for target in ("127.0.0.1:9145", "10.2.0.1:3128"):
            check(status(s, target + "/metrics") in (200, 403, 404, 400),
                  "a request for itself is answered by itself")
        check(b"sluice_" not in _body(s, "127.0.0.1:9145"), "metrics through the proxy")


def _body(sluice, target):
    with sluice.connect() as client:
        client.send(f"GET http://{target}/metrics HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return client.response().body


@suite.test(timeout=30)
def an_allow_rule_may_open_what_is_denied_by_default(lab):
    with lab.run({"allow": {"dst": "127.0.0.1", "port": 80}}) as s:
        equal(status(s, "127.0.0.1"), 200, "opened")
        equal(status(s, "127.0.0.2"), 403, "still denied")


# --- authentication ---

def password_hash(password, *options):
    return subprocess.run(["openssl", "passwd", *(options or ("-6",)), password],
                          capture_output=True, text=True, check=True).stdout.strip()


def basic(user, password):
    return "Proxy-Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Authenticated:
    """A sluice whose users are ann and bob."""

    def __init__(self, lab, release=False):
        self.sluice = Sluice(lab.net, start=False, release=release)
        users = self.sluice.dir / "users"
        users.write_text(f"# users\nann:{password_hash('secret:x')}\n"
                         f"bob:{password_hash('hunter2')}\n")
        self.sluice.config["listeners"][0]["auth"] = {"basic": str(users)}

    def __enter__(self):
        return self.sluice.start()

    def __exit__(self, *error):
        return self.sluice.__exit__(*error)


@suite.test(timeout=40)
def without_good_credentials_nobody_gets_through(lab):
    lab.origin.reset()
    with Authenticated(lab) as s:
        right = base64.b64encode(b"ann:secret:x").decode()
        bad = ["", basic("ann", "wrong"), basic("ann", ""), basic("eve", "secret:x"),
               basic("", "secret:x"), basic("ann:secret", "x").replace("Basic", "Digest"),
               "Proxy-Authorization: Basic", "Proxy-Authorization: Basic !!!",
               "Proxy-Authorization: Basic " + base64.b64encode(b"ann").decode(),
               f"Proxy-Authorization: Bearer {right}", f"Authorization: Basic {right}",
               f"Proxy-Authorization: Basic {right} x", f"Proxy-Authorization: Basic{right}",
               "Proxy-Authorization: Basic " + "A" * 6000,
               basic("ann", "secret:x\0y"), basic("ann\0", "secret:x"),
               f"Proxy-Authorization: Basic {right}\r\nProxy-Authorization: Basic {right}x"]
        for line in bad:
            for target in (b"CONNECT 10.2.0.2:80", b"GET http://10.2.0.2/"):
                with s.connect() as client:
                    client.send(target + b" HTTP/1.1\r\nHost: 10.2.0.2\r\n" +
                                (line.encode() + b"\r\n" if line else b"") + b"\r\n")
                    answer = client.response()
                    check(answer.status in (407, 400), f"status with {line!r}: {answer.status}")
                    if answer.status == 407:
                        check("basic" in answer.get("proxy-authenticate").lower(), "the challenge")
        equal(lab.origin.received, b"", "what the origin sees")
        check(s.stats()["requests_auth_total"] >= 30, "refusals counted")


@suite.test(timeout=40)
def good_credentials_get_through_and_end_here(lab):
    lab.origin.reset()
    with Authenticated(lab) as s:
        for user, password in (("ann", "secret:x"), ("bob", "hunter2")):
            for scheme in ("Basic", "basic", "BASIC"):
                line = basic(user, password).replace("Basic", scheme, 1)
                with s.connect() as client:
                    client.send(f"GET http://10.2.0.2/ HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n"
                                .encode())
                    equal(client.response().status, 200, f"status for {user}")
            equal(connect_status(s, "10.2.0.2:80", basic(user, password)), 200, "CONNECT")
        equal(lab.origin.errors, [], "complaints")
        check(b"uthorization" not in lab.origin.received, "credentials at the origin")
        records = s.log_records(8)
        check(any("ann" in str(r) for r in records), "the user is in the log")
        text = s.log.read_text() + s.stderr.read_text()
        for secret in ("secret:x", "hunter2", base64.b64encode(b"ann:secret:x").decode(),
                       base64.b64encode(b"bob:hunter2").decode()):
            check(secret not in text, f"{secret} is in a log")


@suite.test(timeout=40)
def a_core_dump_has_no_secrets(lab):
    """Neither while a head is read, nor after the answer. (AddressSanitizer has memory of its own.)"""
    with Authenticated(lab, release=True) as s:
        if b"libasan" in Path(f"/proc/{s.process.pid}/maps").read_bytes():
            raise Skip("needs a build without sanitizers (set SLUICE_RELEASE)")
        head = (f"GET http://10.2.0.2/ HTTP/1.1\r\nHost: x\r\nCookie: session=crumbs\r\n"
                f"{basic('ann', 'secret:x')}\r\n").encode()
        with s.connect() as done, s.connect() as reading:
            equal(done.send(head + b"\r\n").response().status, 200, "status")
            reading.send(head)
            until(lambda: s.stats()["buffers_in_use"] == 1, 10, "a head is being read")
            memory = core(s.process.pid)
        check(b"10.2.0.2" in memory and b"egress" in memory, "the configuration, and addresses, are there")
        hashes = [line.split(":", 1)[1] for line in (s.dir / "users").read_text().splitlines()[1:]]
        for secret in ("secret:x", base64.b64encode(b"ann:secret:x").decode(), "session=crumbs", *hashes):
            check(secret.encode() not in memory, f"{secret} would be in a core dump")


@suite.test(timeout=40)
def slow_hashes_hold_nobody_up(lab):
    """Checks of wrong passwords take their time elsewhere; a verified user goes on meanwhile."""
    import time
    with Authenticated(lab) as s:
        equal(connect_status(s, "10.2.0.2:80", basic("ann", "secret:x")), 200, "verified once")
        guesses = [in_thread(connect_status, s, "10.2.0.2:80", basic("ann", f"guess{i}"))
                   for i in range(60)]
        start = time.monotonic()
        for _ in range(10):
            equal(connect_status(s, "10.2.0.2:80", basic("ann", "secret:x")), 200, "verified")
        check(time.monotonic() - start < 3 or any(g.is_alive() for g in guesses),
              "verified users wait for guesses")
        for g in guesses:
            check(g.join(30) in (407, 503), "a guess")


@suite.test(timeout=30)
def a_refused_connection_may_try_again(lab):
    with Authenticated(lab) as s:
        with s.connect() as client:
            client.send(b"CONNECT 10.2.0.2:80 HTTP/1.1\r\nHost: 10.2.0.2:80\r\n\r\n")
            answer = client.response()
            equal(answer.status, 407, "status")
            if "close" not in " ".join(answer.all("connection")).lower():
                client.send(f"CONNECT 10.2.0.2:80 HTTP/1.1\r\nHost: 10.2.0.2:80\r\n"
                            f"{basic('ann', 'secret:x')}\r\n\r\n".encode())
                equal(client.response("CONNECT").status, 200, "status of the second try")


@suite.test(timeout=30)
def forwarded_fields_by_configuration(lab):
    for mode, trust, wanted in (
            ("x-forwarded-for", False, {"x-forwarded-for": ["10.1.0.2"], "forwarded": []}),
            ("x-forwarded-for", True, {"x-forwarded-for": ["1.2.3.4, 10.1.0.2"]}),
            ("forwarded", False, {"x-forwarded-for": [], "forwarded": None}),
            ("none", False, {})):
        lab.origin.reset()
        with Sluice(lab.net, listener={"forwarded": mode, "forwarded_trust": trust}) as s:
            with s.connect() as client:
                client.send(b"GET http://10.2.0.2/ HTTP/1.1\r\nHost: x\r\n"
                            b"X-Forwarded-For: 1.2.3.4\r\nForwarded: for=6.6.6.6\r\n\r\n")
                equal(client.response().status, 200, "status")
        request = lab.origin.requests[0]
        for name, value in wanted.items():
            if value is not None:
                got = ", ".join(request.all(name))
                equal([got] if got else [], value, f"{name} with {mode}")
        if mode == "forwarded":
            value = ", ".join(request.all("forwarded"))
            check("10.1.0.2" in value and "6.6.6.6" not in value, f"Forwarded: {value}")


if __name__ == "__main__":
    sys.exit(suite.main(AccessLab))
