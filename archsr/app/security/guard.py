"""A door before the server: for whom it is open, for how many bytes, and for how long."""

import asyncio
import time
from asyncio import to_thread
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archsr.app.security.admission import API, Door, is_addressed, is_for_strangers, is_from_the_page, is_here, visitor
from archsr.app.security.rate_limits import LONG, SHORT, Attempts, UploadSlots, patience
from archsr.app.security.upload_limits import Limits, more_by, words_of

_ORDER = 2**20  # bytes of a request that is no upload
_EXTRA = 2**16  # bytes around a file in an upload
_HEARD = 2**24  # bytes of a refused request that are taken in before the answer
_EVERY = 2**25  # bytes of an upload after which the room is looked at again


class Guard:
    """ASGI middleware. `full` says whether the temporary files have taken their room."""

    def __init__(self, app: ASGIApp, *, limits: Limits, full: Callable[[], bool], door: Door) -> None:
        self._app = app
        self._limits = limits
        self._full = full
        self._door = door
        self._attempts = Attempts()
        self._slots = UploadSlots(limits.uploads, limits.uploads_each)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, refuse, or cut off one request."""
        if scope["type"] == "websocket":  # the page has none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, who = unquote(scope["path"]), visitor(scope["client"])
        upload = path.rstrip("/") == f"{API}upload"
        most = min(self._limits.files * self._limits.size, self._limits.room) + _EXTRA if upload else _ORDER
        body = _Body(receive, most, self._full, total=LONG if upload else SHORT)
        refused = self._stranger(scope, path) or self._too_much(scope, most, upload=upload)
        if refused is None and upload and not self._slots.enter(who):
            refused = _answer(429, "too many uploads at once; try again in some minutes")
        if refused is not None:
            if _length(scope) <= _HEARD:
                await _heard_out(body)
            await refused(scope, receive, send)
            return
        try:
            if scope["method"] == "POST" and path.rstrip("/") == "/login":
                await self._log_in(scope, body, send, who)
            else:
                await self._pass_on(scope, body, send, upload=upload)
        finally:
            if upload:
                self._slots.leave(who)

    def _stranger(self, scope: Scope, path: str) -> PlainTextResponse | None:
        """The refusal of a request that does not come from a visitor of this page."""
        headers = Headers(scope=scope)
        if not is_addressed(headers.getlist("host"), self._door):
            return _answer(421, "this page does not go by that name; archsr app --allow-host NAME allows one")
        if not is_from_the_page(scope["method"], path, headers, self._door):
            return _answer(403, "another page sent this; open this page itself")
        if self._door.password and not is_for_strangers(path) and not _is_known(scope, path):
            return _answer(401, "log in first")
        return None if is_here(path) else _answer(404, "not here")

    def _too_much(self, scope: Scope, most: int, *, upload: bool) -> PlainTextResponse | None:
        length = _length(scope)
        if length > most:
            return _answer(413, f"{words_of(length)} are too much; at most {words_of(most)}")
        if upload and self._full():
            return _answer(507, "the server has no room just now; try again in some minutes")
        return None

    async def _log_in(self, scope: Scope, body: "_Body", send: Send, who: str) -> None:
        """A password is only looked at where the visitor need not wait."""
        wait = self._attempts.wait(who)
        if wait > 0:
            await _heard_out(body)
            refused = _answer(429, f"too many wrong passwords; try again in {wait:.0f} seconds")
            refused.headers["retry-after"] = f"{wait + 1:.0f}"
            await refused(scope, body, send)
            return
        self._attempts.tries(who)
        if await self._pass_on(scope, body, send, upload=False) == 200:
            self._attempts.knew(who)

    async def _pass_on(self, scope: Scope, body: "_Body", send: Send, *, upload: bool) -> int:
        """The status of the app's answer. What is cut off is told why, if it still listens."""
        answer = _Answer(send, upload=upload)
        with suppress(ClientDisconnect):
            await self._app(scope, body, answer)
        if upload and answer.status == 413:
            said = more_by("--max-bytes", f"a file may have at most {words_of(self._limits.size)}")
            await _answer(413, said)(scope, body, send)
        elif body.cut and not answer.status:
            await _answer(*body.cut)(scope, body, send)
        return answer.status


class _Body:
    """What `receive` gives, cut off where it is too long, too slow, or the room is taken; `cut` then says why."""

    def __init__(
        self,
        receive: Receive,
        most: int,
        full: Callable[[], bool],
        *,
        total: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._receive, self._most, self._full = receive, most, full
        self._total, self._clock = total, clock
        self._count, self._looked, self._waited, self._whole = 0, 0, 0.0, False
        self.cut: tuple[int, str] | None = None

    async def __call__(self) -> Message:
        """The next message; once the body is whole, the wait for a visitor who leaves takes as long as it takes."""
        if self._whole:
            return await self._receive()
        message = None if self.cut else await self._in_time()
        if message is None:
            return {"type": "http.disconnect"}
        self._whole = not message.get("more_body", False)
        self._count += len(message.get("body", b""))
        if self._count > self._most:
            self.cut = (413, f"too much; at most {words_of(self._most)}")
        elif self._count - self._looked > _EVERY:
            self._looked = self._count
            if await to_thread(self._full):
                self.cut = (507, "the server has no room just now; try again in some minutes")
        return {"type": "http.disconnect"} if self.cut else message

    async def _in_time(self) -> Message | None:
        began = self._clock()
        left = patience(self._count, self._waited, total=self._total)
        try:
            return await asyncio.wait_for(self._receive(), left) if left > 0 else self._too_slow()
        except TimeoutError:
            return self._too_slow()
        finally:
            self._waited += self._clock() - began

    def _too_slow(self) -> None:
        self.cut = (408, "too slow; send it again over a faster line")


class _Answer:
    """What the app answers; its 413 to an upload is held back, as the door says more."""

    def __init__(self, send: Send, *, upload: bool) -> None:
        self._send, self._upload = send, upload
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
        if not (self._upload and self.status == 413):
            await self._send(message)


def _answer(status: int, words: str) -> PlainTextResponse:
    return PlainTextResponse(words, status_code=status)


def _is_known(scope: Scope, path: str) -> bool:
    """Whether a visitor has given the password; the server itself asks for one path before anybody can."""
    app: Any = scope["app"]
    if path == f"{API}startup-events" and not app.startup_events_triggered:
        return True
    cookies = HTTPConnection(scope).cookies
    said = (cookies.get(f"access-token{kind}-{app.cookie_id}") for kind in ("", "-unsecure"))
    return any(token is not None and token in app.tokens for token in said)


def _length(scope: Scope) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


async def _heard_out(receive: Receive) -> None:
    """Take in the body and forget it: who is still sending when the line is closed never sees the answer."""
    count, more = 0, True
    while more and count <= _HEARD:
        message = await receive()
        count += len(message.get("body", b""))
        more = message.get("more_body", False)
