"""The interface of a source of photographs: names, and bytes by name."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from archsr.errors import DataError

MAX_BYTES = 2 << 30
# folders in which version control, macOS, Synology, Windows and ext4 keep thumbnails and remains
_NOT_OURS = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"})
_DRIVE = re.compile(r"^[A-Za-z]:$")


@dataclass(frozen=True)
class Spec:
    """All that is needed to open the same photographs in another process; see `opening.open_photos`."""

    text: str
    unpack_to: Path | None = None
    exclude: Path | None = None
    max_bytes: int = MAX_BYTES


class Photos(ABC):
    """Photographs by name, wherever they are stored. It is pickled as its `Spec`: each process has its own handles.

    `origin` is what the user named, for messages and provenance.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.origin = spec.text

    @cached_property
    def _names(self) -> list[str]:
        return sorted(self._find())

    def names(self) -> list[str]:
        """Return every entry, also unreadable ones: sorted, unique, relative, `/`-separated.

        Unicode is not normalised; bytes that are no UTF-8 appear as `\\xNN`. Raises `UserError` if there is no entry.
        """
        if not self._names:
            raise DataError(f"{self.origin}: no photographs found: it is empty")
        return list(self._names)

    @abstractmethod
    def _find(self) -> list[str]:
        """Return the names in any order."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the bytes of one entry. Raises OSError with a readable reason; never blocks on a pipe or a device."""

    @abstractmethod
    def stamp(self, name: str) -> str:
        """Return a cheap fingerprint that changes when an entry's bytes may have changed. Never raises OSError."""

    def columns(self, name: str) -> dict[str, str]:  # noqa: ARG002 - only datasets have columns
        """Return other columns of one entry as text; empty if there are none."""
        return {}

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close handles and remove temporary files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., "Photos"], tuple[type["Photos"], Spec]]:
        return _opened, (type(self), self.spec)


@lru_cache(maxsize=4)
def _opened(kind: type[Photos], spec: Spec) -> Photos:
    """Open the photographs of another process, once in this one however often they are unpickled."""
    return kind(spec)


def is_hidden(folder: str) -> bool:
    """Return whether a folder of this name holds no photographs of the user: `.git`, `__MACOSX`, `@eaDir` ..."""
    return folder.startswith(".") or folder.lower() in _NOT_OURS


def plain(name: str) -> str:
    """Return `name` as text that can be written anywhere: undecodable bytes (surrogates) become `\\xNN`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def cleaned(name: str) -> str:
    """Return a relative name that cannot lead outside: no root, drive, `.` or `..`; empty if nothing remains."""
    parts = [p for p in plain(name).split("/") if p not in ("", ".", "..")]
    if parts and _DRIVE.match(parts[0]):
        parts = parts[1:]
    return "/".join(parts)


def distinct(name: str, taken: Container[str]) -> str:
    """Return the first of `name`, `name (2)`, `name (3)` ... (before its suffix) that is not `taken`."""
    place, number, result = PurePosixPath(name), 2, name
    while result in taken:
        result = place.with_name(f"{place.stem} ({number}){place.suffix}").as_posix()
        number += 1
    return result


def check_size(size: int, max_bytes: int) -> None:
    """Raise OSError for more than `max_bytes` bytes, before they are read."""
    if size > max_bytes:
        raise OSError(f"{size:,} bytes, more than the limit of {max_bytes:,}")
