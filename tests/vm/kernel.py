# SPDX-License-Identifier: BSD-2-Clause
"""Debian kernels, unpacked and booted by QEMU in plain emulation, to run programs of this host inside.

Packages are downloaded by apt-get and unpacked below build/, never installed. The machine sees the
host's folders read-only and writes nowhere but to a folder for its results (see init and inside)."""

import platform
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
META = "linux-image-amd64"

# What a machine needs of a kernel package, which unpacks to 400 MB: virtio and 9p to boot, the network
# for the tests.
PARTS = ["./boot/vmlinuz-*", "./lib/modules/*/modules.*",
         *[f"./lib/modules/*/kernel/{part}" for part in (
             "crypto/*", "drivers/net/dummy.ko*", "drivers/net/veth.ko*", "drivers/virtio/*",
             "fs/9p/*", "fs/fscache/*", "fs/netfs/*", "fs/overlayfs/*", "lib/*", "net/*")]]
BOOT_PARTS = ["drivers/virtio", "fs", "net/9p"]


class Unavailable(Exception):
    """No kernel, or nothing to boot it with; the text says why."""


def _run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300,
                          stdin=subprocess.DEVNULL, **options)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{command[0]}: {lines[-1] if lines else done.returncode}")
    return done.stdout


def _newest(listed):
    """Of what `apt-cache show` says of the meta package, the newest kernel of each series: {"6.1":
    "linux-image-6.1.0-56-amd64"}. Versions come newest first."""
    found = {}
    for stanza in listed.split("\n\n"):
        if m := re.search(r"^Depends: *(linux-image-(\d+\.\d+)\S*)", stanza, re.MULTILINE):
            found.setdefault(m[2], m[1])
    return found


def _unpack(package, folder, wanted=()):
    """Downloads a package and unpacks it to `folder`, which is there only if it is whole."""
    if folder.exists():
        return
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    _run("apt-get", "download", "-qq", package, cwd=fresh)
    deb = next(fresh.glob("*.deb"))
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as tar:
        subprocess.run(["tar", "x", "-C", fresh, *(["--wildcards", *wanted] if wanted else [])],
                       stdin=tar.stdout, stderr=subprocess.DEVNULL, check=False)
    deb.unlink()
    fresh.rename(folder)


class Kernel:
    """An unpacked kernel and the initramfs to start it with."""

    def __init__(self, package, folder):
        self.tree = folder / package
        self.busybox = folder / "busybox-static" / "bin" / "busybox"
        _unpack("busybox-static", folder / "busybox-static")
        _unpack(package, self.tree, PARTS)
        self.release = package.removeprefix("linux-image-")
        self.image = self.tree / "boot" / f"vmlinuz-{self.release}"
        modules = self.tree / "lib" / "modules" / self.release
        if not self.image.exists() or not modules.exists():
            shutil.rmtree(self.tree)
            raise Unavailable(f"{package} holds no kernel {self.release}")
        _run(self.busybox, "depmod", "-b", self.tree, self.release)
        self.initramfs = self._make_initramfs(folder / f"{self.release}.initramfs", modules)

    def _make_initramfs(self, folder, modules):
        shutil.rmtree(folder, ignore_errors=True)
        there = folder / "lib" / "modules" / self.release
        (folder / "bin").mkdir(parents=True)
        there.mkdir(parents=True)
        shutil.copy(self.busybox, folder / "bin")
        for name in ("init", "inside"):
            shutil.copy(HERE / name, folder)
        for part in BOOT_PARTS:
            shutil.copytree(modules / "kernel" / part, there / "kernel" / part)
        for path in modules.glob("modules.*"):
            shutil.copy(path, there)
        archive = folder.with_suffix(".cpio")
        names = "\n".join(str(p.relative_to(folder)) for p in sorted(folder.rglob("*")))
        with open(archive, "wb") as out:
            subprocess.run([self.busybox, "cpio", "-o", "-H", "newc"], cwd=folder, stdout=out,
                           input=names.encode(), stderr=subprocess.DEVNULL, check=True)
        shutil.rmtree(folder)
        return archive

    def command(self, project, out):
        """The machine's command line: it runs out/jobs in `project` and ends. Its console is stdout."""
        shares = {"host": ("/", True), "modules": (self.tree / "lib" / "modules", True),
                  "project": (project, True), "out": (out, False)}
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", 2, "-m", 1024,
                   "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                   "-serial", "stdio", "-kernel", self.image, "-initrd", self.initramfs,
                   "-append", "console=ttyS0 quiet panic=-1 oops=panic"]
        for tag, (path, readonly) in shares.items():
            command += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,"
                        f"multidevs=remap,readonly={'on' if readonly else 'off'}"]
        return command


def _packages(folder):
    """Per series the packages to try, best first: the newest that apt offers, then those unpacked
    earlier, which are there without a network, too."""
    offered = {}
    try:
        offered = _newest(_run("apt-cache", "show", META))
        if not all((folder / name).exists() for name in offered.values()) or not offered:
            _run("apt-get", "update", "-qq")
            offered = _newest(_run("apt-cache", "show", META))
    except Unavailable:
        pass
    found = {series: [name] for series, name in offered.items()}
    for tree in sorted(folder.glob("linux-image-*-amd64"), reverse=True):
        if m := re.match(r"linux-image-(\d+\.\d+)", tree.name):
            found.setdefault(m[1], []).append(tree.name)
    return found


def available(folder):
    """(series, kernel or the reason why there is none) for each series that can be had."""
    if platform.machine() != "x86_64":
        raise Unavailable(f"kernels are booted on x86_64 hosts only, this one is {platform.machine()}")
    for program in ("qemu-system-x86_64", "apt-get", "dpkg-deb"):
        if not shutil.which(program):
            raise Unavailable(f"there is no {program}: scripts/bootstrap --kernels installs QEMU")
    folder.mkdir(parents=True, exist_ok=True)
    packages = _packages(folder)
    if not packages:
        raise Unavailable(f"apt knows no {META}")
    for series, names in packages.items():
        why = None
        for name in names:
            try:
                yield series, Kernel(name, folder)
                break
            except Unavailable as reason:
                why = why or reason
        else:
            yield series, why
