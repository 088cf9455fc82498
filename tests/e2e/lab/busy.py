# SPDX-License-Identifier: BSD-2-Clause
"""Clients that are busy while sluice changes."""

import threading

from lab.net import until
from lab.reverse import ask
from lab.sluice import in_thread
from lab.suite import equal
from lab.wire import Wire


def echo(wire, origin):
    """For tunnels: says back what it hears."""
    while data := wire.sock.recv(65536):
        wire.send(data)


class Load:
    """Clients that never stop: one request on each connection, many on one, and bytes in a tunnel."""

    def __init__(self, lab):
        self.lab, self.over, self.done = lab, threading.Event(), [0, 0, 0]
        self.threads = [in_thread(f, i) for f, i in
                        ((self.one_each, 0), (self.one_each, 0), (self.keep_alive, 1),
                         (self.keep_alive, 1), (self.echo, 2))]

    def one_each(self, i):
        while not self.over.is_set():
            with self.lab.sluice.connect() as client:
                equal(client.send(ask(b"/", b"app.test", b"Connection: close")).response().status, 200,
                      "status of a connection's only request")
            self.done[i] += 1

    def keep_alive(self, i):
        """On one connection for as long as sluice keeps it."""
        while not self.over.is_set():
            with self.lab.sluice.connect() as client:
                kept = True
                while kept and not self.over.is_set():
                    got = client.send(ask()).response()
                    equal(got.status, 200, "status on a connection that is kept")
                    kept = got.get("Connection") != "close"
                    self.done[i] += 1

    def echo(self, i):
        with Wire(self.lab.net.client.connect("10.1.0.1", 3130, 10)) as tunnel:
            while not self.over.is_set():
                message = b"%08d" % self.done[i]
                tunnel.send(message)
                equal(tunnel.exactly(8), message, "what comes back")
                self.done[i] += 1

    def progress(self):
        """Every kind of client gets further."""
        before = list(self.done)
        until(lambda: self.over.is_set() or all(a > b for a, b in zip(self.done, before)) or
              any(t.error for t in self.threads), 20, "all clients get further", interval=0.005)

    def end(self):
        self.over.set()
        for t in self.threads:
            t.join(30)
