#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What senders leave to their devices stays left to them: super-packets and unfinished checksums go
through the packet engine at tc as they are. Seen by a packet socket at the receiver's end. Needs root with
CAP_BPF."""

import contextlib
import socket
import struct
import sys

from lab import Place, Suite, Topology, check
from lab.sluice import in_thread
from lab.stream import receive_stream, send_stream

suite = Suite()
SIZE = 1 << 20
MTU = 1500
ETH_P_ALL, SOL_PACKET, PACKET_AUXDATA = 3, 263, 8
NOT_SUMMED = 1 << 3  # TP_STATUS_CSUMNOTREADY


def frames(ns, device):
    """A socket that sees the device's packets, with what the kernel knows of them."""
    sock = ns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    sock.bind((device, 0))
    sock.settimeout(0)
    return sock


def arrived(sock):
    """(length, whether the checksum was left open) of each packet with payload that came in so far."""
    out = []
    while True:
        try:
            _, extra, _, source = sock.recvmsg(256, 256)
        except BlockingIOError:
            return out
        if source[2] != socket.PACKET_HOST:
            continue
        status, length = struct.unpack_from("=II", extra[0][2])
        if length > 200:
            out.append((length, bool(status & NOT_SUMMED)))


def transfers(place, ends):
    """Bytes both ways through a spliced tunnel, and the packets that each end got meanwhile."""
    with contextlib.ExitStack() as held:
        pair, _ = held.enter_context(place.tunnels())
        watched = [held.enter_context(frames(ns, "to-proxy")) for ns in ends]
        for i, (one, other) in enumerate((pair[0], pair[0][::-1])):
            job = in_thread(send_stream, one, i, SIZE)
            receive_stream(other, i, SIZE)
            job.join(30)
        return [arrived(sock) for sock in watched]


def on(where, **offloads):
    net = Topology()
    for ns in (net.client, net.server):
        for name, state in offloads.items():
            ns.run("ethtool", "-K", "to-proxy", name, state)
    place = Place(net, where, config={"workers": 1})
    try:
        place.start()
        seen = transfers(place, (net.client, net.server))
        place.sluice.stop()
        return seen
    finally:
        place.discard()


@suite.test(timeout=60)
def super_packets_and_open_checksums_stay_as_they_are(_):
    for where in ("veth", "veth6"):
        for end, packets in zip(("client", "server"), on(where)):
            big = [length for length, _ in packets if length > 4 * MTU]
            check(len(big) > 10, lambda: f"{where}: super-packets at the {end}: {packets[:20]}")
            check(all(left for _, left in packets),
                  lambda: f"{where}: summed on the way to the {end}: {packets[:20]}")


@suite.test(timeout=60)
def complete_checksums_stay_complete(_):
    for where in ("veth", "veth6"):
        for end, packets in zip(("client", "server"), on(where, tx="off", tso="off", gso="off")):
            check(packets and max(length for length, _ in packets) <= MTU + 14,
                  lambda: f"{where}: sizes at the {end}: {packets[:20]}")
            check(not any(left for _, left in packets),
                  lambda: f"{where}: not summed at the {end}: {packets[:20]}")


if __name__ == "__main__":
    sys.exit(suite.main(contextlib.nullcontext))
