# SPDX-License-Identifier: BSD-2-Clause
"""Network namespaces without names: held by a descriptor, entered by a thread for as long as it makes
a socket, gone when this process is."""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
import time

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000

# Every bound on waiting is multiplied by this, for machines that are slow.
PATIENCE = float(os.environ.get("SLUICE_PATIENCE", "1"))
# The proxy's devices belong to DPDK, and its kernel has no addresses there.
DPDK = os.environ.get("SLUICE_TRANSPORT") == "dpdk"
# What is behind them: lwip, or the kernel's stack on devices of its own.
STACK = os.environ.get("SLUICE_STACK", "lwip")
DRIVER = os.environ.get("SLUICE_DRIVER", "af_packet")


def _call(result):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def until(condition, timeout=10, what="a condition", interval=0.005):
    """Waits for a condition to hold and returns its value."""
    timeout *= PATIENCE
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(interval)
    return value


class Namespace:
    """A network namespace. `with ns:` moves the calling thread into it; sockets made there stay there
    for good, wherever they are used."""

    def __init__(self):
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY)
        made = []

        def make():
            with contextlib.suppress(PermissionError):
                _call(_libc.unshare(_CLONE_NEWNET))
                made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if not made:
            raise PermissionError("network namespaces need root")
        self.fd = made[0]
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"

    def __enter__(self):
        _call(_libc.setns(self.fd, _CLONE_NEWNET))
        return self

    def __exit__(self, *_):
        _call(_libc.setns(self._own, _CLONE_NEWNET))

    def command(self, *command):
        """The command line that runs `command` in here and dies with the thread that started it."""
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self.path}",
                *[str(c) for c in command]]

    def start(self, *command, **options):
        return subprocess.Popen(self.command(*command), **options)

    def run(self, *command, **options):
        options.setdefault("timeout", 120)
        return subprocess.run(self.command(*command), capture_output=True, **options)

    def ip(self, *lines):
        done = self.run("ip", "-batch", "-", input="\n".join(lines).encode())
        if done.returncode:
            raise RuntimeError(f"ip: {done.stderr.decode()}")

    def listen(self, address, port=0, backlog=1024, receive_buffer=None):
        with self:
            s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.bind((address, port))
        s.listen(backlog)
        return s

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
        with self:
            return socket.socket(family, kind, protocol)

    def connect(self, address, port, timeout=10, source=None, receive_buffer=None, client_port=0):
        s = self.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        s.settimeout(timeout)
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source or client_port:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((source or "", client_port))
        s.connect((address, port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def wait_for(self, *addresses):
        """Until they answer from here: devices that were set up just now drop packets, or know no route."""
        def answers():
            try:
                self.connect(address, 1, timeout=1).close()
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
            return True

        for address in addresses:
            until(answers, 10, f"{address} is reached")

    def write_sysctl(self, name, value):
        done = self.run("sysctl", "-qw", f"{name}={value}")
        return done.returncode == 0


    def send_no_loss_probes(self):
        """An end that probes (TLP) sends its FIN twice where sluice's loop is late, and what answers the
        second one meets a closed socket: an RST that says nothing of sluice."""
        self.write_sysctl("net.ipv4.tcp_early_retrans", 0)


class Topology:
    """client - proxy - server, as drawn in lab/__init__.py."""

    def __init__(self):
        self.client, self.proxy, self.server = Namespace(), Namespace(), Namespace()
        self.proxy.ip(
            "link set lo up",
            f"link add to-client type veth peer name to-proxy netns {self.client.path}",
            f"link add to-server type veth peer name to-proxy netns {self.server.path}",
            "addr add 10.1.0.1/24 dev to-client", "addr add fd00:1::1/64 dev to-client nodad",
            "addr add 10.2.0.1/24 dev to-server", "addr add fd00:2::1/64 dev to-server nodad",
            "link set to-client up", "link set to-server up")
        for ns, net in ((self.client, 1), (self.server, 2)):
            ns.ip("link set lo up",
                  f"addr add 10.{net}.0.2/24 dev to-proxy",
                  f"addr add fd00:{net}::2/64 dev to-proxy nodad",
                  "link set to-proxy up",
                  f"route add default via 10.{net}.0.1",
                  f"route add ::/0 via fd00:{net}::1")
        for ns in (self.client, self.proxy, self.server):
            ns.write_sysctl("net.ipv4.ip_local_port_range", "10000 60999")
        self.proxy.write_sysctl("net.ipv4.ip_forward", 0)
        self.client.wait_for("10.1.0.1", "fd00:1::1")
        self.server.wait_for("10.2.0.1", "fd00:2::1")
        if DPDK:
            self.leave_to_dpdk()

    def leave_to_dpdk(self):
        """Packet sockets hand frames on as they are, so checksums must be in them."""
        for device in ("to-client", "to-server"):
            self.proxy.ip(f"addr flush dev {device}")
            self.proxy.write_sysctl(f"net.ipv6.conf.{device}.disable_ipv6", 1)
        for ns in (self.client, self.server):
            ns.run("ethtool", "-K", "to-proxy", "tx", "off")
            ns.ip("neigh flush dev to-proxy")

    def curl(self, port=3128):
        """What the client's curl gets from the server through the proxy, or says."""
        done = self.client.run("curl", "-sS", "-m", "10", "--noproxy", "", "-x",
                               f"http://10.1.0.1:{port}", "http://10.2.0.2/x", text=True)
        return done.stdout if not done.returncode else done.stderr

    @staticmethod
    def dpdk_config(driver=DRIVER):
        """What sluice's configuration says of the proxy's devices then."""
        return {"transport": "dpdk", "dpdk": {"stack": STACK, "memory": "64m", "ports": [
            {"device": device, "driver": driver,
             "addresses": [f"10.{net}.0.1/24", f"fd00:{net}::1/64"]}
            for device, net in (("to-client", 1), ("to-server", 2))]}}
