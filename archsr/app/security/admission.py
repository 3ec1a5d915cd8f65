"""Decides from a request's head whether it may come in: its host, its origin and its path."""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from archsr.utils.web import host_of, is_loopback

API = "/gradio_api/"
# gradio's other API routes fetch from other hosts, edit code, record, or show what other visitors did
_API_PATHS = (
    "app_id", "cancel", "call", "file=", "heartbeat", "info", "login_check", "openapi.json", "queue", "reset", "run",
    "api", "startup-events", "theme.css", "token", "upload", "upload_progress", "user",
)  # fmt: skip
_CLOSED_PATHS = ("/monitoring", "/dev", "/pwa_icon", "/manifest.json", "/custom_component")
_LOGIN_PATHS = ("/", "/login", "/login/", "/theme.css", "/favicon.ico")
_LOGIN_FOLDERS = ("/assets/", "/static/", "/svelte/")


@dataclass(frozen=True)
class AccessPolicy:
    """The `host` that the server is bound to, further `names` of it, and whether visitors need a `password`."""

    host: str = "127.0.0.1"
    names: Collection[str] = ()
    password: bool = False


def is_own_host(hosts: Sequence[str], policy: AccessPolicy) -> bool:
    """Return whether the Host headers of a request name this server. This stops DNS rebinding.

    An IP address cannot be rebound, so a server that is bound to all addresses accepts every IP address.
    """
    if len(hosts) != 1 or set(hosts[0]) & set("@/?#\\"):
        return False
    host = host_of(f"//{hosts[0]}").rstrip(".")
    if is_loopback(host) or host in _lower(policy.host, *policy.names):
        return True
    return _is_unspecified(policy.host) and _is_address(host)


def is_own_origin(method: str, path: str, headers: Mapping[str, str], policy: AccessPolicy) -> bool:
    """Return whether a request comes from this page or from no page. Another page may only link to ours.

    Programs send neither Origin nor Sec-Fetch-Site and are let in. Browsers send them, and pages cannot change them.
    """
    origin = headers.get("origin")
    if origin is not None:
        return _netloc(origin) == headers.get("host", "").lower() or host_of(origin) in _lower(*policy.names)
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return True
    is_link = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    return is_link and method == "GET" and path == "/"


def is_served_path(path: str) -> bool:
    """Return whether the page needs this path."""
    return not path.startswith(_CLOSED_PATHS) and (not path.startswith(API) or _is_api_path(path.removeprefix(API)))


def is_login_path(path: str) -> bool:
    """Return whether a path belongs to the login page."""
    return path in _LOGIN_PATHS or path.startswith(_LOGIN_FOLDERS)


def visitor_address(client: Sequence[object] | None) -> str:
    """Return the IP address, or the /64 network of an IPv6 address, since one visitor owns all of that network."""
    address = str(client[0]) if client else ""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


def _is_api_path(rest: str) -> bool:
    first = rest.split("/")[0]
    return first in _API_PATHS or first.startswith("file=")


def _lower(*names: str) -> set[str]:
    return {name.lower() for name in names}


def _netloc(origin: str) -> str:
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


def _is_unspecified(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified
