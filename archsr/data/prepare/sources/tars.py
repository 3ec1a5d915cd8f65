"""Photographs inside a tar, read in place by their offsets; a compressed tar is decompressed once."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import shutil
import tarfile
import tempfile
import weakref
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO

from archsr.data.prepare.sources.archives import LINK, damaged_archive, named_members
from archsr.data.prepare.sources.photos import Photos, Spec, check_size
from archsr.errors import DataError
from archsr.utils.atomic import replacing, write_bytes

_Compressed = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
_OPENERS: dict[str, Callable[[Path], _Compressed]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
_SHORT = {".tgz": ".gz", ".tbz2": ".bz2", ".tbz": ".bz2", ".txz": ".xz"}
COMPRESSED = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tzst", *_SHORT)
_CHUNK = 1 << 22
_SLACK = 1 << 30


@dataclass(frozen=True)
class _Member:
    """The position of a tar's member, or why it cannot be read."""

    offset: int
    size: int
    refusal: str


class TarPhotos(Photos):
    """The members of a tar. A compressed one is decompressed once, to a plain tar in `unpack_to`."""

    _cleaning: Callable[[], object] | None = None

    def __init__(self, spec: Spec) -> None:
        if spec.unpack_to is None and spec.text.lower().endswith(COMPRESSED):
            folder = Path(tempfile.mkdtemp(prefix="archsr-"))
            self._cleaning = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            spec = replace(spec, unpack_to=folder)
        super().__init__(spec)

    @cached_property
    def _mark(self) -> str:
        """Return the archive's path, size and modification time."""
        path = Path(self.spec.text)
        status = path.stat()
        return hashlib.sha256(f"{path.resolve()}\n{status.st_size}\n{status.st_mtime_ns}".encode()).hexdigest()[:16]

    @cached_property
    def _tar(self) -> Path:
        path = Path(self.spec.text)
        if not path.name.lower().endswith(COMPRESSED) or self.spec.unpack_to is None:
            return path
        unpacked = self.spec.unpack_to / f"{self._mark}.tar"
        if not unpacked.is_file():
            _decompress(path, unpacked)
        return unpacked

    @cached_property
    def _handle(self) -> IO[bytes]:
        return self._tar.open("rb")

    @cached_property
    def _index(self) -> tuple[dict[str, _Member], dict[str, str]]:
        """Return the index; it is kept in `unpack_to`, so that the archive is scanned once for all processes."""
        kept = self.spec.unpack_to / f"{self._mark}.json" if self.spec.unpack_to else None
        if kept and kept.is_file():
            members, reasons = json.loads(kept.read_bytes())
            return {name: _Member(*member) for name, member in members.items()}, reasons
        members, reasons = named_members(_members(self._tar, self.origin))
        if kept:
            plain = {name: (m.offset, m.size, m.refusal) for name, m in members.items()}
            write_bytes(kept, json.dumps((plain, reasons)).encode())
        return members, reasons

    def _find(self) -> list[str]:
        return list(self._index[0])

    def read(self, name: str) -> bytes:
        """See `Photos`."""
        members, reasons = self._index
        member = members[name]
        if reason := member.refusal or reasons.get(name):
            raise OSError(reason)
        check_size(member.size, self.spec.max_bytes)
        if hasattr(os, "pread"):
            content = os.pread(self._handle.fileno(), member.size, member.offset)
        else:  # Windows, where no process inherits the file and its position
            self._handle.seek(member.offset)
            content = self._handle.read(member.size)
        if len(content) != member.size:
            raise OSError("the archive ends inside it")
        return content

    def stamp(self, name: str) -> str:
        """Return offset and size of the member, and its archive."""
        member = self._index[0][name]
        return f"{self._mark}-{member.offset}-{member.size}"

    def close(self) -> None:
        """See `Photos`."""
        if "_handle" in self.__dict__:
            self._handle.close()
        if self._cleaning:
            self._cleaning()


def _members(path: Path, origin: str) -> list[tuple[str, _Member]]:
    """Scan the headers. Raises `UserError` unless they end with the end mark of a complete tar."""
    try:
        with tarfile.open(path, "r:") as archive:
            found = [(m.name, _Member(m.offset_data, m.size, _tar_refusal(m))) for m in archive if not m.isdir()]
            end = archive.offset  # tarfile takes a damaged header for the end
        with path.open("rb") as file:
            file.seek(end)
            block = file.read(512)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise damaged_archive(origin, error) from None
    if len(block) < 512 or any(block):
        raise damaged_archive(origin, f"the list of members is truncated after {len(found)}")
    return found


def _tar_refusal(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return LINK
    return "" if member.isreg() and not member.issparse() else "not a plain file but a device, a pipe or a sparse file"


def _decompress(path: Path, unpacked: Path) -> None:
    ending = path.suffix.lower()
    opener = _OPENERS.get(_SHORT.get(ending, ending))
    if opener is None:
        raise DataError(f"{path}: this Python cannot read {ending}; decompress it first (zstd -d) and name the .tar")
    # photographs hardly compress: what grows a hundredfold is no archive of photographs
    bound = 100 * path.stat().st_size + _SLACK
    try:
        with replacing(unpacked) as temporary, temporary.open("wb") as out:
            _copy(path, out, opener, bound)
    except OSError as error:
        raise DataError(f"{path}: cannot be decompressed to {unpacked.parent}: {error.strerror or error}") from None


def _copy(path: Path, out: IO[bytes], opener: Callable[[Path], _Compressed], bound: int) -> None:
    with opener(path) as source:
        while chunk := _chunk(source, path):
            if out.tell() + len(chunk) > bound:
                raise DataError(f"{path}: exceeds {bound:,} bytes when decompressed; it may be a decompression bomb")
            out.write(chunk)
    if out.tell() == 0:
        raise damaged_archive(str(path), "empty")


def _chunk(source: _Compressed, path: Path) -> bytes:
    try:
        return source.read(_CHUNK)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise damaged_archive(str(path), error) from None
