"""The versions of a dataset: complete folders `v1`, `v2`, ... inside it, and `current`, which names one of them.

A version is never changed. Shards that two versions share are hard links to one file, so that a version takes only the
space of what is new, and each may be copied, uploaded or removed by itself. A dataset of an earlier archsr has no
versions and is read from its folder.
"""

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from archsr.utils.atomic import discarded, sync_folder, write_bytes

CURRENT = "current"
UNFINISHED = ".preparing"  # staging folder of the next version, on the same file system
_NAME = re.compile(r"v[1-9]\d{0,8}")


def has_versions(names: Collection[str]) -> bool:
    """Return whether a folder with these names is a dataset with versions."""
    return CURRENT in names and any(_NAME.fullmatch(name) for name in names)


def current(folder: Path) -> Path:
    """Return the current version of the dataset in `folder`, or `folder` itself if it has no versions."""
    try:
        name = (folder / CURRENT).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return folder
    return folder / name if _NAME.fullmatch(name) else folder


def versions(folder: Path) -> list[Path]:
    """Return all versions of the dataset in `folder`, the oldest first."""
    try:
        found = [p for p in folder.iterdir() if _NAME.fullmatch(p.name) and p.is_dir()]
    except OSError:
        return []
    return sorted(found, key=lambda p: int(p.name[1:]))


def add_version(folder: Path, finished: Path) -> Path:
    """Move a `finished` folder on the same file system into the dataset in `folder` as its newest version."""
    there = versions(folder)
    version = folder / f"v{int(there[-1].name[1:]) + 1 if there else 1}"
    sync_folder(finished)
    finished.rename(version)
    sync_folder(folder)
    return version


def make_current(version: Path) -> None:
    """Make a version the current one."""
    write_bytes(version.parent / CURRENT, f"{version.name}\n".encode())


def remove_old(folder: Path) -> list[str]:
    """Remove all versions but the current one; return their names. Runs trained on a removed one cannot resume."""
    kept = current(folder)
    removed = [version for version in versions(folder) if version != kept]
    for version in removed:
        gone = discarded(version)
        version.rename(gone)
        shutil.rmtree(gone)
    return [version.name for version in removed]
