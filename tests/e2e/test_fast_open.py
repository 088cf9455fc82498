#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""TCP Fast Open to servers and from clients, and keepalive of both: what goes with a SYN, and what
never does."""

import socket
import sys

from lab import PROXY_C, SERVER, Skip, Suite, Wire, answers, check, equal, until
from lab.origin import OK
from lab.reverse import Reverse, ask, nothing_is_left_behind

suite = Suite()

MSG_FASTOPEN = 0x20000000
UPSTREAMS = [
    {"name": "open", "servers": [f"{SERVER}:80"], "pool": {"idle": 0, "fast_open": True},
     "eject": {"failures": 0, "ratio": 0}},
    {"name": "kept", "servers": [f"{SERVER}:81"], "pool": {"keepalive": "90s"}},
]
ROUTES = [{"host": f"{u['name']}.test", "upstream": u["name"]} for u in UPSTREAMS]


class FastLab(Reverse):
    def __init__(self):
        super().__init__(ROUTES, UPSTREAMS, listener={"fast_open": 16, "keepalive": "60s"})
        for ns in (self.net.client, self.net.proxy, self.net.server):
            done = ns.run("sysctl", "-qw", "net.ipv4.tcp_fastopen=3", text=True)
            if done.returncode:
                raise Skip(f"TCP Fast Open can't be switched on: {done.stderr}")
        self.origin.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)


def counter(ns, name):
    """Of the namespace's TCP, e.g. TCPFastOpenActive."""
    lines = ns.run("cat", "/proc/net/netstat", text=True).stdout.splitlines()
    for names, values in zip(lines[::2], lines[1::2]):
        if names.startswith("TcpExt:"):
            return int(dict(zip(names.split(), values.split()))[name])
    raise AssertionError("no TcpExt")


def get(lab, name="open", method=b"GET", **keys):
    with lab.sluice.connect() as client:
        client.send(ask(b"/", f"{name}.test".encode(), *keys.pop("lines", ()), method=method, **keys))
        return client.response(method.decode()).status


def sent_with_syn(lab, function):
    before = counter(lab.net.server, "TCPFastOpenPassive")
    equal(function(), 200, "status")
    return counter(lab.net.server, "TCPFastOpenPassive") - before


@suite.test()
def a_request_goes_with_the_syn_once_the_server_is_known(lab):
    lab.reset()
    equal(get(lab), 200, "status")  # asks for the cookie
    equal(sent_with_syn(lab, lambda: get(lab)), 1, "requests with a SYN")
    equal(sent_with_syn(lab, lambda: get(lab, method=b"HEAD")), 1, "requests with a SYN")


@suite.test()
def what_may_not_arrive_twice_waits_for_the_handshake(lab):
    lab.reset()
    equal(get(lab), 200, "status")
    body = {"lines": (b"Content-Length: 2",), "body": b"ab"}
    equal(sent_with_syn(lab, lambda: get(lab, method=b"POST", **body)), 0, "POST")
    equal(sent_with_syn(lab, lambda: get(lab, method=b"PUT", **body)), 0, "a body")
    equal(sent_with_syn(lab, lambda: get(lab)), 1, "the cookie is still there")


@suite.test()
def a_request_larger_than_the_syn_arrives_whole(lab):
    lab.reset()
    equal(get(lab), 200, "status")
    padding = [b"X-%d: " % i + bytes([97 + i]) * 900 for i in range(12)]
    equal(sent_with_syn(lab, lambda: get(lab, lines=padding)), 1, "requests with a SYN")
    equal([lab.origin.requests[-1].get(f"X-{i}") for i in range(12)],
          [chr(97 + i) * 900 for i in range(12)], "fields at the origin")


@suite.test()
def a_server_that_is_gone_is_502_and_its_return_is_noticed(lab):
    lab.reset()
    equal(get(lab), 200, "status")
    lab.net.server.run("sysctl", "-qw", "net.ipv4.tcp_fastopen=0")
    try:
        equal([get(lab) for _ in range(3)], [200] * 3, "a server that has forgotten the cookie")
    finally:
        lab.net.server.run("sysctl", "-qw", "net.ipv4.tcp_fastopen=3")
    port, handler = lab.origin.port, lab.origin.handler
    lab.origin.close()
    equal([get(lab) for _ in range(3)], [502] * 3, "without a server")
    lab.origin = type(lab.origin)(lab.net.server, SERVER, port, handler)
    lab.origin.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    equal(get(lab), 200, "the server is back")


@suite.test()
def a_client_may_send_with_its_syn(lab):
    lab.reset(answers(OK))
    before = counter(lab.net.proxy, "TCPFastOpenPassive")
    for _ in range(2):  # the first one gets the cookie
        with lab.net.client:
            sock = socket.socket()
        sock.sendto(ask(b"/", b"open.test"), MSG_FASTOPEN, (PROXY_C, 3128))
        with Wire(sock) as client:
            equal(client.response().status, 200, "status")
    equal(counter(lab.net.proxy, "TCPFastOpenPassive") - before, 1, "requests with a SYN")


def timers(lab, port):
    """Timers of the proxy's connections to or from that port."""
    done = lab.net.proxy.run("ss", "-tnoH", f"( dport = :{port} or sport = :{port} )", text=True)
    return done.stdout


@suite.test()
def silent_connections_are_asked_if_somebody_is_there(lab):
    lab.reset()
    with lab.sluice.connect() as client:
        equal(client.send(ask(b"/", b"kept.test")).response().status, 200, "status")
        until(lambda: "timer:(keepalive,1min" in timers(lab, 81), 5, "to the server")
        check("timer:(keepalive," in timers(lab, 3128), lambda: f"to the client: {timers(lab, 3128)}")
    equal(get(lab), 200, "status")


suite.test()(nothing_is_left_behind)


if __name__ == "__main__":
    sys.exit(suite.main(FastLab))
