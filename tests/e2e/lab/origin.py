# SPDX-License-Identifier: BSD-2-Clause
"""Scripted origin servers that keep every byte they receive."""

import socket
import threading

from lab.wire import Ended, Malformed, Wire


def answers(*responses):
    """A handler that reads complete requests and gives each the next of the responses; the last one
    is repeated. A response may be a function of the request, and may return None to say nothing and
    close."""
    def handler(wire, origin):
        n = 0
        while True:
            request = wire.request()
            if not request.complete:
                return
            origin.requests.append(request)
            response = responses[min(n, len(responses) - 1)]
            n += 1
            if callable(response):
                response = response(request)
            if response is None:
                return
            wire.send(response)
    return handler


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Seen:
    """What the handlers of one test noted. Those of an earlier test that are still at it keep theirs,
    and so can't write into a later one's."""

    def __init__(self):
        self.requests, self.errors = [], []


class Origin:
    """Listens in a namespace; each connection gets a thread that runs handler(wire, seen) and then
    closes it. `handler` may be changed between tests."""

    def __init__(self, ns, address, port=0, handler=None):
        self.listener = ns.listen(address, port)
        self.address, self.port = self.listener.getsockname()[:2]
        self.handler = handler or answers(OK)
        self.wires, self.seen = [], Seen()
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            sock.settimeout(15)
            wire = Wire(sock)
            self.wires.append(wire)
            threading.Thread(target=self._serve, args=(wire, self.handler, self.seen), daemon=True).start()

    @staticmethod
    def _serve(wire, handler, seen):
        try:
            handler(wire, seen)
        except (Ended, BrokenPipeError, ConnectionResetError, socket.timeout):
            pass
        except Malformed as e:
            seen.errors.append(f"origin: {e}")
        except OSError as e:
            if wire.sock.fileno() >= 0:
                seen.errors.append(f"origin: {e!r}")
        finally:
            try:
                wire.sock.close()
            except OSError:
                pass

    @property
    def requests(self):
        return self.seen.requests

    @property
    def errors(self):
        return self.seen.errors

    @property
    def received(self):
        """All bytes of all connections since the last reset()."""
        return b"".join(w.received for w in self.wires)

    def reset(self, handler=None):
        """Forgets what was seen and ends connections that are still open, so that pooled ones of one
        test don't serve the next."""
        for wire in self.wires:
            try:
                wire.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.wires, self.seen = [], Seen()
        self.accepted = 0
        if handler:
            self.handler = handler

    def close(self):
        self.reset()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
