"""What the pages of `archsr app` and `archsr vote` share: whose machine a name means, and when a page ends."""

import ipaddress
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit


def is_loopback(name: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def host_of(url: str) -> str:
    """The host of an address or of `//host:port`, in small letters and without brackets; empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@contextmanager
def told_to_end() -> Generator[threading.Event]:
    """An event that SIGINT and SIGTERM set meanwhile."""
    over = threading.Event()

    def end(number: int, frame: object) -> None:  # noqa: ARG001 - as signal wants it
        over.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
