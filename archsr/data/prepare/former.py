"""The former dataset: the splits of its photographs, and which photographs change splits."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from archsr.config import PrepareConfig
from archsr.data import manifest as mf
from archsr.data.manifest import SplitName
from archsr.data.prepare.survey.scan import ScannedFile
from archsr.data.versions import current
from archsr.errors import UserError
from archsr.utils import console

SPLIT = ("val", "test", "val_folders", "test_folders", "seed")  # while these keys are unchanged, splits stay


@dataclass(frozen=True)
class FormerSplit:
    """The splits of a former dataset's photographs, by SHA-256 and by path."""

    contents: Mapping[str, SplitName]
    paths: Mapping[str, SplitName]

    def of(self, sources: Sequence[ScannedFile]) -> dict[str, SplitName]:
        """Return the former split of each file by its present path; it may have been renamed or moved.

        A further copy of a file that is still in place is new.
        """
        staying = {s.sha256 for s in sources if s.path in self.paths}
        found: dict[str, SplitName] = {}
        for source in sources:
            is_copy = source.path not in self.paths and source.sha256 in staying
            if source.kind or is_copy:
                continue
            if side := self.contents.get(source.sha256) or self.paths.get(source.path):
                found[source.path] = side
        return found


NOTHING = FormerSplit({}, {})


@dataclass(frozen=True)
class Moved:
    """A photograph whose split differs from the former dataset's."""

    path: str
    before: SplitName
    now: SplitName


def former_dataset(out: Path, config: PrepareConfig) -> tuple[FormerSplit, bool]:
    """Return the splits of the existing dataset, if any, and whether `config` splits anew."""
    try:
        made = mf.load(current(out))
    except UserError:
        return NOTHING, False
    contents: dict[str, mf.SplitName] = {}
    paths: dict[str, mf.SplitName] = {}
    with (current(out) / made.sources.file).open(encoding="utf-8") as lines:
        for line in lines:
            plain = json.loads(line)
            if plain["split"]:
                contents[plain["sha256"]] = paths[plain["path"]] = plain["split"]
    return FormerSplit(contents, paths), bool(_other_split(made, config))


def warn_of_moved(out: Path, moved: Sequence[Moved]) -> None:
    """Warn about photographs that change splits: a model may have been trained on a photograph that is now a test."""
    if not moved:
        return
    ways = Counter((m.before, m.now) for m in moved)
    counts = ", ".join(f"{n} from {before} to {now}" for (before, now), n in sorted(ways.items()))
    some = ", ".join(m.path for m in moved[:3]) + (", ..." if moved[3:] else "")
    console.warn(
        f"warning: {out}: {len(moved)} photographs change their split ({counts}): {some}. A model that was "
        "trained on the former dataset may have seen test images: train a new model, or prepare into a new folder"
    )


def _other_split(made: mf.Manifest, config: PrepareConfig) -> list[str]:
    """Return the split keys in which the existing dataset differs from `config`, as "val 0.1, now 0.2"."""
    now = config.model_dump(mode="json", include=set(SPLIT))
    return [f"{k} {made.prepare[k]}, now {now[k]}" for k in SPLIT if made.prepare.get(k, now[k]) != now[k]]


def warn_of_new_split(out: Path, config: PrepareConfig) -> None:
    """Warn if the existing dataset has other shares, folders or another seed."""
    try:
        changed = _other_split(mf.load(current(out)), config)
    except UserError:
        return
    if changed:
        other = "; ".join(changed)
        console.warn(f"warning: {out}: was split with other settings ({other}); photographs may change their split")
