"""Opens photographs by what the user names: a folder, an archive, a Hugging Face dataset."""

import os
from functools import cached_property
from pathlib import Path

from archsr.data.prepare.sources.archives import ZipPhotos
from archsr.data.prepare.sources.files import read_file, stamp_file
from archsr.data.prepare.sources.photos import MAX_BYTES, Photos, Spec, distinct, is_hidden, plain
from archsr.data.prepare.sources.rows import PREFIX, RowPhotos, local_place
from archsr.data.prepare.sources.tars import COMPRESSED, TarPhotos
from archsr.data.versions import has_versions
from archsr.errors import DataError

__all__ = ["FolderPhotos", "Photos", "Spec", "open_photos"]

_KINDS = (
    "a folder, a .zip, a .tar (also .tar.gz, .tar.bz2, .tar.xz), a .parquet file, or a Hugging Face dataset "
    "(hf:owner/name@split, hf:FOLDER)"
)


def open_photos(
    spec: str, *, unpack_to: Path | None = None, exclude: Path | None = None, max_bytes: int = MAX_BYTES
) -> Photos:
    """Open `spec`: a folder, .zip, .tar (plain or compressed), .parquet, or `hf:NAME[@split]`.

    `unpack_to` keeps decompressed files (default: a temporary folder until `close`). `exclude`, the output, is not
    entered. Entries of more than `max_bytes` are not read. The same spec gives the same names and bytes in every
    process. Raises `UserError` if it does not exist, is damaged as a whole, or lies inside `exclude`.
    """
    whole = Spec(spec, unpack_to, exclude, max_bytes)
    place = local_place(spec) if spec.startswith(PREFIX) else Path(spec)
    if exclude and place and place.exists() and place.resolve().is_relative_to(exclude.resolve()):
        raise DataError(f"{spec}: the photographs lie inside the output {exclude}; choose an output elsewhere")
    return _kind(spec, place)(whole)


def _kind(spec: str, place: Path | None) -> type[Photos]:
    name = spec.lower()
    if place is None or spec.startswith(PREFIX):
        return RowPhotos
    if place.is_dir():
        return FolderPhotos
    if not place.exists():
        raise DataError(f"{spec}: no such folder, archive or dataset of photographs; expected {_KINDS}")
    for kind, endings in ((ZipPhotos, (".zip",)), (TarPhotos, (".tar", *COMPRESSED)), (RowPhotos, (".parquet",))):
        if name.endswith(endings):
            return kind
    raise DataError(f"{spec}: this kind of file is not supported; expected {_KINDS}")


class FolderPhotos(Photos):
    """The files of a folder tree. Linked folders are followed, each real folder once, so that circular links end."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.root = Path(spec.text)
        if not self.root.is_dir():
            raise DataError(f"{spec.text}: no such folder of photographs")

    def _find(self) -> list[str]:
        return list(self._places)

    @cached_property
    def _places(self) -> dict[str, Path]:
        """Return the file of every name; they differ only if a name is no UTF-8."""
        places: dict[str, Path] = {}
        for path in sorted(_walk(self.root, self.spec.exclude)):
            places[distinct(plain(path.relative_to(self.root).as_posix()), places)] = path
        return places

    def _place(self, name: str) -> Path:
        path = self.root / name
        return path if os.path.lexists(path) or "\\x" not in name else self._places.get(name, path)

    def read(self, name: str) -> bytes:
        """See `Photos`."""
        return read_file(self._place(name), max_bytes=self.spec.max_bytes)

    def stamp(self, name: str) -> str:
        """Size and time of the last change."""
        return stamp_file(self._place(name))


def _walk(root: Path, exclude: Path | None) -> list[Path]:
    """Return all files, real folders before linked ones, so that a photograph has its plainest name."""
    found: list[Path] = []
    # a link to a parent would add everything beside the folder
    seen = {_identity(f) for f in (*root.resolve().parents, *([exclude] if exclude and exclude.exists() else []))}
    real, linked = [root], list[Path]()
    while real or linked:
        folder = real.pop() if real else linked.pop(0)
        if _within(folder, exclude) or (identity := _identity(folder)) in seen:
            continue
        seen.add(identity)
        entries = _entries(folder)
        if entries is not None and folder != root and _is_ours({e.name for e in entries}):
            continue
        found += [folder] if entries is None else [folder / e.name for e in entries if not _is_folder(e)]
        for entry in entries or ():
            if _is_folder(entry) and not is_hidden(entry.name):
                (linked if entry.is_symlink() else real).append(folder / entry.name)
        linked.sort()
    return found


def _is_ours(names: set[str]) -> bool:
    """Return whether a folder with these files is a dataset of `archsr prepare`, whose crops are no photographs."""
    return {"manifest.json", "sources.jsonl"} <= names or has_versions(names)


def _entries(folder: Path) -> list[os.DirEntry[str]] | None:
    """Return the entries of a folder; None without permission: such a folder counts as an unreadable entry."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _within(folder: Path, exclude: Path | None) -> bool:
    return exclude is not None and folder.resolve().is_relative_to(exclude.resolve())
