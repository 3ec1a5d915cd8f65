"""Transfers files of a dataset at a URL, with retries after temporary errors."""

import os
import random
import re
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from fsspec.callbacks import Callback
from fsspec.core import url_to_fs

from archsr.config import DataConfig
from archsr.data.versions import current
from archsr.errors import DataError
from archsr.utils import console
from archsr.utils.locks import SHARED_LOCKS

_FIRST_WAIT = 0.5  # seconds; doubled after each failure
_LONGEST_WAIT = 30.0
_SILENCE = 60.0  # seconds without a byte after which a connection counts as dropped
_EXTRAS = {"s3": "archsr[s3]", "s3a": "archsr[s3]", "http": "fsspec[http]", "https": "fsspec[http]", "gs": "gcsfs"}


@dataclass(frozen=True)
class Remote:
    """A dataset's folder at a URL that fsspec supports; `cache` holds at most `limit` bytes of all datasets.

    A transfer is tried `tries` times before the run ends.
    """

    url: str
    cache: Path
    limit: int
    tries: int

    @property
    def name(self) -> str:
        """Return the last part of the URL."""
        return self.url.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return re.sub(r"(?<=://)[^/@]*@", "", self.url)  # without user and password

    def __truediv__(self, file: str) -> str:
        """Return the URL of a file, for messages."""
        return f"{self}/{file}"


Place = Path | Remote


def cache_of(data: DataConfig) -> Path:
    """Return the folder of copies: archsr's own inside `data.cache`, which may hold other things."""
    return Path(os.path.expandvars(data.cache)).expanduser() / "archsr-shards"


def place_of(shards: str, data: DataConfig) -> Place:
    """Return a dataset by the name in a config: the current version in a local folder, or a URL.

    Raises `UserError` if the name is not usable.
    """
    if "://" not in shards:
        return current(Path(shards))
    if "?" in shards or "#" in shards:
        raise DataError(f"{shards.split('?')[0]}: a dataset's URL must not contain ? or #; give the URL of the folder")
    if not SHARED_LOCKS:
        raise DataError(f"{shards}: datasets at a URL need Linux or macOS; copy it, and set data.shards to the folder")
    return Remote(shards.rstrip("/"), cache_of(data), round(data.cache_gb * 1e9), data.retries + 1)


class TransferCancelled(Exception):  # noqa: N818 - nothing went wrong
    """The transfer was cancelled by its caller."""


class _Guard(Callback):
    """Ends a transfer that delivers too many bytes or that was cancelled."""

    def __init__(self, size: int | None, stop: threading.Event) -> None:
        super().__init__()
        self._most = size
        self._stop = stop

    def relative_update(self, inc: int = 1) -> None:
        super().relative_update(inc)
        if self._stop.is_set():
            raise TransferCancelled
        if self._most is not None and self.value > self._most:
            raise OSError(f"more than the {self._most:,} bytes it should have")


def fetch(
    remote: Remote,
    file: str,
    target: Path,
    *,
    size: int | None,
    check: Callable[[Path], str | None],
    stop: threading.Event | None = None,
) -> None:
    """Fetch a file of the dataset to `target`; it counts as arrived if `check` returns None.

    Every failure is printed. Raises `UserError` after the last try, or at once if a retry cannot help, and
    `TransferCancelled` once `stop` is set.
    """
    stop = stop or threading.Event()
    reason = ""
    for number in range(1, remote.tries + 1):
        reason = _transfer(remote, file, target, _Guard(size, stop)) or _short(target, size) or check(target)
        if reason is None:
            if number > 1:
                _say(f"{remote / file}: arrived at attempt {number}")
            return
        if number < remote.tries:
            wait = _wait(number)
            _say(f"{remote / file}: attempt {number} of {remote.tries} failed: {reason}; retrying in {wait:.1f} s")
            if stop.wait(wait):
                raise TransferCancelled
    raise DataError(
        f"{remote / file}: {remote.tries} attempts failed, the last: {reason}; continue with --resume later "
        "(data.retries allows more)"
    )


def _transfer(remote: Remote, file: str, target: Path, guard: _Guard) -> str | None:
    """Return None or the error of a try. Raises `UserError` for permanent errors."""
    protocol = remote.url.split("://")[0]
    try:
        system, root = url_to_fs(remote.url, **_options(protocol))
        system.get_file(f"{root}/{file}", str(target), callback=guard)
    except TransferCancelled:
        raise
    except FileNotFoundError:
        raise DataError(f"{remote / file}: not found; data.shards must be the URL of manifest.json's folder") from None
    except PermissionError as error:
        raise DataError(f"{remote / file}: not allowed: {_line(error)}; check your credentials") from None
    except ImportError:
        wanted = _EXTRAS.get(protocol, f"what fsspec wants for {protocol}")
        raise DataError(f"{remote}: {protocol}:// needs another package: pip install '{wanted}'") from None
    except ValueError as error:
        if "Protocol not known" not in str(error):
            return _line(error)
        raise DataError(f"{remote}: fsspec does not support {protocol}://; got {_line(error)}") from None
    except Exception as error:  # each file system raises errors of its own, few of them OSError
        status = getattr(error, "status", None)
        if status in (400, 401, 403, 410):
            raise DataError(f"{remote / file}: refused with status {status}; check address and credentials") from None
        if getattr(error, "errno", None) == 28:  # the local disk is full
            raise DataError(f"{target.parent}: the disk is full; lower data.cache_gb") from None
        return _line(error)
    return None


def _options(protocol: str) -> dict[str, Any]:
    """Return options of the protocol: aiohttp limits the whole transfer, too short for a large shard; limit silence."""
    if protocol not in ("http", "https"):
        return {}
    limits = import_module("aiohttp").ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)
    # identity: sizes and hashes are those of the file, not of a compressed one
    return {"client_kwargs": {"timeout": limits}, "headers": {"Accept-Encoding": "identity"}}


def fetch_bytes(remote: Remote, file: str, *, check: Callable[[bytes], str | None]) -> bytes:
    """Fetch the bytes of a small file of the dataset like `fetch`."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "file"
        fetch(remote, file, target, size=None, check=lambda path: check(path.read_bytes()))
        return target.read_bytes()


def _short(target: Path, size: int | None) -> str | None:
    have = target.stat().st_size
    return None if size is None or have == size else f"{have:,} of {size:,} bytes"


def _wait(number: int) -> float:
    """Return the seconds to wait after failure `number`: doubled each time, with jitter between processes.

    This is the only random number that should differ between processes and runs.
    """
    return min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (number - 1)) * (0.5 + 0.5 * random.SystemRandom().random())


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _say(text: str) -> None:
    console.aside(text)
