"""`archsr inspect`: summarise a dataset and verify every byte of it."""

import json
import sys
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from archsr.config.config_file import check
from archsr.config.prepare import FEWEST_SCENES, ScenesConfig
from archsr.data import manifest as mf
from archsr.data.prepare.duplicates.neighbours import BUILDING, camera_name_warning
from archsr.data.prepare.writing.quality_section import limits_of, quality_table
from archsr.data.versions import current
from archsr.errors import DataError
from archsr.utils.atomic import sha256
from archsr.utils.progress import tracked


def problems(folder: Path, made: mf.Manifest) -> Iterator[str]:
    """Yield the faults of a dataset.

    Faults are missing or altered files, tars and indexes that disagree, a scene in two splits, samples of unlisted
    photographs, and photographs without a sample.
    """
    lists = ((made.sources.file, made.sources.sha256), (made.sources.same, made.sources.same_sha256))
    faults = [fault for name, digest in lists for fault in _file(folder / name, digest)]
    yield from faults
    if mf.fingerprint(made.splits) != made.fingerprint:
        yield f"{folder / mf.NAME}: the fingerprint does not match the shards"
    owner: dict[str, str] = {}
    listed = {} if faults else {p["path"]: p["sha256"] for p in _kept(folder, made)}
    bare = set(listed)
    shards = [(side, shard) for side, split in made.splits.items() for shard in split.shards]
    for side, shard in tracked(shards, "verifying", unit="shard"):
        wrong = [*_file(folder / shard.file, shard.sha256), *_file(folder / shard.index, shard.index_sha256)]
        yield from wrong
        if wrong:
            faults += wrong
            continue
        yield from _members(folder, shard, listed)
        for sample in mf.read_index(folder, shard):
            bare.discard(sample.photo)
            if owner.setdefault(sample.scene, side) != side:
                yield f"{folder / shard.file}: scene {sample.scene!r} is in {owner[sample.scene]} and in {side}"

    if bare and not faults:
        yield f"{folder / made.sources.file}: {min(bare)} is listed as kept and has no sample"


def _kept(folder: Path, made: mf.Manifest) -> Iterator[dict[str, Any]]:
    """Yield the records of the photographs that are listed as kept."""
    with (folder / made.sources.file).open(encoding="utf-8") as lines:
        yield from (plain for plain in map(json.loads, lines) if plain["split"])


def _file(path: Path, digest: str) -> Iterator[str]:
    if not path.is_file():
        yield f"{path}: missing"
    elif sha256(path) != digest:
        yield f"{path}: altered (its SHA-256 differs from the manifest)"


def _members(folder: Path, shard: mf.Shard, listed: Mapping[str, str]) -> Iterator[str]:
    """Check the index against the tar's headers, and the samples against the `listed` photographs."""
    with tarfile.open(folder / shard.file, "r:") as archive:
        places = {m.name.split(".")[0] + "." + m.name.split(".")[1]: (m.offset_data, m.size) for m in archive}
    with (folder / shard.file).open("rb") as tar:
        for sample in mf.read_index(folder, shard):
            astray = [n for n, m in sample.members.items() if places.get(f"{sample.key}.{n}") != (m.offset, m.size)]
            yield from (f"{folder / shard.file}: {sample.key}.{n} is not where the index says" for n in astray)
            if astray:
                continue
            about = sample.members["json"]
            tar.seek(about.offset)
            if json.loads(tar.read(about.size))["photo_sha256"] != listed.get(sample.photo, "") and listed:
                yield f"{folder / shard.file}: {sample.key} is of another file than the {sample.photo} that is listed"


def inspect_dataset(folder: Path, *, check: bool = True) -> str:
    """Return the summary of a dataset. Raises `UserError` with the first fault if `check` finds any."""
    folder = current(folder)
    made = mf.load(folder)
    if check:
        found = list(problems(folder, made))
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise DataError(f"{found[0]}{more}; copy the dataset again or prepare it again")
    lines = [summary(made, folder), *tag_table(folder, made)]
    lines += quality_table(list(_kept(folder, made)), limits_of(made))
    return "\n".join([*lines, "every file verified: SHA-256, index and tar agree" if check else "not verified"])


