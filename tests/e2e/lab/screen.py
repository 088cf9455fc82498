# SPDX-License-Identifier: BSD-2-Clause
"""A program in a pseudo-terminal, and what a person would see of it."""

import fcntl
import os
import pty
import select
import struct
import termios
import time

from lab.net import PATIENCE
from lab.suite import Skip

# As a terminal sends them that was told to by keypad(3).
UP, DOWN, ESCAPE, ENTER = "\x1bOA", "\x1bOB", "\x1b", "\r"


class Screen:
    """The screen is a model (pyte) that eats what the program writes."""

    def __init__(self, command, rows=24, columns=80, term="xterm-256color"):
        try:
            import pyte
        except ImportError:
            raise Skip("python3-pyte is not installed") from None
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.status = None
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.environ["TERM"] = term
            os.execvp(command[0], [str(c) for c in command])
        self._set_size(rows, columns)

    def _set_size(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, rows, columns):
        self.screen.resize(rows, columns)
        self._set_size(rows, columns)

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def read(self, seconds):
        """Takes what is written within so long; False at the program's end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.stream.feed(data)
        return bool(data)

    def lines(self):
        return [line.rstrip() for line in self.screen.display]

    def text(self):
        return "\n".join(self.lines())

    def until(self, condition, timeout=20, what="a screen"):
        """Waits until condition(text) holds and returns its value."""
        end = time.monotonic() + timeout * PATIENCE
        while not (value := condition(self.text())):
            if time.monotonic() > end or not self.read(0.1):
                raise AssertionError(f"{what}: not seen; the screen is:\n{self.text()}")
        return value

    def wait(self, timeout=10):
        """The program's exit status; what it still writes is shown."""
        end = time.monotonic() + timeout * PATIENCE
        while self.status is None and time.monotonic() < end:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        while self.read(0) and select.select([self.fd], [], [], 0)[0]:
            pass
        return self.status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
