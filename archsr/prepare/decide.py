"""From what every file is to what becomes of it: copies, scenes, sides and tags. Needs all files at once, and no pixels."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from archsr.config import PrepareConfig
from archsr.errors import UserError
from archsr.manifest import SplitName
from archsr.prepare.near import near_pairs
from archsr.prepare.scan import Source
from archsr.prepare.scenes import Scenes, assign, scene_of, split_of, unite
from archsr.prepare.tags import tags_of

Link = tuple[str, str]


@dataclass(frozen=True)
class Same:
    """Two files that show the same photograph: `score` 1 for exact copies, else the near-duplicate score.

    `folders` are the scenes that their paths alone give; `leak`: a split by those alone puts the two on two sides.
    """

    a: str
    b: str
    score: float
    how: str
    folders: tuple[str, str]
    leak: bool


@dataclass(frozen=True)
class Decision:
    """`sources` in the order given; for each kept path its scene, its tags, and each scene's side."""

    sources: list[Source]
    scenes: Scenes
    sides: dict[str, SplitName]
    tags: dict[str, tuple[str, ...]]
    same: list[Same]

    def side(self, path: str) -> SplitName:
        """The side of a kept photograph."""
        return self.sides[self.scenes.of[path]]


def decide(
    sources: Sequence[Source], thumbs: NDArray[np.uint8], earlier: Mapping[str, SplitName], config: PrepareConfig
) -> Decision:
    """What becomes of each file. `thumbs` (n, 64, 64) has a row per source; `earlier` the sides of a former dataset.

    Raises `UserError` where no three sides come about.
    """
    marked, copies = without_copies(sources)
    same = [_same(a, b, 1.0, "the same file", config) for a, b in copies]
    if config.scenes.near_duplicates:
        same += _near(marked, thumbs, config)
    links = [(s.a, s.b) for s in same]
    marked = _without_bridges(marked, links, earlier)
    kept = [s for s in marked if not s.kind]
    dropped = {s.path for s in marked if s.kind and s.kind != "duplicate"}
    links = [link for link in links if not dropped & set(link)]
    # a copy gives no samples, but its folder shows the same building as the original's
    everyone = sorted({s.path for s in kept} | {p for link in links for p in link})
    scenes = unite(everyone, links, config)
    here = {s.path for s in kept}
    scenes = Scenes({p: n for p, n in scenes.of.items() if p in here}, _living(scenes, here))
    names = {scene_of(p, folder=config.scenes.folder, title=config.scenes.title): side for p, side in earlier.items()}
    sides = assign(scenes, names, config)
    return Decision(marked, scenes, sides, {s.path: tags_of(s, config.tags) for s in kept}, same)


def _living(scenes: Scenes, here: set[str]) -> dict[str, list[str]]:
    """Scenes with a kept photograph."""
    names = {scenes.of[p] for p in here}
    return {name: parts for name, parts in scenes.parts.items() if name in names}


def without_copies(sources: Sequence[Source]) -> tuple[list[Source], list[Link]]:
    """Files with the same bytes as one earlier in the alphabet give no samples: they would count twice.

    Returns the sources, marked, and (original, copy) pairs.
    """
    first: dict[str, str] = {}
    for source in sorted((s for s in sources if not s.kind), key=lambda s: s.path):
        first.setdefault(source.sha256, source.path)
    marked: list[Source] = []
    copies: list[Link] = []
    for source in sources:
        original = first[source.sha256] if not source.kind else source.path
        if original != source.path:
            copies.append((original, source.path))
            source = replace(source, kind="duplicate", reason=f"the same file as {original}")
        marked.append(source)
    return marked, sorted(copies)


def _near(sources: Sequence[Source], thumbs: NDArray[np.uint8], config: PrepareConfig) -> list[Same]:
    """Near-duplicates among the kept photographs, in alphabetical order so that no other order matters."""
    order = sorted((i for i, s in enumerate(sources) if not s.kind), key=lambda i: sources[i].path)
    found = near_pairs(thumbs[np.array(order, dtype=np.int64)])
    paths = [sources[i].path for i in order]
    return [
        _same(paths[p.a], paths[p.b], p.score, "mirrored" if p.mirrored else _window(p.box), config) for p in found
    ]


def _window(box: tuple[float, float, float, float]) -> str:
    whole = box[0] < 0.02 and box[1] < 0.02 and box[2] > 0.98 and box[3] > 0.98
    return "the same picture" if whole else "a part of the other"


def _same(a: str, b: str, score: float, how: str, config: PrepareConfig) -> Same:
    rules = config.scenes
    folders = tuple(scene_of(p, folder=rules.folder, title=rules.title) for p in (a, b))
    first, second = folders
    leak = first != second and split_of(first, config) != split_of(second, config)
    return Same(a, b, round(score, 4), how, (first, second), leak)


def _without_bridges(
    sources: Sequence[Source], links: Sequence[Link], earlier: Mapping[str, SplitName]
) -> list[Source]:
    """Leave out a new photograph that shows the same as old ones on two sides: joining them would move old ones."""
    touched: defaultdict[str, set[SplitName]] = defaultdict(set)
    for a, b in links:
        for new, old in ((a, b), (b, a)):
            if new not in earlier and old in earlier:
                touched[new].add(earlier[old])
    reason = "shows the same as photographs that the earlier dataset has on different sides"
    return [replace(s, kind="bridge", reason=reason) if len(touched[s.path]) > 1 else s for s in sources]


def judge(sources: Sequence[Source], config: PrepareConfig, origin: str) -> None:
    """Stop where too little or too doubtful a set would remain."""
    bad = [s for s in sources if s.kind == "unreadable"]
    if all(s.kind for s in sources):
        some = "; ".join(f"{s.path}: {s.reason}" for s in sorted(sources, key=lambda s: s.path)[:3])
        raise UserError(f"{origin}: no photographs found: all {len(sources)} files are left out ({some})")
    if len(bad) > config.max_bad_share * len(sources):
        raise UserError(
            f"{origin}: {len(bad)} of {len(sources)} files cannot be read, more than max_bad_share "
            f"({config.max_bad_share:g}); the first: {bad[0].path}: {bad[0].reason}. Is it the right folder?"
        )
