# SPDX-License-Identifier: BSD-2-Clause
"""Contenders that ask for a password at a second port, and for none at the first: the same users file,
the same hash."""

import subprocess

from contenders import HERE, ORIGIN, Haproxy, NginxRuns, SluiceRuns
from field import PROXY, PROXY_PORT

AT = f"{PROXY}:{PROXY_PORT + 1}"


def sha512_crypt():
    """5000 rounds, the default of crypt(5)."""
    return subprocess.run(["openssl", "passwd", "-6", "-salt", "sluicebench", "right"],
                          check=True, capture_output=True, text=True).stdout.strip()


class SluiceLogs(SluiceRuns):
    logins = AT

    def start(self):
        users = self.write("users", f"bench:{sha512_crypt()}\n")
        users.chmod(0o600)
        self.options["sluice"] = {"listeners": [
            {"name": "open", "listen": HERE, "mode": "forward"},
            {"name": "closed", "listen": AT, "mode": "forward", "auth": {"basic": str(users)}}]}
        super().start()


class HaproxyLogs(Haproxy):
    logins = AT

    def start(self):
        self.more = f"""userlist users
  user bench password {sha512_crypt()}
listen closed
  mode http
  bind {AT}
  http-request auth unless {{ http_auth(users) }}
  server origin {ORIGIN}
"""
        super().start()


class NginxLogs(NginxRuns):
    logins = AT

    def start(self):
        users = self.write("users", f"bench:{sha512_crypt()}\n")
        self.more = (f"server {{ listen {AT}; location / {{ auth_basic closed; auth_basic_user_file "
                     f"{users}; proxy_pass http://origin; }} }}")
        super().start()


LOGIN = [
    ("sluice copy", lambda name: SluiceLogs(name, "copy", note="passwords on a thread of their own")),
    ("haproxy", lambda name: HaproxyLogs(name, "http", "passwords in the worker")),
    ("nginx", lambda name: NginxLogs(name, "http", "passwords in the worker")),
]