def tag_table(folder: Path, made: mf.Manifest) -> Iterator[str]:
    """Yield a table of how many photographs of each split have each tag."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for plain in _kept(folder, made):
        for tag in plain["tags"]:
            counts[tag][plain["split"]] += 1
    width = max([12, *map(len, counts)])
    if counts:
        yield f"{'tag':{width}}" + "".join(f"{side:>8}" for side in mf.SPLITS)
    for tag, sides in sorted(counts.items()):
        yield f"{tag:{width}}" + "".join(f"{sides[side]:>8}" for side in mf.SPLITS)


def summary(made: mf.Manifest, out: Path) -> str:
    """Return a readable summary of a dataset."""
    kinds = Counter(item.kind for item in made.left_out)
    lines = [f"{made.sources.found} files found, {made.sources.kept} photographs kept, {len(made.left_out)} left out"]
    for kind, count in sorted(kinds.items()):
        some = [item for item in made.left_out if item.kind == kind]
        lines += [f"  {kind}: {count}"] + [f"    {i.path}: {i.reason}" for i in some[:5]]
        lines += [f"    ... and {len(some) - 5} more in {made.sources.file}"] if len(some) > 5 else []
    lines += _same(out / made.sources.same, made.sources.leaks)
    scenes = check(ScenesConfig, made.prepare["scenes"], where=mf.NAME)
    kept = list(_kept(out, made))
    sides, taken = ({p["path"]: p.get(key, "") for p in kept} for key in ("split", "taken"))
    if said := camera_name_warning(sides, taken, scenes):
        red, plain = ("\033[31m", "\033[0m") if sys.stdout.isatty() else ("", "")
        lines.append(f"{red}WARNING: {said}{plain}")
    lines.append(f"{'split':8}{'scenes':>8}{'photos':>8}{'samples':>9}{'shards':>8}{'MB':>9}")
    for name, split in made.splits.items():
        size = sum(s.bytes for s in split.shards) / 1e6
        row = f"{name:8}{split.scenes:>8}{split.photos:>8}{split.samples:>9}{len(split.shards):>8}{size:>9.1f}"
        lines.append(row)
    tested = made.splits["test"].scenes
    if tested < FEWEST_SCENES:
        lines.append(
            f"test has {tested} scene{'s' * (tested != 1)}; `archsr evaluate` gives no verdict on fewer than "
            f"{FEWEST_SCENES} (a hash of each scene's name decides, so a share holds on average only): "
            f"{_more_for_the_test(made)}"
        )
    if made.splits["val"].scenes == 1:
        lines.append(
            "WARNING: validation has one scene, and validation chooses the weights: it would choose them for one "
            "building; more projects, or a larger share: --set val=0.2"
        )
    lines.append(f"{out / mf.NAME}  fingerprint {made.fingerprint[:16]}  {out / 'report.html'}")
    return "\n".join(lines)


def _more_for_the_test(made: mf.Manifest) -> str:
    scenes = sum(split.scenes for split in made.splits.values())
    if made.prepare["test_folders"]:
        return "name more folders in test_folders"
    share = round(1.25 * FEWEST_SCENES / scenes + 0.005, 2)  # a hash may give fewer than the share
    if share + made.prepare["val"] > 0.6 or share <= made.prepare["test"]:
        return "more projects"
    return f"more projects, or --set test={share:g}"


def _same(path: Path, leaks: int) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    pairs = [pair for pair in found if pair["how"] != BUILDING]
    if len(pairs) < len(found):
        yield f"{len(found) - len(pairs)} pairs of neighbours show the same building, and are in one scene each"
    across = [p for p in pairs if p["folders"][0] != p["folders"][1]]
    yield (
        f"{len(pairs)} pairs show the same photograph, {len(across)} of them in different folders; a split by folder "
        f"alone would have leaked {leaks}"
    )
    for pair in across[:5]:
        yield f"    {pair['a']} = {pair['b']} ({pair['how']}, score {pair['score']:.2f})"
    if len(across) > 5:
        yield f"    ... and {len(across) - 5} more in {path.name}"
