"""The door in front of an app that only counts what it is sent."""

import asyncio
from types import SimpleNamespace

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from archsr.app.security.admission import AccessPolicy
from archsr.app.security.guard import Guard, _Body
from archsr.app.security.upload_limits import Limits

UPLOAD = "/gradio_api/upload"


async def app(scope, receive, send):
    """Says how many bytes came; knows one password."""
    body = await Request(scope, receive).body()
    wrong = scope["path"] == "/login" and body != b"right"
    status = 400 if wrong else 413 if body == b"large" else 200
    await PlainTextResponse(f"{len(body)} bytes", status_code=status)(scope, receive, send)


def guard(inside=app, policy=None, **limits):
    return Guard(inside, limits=Limits(**limits), is_full=lambda: False, policy=policy or AccessPolicy())


def asked(door, *request, **more):
    return asyncio.run(asking(door, *request, **more))


async def asking(door, method, path, *pieces, client="10.0.0.1", **headers):
    """Status, text and headers of the answer. A piece `None` never comes."""
    messages, rest = [], list(pieces or [b""])

    async def receive():
        piece = rest.pop(0) if rest else None
        if piece is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": bool(rest)}

    async def send(message):
        messages.append(message)

    said = {"host": "127.0.0.1:7860", **{k.replace("_", "-"): v for k, v in headers.items()}}
    head = [(k.encode(), v.encode()) for k, v in said.items()]
    known = SimpleNamespace(tokens={"secret": "anyone"}, cookie_id="1", startup_events_triggered=True)
    scope = {"type": "http", "method": method, "path": path, "headers": head, "client": (client, 5), "app": known}
    await door({**scope, "query_string": b""}, receive, send)
    first = messages[0]
    text = b"".join(m.get("body", b"") for m in messages[1:]).decode()
    return first["status"], text, {k.decode(): v.decode() for k, v in first["headers"]}


def test_a_foreign_name_and_another_page_are_refused():
    assert asked(guard(), "GET", "/")[:2] == (200, "0 bytes")
    code, text, _ = asked(guard(), "GET", "/", host="evil.example:7860")
    assert (code, text) == (421, "this server does not have that host name; archsr app --allow-host NAME adds one")
    assert asked(guard(policy=AccessPolicy(names=("evil.example",))), "GET", "/", host="evil.example:7860")[0] == 200
    for headers in ({"origin": "http://evil.example"}, {"sec_fetch_site": "cross-site"}):
        code, text, _ = asked(guard(), "POST", UPLOAD, b"x", **headers)
        assert (code, text) == (403, "another page sent this request; open this page itself")


def test_a_websocket_is_closed():
    said = []

    async def send(message):
        said.append(message)

    asyncio.run(guard()({"type": "websocket", "path": "/"}, None, send))
    assert said == [{"type": "websocket.close", "code": 1008}]


def test_with_a_password_only_the_login_page_is_open():
    door = guard(policy=AccessPolicy(password=True))
    for path in ("/", "/login", "/theme.css", "/assets/index.js", "/static/fonts/x"):
        assert asked(door, "GET", path)[0] in (200, 400), path
    events = "/gradio_api/startup-events"
    for path in ("/config", UPLOAD, events, "/logout", "/nowhere", "/monitoring", "/gradio_api/x"):
        assert asked(door, "GET", path)[:2] == (401, "log in first"), path
        assert asked(door, "GET", path, cookie="access-token-1=guess; access-token-2=secret")[0] == 401, path
    for name in ("access-token-1", "access-token-unsecure-1"):
        assert asked(door, "GET", "/config", cookie=f"{name}=secret")[0] == 200


def test_passwords_are_not_guessed_quickly():
    door = guard(policy=AccessPolicy(password=True))
    said = [asked(door, "POST", "/login", b"wrong")[0] for _ in range(6)]
    assert said == [400] * 5 + [429]
    code, text, headers = asked(door, "POST", "/login/", b"right")
    assert code == 429
    assert text.startswith("too many wrong passwords; try again in")
    assert int(headers["retry-after"]) >= 1
    assert asked(door, "POST", "/login", b"right", client="10.0.0.2")[0] == 200


