"""Limits that uvicorn and gradio lack: number and idle time of connections, and length of log messages."""

import io
from collections import Counter
from collections.abc import Iterable
from typing import Any, TextIO

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from archsr.app.security.admission import visitor_address

_CHECK_EVERY = 30.0  # seconds between two checks of a connection
_LINGER = 2.0  # seconds in which a refused client can read the answer
_MAX_MESSAGE = 4000  # characters of one message in the log
_REASON = b"too many connections at the moment; try again in a minute"
_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Retry-After: 60\r\nConnection: close\r\n\r\n%s" % (len(_REASON), _REASON)
)


class ConnectionLimit:
    """At most `most` connections, half of them from one visitor. `lingering` counts refused ones that still close."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.lingering = 0

    def candidates(self, new: "LimitedProtocol", connections: Iterable["LimitedProtocol"]) -> list["LimitedProtocol"]:
        """Return the connections of which one must close for the new one; empty if there is room.

        They are the visitor's own if these are half of all. Otherwise they belong to the visitor who keeps the server
        waiting on most connections.
        """
        others = [connection for connection in connections if connection is not new]
        own = [connection for connection in others if connection.visitor == new.visitor]
        if len(own) >= self.most // 2:
            return own
        if len(others) < self.most:
            return []
        waiting = Counter(connection.visitor for connection in others if connection.waits_for_client)
        if not waiting:
            return others
        return [connection for connection in others if connection.visitor == waiting.most_common(1)[0][0]]


class LimitedProtocol(H11Protocol):
    """Closes a connection that makes no request between two checks, so that half a request head cannot hold it.

    If there is no room for a new connection, the one closes on which the server has waited longest for the client: for
    a request, for the rest of a body, or for the client to read. If all are being answered, the new one gets 503.
    """

    def __init__(self, *args: Any, limit: ConnectionLimit, **options: Any) -> None:  # noqa: ANN401 - as in the base
        super().__init__(*args, **options)
        self._limit = limit
        self._refused = False
        self.last_activity = 0.0
        self.visitor = ""

    @property
    def waits_for_client(self) -> bool:
        """Whether the server waits for the client, not the client for the server."""
        return not self.cycle or self.cycle.response_complete or self.cycle.more_body or self.flow.write_paused

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as in the base
        """Make room and start the checks, or refuse the connection."""
        super().connection_made(transport)
        self.last_activity, self.visitor = self.loop.time(), visitor_address(self.client)
        connections: list[Any] = list(self.connections)
        candidates = self._limit.candidates(self, [c for c in connections if isinstance(c, LimitedProtocol)])
        longest = min((c for c in candidates if c.waits_for_client), key=lambda c: c.last_activity, default=None)
        if candidates and longest is None:
            self._refuse()
            return
        if longest is not None:
            longest.abort()
        self._check_later()

    def data_received(self, data: bytes) -> None:
        """Handle the data, unless the connection was refused."""
        self.last_activity = self.loop.time()
        if not self._refused:
            super().data_received(data)

    def resume_writing(self) -> None:
        """Note that the client has read something."""
        self.last_activity = self.loop.time()
        super().resume_writing()

    def abort(self) -> None:
        """Close now, and drop what the client has not read."""
        self.connections.discard(self)
        self.transport.abort()

    def _refuse(self) -> None:
        """Answer 503 and close later: if it closed at once, what the client still sends would destroy the answer.

        If too many connections linger already, close without an answer.
        """
        self._refused = True
        self.connections.discard(self)
        if self._limit.lingering >= self._limit.most:
            self.transport.abort()
            return
        self._limit.lingering += 1
        self.transport.write(_UNAVAILABLE)
        self.transport.write_eof()
        self.loop.call_later(_LINGER, self._end_linger)

    def _end_linger(self) -> None:
        self._limit.lingering -= 1
        self.transport.abort()

    def check_idle(self, before: object) -> None:
        """Close the connection if it is idle and its last request is still `before`, that of the previous check."""
        if self.transport.is_closing():
            return
        idle = self.conn.their_state is h11.IDLE and (not self.cycle or self.cycle.response_complete)
        if idle and self.cycle is before:
            self.transport.close()
        else:
            self._check_later()

    def _check_later(self) -> None:
        self.loop.call_later(_CHECK_EVERY, self.check_idle, self.cycle)


class TruncatingStream(io.TextIOBase):
    """A text stream that leaves out the middle of long messages."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the truncated text."""
        self._stream.write(truncate_middle(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream below."""
        self._stream.flush()


def truncate_middle(text: str, most: int = _MAX_MESSAGE) -> str:
    """Return about `most` characters: the start, how many were left out, and the end."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} … ({len(text) - 2 * half:,} characters left out) … {text[-half:]}"
