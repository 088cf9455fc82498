#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""sluice flows: which pairs, in which order, again and again."""

import json
import subprocess
import sys

from lab import SERVER, Lab, Suite, check, equal, until

suite = Suite()


class FlowsLab(Lab):
    """Three tunnels: 1000, 2000 and 3000 bytes each way."""

    def __init__(self):
        super().__init__({"workers": 2})
        self.origin.reset(echo)

    def __enter__(self):
        super().__enter__()
        self.wires = []
        for n in (1, 2, 3):
            self.wires.append(self.sluice.tunnel(SERVER, 80))
            self.wires[-1].send(b"x" * 1000 * n).exactly(1000 * n)
            # Workers' clocks may differ by a turn: ages must differ by more.
            until(lambda: min(f["age_ms"] for f in self.sluice.flows()) > 50, what="it is older")
        until(lambda: sorted(f["bytes_from_upstream"] for f in self.sluice.flows()) ==
              [1000, 2000, 3000], what="all bytes are counted")
        return self

    def __exit__(self, *how):
        for wire in self.wires:
            wire.close()
        super().__exit__(*how)

    def flows(self, *arguments):
        done = self.sluice.cli("flows", "--json", *arguments)
        equal(done.returncode, 0, f"exit status of {arguments}: {done.stderr}")
        return json.loads(done.stdout)

    def sizes(self, *arguments):
        return [f["bytes_from_client"] for f in self.flows(*arguments)["flows"]]


def echo(wire, origin):
    while data := wire.sock.recv(65536):
        wire.sock.sendall(data)


@suite.test()
def pairs_are_sorted_and_limited_by_sluice(lab):
    equal(lab.sizes("--sort", "bytes"), [3000, 2000, 1000], "most bytes first")
    equal(lab.sizes("--sort=bytes", "--max", "2"), [3000, 2000], "the first two")
    equal(lab.sizes(), [1000, 2000, 3000], "oldest first")
    equal(lab.sizes("--sort", "newest", "-m1"), [3000], "newest first")
    answer = lab.flows("--max", "1")
    equal((answer["total"], answer["matched"], answer["seen"]), (3, 3, 3), "how many there are")


@suite.test()
def filters_choose_by_either_end_engine_age_and_bytes(lab):
    first = lab.wires[0].sock.getsockname()
    equal(lab.sizes("--source", f"{first[0]}:{first[1]}"), [1000], "one client")
    equal(len(lab.sizes("--source", "10.1.0.0/24")), 3, "a prefix of clients")
    equal(lab.sizes("--source", "10.1.1.0/24"), [], "another prefix")
    equal(len(lab.sizes("--target", "10.2.0.0/16:80")), 3, "a prefix of servers, and a port")
    equal(lab.sizes("--target", ":443"), [], "another port")
    equal(lab.sizes("--min-bytes", "4k"), [3000], "4096 bytes both ways")
    equal(lab.sizes("--max-bytes", "2000"), [1000], "at most 2000 bytes both ways")
    equal(len(lab.sizes("--engine", "copy", "--listener", "egress")), 3, "engine and listener")
    equal(lab.sizes("--engine", "packet"), [], "another engine")
    equal(lab.sizes("--min-age", "1d"), [], "older than that")
    equal(len(lab.sizes("--max-age", "1d")), 3, "younger than that")


@suite.test()
def the_text_says_how_many_match(lab):
    done = lab.sluice.cli("flows", "--min-bytes", "4k")
    check("1 shown, 1 match, 3 pairs are open" in done.stdout, lambda: done.stdout)
    done = lab.sluice.cli("flows", "--scan", "2")
    check("3 are open" in done.stdout and "of the 2 looked at" in done.stdout, lambda: done.stdout)


@suite.test()
def bad_filters_are_wrong_usage_with_a_reason(lab):
    for arguments, reason in ((("--source", "example.com"), "source: expected an address"),
                              (("--target", "10.0.0.0/33"), "target: expected a name"),
                              (("--engine", "warp"), "engine: expected copy, sockmap"),
                              (("--min-bytes", "2k", "--max-bytes", "1k"), "nothing can match"),
                              (("--min-age", "10"), "--min-age: expected a time such as 10s")):
        done = lab.sluice.cli("flows", *arguments)
        equal(done.returncode, 2, f"exit status of {arguments}")
        check(reason in done.stderr, lambda: done.stderr)
        equal(done.stdout, "", "no data")


@suite.test()
def a_wrong_option_is_named(lab):
    for words, reason in (("flows --frobnicate", "flows: unknown option --frobnicate\n"),
                          ("flows --soort=age", "unknown option --soort; did you mean --sort?"),
                          ("flows --min 3", "unknown option --min; did you mean --min-age?"),
                          ("flows --=3", "unknown option --\n"),
                          ("flows --" + "x" * 300, "unknown option --xxx"),
                          ("flows -jZ", "unknown option -Z\n"),
                          ("stats --max 3", "unknown option -m\n"),  # of other commands
                          ("flows --json=yes", "--json takes no value\n"),
                          ("flows -m", "-m wants a value\n"),
                          ("flows --engine", "--engine wants a value\n")):
        done = lab.net.proxy.run(lab.sluice.binary, *words.split(), text=True)
        equal(done.returncode, 2, f"exit status of {words}")
        check(reason in done.stderr, lambda: done.stderr)


@suite.test()
def watching_shows_rates_that_are_the_traffic_s(lab):
    """Between two answers 100000 bytes are echoed: the rates times the time between are that."""
    watch = lab.net.proxy.start(lab.sluice.binary, "flows", "--watch=300ms", "--json",
                                "--sort=bytes", "--admin", lab.sluice.admin,
                                stdout=subprocess.PIPE, text=True)
    try:
        before = json.loads(watch.stdout.readline())["flows"]
        check("rate_from_client" not in before[0], "no rate at first")
        lab.wires[2].send(b"y" * 100_000).exactly(100_000)
        moved, age = 0, before[0]["age_ms"]
        while moved < 99_000:
            (flow,) = [f for f in json.loads(watch.stdout.readline())["flows"]
                       if f["id"] == before[0]["id"]]
            moved += flow["rate_from_client"] * (flow["age_ms"] - age) / 1000
            equal(flow["rate_from_client"], flow["rate_from_upstream"], "an echo")
            age = flow["age_ms"]
        check(moved <= 100_000, lambda: f"{moved} bytes by the rates")
    finally:
        watch.kill()
        watch.wait()


@suite.test()
def watching_ends_when_sluice_does(lab):
    """Asked of a socket at which somebody answers once."""
    import socket
    path = lab.sluice.dir / "once.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
        s.listen(1)
        watch = lab.net.proxy.start(lab.sluice.binary, "flows", "--watch=100ms", "--admin", path,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        peer, _ = s.accept()
        peer.recv(1000)
        peer.sendall(b'{"ok": true, "flows": {"total": 0, "flows": []}}\n')
        peer.close()
    path.unlink()
    out, err = watch.communicate(timeout=20)
    equal((watch.returncode, out), (1, "0 pairs\n\n"), "exit status and picture")
    check("is sluice running?" in err or "reset" in err, lambda: err)


if __name__ == "__main__":
    sys.exit(suite.main(FlowsLab))
