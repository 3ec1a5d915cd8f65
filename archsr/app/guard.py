"""A door before the server: closed for what the page does not need, and for more bytes than it may be sent."""

from asyncio import to_thread
from collections.abc import Callable
from urllib.parse import unquote

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archsr.app.limits import Limits, words_of

_API = "/gradio_api/"
# the rest of gradio's interface fetches from other hosts, edits code, records, or shows what others did
_OPEN = (
    "app_id", "cancel", "call", "file=", "heartbeat", "info", "login_check", "openapi.json", "queue", "reset", "run",
    "api", "startup-events", "theme.css", "token", "upload", "upload_progress", "user",
)  # fmt: skip
_CLOSED = ("/monitoring", "/dev", "/pwa_icon", "/manifest.json", "/custom_component")
_ORDER = 2**20  # bytes of a request that is no upload
_EXTRA = 2**16  # bytes around a file in an upload
_HEARD = 2**24  # bytes of a refused request that are taken in before the answer
_EVERY = 2**25  # bytes of an upload after which the room is looked at again


class Guard:
    """ASGI middleware. `full` says whether the temporary files have taken their room."""

    def __init__(self, app: ASGIApp, *, limits: Limits, full: Callable[[], bool]) -> None:
        self._app = app
        self._limits = limits
        self._full = full

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, refuse, or cut off one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = unquote(scope["path"])
        upload = path.rstrip("/") == f"{_API}upload"
        most = self._limits.files * self._limits.size + _EXTRA if upload else _ORDER
        refused = self._refused(path, _length(scope), most, upload=upload)
        if refused is not None:
            if _length(scope) <= _HEARD:
                await _heard_out(receive)
            await refused(scope, receive, send)
            return
        await self._app(scope, _counted(receive, most, self._full), send)

    def _refused(self, path: str, length: int, most: int, *, upload: bool) -> PlainTextResponse | None:
        if path.startswith(_CLOSED) or (path.startswith(_API) and not _is_open(path.removeprefix(_API))):
            return PlainTextResponse("not here", status_code=404)
        if length > most:
            return PlainTextResponse(f"{words_of(length)} are too much; at most {words_of(most)}", status_code=413)
        if upload and self._full():
            return PlainTextResponse("the server has no room just now; try again in some minutes", status_code=507)
        return None


def _is_open(rest: str) -> bool:
    first = rest.split("/")[0]
    return first in _OPEN or first.startswith("file=")


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


def _counted(receive: Receive, most: int, full: Callable[[], bool]) -> Receive:
    """A body that says nothing of its length, or the wrong one, ends where it is too long or the room is taken."""
    count = looked = 0

    async def counted() -> Message:
        nonlocal count, looked
        message = await receive()
        count += len(message.get("body", b""))
        if count > most:
            return {"type": "http.disconnect"}
        if count - looked > _EVERY:
            looked = count
            if await to_thread(full):
                return {"type": "http.disconnect"}
        return message

    return counted
