#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Another configuration while clients are busy: what is wrong is refused whole, and what is right takes
over without a connection lost."""

import json
import os
import signal
import sys
import threading

from lab import SERVER, Origin, Suite, answers, check, equal, until
from lab.busy import Load, echo
from lab.http import response
from lab.origin import OK
from lab.reverse import Reverse, ask
from lab.wire import Wire

suite = Suite()

RELOADS = int(os.environ.get("SLUICE_RELOADS", "20"))
FIRST, SECOND = f"{SERVER}:80", f"{SERVER}:81"
APP = {"name": "app", "servers": [FIRST]}


def routes(upstream="app"):
    return [{"host": "app.test", "upstream": upstream}]


class Reloading(Reverse):
    def __init__(self, **options):
        super().__init__(routes(), [APP], config={"workers": 2}, **options)
        self.first = json.dumps(self.sluice.config)

    def change(self, **keys):
        """Keys of the configuration, and of its first listener (under `web`)."""
        config = json.loads(self.first)
        web = {**config["listeners"][0], **keys.pop("web", {})}
        config["listeners"][0] = {k: v for k, v in web.items() if v is not None}
        config["listeners"] += keys.pop("more", [])
        config.update(keys)
        self.sluice.file.write_text(json.dumps(config))

    def reload(self, **keys):
        self.change(**keys)
        equal(self.sluice.ask("reload")["reload"], "reloaded", "answer")

    def refused(self, **keys):
        self.change(**keys)
        got = self.sluice.cli("reload")
        equal(got.returncode, 1, "exit status")
        return got.stderr

    def metric(self, name):
        for line in self.sluice.http_get("/metrics").decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise AssertionError(f"no {name}")


def get(wire, host=b"app.test"):
    return wire.send(ask(host=host)).response()


@suite.test()
def a_wrong_file_changes_nothing_and_the_caller_reads_why(lab):
    before = lab.metric("sluice_config_generation")
    refusals = (
        ({"colour": "red"}, "colour"),
        ({"workers": 3}, "workers can't change"),
        ({"metrics": "127.0.0.1:9199"}, "metrics can't change"),
        ({"limits": {"connections": 99999}}, "limits.connections (more than at the start) can't"),
        ({"splice": {"engine": "copy", "pairs": 1024}}, "splice.pairs can't change"),
        ({"splice": {"engine": "packet"}}, "an engine that was not loaded"),
        ({"web": {"auth": {"basic": "/nonexistent"}, "mode": "forward", "routes": None},
          "upstreams": []}, "/nonexistent: No such file"),
        ({"more": [{"name": "far", "listen": "192.0.2.1:80", "mode": "forward"}]},
         "192.0.2.1:80: Cannot assign"),
        ({"access_log": {"path": "/nonexistent/log"}}, "/nonexistent/log"),
    )
    with lab.sluice.connect() as client:
        for n, (keys, words) in enumerate(refusals, 1):
            check(words in lab.refused(**keys), lambda: f"{keys}: {lab.sluice.tell()}")
            equal(get(client).status, 200, "status after a refusal")
            equal(lab.metric("sluice_config_reloads_refused_total"), n, "refusals")
    lab.sluice.file.unlink()
    check("No such file" in lab.sluice.cli("reload").stderr, "why")
    equal(lab.metric("sluice_config_generation"), before, "configuration")


@suite.test()
def the_next_request_of_a_connection_goes_by_the_new_routes(lab):
    lab.reset(answers(response(b"Content-Length: 1", body=b"1")),
              answers(response(b"Content-Length: 1", body=b"2")))
    with lab.sluice.connect() as client:
        equal(get(client).body, b"1", "before")
        lab.reload(upstreams=[APP, {"name": "other", "servers": [SECOND]}],
                   web={"routes": routes("other")})
        equal(get(client).body, b"2", "after")
        lab.reload(web={"routes": [{"host": "app.test", "respond": {"status": 404}}]})
        equal(get(client).status, 404, "a third one")
    lab.reload()


@suite.test()
def hup_reloads_too(lab):
    before = lab.metric("sluice_config_generation")
    lab.change(web={"routes": [{"respond": {"status": 404}}]})
    lab.sluice.kill(signal.SIGHUP)
    until(lambda: lab.metric("sluice_config_generation") == before + 1, 5, "another generation")
    with lab.sluice.connect() as client:
        equal(get(client).status, 404, "status")
    lab.reload()


@suite.test()
def a_request_on_its_way_ends_under_the_old_routes(lab):
    go = threading.Event()

    def slow(wire, origin):
        check(wire.request().complete, "a request")
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        check(go.wait(20), "told to go on")
        wire.send(b"cd")
    lab.reset(slow)
    with lab.sluice.connect() as client:
        client.send(ask())
        client.until(b"ab")
        lab.reload(upstreams=[{"name": "new", "servers": [SECOND]}], web={"routes": routes("new")})
        equal(lab.metric("sluice_config_generations"), 2, "configurations in use")
        go.set()
        client.until(b"cd")
        equal(get(client).status, 200, "the next one")
    equal(len(lab.second.requests), 1, "requests at the new server")
    until(lambda: lab.metric("sluice_config_generations") == 1, 5, "the old one is gone")
    lab.reload()


@suite.test()
def idle_connections_of_servers_that_stay_are_kept(lab):
    lab.reset()
    with lab.sluice.connect() as client:
        get(client)
        lab.reload(upstreams=[{**APP, "servers": [{"address": FIRST, "weight": 3}, SECOND],
                               "balance": "least_conn"}])
        equal(lab.sluice.stats()["upstream_idle"], 1, "idle connections")
        lab.sluice.ask("drain-server", upstream="app", server=SECOND)
        get(client)
        equal(lab.origin.accepted, 1, "connections to the server that stayed")
        lab.reload(upstreams=[{**APP, "servers": [FIRST, SECOND]}])
        states = {s["server"]: s["state"] for s in lab.sluice.ask("servers")["servers"]}
        equal(states, {FIRST: "up", SECOND: "drained"}, "states")
        lab.reload(upstreams=[{**APP, "servers": [SECOND]}])
        until(lambda: lab.sluice.stats()["upstream_idle"] == 0, 5, "connections of who is gone close")
    lab.reload()


@suite.test()
def listeners_come_and_go(lab):
    lab.reset()
    lab.reload(more=[{"name": "new", "listen": "0.0.0.0:3129", "mode": "http", "routes": routes()}])
    with Wire(lab.net.client.connect("10.1.0.1", 3129, 5)) as client:
        equal(get(client).status, 200, "at the new one")
        lab.reload()
        until(lambda: client.rest() == b"", 5, "an idle connection of it ends")
    try:
        lab.net.client.connect("10.1.0.1", 3129, 1).close()
        raise AssertionError("it still listens")
    except OSError:
        pass
    lab.sluice.settles()


@suite.test()
def another_mode_on_the_same_address(lab):
    lab.reset()
    lab.reload(web={"mode": "tcp", "routes": None, "upstream": "app"})
    with lab.sluice.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: anything\r\n\r\n")
        equal(client.response().status, 200, "as bytes")
    lab.reload()


@suite.test()
def limits_and_the_log_change(lab):
    lab.reset()
    other = lab.sluice.dir / "other.log"
    with lab.sluice.connect() as client:
        get(client)
        lab.reload(access_log={"path": str(other), "format": "clf"}, limits={"connections": 2})
        get(client)
        until(lambda: lab.sluice.stats()["connections_active"] == 1, 5, "those of before are gone")
        until(lambda: other.exists() and "GET" in other.read_text(), 5, "a line in the new log")
        with lab.sluice.connect() as second, lab.sluice.connect() as third:
            equal(get(second).status, 200, "within the limit")
            equal(third.response().status, 503, "over it")
    lab.reload()


@suite.test(timeout=120)
def many_reloads_under_load_cost_nothing(lab):
    third = Origin(lab.net.server, SERVER, 82, echo)
    tunnel = {"name": "tunnel", "listen": "0.0.0.0:3130", "mode": "tcp", "upstream": "echo"}
    upstreams = [{"name": "app", "servers": [FIRST, SECOND]},
                 {"name": "echo", "servers": [f"{SERVER}:82"]}]
    variants = (
        {"upstreams": upstreams, "more": [tunnel]},
        {"upstreams": [{"name": "app", "servers": [FIRST], "balance": "maglev"}, upstreams[1]],
         "more": [tunnel], "limits": {"connections": 40000, "connections_per_source": 100}},
        {"upstreams": [*upstreams, {"name": "other", "servers": [FIRST]}],
         "web": {"routes": routes("other")},
         "more": [tunnel, {"name": "new", "listen": "0.0.0.0:3129", "mode": "http",
                           "routes": routes()}]},
        {"upstreams": upstreams, "more": [tunnel], "access_log": {"path": "-", "sample": 0}},
    )
    lab.reset()
    lab.reload(**variants[0])
    load = Load(lab)
    for n in range(RELOADS):
        load.progress()
        lab.reload(**variants[n % len(variants)])
    load.progress()
    load.end()
    third.close()
    lab.reload()
    lab.sluice.settles()
    until(lambda: lab.metric("sluice_config_generations") == 1, 5, "older configurations are gone")
    equal(lab.sluice.stats()["accept_failures_total"], 0, "accepts that failed")


@suite.test()
def nothing_is_left_behind(lab):
    lab.sluice.settles()
    lab.sluice.healthy()


if __name__ == "__main__":
    sys.exit(suite.main(Reloading))
