"""A connection of the lean engine: usual requests are read at once, all others by ``Channel``.

Clients send the head of a request in one piece, and nearly all of them send the plainest kind:
HTTP/1.1, a path, a Host, a Content-Length or no body, no connection options, no header twice.
One regular expression recognizes such a head, and another one reads it. Everything else, also a
head that is late, too large or malformed, is left to ``Channel``, from that byte to the end of the
connection. So refusals are decided in one place, and no other parser can read differently what is
accepted here; ``tests/test_site_smuggling.py`` compares both engines.
"""

import re
from typing import Any

from lmbroker.backends.header_lines import FIELDS, LINES, TOKEN
from lmbroker.server.http import framing
from lmbroker.server.http.channel import NEVER, Channel
from lmbroker.server.http.lean_request import LeanRequest

_HEAD = re.compile(rb"(" + TOKEN + rb") (/[!-~]*+) HTTP/1\.1" + LINES)
"""Method, target and header lines of a usual request."""

_UNUSUAL = frozenset({"transfer-encoding", "expect", "cookie"})
"""Headers that only Twisted's parser handles."""

_KEPT = (None, "keep-alive", "Keep-Alive")
"""The values of Connection that change nothing."""


class LeanChannel(Channel):
    """``Channel`` with a fast path for the requests of the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self._usual = True
        """Whether all requests so far were usual ones."""
        self._missing = 0
        """The number of bytes of the body that are still to come."""

    def dataReceived(self, data: bytes) -> None:
        """Take usual requests whole; the stock method splits everything into lines."""
        phase = self.phase
        if phase == "serving":
            self._early(data)
        elif not self._usual:
            super().dataReceived(data)
        elif phase == "body":
            self._more(data)
        elif phase != "waiting" or not self._take(data):
            self._usual = False
            super().dataReceived(data)

    def _take(self, data: bytes) -> bool:
        """Begin a usual request; False where it is none, and nothing was done."""
        found = _HEAD.match(data)
        if found is None:
            return False
        method, target, lines = found.groups()
        fields = FIELDS.findall(lines.decode("latin-1"))
        received: dict[str, str] = {}
        for name, value in fields:
            received[name.lower()] = value
        limits = self.site.limits
        length = framing.plain_length(received.get("content-length"))
        path = target.partition(b"?")[0]
        limit = limits.body_limit(path.decode("ascii"))
        end = found.end()
        if (
            end > limits.line + 4
            or end > limits.header_bytes + 2
            or len(fields) > limits.header_count
            or len(fields) > len(received)
            or "host" not in received
            or received.get("connection") not in _KEPT
            or not len(data) - end <= length <= limit
            or not _UNUSUAL.isdisjoint(received)
            or self._waitingForTransport
            or self._turned_away is not None
            or self.site.draining
        ):
            return False
        self._request_line = data[: found.start(3)]
        self._body_limit = limit
        self._body_bytes = self._early_bytes = 0
        request = LeanRequest(self)
        request.method, request.uri, request.path = method, target, path
        request.received = received
        self.requests.append(request)
        if length > len(data) - end:
            self._missing = length
            self.phase = "body"
            self.deadline = self._in(limits.body_seconds)
            self._more(data[end:])
        elif self.hold(length):
            request.body = data[end:]
            self._serve(request)
        return True

    def _more(self, data: bytes) -> None:
        """Take more of the body; the request is served when that is whole."""
        request = self.requests[0]
        behind = data[self._missing :]
        if behind:
            data = data[: self._missing]
        self._missing -= len(data)
        if data:
            request.handleContentChunk(data)
        if behind:
            self._early(behind)
        if not self._missing and self.phase != "closing":
            # Trims the buffer to its size; a read() of all of it is then no copy.
            request.content.getvalue()
            request.content.seek(0)
            self._serve(request)

    def _serve(self, request: LeanRequest) -> None:
        """Serve a request that is whole."""
        self.phase = "serving"
        self.deadline = NEVER
        self._handlingRequest = True
        request.process()

    def requestDone(self, request: Any) -> None:
        """Wait for the next request at once.

        The stock method resumes reading, and parses what it held back. This one never stopped
        reading, and holds nothing back.
        """
        if not self._usual or self.phase != "serving" or not self.persistent:
            super().requestDone(request)
            return
        site = self.site
        site.body_bytes -= self._body_bytes
        self._body_bytes = 0
        del self.requests[0]
        self.phase = "waiting"
        self.deadline = site.reactor.seconds() + site.limits.idle_seconds
        self._request_line = b""
        self._handlingRequest = False
