# SPDX-License-Identifier: BSD-2-Clause
"""The process that an upgrade leaves behind. Its parent is the process that it took over from, so it
becomes a child of the test when that one ends."""

import ctypes
import os
import re
import signal
import subprocess
import time

from lab.net import until

_PR_SET_CHILD_SUBREAPER = 36


class Successor:
    """What of subprocess.Popen a Sluice needs."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    def poll(self):
        if self.returncode is None:
            try:
                done, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # the predecessor's child still
                return None if os.path.exists(f"/proc/{self.pid}") else 0
            if done:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout=None):
        end = time.monotonic() + (timeout or 3600)
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("sluice", timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


# The new process's parent ends; its exit status is to come to us.
ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def upgrade(sluice, by_signal=False):
    """Upgrades it, and returns the process that was; sluice.process is the new one."""
    said = len(sluice.stderr.read_text(errors="replace"))
    if by_signal:
        sluice.kill(signal.SIGUSR2)
    else:
        sluice.ask("upgrade")
    return follow(sluice, said)


def follow(sluice, said=0):
    """Waits for the new process of an upgrade, which it tells of behind so many characters; as above."""
    def serves():
        return re.search(r"upgrade: process (\d+) serves", sluice.stderr.read_text(errors="replace")[said:])
    old, sluice.process = sluice.process, Successor(int(until(serves, 20, "the new process serves")[1]))
    return old
