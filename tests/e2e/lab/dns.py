# SPDX-License-Identifier: BSD-2-Clause
"""A DNS server for one test: answers from a table of names, as slowly or as badly as told."""

import socket
import struct
import threading
import time

A, AAAA, SRV = 1, 28, 33


class Dns:
    """names: {name: behaviour}. A behaviour is a list of addresses, or a function of the number of
    the question (from 0, per name and type) that returns one; or "nx", "fail", "refused", "silent",
    "garbage", ("slow", seconds, addresses), ("ttl", seconds, addresses). An SRV record stands among
    the addresses as (priority, weight, port, target)."""

    def __init__(self, ns, address, names):
        self.socket = ns.socket(kind=socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.names = names
        self.failing = set()  # (name, type)
        self.asked = []
        self.lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def count(self, name):
        return sum(n == name for n, _ in self.asked)

    def _serve(self):
        while True:
            try:
                question, client = self.socket.recvfrom(2048)
            except OSError:
                return
            threading.Thread(target=self._answer, args=(question, client), daemon=True).start()

    def _answer(self, question, client):
        name, at = [], 12
        while question[at]:
            name.append(question[at + 1:at + 1 + question[at]].decode("latin-1").lower())
            at += 1 + question[at]
        name, kind = ".".join(name), struct.unpack("!H", question[at + 1:at + 3])[0]
        with self.lock:
            n = sum(q == (name, kind) for q in self.asked)
            self.asked.append((name, kind))
        what, ttl = self.names.get(name, "nx"), 60
        if (name, kind) in self.failing:
            what = "fail"
        if callable(what):
            what = what(n)
        if isinstance(what, tuple) and what[0] == "slow":
            time.sleep(what[1])
            what = what[2]
        if isinstance(what, tuple) and what[0] == "ttl":
            ttl, what = what[1:]
        if what == "silent":
            return
        try:
            if what == "garbage":
                self.socket.sendto(question[:2] + b"\xff" * 40, client)
            else:
                self.socket.sendto(reply(question[:at + 5], kind, what, ttl), client)
        except OSError:
            pass

    def close(self):
        self.socket.close()


def name_of(text):
    return b"".join(bytes([len(p)]) + p.encode() for p in text.split(".") if p) + b"\0"


def reply(question, kind, what, ttl):
    code = {"nx": 3, "fail": 2, "refused": 5}.get(what if isinstance(what, str) else "", 0)
    records = b""
    n = 0
    for address in what if isinstance(what, list) else []:
        if isinstance(address, tuple):
            if kind == SRV:
                data = struct.pack("!HHH", *address[:3]) + name_of(address[3])
                records += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data
                n += 1
        elif kind in (A, AAAA) and (":" in address) == (kind == AAAA):
            data = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
            records += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data
            n += 1
    head = question[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, n, 0, 0)
    return head + question[12:] + records
