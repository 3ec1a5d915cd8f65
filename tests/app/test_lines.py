"""Lines on which nothing comes, and messages that are too long."""

import asyncio
import io
from functools import partial
from types import SimpleNamespace

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from archsr.app.security.uvicorn_limits import ConnectionLimit, LimitedProtocol, TruncatingStream, truncate_middle

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
    protocol = LimitedProtocol(config=config, server_state=state, app_state={}, limit=ConnectionLimit(9))
    line = Line()
    own = asyncio.get_running_loop()
    protocol.loop = SimpleNamespace(call_later=line.call_later, create_task=own.create_task, time=own.time)
    protocol.connection_made(line)
    for piece in (first, second):
        if piece:
            protocol.data_received(piece)
        await asyncio.sleep(0.01)
        _, look, before = next(entry for entry in line.later if entry[1] == protocol.check_idle)
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


# ---------------------------------------------------------------- how many


HALF_A_BODY = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"


async def crowded(app, most, *said, newcomers=1, source="127.0.0.2"):
    """What each of the first lines and of the newcomers hears: its answer, b"" where it was closed, None: it is open.

    The first come from two addresses by turns, the newcomers, which ask for something, from `source`.
    """
    config = uvicorn.Config(app, log_level="critical")
    config.load()
    state = SimpleNamespace(connections=set(), tasks=set(), default_headers=[], total_requests=0)
    limit = ConnectionLimit(most)
    loop = asyncio.get_running_loop()
    made = partial(LimitedProtocol, config=config, server_state=state, app_state={}, limit=limit)
    server = await loop.create_server(made, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    lines = []
    for number, data in enumerate([*said, *[ASK] * newcomers]):
        address = f"127.0.0.{2 + number % 2}" if number < len(said) else source
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        writer.write(data)
        await asyncio.sleep(0.005)
        lines.append((reader, writer))
    heard = [await first_of(reader) for reader, _ in lines]
    assert len(state.connections) <= most
    for _, writer in lines:
        writer.close()
    server.close()
    return heard


async def first_of(reader):
    try:
        return await asyncio.wait_for(reader.read(4000), 0.05)
    except ConnectionError:
        return b""
    except TimeoutError:
        return None


@pytest.mark.parametrize("silent", [b"", b"GET / HT", HALF_A_BODY])
def test_the_line_that_was_silent_longest_makes_room(silent):
    heard = asyncio.run(crowded(hanging_at_posts, 6, *[silent] * 6, newcomers=2))
    assert heard[:6] == [b"", None, b"", None, None, None], "one address has half of the lines and gives up its own"
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in heard[6:])


async def hanging_at_posts(scope, receive, send):
    await (hanging if scope["method"] == "POST" else answering)(scope, receive, send)


def test_who_holds_most_lines_gives_one_up_not_who_was_silent_longest():
    said = [("visitor", True), ("a", True), ("b", True), ("b", True), *[("c", False)] * 3]
    lines = [SimpleNamespace(visitor=visitor, waits_for_client=waits) for visitor, waits in said]
    newcomer = SimpleNamespace(visitor="another", waits_for_client=True)
    assert ConnectionLimit(7).candidates(newcomer, [*lines, newcomer]) == lines[2:4]
    assert ConnectionLimit(8).candidates(newcomer, [*lines, newcomer]) == []
    assert ConnectionLimit(3).candidates(newcomer, lines[4:]) == lines[4:], "all are being answered"


def test_where_all_are_being_answered_the_newcomer_hears_why():
    heard = asyncio.run(crowded(hanging, 6, *[ASK] * 6, source="127.0.0.9"))
    assert heard[:6] == [None] * 6, "nobody loses what is being done for him"
    assert heard[6].startswith(b"HTTP/1.1 503 ")
    assert b"too many connections" in heard[6]


def test_one_visitor_has_half_of_the_lines():
    heard = asyncio.run(crowded(hanging, 6, *[ASK] * 2, newcomers=3))
    assert [answer and answer[9:12] for answer in heard] == [None, None, None, None, b"503"]


@given(st.text(), st.integers(2, 50))
def test_a_long_message_keeps_its_beginning_and_its_end(text, most):
    short = truncate_middle(text, most)
    assert len(short) <= most + 60
    assert (short == text) == (len(text) <= most)
    assert short[:1] == text[:1]
    assert short[-1:] == text[-1:]


def test_a_stream_is_shortened_message_by_message():
    stream = io.StringIO()
    print("x" * 900_000, file=TruncatingStream(stream))
    print("short", file=TruncatingStream(stream))
    assert len(stream.getvalue()) < 5000
    assert "(896,000 characters left out)" in stream.getvalue()
    assert stream.getvalue().endswith("short\n")
