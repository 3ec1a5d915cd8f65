"""Scenes, which must not be in two splits, and the split itself."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import PurePosixPath

from archsr.config import PrepareConfig
from archsr.data.manifest import SplitName
from archsr.errors import UserError
from archsr.utils.seeds import unit

# a camera's file names say nothing about the content
_CAMERA = re.compile(r"^(img|dsc[nf]?|pxl|p|image|photo|pic|mvimg|gopr|dji|screenshot|whatsapp image)$")
_CAMERAS = frozenset({"image", "photo", "mvimg", "gopr", "screenshot", "whatsapp"})  # those with four letters and more
_LAST_NUMBER = re.compile(
    r"[ _.\-]*(copy|final|edit(ed)?|(view|shot|img|photo|pic|no|nr)?[ _.\-]*(\d+[a-z]?|\(\d+\)))$"
)
# words that name a part of a building, not a building
_GENERIC_WORDS = frozenset(
    re.findall(
        r"\S+",
        """
        aerial area atrium back balcony basement bath bathroom bedroom brick bridge building ceiling city close closeup
        concrete corner corridor courtyard daylight design detail details dining door drawing east elevation entrance
        entry evening exterior facade façade finished floor front garden glass ground hall hallway home house image
        indoor inside interior kitchen landscape level library living lobby main model morning night north office
        outdoor outside photo image plan pool project reception render roof rooftop room section side sketch south
        space stair staircase stairs street structure studio terrace title tower tree upper view wall west window
        windows wood
        bricks brickwork masonry paving plaster steel stone tile tiles tiling timber texture
        """,
    )
)
_WORD = re.compile(r"[^\W\d_]{4,}")
_MANY = 3  # a title in more folders than this is generic


def scene_of(path: str, *, folder: bool = True, title: bool = True) -> str:
    """Return the scene that the path alone gives: its folder, or, without a folder, its title.

    A title is the name without its last number, so that `villa-01.jpg` and `villa-02.jpg` are one scene. Names that a
    camera gave (`IMG_2231`) are no titles: such a photograph is a scene of its own. Without `folder`, files of a folder
    are not united; only equal titles within it are.
    """
    place = PurePosixPath(path)
    parent = place.parent.as_posix() if len(place.parts) > 1 else ""
    if folder and parent:
        return parent
    name = title_of(place.stem) if title else place.name.casefold()
    return f"title:{parent}/{name}" if parent else f"title:{name}"


def scene_in(path: str, config: PrepareConfig) -> str:
    """Return `scene_of` by the rules of a config."""
    return scene_of(path, folder=config.scenes.folder, title=config.scenes.title)


def title_of(stem: str) -> str:
    """Return the common part of the names of several shots of one thing."""
    name = stem.casefold().strip()
    shortened = _LAST_NUMBER.sub("", name).strip(" _.-")
    if not shortened or _CAMERA.match(shortened):
        return name
    return shortened


def is_numbered_by_a_camera(stem: str) -> bool:
    """Return whether a name is no title, such as IMG_2231 or 12: it says nothing about other photographs."""
    name = stem.casefold().strip()
    return title_of(stem) == name and bool(re.search(r"\d", name)) and not set(_WORD.findall(name)) - _CAMERAS


@dataclass(frozen=True)
class Scenes:
    """The scene of every photograph by its path, and which path scenes each one unites."""

    of: dict[str, str]
    parts: dict[str, list[str]]


def unite(paths: Sequence[str], links: Iterable[tuple[str, str]], config: PrepareConfig) -> Scenes:
    """Unite `paths` into scenes by folders, shared titles and `links` (paths that show the same).

    A united scene has the first of its names in alphabetical order.
    """
    base = {p: scene_in(p, config) for p in paths}
    boss: dict[str, str] = {name: name for name in base.values()}

    def find(name: str) -> str:
        while boss[name] != name:
            boss[name] = boss[boss[name]]
            name = boss[name]
        return name

    shared = _shared_titles(paths) if config.scenes.title else []
    for a, b in [*links, *shared]:
        first, second = sorted((find(base[a]), find(base[b])))
        boss[second] = first
    parts: defaultdict[str, set[str]] = defaultdict(set)
    for name in base.values():
        parts[find(name)].add(name)
    return Scenes({p: find(name) for p, name in base.items()}, {k: sorted(v) for k, v in sorted(parts.items())})


def _shared_titles(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of photographs in different folders with one specific title, a chain for each title.

    Specific means: numbered, with a word of four letters or more that names no part of a building.
    """
    by_title: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for path in paths:
        place = PurePosixPath(path)
        name = title_of(place.stem)
        if name != place.stem.casefold().strip() and set(_WORD.findall(name)) - _GENERIC_WORDS:
            by_title[name].setdefault(place.parent.as_posix(), path)
    chains = [sorted(places.values()) for places in by_title.values() if 1 < len(places) <= _MANY]
    return [pair for chain in chains for pair in pairwise(chain)]


