"""Photographs inside archives: safe names, and zip members read in place without extraction."""

import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterable
from functools import cached_property
from typing import TypeVar

from archsr.data.prepare.sources.photos import Photos, check_size, cleaned, distinct, is_hidden
from archsr.errors import DataError

T = TypeVar("T")
LINK = "a link inside the archive, which is not followed"
_UNCLEAR = "its path inside the archive is unsafe, and another member has the cleaned name"


def named_members(members: Iterable[tuple[str, T]]) -> tuple[dict[str, T], dict[str, str]]:
    """Return members by a cleaned name, and the reasons why some are not read.

    Of two members with one name the later counts, as when unpacking. A path that was absolute or led outside gets its
    cleaned name only if no other member has it.
    """
    safe: dict[str, T] = {}
    unsafe: list[tuple[str, T]] = []
    for path, member in members:
        name = cleaned(path)
        if not name or any(is_hidden(folder) for folder in name.split("/")[:-1]):
            continue
        if path.startswith("/") or ".." in path.split("/") or path[1:2] == ":":
            unsafe.append((name, member))
        else:
            safe[name] = member
    clean = [name for name, _ in unsafe]
    reasons: dict[str, str] = {}
    for name, member in unsafe:
        unclear = name in safe or clean.count(name) > 1
        own = distinct(name, safe)
        safe[own] = member
        if unclear:
            reasons[own] = _UNCLEAR
    return safe, reasons


class ZipPhotos(Photos):
    """The members of a .zip file."""

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.spec.text)
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
            raise damaged_archive(self.origin, error) from None

    @cached_property
    def _index(self) -> tuple[dict[str, zipfile.ZipInfo], dict[str, str]]:
        members = self._archive.infolist()
        return named_members((_zip_name(m), m) for m in members if not m.is_dir() and not _zip_name(m).endswith("/"))

    def _find(self) -> list[str]:
        return list(self._index[0])

    def read(self, name: str) -> bytes:
        """See `Photos`."""
        members, reasons = self._index
        info = members[name]
        if reason := _zip_refusal(info) or reasons.get(name):
            raise OSError(reason)
        check_size(info.file_size, self.spec.max_bytes)
        try:
            return self._archive.read(info)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError) as error:
            raise OSError(f"damaged inside the archive: {error}") from None

    def stamp(self, name: str) -> str:
        """Checksum and size of the member."""
        info = self._index[0][name]
        return f"{info.CRC:08x}-{info.file_size}"

    def close(self) -> None:
        """See `Photos`."""
        if "_archive" in self.__dict__:
            self._archive.close()


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return the member's path: UTF-8 also if the flag is missing (macOS), `\\` of Windows as `/`."""
    name = info.filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.filename
    return name.replace("\\", "/") if info.create_system == 0 and "/" not in name else name


def _zip_refusal(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 1:
        return "encrypted; unpack the archive with its password and name the folder instead"
    kind = stat.S_IFMT(info.external_attr >> 16)
    return LINK if kind == stat.S_IFLNK else "" if kind in (0, stat.S_IFREG) else "not a file but a device or a pipe"


def damaged_archive(origin: str, error: Exception | str) -> DataError:
    """Return the error for an archive that is unusable as a whole."""
    return DataError(f"{origin}: a damaged or incomplete archive: {error}. Copy or download it again")
