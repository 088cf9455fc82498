#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Names: /etc/hosts, DNS that is fast, slow, failing, lying or silent, its cache, several addresses,
and that the address that was judged is the one that is connected."""

import sys
import time

from lab import SERVER, Lab, Origin, Suite, check, equal
from lab.dns import Dns
from lab.sluice import in_thread

suite = Suite()

HOSTS = """127.0.0.1 localhost
10.2.0.2 origin.hosts alias.hosts
fd00:2::2 six.hosts
fd00:2::2 both.hosts
10.2.0.2 both.hosts
127.0.0.1 loop.hosts
"""
MANY = [f"10.2.0.{i}" for i in range(100, 140)]

NAMES = {
    "ok.test": [SERVER], "six.test": ["fd00:2::2"], "both.test": [SERVER, "fd00:2::2"],
    "nx.test": "nx", "empty.test": [], "fail.test": "fail", "refused.test": "refused",
    "silent.test": "silent", "garbage.test": "garbage",
    "slow.test": ("slow", 0.7, [SERVER]), "brief.test": ("ttl", 1, [SERVER]),
    "second.test": ["10.2.0.77", SERVER], "many.test": MANY + [SERVER],
    "closed6.test": ["fd00:2::77", SERVER],
    "loop.test": ["127.0.0.1"], "meta.test": ["169.254.169.254"], "six-loop.test": ["::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "mixed.test": ["127.0.0.1", SERVER], "zero.test": ["0.0.0.0"],
    "rebind.test": lambda n: ("ttl", 0, [SERVER] if n % 2 == 0 else ["127.0.0.1"]),
    "burst.test": ("slow", 0.5, [SERVER]),
}


class NameLab(Lab):
    def __init__(self):
        super().__init__({"resolver": {"servers": ["10.2.0.2:53"], "timeout": "700ms", "tries": 2},
                          "timeouts": {"connect": "3s"}}, hosts=HOSTS, start=False)
        self.six = Origin(self.net.server, "fd00:2::2", 80)
        self.inside = Origin(self.net.proxy, "127.0.0.1", 80)
        self.dns = Dns(self.net.server, SERVER, NAMES)
        # 10.2.0.77 swallows what is sent to it.
        self.net.proxy.ip("route add blackhole 10.2.0.99/32",
                          "neigh add 10.2.0.77 lladdr 02:00:00:00:00:77 dev to-server")

    def __enter__(self):
        self.sluice.start()
        return self


def status(lab, name, path="/"):
    return lab.sluice.get(f"http://{name}{path}").status


@suite.test()
def names_of_the_hosts_file(lab):
    for name in ("origin.hosts", "alias.hosts", "ALIAS.Hosts", "origin.hosts.", "six.hosts",
                 "both.hosts"):
        equal(status(lab, name), 200, f"status of {name}")
    equal(lab.dns.count("origin.hosts"), 0, "questions about a name of the file")


@suite.test()
def names_of_dns(lab):
    for name in ("ok.test", "OK.TEST", "six.test", "both.test"):
        equal(status(lab, name), 200, f"status of {name}")
    with lab.sluice.connect() as client:
        client.send(b"CONNECT ok.test:80 HTTP/1.1\r\nHost: ok.test:80\r\n\r\n")
        equal(client.response("CONNECT").status, 200, "status of CONNECT")


@suite.test()
def the_origin_sees_the_name_in_host(lab):
    lab.origin.reset()
    lab.sluice.get("http://ok.test/x")
    equal(lab.origin.requests[0].get("host"), "ok.test", "Host")


@suite.test(timeout=30)
def failing_names_give_502_or_504_to_that_request_alone(lab):
    for name, wanted in (("nx.test", (502,)), ("empty.test", (502,)), ("fail.test", (502,)),
                         ("refused.test", (502,)), ("silent.test", (504,)),
                         ("garbage.test", (502, 504))):
        start = time.monotonic()
        got = status(lab, name)
        check(got in wanted, f"status of {name}: {got}, wanted one of {wanted}")
        check(time.monotonic() - start < 5, f"{name} takes too long")
        equal(status(lab, "ok.test"), 200, "status of a good name afterwards")


@suite.test(timeout=30)
def a_failing_name_leaves_the_client_connection_usable(lab):
    with lab.sluice.connect() as client:
        for name in ("nx.test", "ok.test", "fail.test", "ok.test"):
            client.send(f"GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            got = client.response()
            equal(got.status, 200 if name == "ok.test" else 502, f"status of {name}")
            if "close" in " ".join(got.all("connection")):
                return


@suite.test()
def nobody_waits_for_another_ones_slow_name(lab):
    waiting = [in_thread(status, lab, "silent.test", f"/{i}") for i in range(20)]
    start = time.monotonic()
    for _ in range(10):
        equal(status(lab, "ok.test"), 200, "status")
        equal(status(lab, SERVER), 200, "status")
    check(time.monotonic() - start < 0.8 or all(w.is_alive() for w in waiting), "good requests wait")
    for w in waiting:
        equal(w.join(10), 504, "status of the silent name")


@suite.test()
def a_slow_name_is_waited_for(lab):
    equal(status(lab, "slow.test"), 200, "status")


@suite.test()
def equal_questions_are_asked_once(lab):
    waiting = [in_thread(status, lab, "burst.test", f"/{i}") for i in range(30)]
    for w in waiting:
        equal(w.join(10), 200, "status")
    check(lab.dns.count("burst.test") <= 4, f"asked {lab.dns.count('burst.test')} times")


@suite.test()
def answers_are_kept_for_their_time_and_no_longer(lab):
    for _ in range(5):
        equal(status(lab, "brief.test"), 200, "status")
        lab.origin.reset()  # so that no kept connection makes the question needless
    once = lab.dns.count("brief.test")
    check(once <= 2, f"asked {once} times within a second")
    time.sleep(1.3)
    equal(status(lab, "brief.test"), 200, "status")
    check(lab.dns.count("brief.test") > once, "asked again after its time")


@suite.test()
def negative_answers_are_kept_too(lab):
    for _ in range(10):
        status(lab, "never.test")
    check(lab.dns.count("never.test") <= 4, f"asked {lab.dns.count('never.test')} times")


@suite.test()
def a_dead_first_address_costs_a_moment(lab):
    for name in ("second.test", "closed6.test"):
        start = time.monotonic()
        equal(status(lab, name), 200, f"status of {name}")
        check(time.monotonic() - start < 2.5, f"{name} took {time.monotonic() - start:.1f} s")


@suite.test()
def a_name_with_many_dead_addresses_ends_in_time(lab):
    start = time.monotonic()
    got = status(lab, "many.test")
    check(got in (200, 502, 504), f"status {got}")
    check(time.monotonic() - start < 4, "within the timeout of a connect")


@suite.test()
def a_name_that_points_inside_is_refused(lab):
    """Judged by its address, whatever the name."""
    lab.inside.reset()
    for name in ("loop.test", "meta.test", "six-loop.test", "mapped.test", "zero.test", "loop.hosts",
                 "localhost"):
        got = status(lab, name)
        check(got == 403 or (got == 502 and name == "mapped.test"), f"status of {name}: {got}")
    equal(lab.inside.received, b"", "what the inner server sees")


@suite.test()
def a_name_with_one_good_address_goes_there_only(lab):
    lab.inside.reset()
    for i in range(10):
        equal(status(lab, "mixed.test", f"/{i}"), 200, "status")
    equal(lab.inside.accepted, 0, "connections inside")


@suite.test()
def a_name_that_changes_its_address_never_leads_inside(lab):
    lab.inside.reset()
    for i in range(30):
        check(status(lab, "rebind.test", f"/{i}") in (200, 403), "status")
    equal(lab.inside.accepted, 0, "connections inside")


@suite.test()
def odd_names_are_refused_or_not_found(lab):
    for name in ("a" * 64 + ".test", "a..test", ".test", "a" * 250 + ".test", "-", "a_b.test",
                 "0x7f.1", "2130706433", "127.1", "0177.0.0.1", "127.0.0.1.", "1.2.3"):
        got = status(lab, name)
        check(got in (400, 403, 502), f"status of {name}: {got}")
    lab.inside.reset()
    equal(lab.inside.accepted, 0, "connections inside")


@suite.test()
def a_dead_dns_server_does_not_touch_addresses_and_cached_names(lab):
    equal(status(lab, "ok.test"), 200, "status")
    lab.dns.close()
    for target in ("ok.test", SERVER, "origin.hosts"):
        equal(status(lab, target), 200, f"status of {target}")
    check(status(lab, "new.test") in (502, 504), "status of a new name")


@suite.test(timeout=30)
def after_all_this_nothing_is_left_open(lab):
    for origin in (lab.origin, lab.six, lab.inside):
        origin.reset()
    lab.sluice.settles()
    lab.sluice.healthy()


if __name__ == "__main__":
    sys.exit(suite.main(NameLab))