def test_a_right_password_is_never_delayed():
    door = guard(policy=AccessPolicy(password=True))
    assert [asked(door, "POST", "/login", b"right")[0] for _ in range(20)] == [200] * 20


def test_uploads_at_once_are_bounded_and_places_are_given_back():
    door = guard(max_uploads=2, max_uploads_per_visitor=1)

    async def visits():
        slow = asyncio.create_task(asking(door, "POST", UPLOAD, b"x", None))
        await asyncio.sleep(0)
        second = await asking(door, "POST", UPLOAD, b"x")
        other = await asking(door, "POST", UPLOAD, b"x", client="10.0.0.2")
        slow.cancel()
        await asyncio.wait([slow])
        return second[:2], other[0], (await asking(door, "POST", UPLOAD, b"x"))[0]

    assert asyncio.run(visits()) == ((429, "too many uploads at once; try again in a few minutes"), 200, 200)


def test_a_file_that_is_too_large_is_refused_with_the_option():
    said = "a file may have at most 300 MB; whoever started the page can allow more: archsr app --max-bytes"
    assert asked(guard(), "POST", UPLOAD, b"large")[:2] == (413, said)


def test_a_body_without_a_length_is_cut_off_with_a_reason():
    assert asked(guard(), "POST", "/x", bytes(2**20), b"x")[:2] == (
        413,
        "the request is too large; at most 1 MB are allowed",
    )


# ---------------------------------------------------------------- slow bodies


class Line:
    """A visitor who sends pieces of `size` bytes, each after `seconds` of a clock that nobody waits for."""

    def __init__(self, size, seconds):
        self.size, self.seconds, self.now, self.sent = size, seconds, 0.0, 0

    def clock(self):
        return self.now

    async def receive(self):
        self.now += self.seconds
        self.sent += self.size
        return {"type": "http.request", "body": bytes(self.size), "more_body": True}


@pytest.mark.parametrize(
    ("size", "seconds", "total", "ends"),
    [
        (1, 11, 3600, 33),  # three bytes in half a minute
        (2**14, 2, 3600, 60),  # half as fast as it must be: the grace lasts a minute
        (2**20, 10, 3600, 3600),  # fast enough, but it never ends
        (2**20, 10, 60, 60),
    ],
)
def test_a_slow_body_ends(size, seconds, total, ends):
    line = Line(size, seconds)
    body = _Body(line.receive, 2**40, lambda: False, total=total, clock=line.clock)

    async def read():
        while (await body())["type"] == "http.request":
            pass

    asyncio.run(read())
    assert line.now == ends
    assert body.refusal == (408, "the request was too slow; send it again over a faster connection")


def test_a_body_that_stops_coming_is_answered(monkeypatch):
    monkeypatch.setattr("archsr.app.security.rate_limits.seconds_allowed", lambda *_, total: 0.01)
    for path in (UPLOAD, "/x"):
        assert asked(guard(), "POST", path, b"x", None)[:2] == (
            408,
            "the request was too slow; send it again over a faster connection",
        )
    assert asked(guard(), "POST", "/x", None, host="evil.example")[0] == 421, "a refused one, too"


def test_who_has_sent_everything_may_wait_for_the_answer(monkeypatch):
    monkeypatch.setattr("archsr.app.security.rate_limits.seconds_allowed", lambda *_, total: 0.01)

    async def slow(scope, receive, send):
        await receive()
        leaves = asyncio.create_task(receive())
        done, _ = await asyncio.wait([leaves], timeout=0.05)
        leaves.cancel()
        await PlainTextResponse("gone" if done else "still there")(scope, receive, send)

    assert asked(guard(slow), "POST", "/x", b"x")[:2] == (200, "still there")
