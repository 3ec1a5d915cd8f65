"""Decides about every file: copies, scenes, splits and tags. It needs all files at once, but no pixels."""

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from archsr.config import PrepareConfig
from archsr.data.manifest import SplitName
from archsr.data.prepare.duplicates.near import near_pairs
from archsr.data.prepare.duplicates.neighbours import BUILDING, BuildingMatch, following
from archsr.data.prepare.former import FormerSplit, Moved
from archsr.data.prepare.known import CHANGED
from archsr.data.prepare.scenes import Scenes, assign, scene_in, split_of, unite
from archsr.data.prepare.sources.paired import UNPAIRED
from archsr.data.prepare.survey.scan import OTHER, UNREADABLE, ScannedFile
from archsr.data.prepare.survey.tags import tags_of
from archsr.errors import UserError
from archsr.utils.progress import progress

Link = tuple[str, str]
_BRIDGE = "shows the same as photographs that the former dataset has in different splits"


@dataclass(frozen=True)
class Match:
    """Two files that show the same photograph or the same building.

    `score` is 1 for exact copies, the near-duplicate score for near-duplicates, and the number of matching features for
    buildings. `folders` are the scenes by path alone. `leak` is true if a split by path alone would separate the two.
    """

    a: str
    b: str
    score: float
    how: str
    folders: tuple[str, str]
    leak: bool


@dataclass(frozen=True)
class Decision:
    """`sources` in the given order, scene and tags of each kept path, the split of each scene, and moved files."""

    sources: list[ScannedFile]
    scenes: Scenes
    sides: dict[str, SplitName]
    tags: dict[str, tuple[str, ...]]
    same: list[Match]
    buildings: list[Match]
    moved: list[Moved]

    def side(self, path: str) -> SplitName:
        """Return the split of a kept photograph."""
        return self.sides[self.scenes.of[path]]


def decide(
    sources: Sequence[ScannedFile],
    thumbs: NDArray[np.uint8],
    former: FormerSplit,
    config: PrepareConfig,
    *,
    buildings: Sequence[BuildingMatch] = (),
    resplit: bool = False,
    threads: int = 1,
) -> Decision:
    """Decide about each file. The files are given in alphabetical order, so that the result depends on no other order.

    `thumbs` (n, 64, 64) has a row per source. `former` holds the splits of the former dataset, which stay unless
    `resplit`. `buildings` are pairs that show one building. Raises `UserError` if a split would be empty.
    """
    before = former.of(sources)
    earlier = {} if resplit else before
    marked, copies = without_copies(sources, () if resplit else former.paths)
    same = [_same(a, b, 1.0, "the same file", config) for a, b in copies]
    if config.scenes.near_duplicates:
        same += _near(marked, thumbs, config, threads)
    agreed = [_same(b.a, b.b, b.points, BUILDING, config) for b in buildings]
    links = [(s.a, s.b) for s in (*same, *agreed)] + following([s for s in marked if not s.kind], config)
    scene_sides = {} if resplit else _scene_sides(earlier, former.paths, config)
    bridges = _bridges(links, earlier, scene_sides, config)
    links = [link for link in links if not bridges & set(link)]
    marked = [replace(s, kind="bridge", reason=_BRIDGE) if s.path in bridges and not s.kind else s for s in marked]
    kept = [s for s in marked if not s.kind]
    # a copy gives no samples, but its folder shows the same building as the original's folder
    everyone = sorted({s.path for s in kept} | {p for link in links for p in link})
    scenes = unite(everyone, links, config)
    here = {s.path for s in kept}
    scenes = Scenes({p: n for p, n in scenes.of.items() if p in here}, _nonempty(scenes, here))
    sides = assign(scenes, scene_sides, config)
    now: dict[str, SplitName] = {path: sides[scene] for path, scene in scenes.of.items()}
    moved = [Moved(p, before[p], side) for p, side in sorted(now.items()) if before.get(p, side) != side]
    return Decision(marked, scenes, sides, {s.path: tags_of(s, config.tags) for s in kept}, same, agreed, moved)


def without(decision: Decision, paths: Container[str], reason: str) -> Decision:
    """Exclude these photographs as `changed`. Raises `UserError` if a split becomes empty."""
    sources = [replace(s, kind=CHANGED, reason=reason) if s.path in paths else s for s in decision.sources]
    here = {s.path for s in sources if not s.kind}
    scenes = Scenes({p: n for p, n in decision.scenes.of.items() if p in here}, _nonempty(decision.scenes, here))
    sides: dict[str, SplitName] = {scene: side for scene, side in decision.sides.items() if scene in scenes.parts}
    if len(set(sides.values())) < len(set(decision.sides.values())):
        raise UserError(f"too few photographs: a split is empty without those {reason}; prepare again")
    tags = {path: tags for path, tags in decision.tags.items() if path in here}
    moved = [m for m in decision.moved if m.path in here]
    return Decision(sources, scenes, sides, tags, decision.same, decision.buildings, moved)


