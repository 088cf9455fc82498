# SPDX-License-Identifier: BSD-2-Clause
"""A sluice with routes: listener `web` on the usual port, and two origins, at port 80 (lab.origin) and
81 (lab.second) of the server."""

from lab import SERVER, Lab, Origin, answers, until
from lab.origin import OK


# A forward proxy, and beside it at port 8080 a reverse proxy of the origin.
BOTH_MODES = {"upstreams": [{"name": "app", "servers": [f"{SERVER}:80"]}],
              "listeners": [
                  {"name": "egress", "listen": "0.0.0.0:3128", "mode": "forward"},
                  {"name": "web", "listen": "0.0.0.0:8080", "mode": "http", "upstream": "app"}]}


class Reverse(Lab):
    """routes and upstreams as in the configuration file; listener: further keys of it."""

    def __init__(self, routes, upstreams, config=None, listener=None, **options):
        super().__init__({"listeners": [{"name": "web", "listen": "0.0.0.0:3128", "mode": "http",
                                         "routes": routes, **(listener or {})}],
                          "upstreams": upstreams, **(config or {})}, **options)
        self.second = Origin(self.net.server, SERVER, 81)

    def reset(self, first=None, second=None):
        """Origins forget, sluice's idle connections end."""
        self.origin.reset(first or answers(OK))
        self.second.reset(second or answers(OK))
        until(lambda: self.sluice.stats()["upstream_idle"] == 0, 5, "the pool is empty")


def nothing_is_left_behind(lab):
    """The last test of a suite: sluice holds what it held at its start, and had nothing to complain of."""
    lab.reset()
    lab.sluice.settles()
    lab.sluice.healthy()


def ask(target=b"/", host=b"app.test", *lines, method=b"GET", version=b"1.1", body=b""):
    return (method + b" " + target + b" HTTP/" + version + b"\r\nHost: " + host + b"\r\n" +
            b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body)
