"""Scenes, which must not be on two sides of the split, and the split itself."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from archsr.config import PrepareConfig
from archsr.errors import UserError
from archsr.manifest import SplitName
from archsr.seeds import unit

# a camera's own names say nothing about what is on the picture
_CAMERA = re.compile(r"^(img|dsc[nf]?|pxl|p|image|photo|pic|mvimg|gopr|dji|screenshot|whatsapp image)$")
_LAST_NUMBER = re.compile(
    r"[ _.\-]*(copy|final|edit(ed)?|(view|shot|img|photo|pic|no|nr)?[ _.\-]*(\d+[a-z]?|\(\d+\)))$"
)


def scene_of(path: str) -> str:
    """The scene of a photograph at `path` (relative, `/`-separated): its folder, or, in no folder, its title.

    A title is the name without its last number, so that `villa-01.jpg` and `villa-02.jpg` are one scene. Names that
    a camera gave (`IMG_2231`) are no titles: such a photograph is a scene of its own.
    """
    place = PurePosixPath(path)
    if len(place.parts) > 1:
        return place.parent.as_posix()
    return "title:" + title(place.stem)


def title(stem: str) -> str:
    """The shared part of the names of several shots of one thing."""
    name = stem.casefold().strip()
    shortened = _LAST_NUMBER.sub("", name).strip(" _.-")
    if not shortened or _CAMERA.match(shortened):
        return name
    return shortened


def split_of(scene: str, config: PrepareConfig) -> SplitName:
    """The side of a scene, decided by nothing but its name and the seed: adding scenes never moves old ones."""
    place = unit(config.seed, "split", scene)
    if place < config.val:
        return "val"
    return "test" if place >= 1 - config.test else "train"


def assign(scenes: Sequence[str], config: PrepareConfig) -> dict[str, SplitName]:
    """The side of every scene. Raises `UserError`, with fractions that work, where a side stays empty."""
    unique = sorted(set(scenes))
    if len(unique) < 3:
        raise UserError(
            f"too few scenes for three splits: found {len(unique)} ({', '.join(unique)}), need at least 3. A scene is "
            "a sub-folder, or a shared title (villa-01, villa-02); sort the photographs into a folder per project"
        )
    sides: dict[str, SplitName] = {scene: split_of(scene, config) for scene in unique}
    missing = [side for side in ("train", "val", "test") if side not in sides.values()]
    if missing:
        raise UserError(
            f"too few scenes for three splits: of {len(unique)} scenes none fell to {' or '.join(missing)} "
            f"(val = {config.val:g}, test = {config.test:g}). {_fractions_that_work(unique, config)}"
        )
    return sides


def _fractions_that_work(scenes: Sequence[str], config: PrepareConfig) -> str:
    places = sorted(unit(config.seed, "split", s) for s in scenes)
    val = max(config.val, _round_up(places[0]))
    test = max(config.test, _round_up(1 - places[-1]))
    if val + test < 1 and any(val <= place < 1 - test for place in places):
        return f"These fractions reach all three: --set val={val:.2f} --set test={test:.2f}"
    return "Try another seed (--set seed=1) or more scenes"


def _round_up(share: float) -> float:
    return (int(share * 100) + 1) / 100
