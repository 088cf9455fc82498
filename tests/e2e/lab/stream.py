# SPDX-License-Identifier: BSD-2-Clause
"""Streams that prove their own content: bytes are a function of a seed and their position, so that a
byte lost, repeated, reordered or invented shows, and shows where."""

import hashlib
import random
import socket
import struct

from lab.sluice import in_thread

PIECE = 1 << 16


class Source:
    """Endless pseudo-random bytes of a seed, in order."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.left = b""

    def take(self, n):
        while len(self.left) < n:
            self.left += self.rng.randbytes(PIECE)
        out, self.left = self.left[:n], self.left[n:]
        return out


def send_stream(sock, seed, size, rng=None):
    """Sends the first `size` bytes of the seed's stream, in writes of random sizes if rng is given."""
    source = Source(seed)
    while size:
        n = min(size, rng.choice((1, 10, 1000, PIECE)) if rng else PIECE)
        sock.sendall(source.take(n))
        size -= n


def receive_stream(sock, seed, size):
    """Receives exactly `size` bytes and raises at the first that is not the seed's."""
    source, at = Source(seed), 0
    while at < size:
        data = sock.recv(min(1 << 18, size - at))
        if not data:
            raise AssertionError(f"the stream ended at {at} of {size}")
        wanted = source.take(len(data))
        if data != wanted:
            bad = next(i for i, (a, b) in enumerate(zip(data, wanted)) if a != b)
            raise AssertionError(f"byte {at + bad} of {size} is wrong")
        at += len(data)


def expect_end(sock):
    data = sock.recv(1)
    if data:
        raise AssertionError(f"bytes behind the end: {data!r}")


def digest(seed, size):
    source, h = Source(seed), hashlib.sha256()
    while size:
        n = min(size, PIECE)
        h.update(source.take(n))
        size -= n
    return h.hexdigest()


def both_ways(client, server, seed, size):
    """Streams of `size` bytes at once, compared where they arrive."""
    jobs = [in_thread(send_stream, client, seed, size), in_thread(send_stream, server, seed + 1, size),
            in_thread(receive_stream, server, seed, size)]
    receive_stream(client, seed + 1, size)
    for job in jobs:
        job.join(30)


def retransmissions(sock):
    """Segments that this end has sent again."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return struct.unpack_from("=I", info, 100)[0]
