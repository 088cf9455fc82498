# SPDX-License-Identifier: BSD-2-Clause
"""systemd of this host as the first process of a container: PID, mount, IPC, UTS and cgroup namespaces of its
own, this host's root folder below a writable one in memory, and a network namespace of the laboratory. It
boots what a service needs (journald, sysinit.target), nothing of this host's own units."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab.net import PATIENCE, until
from lab.suite import Skip, check

SYSTEMD = "/lib/systemd/systemd"
# Of the host's hardware, or of nobody's use here.
MASKED = ["systemd-udevd.service", "systemd-udev-trigger.service", "systemd-timesyncd.service",
          "systemd-pstore.service", "systemd-modules-load.service", "systemd-sysctl.service",
          "systemd-random-seed.service", "systemd-journal-flush.service", "systemd-update-utmp.service",
          "systemd-sysusers.service", "systemd-tmpfiles-setup-dev.service", "systemd-tmpfiles-setup.service",
          "systemd-udevd-kernel.socket", "systemd-udevd-control.socket", "systemd-binfmt.service",
          "proc-sys-fs-binfmt_misc.automount", "dev-hugepages.mount", "dev-mqueue.mount",
          "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount",
          "sys-fs-fuse-connections.mount", "network-online.target", "networking.service",
          "keyboard-setup.service", "console-setup.service", "apparmor.service"]

_BOOT = r"""
set -e
d=$1 container=$2
mount --make-rprivate /
mount -t tmpfs tmpfs $d
mkdir -p $d/upper $d/work $d/root
mount -t overlay overlay -o lowerdir=/,upperdir=$d/upper,workdir=$d/work $d/root
root=$d/root
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
for f in run tmp var/tmp var/lib/private; do mkdir -p $root/$f; mount -t tmpfs -o mode=755 tmpfs $root/$f; done
chmod 1777 $root/tmp $root/var/tmp
mount -t tmpfs -o mode=755 tmpfs $root/dev
for n in null zero full random urandom tty; do cp -a /dev/$n $root/dev/; done
mkdir $root/dev/pts $root/dev/shm
ln -s pts/ptmx $root/dev/ptmx # PrivateDevices= wants it
mount -t devpts -o newinstance,ptmxmode=0666 devpts $root/dev/pts
mount -t tmpfs -o mode=1777 tmpfs $root/dev/shm
mount -t tmpfs tmpfs $root/sys/fs/cgroup
mkdir $root/sys/fs/cgroup/unified $root/sys/fs/cgroup/systemd
if mount -t cgroup -o none,name=systemd systemd $root/sys/fs/cgroup/systemd; then
	mount -t cgroup2 cgroup2 $root/sys/fs/cgroup/unified
else
	umount $root/sys/fs/cgroup
	mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
fi
mount -t bpf -o mode=0700 bpf $root/sys/fs/bpf
shift 2
for unit; do ln -sf /dev/null $root/etc/systemd/system/$unit; done
echo 0123456789abcdef0123456789abcdef >$root/etc/machine-id
mkdir $root/run/host
cd $root
pivot_root . run/host
exec env -i container=$container PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	chroot . sh -c 'umount -l /run/host; exec "$@"' sh \
	/lib/systemd/systemd --system --unit=sysinit.target --log-target=journal --show-status=no
"""


class Systemd:
    """The container's network is that namespace."""

    def __init__(self, namespace):
        for program in (SYSTEMD, "/usr/bin/systemctl"):
            if not os.path.exists(program):
                raise Skip(f"there is no {program}")
        self.dir = Path(tempfile.mkdtemp(prefix="sluice-systemd-"))
        self.console = self.dir.with_suffix(".console")
        self.namespace = namespace
        with open(self.console, "wb") as out:
            self.process = namespace.start(
                "unshare", "--pid", "--fork", "--kill-child", "--mount", "--ipc", "--uts", "--cgroup", "bash", "-c",
                _BOOT, "boot", self.dir, "sluice", *MASKED, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            self.pid = until(self._find, 10, "systemd starts")
            until(lambda: self.run("systemctl", "is-active", "sysinit.target").stdout.strip() == "active"
                  or self._ended(), 20, "sysinit.target")
        except BaseException:
            self.close()
            raise

    def _ended(self):
        if self.process.poll() is None:
            return False
        raise Skip(f"systemd can't be the first process of a container here: {self.tell(3)}")

    def _find(self):
        """Its number outside: the only child of unshare."""
        self._ended()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if (entry / "comm").read_text() == "systemd\n" and f"PPid:\t{self._unshare()}\n" in (
                        entry / "status").read_text():
                    return int(entry.name)
            except OSError:
                continue
        return None

    def _unshare(self):
        return self.process.pid  # setpriv and nsenter have become it

    @property
    def root(self):
        return Path(f"/proc/{self.pid}/root")

    def run(self, *command, **options):
        options.setdefault("timeout", 60 * PATIENCE)
        return subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-u", "-i", "-r", "-w",
             *map(str, command)], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            **options)

    def do(self, *command, **options):
        done = self.run(*command, **options)
        check(done.returncode == 0, lambda: f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
              f"\n{self.journal()}")
        return done.stdout

    def show(self, unit, key):
        return self.do("systemctl", "show", unit, f"--property={key}", "--value").strip()

    def journal(self, lines=30):
        return self.run("journalctl", "--no-pager", "-o", "short-monotonic", "-n", lines, "-u", "sluice.service").stdout

    def tell(self, lines=15):
        return " | ".join(self.console.read_text(errors="replace").splitlines()[-lines:])

    def close(self):
        self.process.kill()
        self.process.wait()
        self.console.unlink(missing_ok=True)
        shutil.rmtree(self.dir, ignore_errors=True)
