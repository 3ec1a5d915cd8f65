"""Describe the ignored files beside the images by kind, from their endings."""

from collections.abc import Sequence
from pathlib import Path

from archsr.images.image_files import is_litter
from archsr.images.raw_files import RAW_ENDINGS

_NAMED = 3  # files of a kind that are named
# singular, plural, and the endings
_KINDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("video", "videos", (".mp4", ".mov", ".avi", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".mts", ".3gp", ".wmv")),
    (
        "raw photograph (develop it to TIFF or JPEG)",
        "raw photographs (develop them to TIFF or JPEG)",
        RAW_ENDINGS,
    ),
    ("text", "texts", (".txt", ".md", ".csv", ".json", ".xml", ".xmp", ".html", ".log", ".ini", ".toml", ".yaml")),
    ("document", "documents", (".pdf", ".doc", ".docx", ".odt", ".xls", ".xlsx", ".ppt", ".pptx", ".rtf")),
    ("archive", "archives", (".zip", ".tar", ".gz", ".bz2", ".xz", ".7z", ".rar", ".tgz")),
    ("drawing", "drawings", (".svg", ".dwg", ".dxf", ".eps", ".ai", ".skp", ".rvt", ".ifc")),
    ("editor's document (save it as PNG or TIFF)", "editors' documents (save them as PNG or TIFF)",
     (".psd", ".psb", ".xcf", ".kra", ".afphoto")),
    ("sound", "sounds", (".mp3", ".wav", ".aac", ".m4a", ".flac", ".ogg", ".aif", ".aiff")),
)  # fmt: skip
_SYSTEM = ("file of the operating system", "files of the operating system")
_UNKNOWN = ("file of an unsupported kind", "files of unsupported kinds")


def describe_kinds(files: Sequence[Path]) -> list[str]:
    """Return phrases like "5 videos: a.mov, b.mov, c.mov and 2 more", the most frequent kind first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for file in files:
        groups.setdefault(_kind(file), []).append(file.name)
    known = [*((one, many) for one, many, _ in _KINDS), _SYSTEM, _UNKNOWN]
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), _rank(group[0], known)))
    return [f"{len(names)} {kind[len(names) > 1]}: {_some(names)}" for kind, names in ordered]


def _rank(kind: tuple[str, str], known: list[tuple[str, str]]) -> int:
    return known.index(kind)


def _kind(file: Path) -> tuple[str, str]:
    if is_litter(file.name):
        return _SYSTEM
    ending = file.suffix.lower()
    return next(((one, many) for one, many, endings in _KINDS if ending in endings), _UNKNOWN)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
