#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What routes change on the way, and what they answer themselves."""

import re
import sys

from lab import SERVER, Suite, answers, check, equal, until
from lab.http import response
from lab.origin import OK
from lab.reverse import Reverse, ask

suite = Suite()

UPSTREAMS = [{"name": "app", "servers": [f"{SERVER}:80"]},
             {"name": "api", "servers": [f"{SERVER}:81"]}]
ROUTES = [
    {"host": "pick.test", "upstream": "app"},
    {"host": "pick.test", "method": ["POST", "PUT"], "upstream": "api"},
    {"host": "pick.test", "header": {"name": "X-Beta", "value": "1"}, "upstream": "api"},
    {"host": "prefix.test", "path": "/old", "rewrite": {"path": "/new/deep"}, "upstream": "app"},
    {"host": "prefix.test", "path": "/cut", "rewrite": {"path": "/"}, "upstream": "app"},
    {"host": "prefix.test", "path": "/", "rewrite": {"path": "/all", "host": "inner.test:81"},
     "upstream": "app"},
    {"host": "fields.test", "upstream": "app",
     "request": {"set": {"name": "X-Set", "value": "by sluice"},
                 "add": [{"name": "X-Add", "value": "two"}, {"name": "X-Add", "value": "three"}],
                 "remove": ["cookie", "X-Secret"]},
     "response": {"set": {"name": "Cache-Control", "value": "no-store"}, "remove": "server",
                  "add": {"name": "X-From", "value": "sluice"}}},
    {"host": "tls.test", "redirect": {"scheme": "https"}},
    {"host": "moved.test", "path": "/a",
     "redirect": {"host": "there.test:8443", "path": "/b", "status": 301}},
    {"host": "closed.test", "respond": {"status": 410, "body": "gone for good"}},
    {"host": "closed.test", "method": "GET", "path": "/health", "respond": {"status": 200}},
    {"redirect": {"scheme": "https"}},
]


def get(lab, target, host, *lines, method=b"GET", body=b"", version=b"1.1"):
    with lab.sluice.connect() as client:
        client.send(ask(target, host, *lines, method=method, body=body, version=version))
        return client.response(method.decode())


def seen(lab, *request, **more):
    """The request as the origin gets it."""
    lab.reset()
    equal(get(lab, *request, **more).status, 200, "status")
    return (lab.origin.requests + lab.second.requests)[0]


@suite.test()
def method_and_fields_choose_among_routes_of_a_path(lab):
    for method, lines, second in ((b"GET", [], 0), (b"POST", [], 1), (b"get", [], 0),
                                  (b"GET", [b"X-Beta: 0"], 0), (b"GET", [b"x-beta: 1"], 1),
                                  (b"GET", [b"X-Beta: 0", b"X-Beta: 1"], 1)):
        seen(lab, b"/", b"pick.test", *lines, method=method)
        equal(len(lab.second.requests), second, f"{method} {lines} at the second origin")


@suite.test()
def a_path_prefix_is_replaced(lab):
    for target, wanted in ((b"/old", b"/new/deep"), (b"/old/x?y=/old", b"/new/deep/x?y=/old"),
                           (b"/old?q", b"/new/deep?q"), (b"/cut", b"/"), (b"/cut/x", b"/x"),
                           (b"/cut?q", b"/?q"), (b"/oldest", b"/all/oldest"), (b"/", b"/all/"),
                           (b"http://prefix.test", b"/all"),
                           (b"http://prefix.test/old/%41", b"/new/deep/%41")):
        got = seen(lab, target, b"prefix.test")
        equal(got.start, b"GET " + wanted + b" HTTP/1.1", "request line")
    equal(got.get("host"), "prefix.test", "Host where it is not rewritten")


@suite.test()
def the_host_is_replaced(lab):
    equal(seen(lab, b"/x", b"prefix.test").get("host"), "inner.test:81", "Host")


@suite.test()
def request_fields_are_changed(lab):
    got = seen(lab, b"/", b"fields.test", b"x-set: by client", b"X-SET: again", b"X-Add: one",
               b"Cookie: a=b", b"x-secret: 1", b"X-Other: kept")
    equal([got.all(n) for n in ("x-set", "x-add", "cookie", "x-secret", "x-other")],
          [["by sluice"], ["one", "two", "three"], [], [], ["kept"]], "fields")


@suite.test()
def response_fields_are_changed(lab):
    hints = response(b"X-From: hints", status=b"103 Early Hints")
    lab.reset(first=answers(hints + response(b"Content-Length: 2", b"Server: nginx",
                                             b"Cache-Control: public", b"cache-control: x",
                                             body=b"ok")))
    got = get(lab, b"/", b"fields.test")
    equal([got.all(n) for n in ("server", "cache-control", "x-from")],
          [[], ["no-store"], ["sluice"]], "fields")
    equal(got.interim[0].all("x-from"), ["hints"], "of the interim answer")


@suite.test()
def redirects_lead_where_they_say(lab):
    for target, host, status, location in (
            (b"/x?y", b"tls.test", 308, "https://tls.test/x?y"),
            (b"/x", b"TLS.test:3128", 308, "https://TLS.test:3128/x"),
            (b"http://tls.test", b"other.test", 308, "https://tls.test/"),
            (b"/a/c?d", b"moved.test", 301, "http://there.test:8443/b/c?d"),
            (b"/a", b"moved.test", 301, "http://there.test:8443/b")):
        got = get(lab, target, host)
        equal((got.status, got.get("location")), (status, location), f"redirect of {target!r}")


@suite.test()
def a_redirect_that_has_no_host_to_lead_to_is_refused(lab):
    with lab.sluice.connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        equal(client.response().status, 400, "status")


@suite.test()
def fixed_answers_need_no_server(lab):
    lab.reset()
    got = get(lab, b"/", b"closed.test")
    equal((got.status, got.body), (410, b"gone for good\n"), "answer")
    equal(get(lab, b"/health", b"closed.test").status, 200, "status of the other route")
    with lab.sluice.connect() as client:
        client.send(ask(b"/", b"closed.test", b"Content-Length: 9", method=b"POST", body=b"half"))
        got = client.response()
        equal((got.status, got.get("connection")), (410, "close"), "answer to an unread body")
    with lab.sluice.connect() as client:
        for _ in range(3):
            equal(client.send(ask(b"/", b"closed.test")).response().status, 410, "kept alive")
    equal(lab.origin.accepted + lab.second.accepted, 0, "connections to origins")


@suite.test()
def a_request_id_is_passed_or_made(lab):
    equal(seen(lab, b"/", b"pick.test", b"X-Request-ID: mine").all("x-request-id"), ["mine"], "id")
    made = [seen(lab, b"/", b"pick.test").get("x-request-id") for _ in range(2)]
    check(all(re.fullmatch("[0-9a-f]{32}", m) for m in made), lambda: f"ids: {made}")
    check(made[0] != made[1], "the same id twice")


@suite.test()
def the_clients_address_goes_on(lab):
    got = seen(lab, b"/", b"pick.test", b"X-Forwarded-For: 9.9.9.9")
    equal(got.all("x-forwarded-for"), ["10.1.0.2"], "X-Forwarded-For")


@suite.test()
def nothing_is_left_behind(lab):
    lab.reset()
    until(lambda: lab.sluice.stats()["buffers_in_use"] == 0, 5, "no buffer is in use")
    lab.sluice.settles()
    lab.sluice.healthy()


if __name__ == "__main__":
    sys.exit(suite.main(lambda: Reverse(ROUTES, UPSTREAMS, listener={
        "request_id": True, "forwarded": "x-forwarded-for"})))
