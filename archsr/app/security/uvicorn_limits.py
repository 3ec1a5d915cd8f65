"""What uvicorn and gradio leave open: lines without number or end, and a log that says all that was sent."""

import io
from collections import Counter
from collections.abc import Iterable
from typing import Any, TextIO

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from archsr.app.security.admission import visitor

_LOOK = 30.0  # seconds between two looks at a line
_LINGER = 2.0  # seconds in which one who is turned away can read why
_LONGEST = 4000  # characters of one message in the log
_WHY = b"too many connections just now; try again in a minute"
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Retry-After: 60\r\nConnection: close\r\n\r\n%s" % (len(_WHY), _WHY)
)


class Places:
    """How many lines there are at once: `most`, half of them for one visitor; `lingering` hear why they have none."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.lingering = 0

    def crowd(self, newcomer: "ImpatientProtocol", lines: Iterable["ImpatientProtocol"]) -> list["ImpatientProtocol"]:
        """The lines of which one must go for a newcomer, itself not among them; empty where there is room.

        They are the newcomer's own if these are half of all, else those of who lets the server wait on most lines.
        """
        others = [line for line in lines if line is not newcomer]
        own = [line for line in others if line.who == newcomer.who]
        if len(own) >= self.most // 2:
            return own
        if len(others) < self.most:
            return []
        waiting = Counter(line.who for line in others if line.waits)
        return [line for line in others if line.who == waiting.most_common(1)[0][0]] if waiting else others


class ImpatientProtocol(H11Protocol):
    """A line is closed when nothing was asked for between two looks: who sends half a head holds it no longer.

    Where a new line has no place, that one makes room on which the server has waited longest for the visitor: to ask,
    to send on or to take what was asked for. Where all are being answered, the new one hears 503.
    """

    def __init__(self, *args: Any, places: Places, **named: Any) -> None:  # noqa: ANN401 - as the base has it
        super().__init__(*args, **named)
        self._places = places
        self._turned_away = False
        self.heard = 0.0
        self.who = ""

    @property
    def waits(self) -> bool:
        """Whether the server waits for the visitor, not the visitor for the server."""
        return not self.cycle or self.cycle.response_complete or self.cycle.more_body or self.flow.write_paused

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as the base has it
        """Find a place and begin to look, or say that there is none."""
        super().connection_made(transport)
        self.heard, self.who = self.loop.time(), visitor(self.client)
        lines: list[Any] = list(self.connections)
        crowd = self._places.crowd(self, [line for line in lines if isinstance(line, ImpatientProtocol)])
        longest = min((line for line in crowd if line.waits), key=lambda line: line.heard, default=None)
        if crowd and longest is None:
            self._turn_away()
            return
        if longest is not None:
            longest.give_way()
        self._look_later()

    def data_received(self, data: bytes) -> None:
        """Take it in, unless this line was turned away."""
        self.heard = self.loop.time()
        if not self._turned_away:
            super().data_received(data)

    def resume_writing(self) -> None:
        """The visitor has taken something."""
        self.heard = self.loop.time()
        super().resume_writing()

    def give_way(self) -> None:
        """Close now, with what was not yet taken."""
        self.connections.discard(self)
        self.transport.abort()

    def _turn_away(self) -> None:
        """Say why, and close a little later: at once, the answer would be lost with what the visitor still sends.

        Who finds even the waiting room full hears nothing.
        """
        self._turned_away = True
        self.connections.discard(self)
        if self._places.lingering >= self._places.most:
            self.transport.abort()
            return
        self._places.lingering += 1
        self.transport.write(_FULL)
        self.transport.write_eof()
        self.loop.call_later(_LINGER, self._leave)

    def _leave(self) -> None:
        self._places.lingering -= 1
        self.transport.abort()

    def look(self, before: object) -> None:
        """Close the line if it stands idle since the last look, when `before` was the last request; else look again."""
        if self.transport.is_closing():
            return
        idle = self.conn.their_state is h11.IDLE and (not self.cycle or self.cycle.response_complete)
        if idle and self.cycle is before:
            self.transport.close()
        else:
            self._look_later()

    def _look_later(self) -> None:
        self.loop.call_later(_LOOK, self.look, self.cycle)


class Shortened(io.TextIOBase):
    """A text stream that passes on the beginning and the end of a long message."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Pass on at most some thousand characters."""
        self._stream.write(shortened(text))
        return len(text)

    def flush(self) -> None:
        """Pass it on."""
        self._stream.flush()


def shortened(text: str, most: int = _LONGEST) -> str:
    """A text of about `most` characters: its beginning, its end, and how much was left out between them."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} … ({len(text) - 2 * half:,} characters left out) … {text[-half:]}"
