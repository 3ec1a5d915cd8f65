"""Who may come in, decided from a request's head: it names this server, comes from its page, and knows the password."""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from archsr.utils.web import host_of, is_loopback

API = "/gradio_api/"
# the rest of gradio's interface fetches from other hosts, edits code, records, or shows what others did
_OPEN = (
    "app_id", "cancel", "call", "file=", "heartbeat", "info", "login_check", "openapi.json", "queue", "reset", "run",
    "api", "startup-events", "theme.css", "token", "upload", "upload_progress", "user",
)  # fmt: skip
_CLOSED = ("/monitoring", "/dev", "/pwa_icon", "/manifest.json", "/custom_component")
# the page that asks for the password, and what it is made of
_LOGIN = ("/", "/login", "/login/", "/theme.css", "/favicon.ico")
_LOGIN_FOLDERS = ("/assets/", "/static/", "/svelte/")


@dataclass(frozen=True)
class Door:
    """`host` that the page is bound to, other `names` that it is reached by, and whether a `password` is asked for."""

    host: str = "127.0.0.1"
    names: Collection[str] = ()
    password: bool = False


def is_addressed(hosts: Sequence[str], door: Door) -> bool:
    """Whether the Host headers of a request name this server.

    A foreign name is a page elsewhere that had its own name led here. An address cannot be led anywhere, so a page
    bound to all addresses answers to each.
    """
    if len(hosts) != 1 or set(hosts[0]) & set("@/?#\\"):
        return False
    host = host_of(f"//{hosts[0]}").rstrip(".")
    if is_loopback(host) or host in _small(door.host, *door.names):
        return True
    return _is_everywhere(door.host) and _is_address(host)


def is_from_the_page(method: str, path: str, headers: Mapping[str, str], door: Door) -> bool:
    """Whether a request comes from this page or from no page at all. Another page may only lead somebody to ours.

    A program sends neither header and is let in; browsers send both where it matters, and no page can change them.
    """
    origin = headers.get("origin")
    if origin is not None:
        return _place_of(origin) == headers.get("host", "").lower() or host_of(origin) in _small(*door.names)
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return True
    led = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    return led and method == "GET" and path == "/"


def is_here(path: str) -> bool:
    """Whether the page needs this path."""
    return not path.startswith(_CLOSED) and (not path.startswith(API) or _is_open(path.removeprefix(API)))


def is_for_strangers(path: str) -> bool:
    """Whether a path is the page that asks for the password, or a part of it."""
    return path in _LOGIN or path.startswith(_LOGIN_FOLDERS)


def visitor(client: Sequence[object] | None) -> str:
    """The address that is counted as one visitor; of IPv6 the network, of which one visitor has all addresses."""
    address = str(client[0]) if client else ""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


def _is_open(rest: str) -> bool:
    first = rest.split("/")[0]
    return first in _OPEN or first.startswith("file=")


def _small(*names: str) -> set[str]:
    return {name.lower() for name in names}


def _place_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_everywhere(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified
