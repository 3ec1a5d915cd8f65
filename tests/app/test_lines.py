"""Lines on which nothing comes, and messages that are too long."""

import asyncio
import io
from types import SimpleNamespace

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from archsr.app.lines import ImpatientProtocol, Shortened, shortened

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Line:
    """The transport of a protocol, and the loop in which nobody waits."""

    def __init__(self):
        self.closed, self.later = False, []
        self.sent = b""

    def get_extra_info(self, name):
        return None

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    def write(self, data):
        self.sent += data

    def call_later(self, seconds, action, *args):
        self.later.append((seconds, action, args))
        return SimpleNamespace(cancel=lambda: None)


async def answering(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def hanging(scope, receive, send):
    await asyncio.Event().wait()


async def looked_at(app, first, second=b""):
    """Whether a line is closed after `first`, a look, `second`, and another look."""
    config = uvicorn.Config(app, log_level="critical")
    config.load()
    state = SimpleNamespace(connections=set(), tasks=set(), default_headers=[], total_requests=0)
    protocol = ImpatientProtocol(config=config, server_state=state, app_state={})
    line = Line()
    protocol.loop = SimpleNamespace(call_later=line.call_later, create_task=asyncio.get_running_loop().create_task)
    protocol.connection_made(line)
    for piece in (first, second):
        if piece:
            protocol.data_received(piece)
        await asyncio.sleep(0.01)
        _, look, before = next(entry for entry in line.later if entry[1] == protocol.look)
        line.later.clear()
        look(*before)
        if line.closed:
            break
    for task in state.tasks:
        task.cancel()
    return line.closed


@pytest.mark.parametrize(
    ("app", "first", "second", "closed"),
    [
        (answering, b"", b"", True),
        (answering, b"GET / HT", b"TP/1.1\r\nHost: loc", True),
        (answering, ASK, ASK, False),
        (answering, ASK, b"GET / HT", True),
        (hanging, ASK, b"", False),  # a long answer, or a body that the door counts
        (hanging, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx", b"", False),
    ],
)
def test_only_a_line_on_which_nothing_is_asked_for_is_closed(app, first, second, closed):
    assert asyncio.run(looked_at(app, first, second)) == closed


@given(st.text(), st.integers(2, 50))
def test_a_long_message_keeps_its_beginning_and_its_end(text, most):
    short = shortened(text, most)
    assert len(short) <= most + 60
    assert (short == text) == (len(text) <= most)
    assert short[:1] == text[:1]
    assert short[-1:] == text[-1:]


def test_a_stream_is_shortened_message_by_message():
    stream = io.StringIO()
    print("x" * 900_000, file=Shortened(stream))
    print("short", file=Shortened(stream))
    assert len(stream.getvalue()) < 5000
    assert "(896,000 characters left out)" in stream.getvalue()
    assert stream.getvalue().endswith("short\n")
