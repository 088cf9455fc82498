# SPDX-License-Identifier: BSD-2-Clause
"""A bpffs of one's own: nothing of the host's pins is seen or changed."""

import subprocess

from lab.suite import Skip


class Bpffs:
    """A mount namespace with a fresh bpffs, held by a sleeping process, so it outlives sluice. A
    command line behind `prefix` runs in it."""

    def __init__(self):
        self.holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c",
             "mount -t bpf bpf /sys/fs/bpf && echo ready && exec sleep 100000"],
            stdout=subprocess.PIPE)
        if self.holder.stdout.readline() != b"ready\n":
            raise Skip("a bpffs can't be mounted here")
        self.prefix = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt"]

    def close(self):
        self.holder.kill()
        self.holder.wait()
