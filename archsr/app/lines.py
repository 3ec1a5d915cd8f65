"""What uvicorn and gradio leave open: a line on which nothing is asked for, and a log that says all that was sent."""

import io
from typing import Any, TextIO

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_LOOK = 30.0  # seconds between two looks at a line
_LONGEST = 4000  # characters of one message in the log


class ImpatientProtocol(H11Protocol):
    """A line is closed when nothing was asked for between two looks: who sends half a head holds it no longer."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as the base has it
        """Begin to look."""
        super().connection_made(transport)
        self._look_later()

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
