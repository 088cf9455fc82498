# SPDX-License-Identifier: BSD-2-Clause
"""Conversations on raw sockets: what was sent and received to the byte, how the other side ended it,
and HTTP messages read strictly, so that a malformed answer fails a test rather than being guessed
at."""

import re
import socket
import struct
import time
from dataclasses import dataclass, field


class Ended(Exception):
    """The connection ended where bytes were wanted. how: "fin" or "rst"."""

    def __init__(self, how, got=b""):
        super().__init__(f"connection ended ({how}) after {got[:200]!r}")
        self.how, self.got = how, got


class Malformed(Exception):
    pass


@dataclass
class Message:
    """A request or response as read. complete is False if the connection ended inside the body."""
    start: bytes
    fields: list
    raw: bytes = b""
    body: bytes = b""
    trailers: list = field(default_factory=list)
    complete: bool = True
    interim: list = field(default_factory=list)

    @property
    def status(self):
        return int(self.start.split(b" ")[1])

    def all(self, name):
        name = name.lower().encode()
        return [v.decode("latin-1") for n, v in self.fields if n.lower() == name]

    def get(self, name):
        """The one value of a field, or None; repeated fields fail."""
        values = self.all(name)
        if len(values) > 1:
            raise Malformed(f"{name} is repeated: {values}")
        return values[0] if values else None


_FIELD = re.compile(rb"^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*$")


def parse_fields(lines):
    out = []
    for line in lines:
        if not (m := _FIELD.match(line)):
            raise Malformed(f"bad field line {line!r}")
        out.append((m[1], m[2]))
    return out


def parse_head(raw):
    if b"\n" in raw.replace(b"\r\n", b"") or b"\r" in raw.replace(b"\r\n", b""):
        raise Malformed(f"bare CR or LF in {raw!r}")
    start, *lines = raw[:-4].split(b"\r\n")
    return Message(start, parse_fields(lines), raw)


class Wire:
    def __init__(self, sock):
        self.sock = sock
        self.received = b""  # everything ever received
        self.at = 0          # how much of it was read by the test
        self.ended = None    # None, "fin" or "rst"
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sock.gettimeout() is None:
            sock.settimeout(10)

    # --- sending ---

    def send(self, data):
        self.sock.sendall(data)
        return self

    def send_split(self, data, cuts, pause_s=0.0005):
        """Sends in pieces, apart in time, so that the receiver may see them apart. A peer that has
        answered and closed meanwhile is no error: it is what the test then looks at."""
        at = 0
        try:
            for cut in [*sorted(cuts), len(data)]:
                if cut > at:
                    self.sock.sendall(data[at:cut])
                    at = cut
                    time.sleep(pause_s)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def fin(self):
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def rst(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    # --- receiving ---

    def _more(self):
        """Receives once; False at the end of the connection."""
        if self.ended:
            return False
        try:
            data = self.sock.recv(262144)
        except ConnectionResetError:
            self.ended = "rst"
            return False
        if not data:
            self.ended = "fin"
            return False
        self.received += data
        return True

    def unread(self):
        return self.received[self.at:]

    def until(self, mark):
        while (i := self.received.find(mark, self.at)) < 0:
            if not self._more():
                raise Ended(self.ended, self.unread())
        out = self.received[self.at:i + len(mark)]
        self.at = i + len(mark)
        return out

    def exactly(self, n):
        while len(self.received) - self.at < n:
            if not self._more():
                raise Ended(self.ended, self.unread())
        out = self.received[self.at:self.at + n]
        self.at += n
        return out

    def rest(self, timeout=10):
        """Everything until the connection ends (self.ended says how)."""
        self.sock.settimeout(timeout)
        while self._more():
            pass
        out = self.unread()
        self.at = len(self.received)
        return out

    def silent(self, seconds=0.15):
        """True if nothing arrives and nothing ends for a while."""
        if self.unread() or self.ended:
            return False
        self.sock.settimeout(seconds)
        try:
            return not self._more() and self.ended is None
        except (TimeoutError, socket.timeout):
            return True
        finally:
            self.sock.settimeout(10)

    def request(self):
        """Reads one request, as an origin would."""
        m = parse_head(self.until(b"\r\n\r\n"))
        if not re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP/1\.[01]", m.start):
            raise Malformed(f"bad request line {m.start!r}")
        self._body(m, to_end=False)
        return m

    def response(self, method="GET"):
        """Reads one final response; interim ones are kept in its .interim."""
        interim = []
        while True:
            m = parse_head(self.until(b"\r\n\r\n"))
            if not re.fullmatch(rb"HTTP/1\.[01] [1-9][0-9][0-9] [\t\x20-\x7e\x80-\xff]*", m.start):
                raise Malformed(f"bad status line {m.start!r}")
            if m.status >= 200 or m.status == 101:
                break
            interim.append(m)
        m.interim = interim
        if not (method == "HEAD" or m.status in (101, 204, 304) or
                (method == "CONNECT" and m.status < 300)):
            self._body(m, to_end=True)
        return m

    def _body(self, m, to_end):
        length, coding = m.get("content-length"), m.get("transfer-encoding")
        if length is not None and coding is not None:
            raise Malformed("Content-Length with Transfer-Encoding")
        begin = self.at
        try:
            if coding is not None:
                if coding != "chunked":
                    raise Malformed(f"Transfer-Encoding: {coding}")
                self._chunks(m)
            elif length is not None:
                if not re.fullmatch("[0-9]{1,18}", length):
                    raise Malformed(f"Content-Length: {length}")
                m.body = self.exactly(int(length))
            elif to_end:
                m.body = self.rest()
                m.complete = self.ended == "fin"
        except Ended as e:
            m.complete = False
            m.body = m.body or e.got
        m.raw += self.received[begin:self.at]

    def _chunks(self, m):
        while True:
            line = self.until(b"\r\n")[:-2]
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}(;[\x20-\x7e]*)?", line):
                raise Malformed(f"bad chunk size {line!r}")
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            m.body += self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise Malformed("no CRLF behind chunk data")
        lines = []
        while (line := self.until(b"\r\n")[:-2]):
            lines.append(line)
        m.trailers = parse_fields(lines)
