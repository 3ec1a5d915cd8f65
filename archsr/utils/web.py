"""Helpers that the pages of `archsr app` and `archsr vote` share: host names, and stopping the server."""

import ipaddress
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit


def is_loopback(name: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def host_of(url: str) -> str:
    """Return the host of a URL or of `//host:port` in lower case without brackets; empty if there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@contextmanager
def stop_event() -> Generator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set."""
    over = threading.Event()

    def end(number: int, frame: object) -> None:  # noqa: ARG001 - the signature of a handler
        over.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
