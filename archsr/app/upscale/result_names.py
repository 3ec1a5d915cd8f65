"""What results are called: the photograph, how many times larger, and of several models which; no name twice."""

import re
from pathlib import Path

from archsr.app.context import name_of
from archsr.images.image_files import HEIC_ENDINGS, WRITTEN


def result_name(name: str, scale: float, *, ending: str = "", model: str = "") -> str:
    """`front.jpg` enlarged four times is `front_x4.jpg`; `ending` and `model` where they are asked for.

    What cannot be written becomes PNG; HEIC, which is a fortieth of that, JPEG.
    """
    stem, suffix = Path(name).stem, Path(name).suffix.lower()
    chosen = ending or (suffix if suffix in WRITTEN else ".jpg" if suffix in HEIC_ENDINGS else ".png")
    return f"{stem}_x{scale:g}{'_' + name_of(model) if model else ''}{chosen}"


def unlike(name: str, taken: set[str]) -> str:
    """The name, numbered if it is taken by one that differs in capitals at most; from now on it is taken."""
    path, number, free = Path(name), 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{path.stem} ({number}){path.suffix}"
    taken.add(free.casefold())
    return free


def is_token(text: str) -> bool:
    """Whether it is the name of a folder that nobody can guess."""
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None
