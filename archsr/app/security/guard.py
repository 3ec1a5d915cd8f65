"""ASGI middleware that refuses requests before gradio sees them: who sends, how many bytes, and for how long."""

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

from archsr.app.security import admission, rate_limits
from archsr.app.security.admission import API, AccessPolicy
from archsr.app.security.upload_limits import Limits, format_bytes, with_option

NO_ROOM = "the server has no room at the moment; try again in a few minutes"
_MAX_REQUEST = 2**20  # bytes of a request that is not an upload
_FORM_BYTES = 2**16  # bytes of an upload besides its files
_MAX_DISCARDED = 2**24  # bytes of a refused request that are read before the answer
_CHECK_EVERY = 2**25  # bytes of an upload between two checks of the storage


class Guard:
    """ASGI middleware. `is_full` returns whether the storage has reached its limit."""

    def __init__(self, app: ASGIApp, *, limits: Limits, is_full: Callable[[], bool], policy: AccessPolicy) -> None:
        self._app = app
        self._limits = limits
        self._is_full = is_full
        self._policy = policy
        self._attempts = rate_limits.LoginAttempts()
        self._slots = rate_limits.UploadSlots(limits.max_uploads, limits.max_uploads_per_visitor)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward, refuse, or cut off one request."""
        if scope["type"] == "websocket":  # the page uses none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, visitor = unquote(scope["path"]), admission.visitor_address(scope["client"])
        upload, limits = path.rstrip("/") == f"{API}upload", self._limits
        most = min(limits.max_files * limits.max_bytes, limits.max_storage) + _FORM_BYTES if upload else _MAX_REQUEST
        body = _Body(
            receive, most, self._is_full, total=rate_limits.UPLOAD_SECONDS if upload else rate_limits.REQUEST_SECONDS
        )
        refusal = self._check_access(scope, path) or self._check_size(scope, most, upload=upload)
        if refusal is None and upload and not self._slots.acquire(visitor):
            refusal = _text(429, "too many uploads at once; try again in a few minutes")
        if refusal is not None:
            if _content_length(scope) <= _MAX_DISCARDED:
                await _discard(body)
            await refusal(scope, receive, send)
            return
        try:
            if scope["method"] == "POST" and path.rstrip("/") == "/login":
                await self._log_in(scope, body, send, visitor)
            else:
                await self._forward(scope, body, send, upload=upload)
        finally:
            if upload:
                self._slots.release(visitor)

    def _check_access(self, scope: Scope, path: str) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if not admission.is_own_host(headers.getlist("host"), self._policy):
            return _text(421, "this server does not have that host name; archsr app --allow-host NAME adds one")
        if not admission.is_own_origin(scope["method"], path, headers, self._policy):
            return _text(403, "another page sent this request; open this page itself")
        if self._policy.password and not admission.is_login_path(path) and not _is_logged_in(scope, path):
            return _text(401, "log in first")
        return None if admission.is_served_path(path) else _text(404, "not found")

    def _check_size(self, scope: Scope, most: int, *, upload: bool) -> PlainTextResponse | None:
        length = _content_length(scope)
        if length > most:
            return _text(413, f"the request has {format_bytes(length)}; at most {format_bytes(most)} are allowed")
        return _text(507, NO_ROOM) if upload and self._is_full() else None

    async def _log_in(self, scope: Scope, body: "_Body", send: Send, visitor: str) -> None:
        delay = self._attempts.delay(visitor)
        if delay > 0:
            await _discard(body)
            refusal = _text(429, f"too many wrong passwords; try again in {delay:.0f} seconds")
            refusal.headers["retry-after"] = f"{delay + 1:.0f}"
            await refusal(scope, body, send)
            return
        self._attempts.record(visitor)
        if await self._forward(scope, body, send, upload=False) == 200:
            self._attempts.succeeded(visitor)

    async def _forward(self, scope: Scope, body: "_Body", send: Send, *, upload: bool) -> int:
        """Let the app answer and return its status. Tell the sender why a body was cut off."""
        response = _Response(send, upload=upload)
        with suppress(ClientDisconnect):
            await self._app(scope, body, response)
        if upload and response.status == 413:
            reason = f"a file may have at most {format_bytes(self._limits.max_bytes)}"
            await _text(413, with_option("--max-bytes", reason))(scope, body, send)
        elif body.refusal and not response.status:
            await _text(*body.refusal)(scope, body, send)
        return response.status


class _Body:
    """Wraps `receive`. Cuts a body off that is too long, too slow, or does not fit; `refusal` then says why."""

    def __init__(
        self,
        receive: Receive,
        most: int,
        is_full: Callable[[], bool],
        *,
        total: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._receive, self._most, self._is_full = receive, most, is_full
        self._total, self._clock = total, clock
        self._count, self._checked, self._waited, self._complete = 0, 0, 0.0, False
        self.refusal: tuple[int, str] | None = None

    async def __call__(self) -> Message:
        """Return the next message. After the whole body, wait without a limit: the app listens for a disconnect."""
        if self._complete:
            return await self._receive()
        message = None if self.refusal else await self._receive_in_time()
        if message is None:
            return {"type": "http.disconnect"}
        self._complete = not message.get("more_body", False)
        self._count += len(message.get("body", b""))
        if self._count > self._most:
            self.refusal = (413, f"the request is too large; at most {format_bytes(self._most)} are allowed")
        elif self._count - self._checked > _CHECK_EVERY:
            self._checked = self._count
            if await to_thread(self._is_full):
                self.refusal = (507, NO_ROOM)
        return {"type": "http.disconnect"} if self.refusal else message

    async def _receive_in_time(self) -> Message | None:
        started = self._clock()
        left = rate_limits.seconds_allowed(self._count, self._waited, total=self._total)
        try:
            if left > 0:
                return await asyncio.wait_for(self._receive(), left)
        except TimeoutError:
            pass
        finally:
            self._waited += self._clock() - started
        self.refusal = (408, "the request was too slow; send it again over a faster connection")
        return None


class _Response:
    """Wraps `send`. Holds back the app's 413 to an upload, since the guard gives a better reason."""

    def __init__(self, send: Send, *, upload: bool) -> None:
        self._send, self._upload = send, upload
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
        if not (self._upload and self.status == 413):
            await self._send(message)


def _text(status: int, text: str) -> PlainTextResponse:
    return PlainTextResponse(text, status_code=status)


def _is_logged_in(scope: Scope, path: str) -> bool:
    app: Any = scope["app"]
    # gradio itself requests this path while it starts, before anybody can log in
    if path == f"{API}startup-events" and not app.startup_events_triggered:
        return True
    cookies = HTTPConnection(scope).cookies
    tokens = (cookies.get(f"access-token{kind}-{app.cookie_id}") for kind in ("", "-unsecure"))
    return any(token is not None and token in app.tokens for token in tokens)


def _content_length(scope: Scope) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


async def _discard(receive: Receive) -> None:
    """Read the body and drop it. A client that still sends when the connection is closed never sees the answer."""
    count, more = 0, True
    while more and count <= _MAX_DISCARDED:
        message = await receive()
        count += len(message.get("body", b""))
        more = message.get("more_body", False)
