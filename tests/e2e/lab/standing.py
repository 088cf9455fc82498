# SPDX-License-Identifier: BSD-2-Clause
"""A thread that stands still, while the others of its process go on."""

import ctypes
import os
from pathlib import Path

from lab.net import until
from lab.suite import equal

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17


class Standing:
    """By ptrace(2)."""

    def __init__(self, tid):
        self.libc, self.tid = ctypes.CDLL(None, use_errno=True), tid
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def __enter__(self):
        equal(self.libc.ptrace(_SEIZE, self.tid, None, None), 0, "PTRACE_SEIZE")
        equal(self.libc.ptrace(_INTERRUPT, self.tid, None, None), 0, "PTRACE_INTERRUPT")
        os.waitpid(self.tid, 0x40000000)
        return self

    def is_reaped(self):
        """Its process can't go before the end of the thread was asked for."""
        try:
            return os.waitpid(self.tid, os.WNOHANG | 0x40000000)[0] == self.tid
        except ChildProcessError:
            return True

    def __exit__(self, *_):
        self.libc.ptrace(_DETACH, self.tid, None, None)


def worker_thread(pid, number):
    """A thread names itself, after the process says that it is ready."""
    def find():
        names = {Path(t, "comm").read_text().strip(): int(t.name) for t in Path(f"/proc/{pid}/task").iterdir()}
        return names.get(f"worker {number}")
    return until(find, 10, f"worker {number} has its name")
