"""Groups photographs that follow each other in a folder: by number, by time, and by content.

File names given by a camera say nothing about the building. In a folder of such names each photograph would be a scene
of its own, and two of one building could end up in two splits.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PurePosixPath

from archsr.config import PrepareConfig
from archsr.config.prepare import ScenesConfig
from archsr.data.prepare.duplicates.buildings import LocalFeatures, agreeing, features_of
from archsr.data.prepare.known import Known
from archsr.data.prepare.scenes import is_numbered_by_a_camera, scene_in
from archsr.data.prepare.survey.chunks import PreparePaths
from archsr.data.prepare.survey.scan import ScannedFile, photos_of
from archsr.data.prepare.worker_pool import WorkerPool
from archsr.utils.atomic import write_bytes

Link = tuple[str, str]
_AT_ONCE = 256  # pairs per job
BUILDING = "the same building"  # `how` of such a pair in same.jsonl


@dataclass(frozen=True)
class BuildingMatch:
    """Two photographs of one building, and how many of their features match."""

    a: str
    b: str
    points: int


# ---------------------------------------------------------------- by number, by time


def numbered_scenes(paths: Sequence[str], scenes: ScenesConfig) -> dict[str, list[str]]:
    """Return by folder the photographs with camera names, which are separate scenes by their paths alone."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        place = PurePosixPath(path)
        in_folder = len(place.parts) > 1 and scenes.folder
        if not in_folder and (is_numbered_by_a_camera(place.stem) or not scenes.title):
            found[place.parent.as_posix()].append(path)
    return {folder: sorted(names, key=_natural) for folder, names in found.items()}


def following(sources: Sequence[ScannedFile], config: PrepareConfig) -> list[Link]:
    """Return pairs to be in one scene by `scenes.neighbours`: a chain for each block of numbers or run in time."""
    paths = [s.path for s in sources]
    links: list[Link] = []
    for names in numbered_scenes(paths, config.scenes).values():
        if config.scenes.neighbours == "number":
            links += [(a, b) for a, b in pairwise(names) if _block(a, config.scenes) == _block(b, config.scenes)]
        elif config.scenes.neighbours == "time":
            taken = {s.path: s.taken for s in sources}
            links += _soon_after(sorted((taken[n], n) for n in names if taken[n]), config.scenes.neighbours_minutes)
    return links


def _block(path: str, scenes: ScenesConfig) -> int:
    """Return the block that a photograph's number falls into; it does not depend on other photographs."""
    numbers = re.findall(r"\d+", PurePosixPath(path).stem)
    return int(numbers[-1]) // scenes.neighbours_block if numbers else -1


def _soon_after(ordered: Sequence[tuple[str, str]], minutes: float) -> list[Link]:
    moments = [(datetime.fromisoformat(when), name) for when, name in ordered]
    return [(a, b) for (x, a), (y, b) in pairwise(moments) if (y - x).total_seconds() <= 60 * minutes]


def _natural(path: str) -> list[tuple[int, int, str]]:
    """Sort by number: photo 2 before photo 10."""
    parts = re.split(r"(\d+)", path.casefold())
    return [(1, int(p), "") if p.isdigit() and p.isascii() else (0, 0, p) for p in parts]


# ---------------------------------------------------------------- by what they show


def same_buildings(
    place: PreparePaths, paths: Sequence[str], known: Known, config: PrepareConfig, pool: WorkerPool
) -> list[BuildingMatch]:
    """Return pairs of `paths` that show one building; each is compared with those that follow it in its folder.

    Results of the previous version are reused for two unchanged photographs that were neighbours in it.
    """
    pairs = _pairs(paths, config)
    before = _compared(known, config)
    found = [before[pair] for pair in pairs if pair in before]
    new = [pair for pair in pairs if pair not in before]
    jobs = [_MatchJob(place, tuple(new[i : i + _AT_ONCE])) for i in range(0, len(new), _AT_ONCE)]
    for agreements in pool(_compare, jobs, "comparing neighbours", sizes=[len(j.pairs) for j in jobs]):
        found += agreements
    return sorted((f for f in found if f.points), key=lambda f: (f.a, f.b))


