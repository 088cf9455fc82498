# SPDX-License-Identifier: BSD-2-Clause
"""What the acts of the demonstration share: saying, judging, sizes, files of random bytes."""

import hashlib
import os
import subprocess
import time

from lab import Ended

# Of sluice: a worker per core, and for the rest what it does when nobody tells it otherwise.
DEFAULTS = {"workers": os.cpu_count() or 1, "splice": {}}


class Failed(Exception):
    pass


def say(text=""):
    print(text, flush=True)


def show(title, text):
    say(f"\n── {title} " + "─" * max(0, 76 - len(title)))
    say(text)


def size(n):
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n < 1000 or unit == "TB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000


def rate(n, seconds):
    return f"{size(n / max(seconds, 0.001))}/s"


def sha(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def make_random(path, length):
    """Writes a file of random bytes and returns its SHA-256."""
    digest, left = hashlib.sha256(), length
    with open(path, "wb") as f:
        while left:
            piece = os.urandom(min(left, 1 << 22))
            digest.update(piece)
            f.write(piece)
            left -= len(piece)
    return digest.hexdigest()


def echo(wire, _):
    """An origin's handler."""
    wire.sock.settimeout(3600)
    while data := wire.sock.recv(65536):
        wire.sock.sendall(data)


class Results:
    """One line when something is shown, and the same again in the summary, under its act."""

    def __init__(self):
        self.start, self.acts = time.monotonic(), []

    def act(self, title):
        self.acts.append((title, []))
        say(f"\n━━ {title} " + "━" * max(0, 76 - len(title)))

    def done(self, what, result):
        self.acts[-1][1].append((what, result))
        say(f"  ✓ {what:<44} {result}")

    def summary(self):
        lines = []
        for title, done in self.acts:
            lines += ["", title, *(f"  ✓ {what:<44} {result}" for what, result in done)]
        show("summary", "\n".join(lines))
        say(f"\nAll of it as it should be, in {time.monotonic() - self.start:.0f} s.")


# What an act may end by, other than as wished.
PROBLEMS = (Failed, Ended, AssertionError, OSError, subprocess.SubprocessError)