def _nonempty(scenes: Scenes, here: set[str]) -> dict[str, list[str]]:
    names = {scenes.of[p] for p in here}
    return {name: parts for name, parts in scenes.parts.items() if name in names}


def _scene_sides(
    earlier: Mapping[str, SplitName], former: Mapping[str, SplitName], config: PrepareConfig
) -> dict[str, SplitName]:
    """Return the split of every scene by path: that of its former photographs, otherwise that of its former name.

    If they were in several splits, test wins over val and val over train, so that no model was trained on a test scene.
    """
    found: defaultdict[str, set[SplitName]] = defaultdict(set)
    for path, side in earlier.items():
        found[scene_in(path, config)].add(side)
    chosen: dict[str, SplitName] = {scene_in(path, config): side for path, side in former.items()}
    order: tuple[SplitName, ...] = ("test", "val", "train")
    for scene, sides in found.items():
        chosen[scene] = next(side for side in order if side in sides)
    return chosen


def without_copies(
    sources: Sequence[ScannedFile], earlier: Container[str] = ()
) -> tuple[list[ScannedFile], list[Link]]:
    """Mark files with the same bytes as another as duplicates, because they would count twice.

    The original is the first in alphabetical order, with files of the `earlier` dataset first. Returns the marked
    sources and (original, copy) pairs.
    """
    first: dict[str, str] = {}
    for source in sorted((s for s in sources if not s.kind), key=lambda s: (s.path not in earlier, s.path)):
        first.setdefault(source.sha256, source.path)
    marked: list[ScannedFile] = []
    copies: list[Link] = []
    for source in sources:
        original = first[source.sha256] if not source.kind else source.path
        if original != source.path:
            copies.append((original, source.path))
            source = replace(source, kind="duplicate", reason=f"the same file as {original}")
        marked.append(source)
    return marked, sorted(copies)


def _near(
    sources: Sequence[ScannedFile], thumbs: NDArray[np.uint8], config: PrepareConfig, threads: int
) -> list[Match]:
    which = [i for i, s in enumerate(sources) if not s.kind]
    with progress("comparing", len(which)) as advance:
        found = near_pairs(thumbs, which=which, progress=advance, threads=threads)
    paths = [s.path for s in sources]
    return [_same(paths[p.a], paths[p.b], p.score, "mirrored" if p.mirrored else _window(p.box), config) for p in found]


def _window(box: tuple[float, float, float, float]) -> str:
    whole = box[0] < 0.02 and box[1] < 0.02 and box[2] > 0.98 and box[3] > 0.98
    return "the same image" if whole else "a part of the other"


def _same(a: str, b: str, score: float, how: str, config: PrepareConfig) -> Match:
    first, second = (scene_in(p, config) for p in (a, b))
    leak = first != second and split_of(first, config) != split_of(second, config)
    return Match(a, b, round(score, 4), how, (first, second), leak)


def _bridges(
    links: Sequence[Link],
    earlier: Mapping[str, SplitName],
    sides: Mapping[str, SplitName],
    config: PrepareConfig,
) -> set[str]:
    """Return new photographs that link former scenes of two splits: uniting those would move old photographs."""
    touched: defaultdict[str, set[SplitName]] = defaultdict(set)
    for a, b in links:
        for new, old in ((a, b), (b, a)):
            if new not in earlier and old in earlier:
                own = scene_in(new, config)
                touched[new] |= {earlier[old], *([sides[own]] if own in sides else [])}
    return {path for path, found in touched.items() if len(found) > 1}


def refuse_bad_input(sources: Sequence[ScannedFile], config: PrepareConfig, origin: str) -> None:
    """Raise `UserError` if no photographs or too many unusable files are found."""
    bad = [s for s in sources if s.kind in (UNREADABLE, UNPAIRED)]
    images = [s for s in sources if s.kind != OTHER]
    if all(s.kind for s in sources):
        some = "; ".join(f"{s.path}: {s.reason}" for s in sorted(sources, key=lambda s: s.path)[:3])
        raise UserError(f"{origin}: no photographs found: all {len(sources)} files are left out ({some})")
    if len(bad) > config.max_bad_share * len(images):
        raise UserError(
            f"{origin}: {len(bad)} of {len(images)} files cannot be used, more than max_bad_share "
            f"({config.max_bad_share:g}); the first: {bad[0].path}: {bad[0].reason}. Is it the right folder?"
        )