def _pairs(paths: Sequence[str], config: PrepareConfig) -> list[Link]:
    """Return each photograph with the next `scenes.same_building` of its folder that are other scenes by path."""
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        folders[PurePosixPath(path).parent.as_posix()].append(path)
    found: list[Link] = []
    for names in folders.values():
        names.sort(key=_natural)
        scenes = [scene_in(name, config) for name in names]
        for i, name in enumerate(names):
            others = range(i + 1, min(i + 1 + config.scenes.same_building, len(names)))
            found += [(name, names[j]) for j in others if scenes[i] != scenes[j]]
    return found


def _compared(known: Known, config: PrepareConfig) -> dict[Link, BuildingMatch]:
    """Return the known results for pairs of unchanged photographs that were compared before."""
    made = known.made
    if made is None or made.prepare["scenes"] != config.scenes.model_dump(mode="json"):
        return {}
    agreed: dict[Link, int] = {}
    with (known.folder / made.sources.same).open(encoding="utf-8") as lines:
        for plain in map(json.loads, lines):
            if plain["how"] == BUILDING:
                agreed[plain["a"], plain["b"]] = round(plain["score"])
    pairs = [
        pair
        for pair in _pairs([path for path, kind in known.kinds.items() if not kind], config)
        if known.sources.keys() >= set(pair)
    ]
    return {pair: BuildingMatch(*pair, agreed.get(pair, 0)) for pair in pairs}


@dataclass(frozen=True)
class _MatchJob:
    place: PreparePaths
    pairs: tuple[Link, ...]

    @property
    def file(self) -> Path:
        """Return the file that keeps its results, named by what was compared."""
        digest = hashlib.sha256(json.dumps(self.pairs).encode()).hexdigest()[:16]
        return self.place.staging / f"buildings-{digest}.json"


def _compare(job: _MatchJob) -> list[BuildingMatch]:
    if not job.file.is_file():
        photos = photos_of(job.place.origin, job.place.out, job.place.staging)

        @lru_cache(maxsize=64)
        def features(path: str) -> LocalFeatures | None:
            try:
                return features_of(photos.read(path))
            except (OSError, ValueError):  # removed or replaced meanwhile: it is excluded where it is read again
                return None

        points: list[int] = []
        for a, b in job.pairs:
            first, second = features(a), features(b)
            points.append(agreeing(first, second) if first and second else 0)
        write_bytes(job.file, json.dumps(points).encode())
    stored: list[int] = json.loads(job.file.read_bytes())
    return [BuildingMatch(a, b, count) for (a, b), count in zip(job.pairs, stored, strict=True)]


# ---------------------------------------------------------------- what is still uncertain


def camera_name_warning(sides: Mapping[str, str], taken: Mapping[str, str], scenes: ScenesConfig) -> str:
    """Return a warning if photographs are separate scenes only by a camera's number, otherwise an empty string.

    `sides` and `taken` (EXIF time or empty) hold every kept photograph by its path.
    """
    if scenes.neighbours == "number":
        return ""
    timeless = {path for path in sides if not taken.get(path)}
    alone = timeless if scenes.neighbours == "time" else set(sides)
    groups = [names for names in numbered_scenes(list(sides), scenes).values() if len(names) > 1]
    torn = {n for names in groups for a, b in pairwise(names) if sides[a] != sides[b] for n in (a, b) if n in alone}
    if not torn:
        return ""
    names = [name for group in groups for name in group]
    blocks = len({(PurePosixPath(n).parent, _block(n, scenes)) for n in names})
    size, minutes = scenes.neighbours_block, scenes.neighbours_minutes
    told = f"; {len(timeless)} have no time in their EXIF" if timeless else ""
    return (
        f"{len(names)} photographs have only a camera's number for a name: nothing says which show the same house. "
        f"{len(torn)} have the photograph before or after on another side, so that a test may show a building that was "
        "trained on. Views that overlap are found and joined, but most views of one building do not overlap. Put the "
        "photographs of each building into a folder of their own, or join those that follow each other:\n"
        f"  --set scenes.neighbours=number  {size} numbers each, here {blocks} scenes or fewer\n"
        f"  --set scenes.neighbours=time    shots at most {minutes:g} minutes apart{told}"
    )
