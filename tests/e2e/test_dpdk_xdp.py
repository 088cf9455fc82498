#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Ports on XDP sockets. Frames belong to the kernel and to DPDK in turn; one that is lost on the way never
comes back, and once all are lost the port is deaf. SLUICE_DRIVER=af_xdp runs other suites like that."""

import contextlib
import os
import signal
import socket
import struct
import sys
from pathlib import Path

LEAKS = Path(__file__).resolve().parents[1] / "dpdk" / "leaks.txt"
os.environ["SLUICE_TRANSPORT"] = "dpdk"
os.environ["SLUICE_DRIVER"] = "af_xdp"
os.environ["LSAN_OPTIONS"] = f"suppressions={LEAKS}:print_suppressions=0"

from lab import PROXY_C, SERVER, Lab, Suite, check, equal, until
from lab.load import Load
from lab.sluice import in_thread
from lab.stream import receive_stream, send_stream

suite = Suite()
FRAMES = 64 * 1024 * 1024 // 2 // 2496  # of the lab's dpdk.memory
WINDOW = 45  # full frames of a connection that nobody reads from
TUNNELS = int(os.environ.get("SLUICE_XDP_TUNNELS", "100"))


def echo(wire, origin):
    while data := wire.sock.recv(65536):
        wire.sock.sendall(data)


class XdpLab(Lab):
    def __init__(self):
        super().__init__()
        self.origin.handler = echo

    def figure(self, name):
        return self.sluice.ask("stats")["stats"]["figures"][name]

    def port(self, name, device):
        return self.figure(f"dpdk_port_{name}_total")[device]


def stall(tunnel):
    """Sends until nobody takes more, and will end by RST."""
    tunnel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    tunnel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
    tunnel.sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            tunnel.sock.send(bytes(65536))


def hold_all_frames(lab, port):
    """Tunnels to a server that doesn't read: what their clients sent waits in the frames it came in, until
    these are scarce."""
    with contextlib.ExitStack() as held:
        for _ in range(FRAMES // WINDOW):
            stall(held.enter_context(lab.sluice.tunnel(SERVER, port)))
        until(lambda: lab.figure("dpdk_frames_free") < FRAMES / 3, 20, "frames are scarce")
    lab.sluice.settles(timeout=30)


@suite.test(timeout=60)
def a_port_goes_on_receiving_when_all_frames_have_been_in_use(lab):
    """Frames that lay behind what the kernel had been given were neither filled nor sent, without a word,
    and none came back. The port was deaf once they were too many: after two or three loads of 1000
    connections."""
    with lab.net.server.listen(SERVER, 0, receive_buffer=4096) as deaf:
        for _ in range(2):
            hold_all_frames(lab, deaf.getsockname()[1])
    with lab.sluice.tunnel(SERVER, 80) as wire:
        sender = in_thread(send_stream, wire.sock, 11, 1 << 20)
        receive_stream(wire.sock, 11, 1 << 20)
        sender.join(60)
    for device in ("to-client", "to-server"):
        equal(lab.port("send_errors", device), 0, f"frames that were not sent on {device}")


@suite.test(timeout=60)
def what_did_not_fit_in_the_ring_is_counted(lab):
    """More requests than the ring has room for while sluice stands still; all are answered in the end."""
    before = lab.port("missed_frames", "to-client")
    with lab.sluice.tunnel(SERVER, 80) as idle, lab.net.client.socket(kind=socket.SOCK_DGRAM) as s:
        lab.sluice.freeze()
        for _ in range(6000):
            s.sendto(b"?", (PROXY_C, 9))
        lab.sluice.kill(signal.SIGCONT)
        idle.send(b"x")
        equal(idle.exactly(1), b"x", "the echo")
    check(lab.port("missed_frames", "to-client") - before >= 1000, "none was")


@suite.test(timeout=120)
def random_tunnels_arrive_whole(lab):
    load = Load(lab.net.client, lab.net.server, (PROXY_C, 3128), SERVER, ["to-proxy", "to-proxy"],
                tunnels=TUNNELS, concurrency=50, seed=3)
    result = load.result()
    check(not result.failures, result.tell)
    lab.sluice.settles(timeout=60)


if __name__ == "__main__":
    sys.exit(suite.main(XdpLab))