def split_of(scene: str, config: PrepareConfig) -> SplitName:
    """Return the split of a scene by its name and the seed only: adding scenes never moves old ones."""
    if config.val_folders or config.test_folders:
        return _named(scene, config)
    place = unit(config.seed, "split", scene)
    if place < config.val:
        return "val"
    return "test" if place >= 1 - config.test else "train"


def _named(scene: str, config: PrepareConfig) -> SplitName:
    """Return the split of a folder by the lists; a split without a list is still chosen by the hash."""
    lists: tuple[tuple[SplitName, tuple[str, ...]], ...] = (
        ("test", config.test_folders),
        ("val", config.val_folders),
    )
    for side, globs in lists:
        if any(fnmatch(_folder_of(scene).casefold(), glob.casefold().replace("\\", "/")) for glob in globs):
            return side
    place = unit(config.seed, "split", scene)
    if not config.val_folders and place < config.val:
        return "val"
    return "test" if not config.test_folders and place >= 1 - config.test else "train"


def _folder_of(scene: str) -> str:
    """Return the folder in the name of a scene, also if the scene is a title within a folder."""
    return scene.removeprefix("title:").rpartition("/")[0] if scene.startswith("title:") else scene


def side_of(parts: Sequence[str], earlier: Mapping[str, SplitName], config: PrepareConfig) -> SplitName:
    """Return the split of a scene that unites `parts`.

    Its split in the `earlier` dataset wins, so that a new photograph that links two scenes moves few old ones; of two
    splits, test comes before val and val before train. Otherwise a listed folder decides, otherwise the hash of the
    first name.
    """
    before = {earlier[p] for p in parts if p in earlier}
    if before:
        return next(side for side in ("test", "val", "train") if side in before)
    if config.val_folders or config.test_folders:
        sides = {split_of(p, config) for p in parts}
        return next(side for side in ("test", "val", "train") if side in sides)
    return split_of(parts[0], config)


def refuse_few_names(paths: Iterable[str], config: PrepareConfig) -> None:
    """Raise `UserError` before any file is read if the names alone give too few scenes: images only unite more."""
    unique = {scene_in(p, config) for p in paths}
    if unique:
        _refuse_few(sorted(unique))


def _refuse_few(unique: Sequence[str]) -> None:
    if len(unique) >= 3:
        return
    names = [name.removeprefix("title:") for name in unique]
    titled = any(name.startswith("title:") for name in unique)
    advice = (
        "Numbered names count as shots of one thing (villa-01, villa-02). Where the numbers are a camera's or a "
        "program's (frame_00012, row-0000000), --set scenes.title=false makes each photograph a scene of its own"
        if titled
        else "A sub-folder is a scene. Where folders are styles or years, --set scenes.folder=false"
    )
    raise UserError(
        f"too few scenes for three splits: found {len(unique)} ({', '.join(names)}), need at least 3. {advice}; "
        "otherwise sort the photographs into a folder per project"
    )


def assign(scenes: Scenes, earlier: Mapping[str, SplitName], config: PrepareConfig) -> dict[str, SplitName]:
    """Return the split of every scene. Raises `UserError`, with shares that work, if a split stays empty."""
    unique = list(scenes.parts)
    _refuse_few(unique)
    sides: dict[str, SplitName] = {scene: side_of(parts, earlier, config) for scene, parts in scenes.parts.items()}
    missing = [side for side in ("train", "val", "test") if side not in sides.values()]
    if missing:
        raise UserError(
            f"too few scenes for three splits: of {len(unique)} scenes none fell to {' or '.join(missing)} "
            f"({_how(config)}). {_fractions_that_work(unique, config)}"
        )
    return sides


def _how(config: PrepareConfig) -> str:
    val = f"val_folders = {list(config.val_folders)}" if config.val_folders else f"val = {config.val:g}"
    test = f"test_folders = {list(config.test_folders)}" if config.test_folders else f"test = {config.test:g}"
    return f"{val}, {test}"


def _fractions_that_work(scenes: Sequence[str], config: PrepareConfig) -> str:
    if config.val_folders or config.test_folders:
        return "The lists are globs of folders relative to the photographs"
    places = sorted(unit(config.seed, "split", s) for s in scenes)
    val = max(config.val, _round_up(places[0]))
    test = max(config.test, _round_up(1 - places[-1]))
    if val + test < 1 and any(val <= place < 1 - test for place in places):
        return f"These fractions reach all three: --set val={val:.2f} --set test={test:.2f}"
    return "Try another seed (--set seed=1) or more scenes"


def _round_up(share: float) -> float:
    return (int(share * 100) + 1) / 100
