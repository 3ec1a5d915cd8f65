"""The first and longest step: decode, check and cut every file for the split that its path alone gives."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from archsr.config import PrepareConfig
from archsr.data.manifest import SplitName
from archsr.data.prepare.scenes import scene_of, split_of
from archsr.data.prepare.sources.paired import UNPAIRED, with_partner
from archsr.data.prepare.staging import is_complete, write_chunk
from archsr.data.prepare.survey.scan import UNREADABLE, ScanResult, inspect, matches, photos_of
from archsr.data.prepare.survey.tags import ZERO_SHOT
from archsr.data.prepare.survey.zero_shot import ZeroShot
from archsr.data.prepare.writing.samples import Encoded, cut
from archsr.errors import UserError


@dataclass(frozen=True)
class PreparePaths:
    """The paths of a preparation: the user's name for the photographs, the output, the staging folder."""

    origin: str
    out: Path
    staging: Path


@dataclass(frozen=True)
class Chunk:
    """A few dozen files for one worker. With a `side` it is cut for that split, whatever the paths say."""

    place: PreparePaths
    config: PrepareConfig
    name: str
    paths: Sequence[str]
    sides: Sequence[SplitName] = ()


def survey(chunk: Chunk) -> str:
    """Scan the files of a chunk and store it, unless it is already stored. Returns its name."""
    if is_complete(chunk.place.staging, chunk.name):
        return chunk.name
    write_chunk(chunk.place.staging, chunk.name, _findings(chunk))
    return chunk.name


def _findings(chunk: Chunk) -> Iterator[tuple[ScanResult, str, Iterable[Encoded]]]:
    photos = photos_of(chunk.place.origin, chunk.place.out, chunk.place.staging)
    for number, path in enumerate(chunk.paths):
        finding = with_partner(_labelled(inspect(photos, path, chunk.config), chunk.config), chunk.config)
        source = finding.source
        if source.kind in (UNREADABLE, UNPAIRED) and chunk.config.bad_files == "raise":
            raise UserError(f"{path}: {source.reason} (bad_files = 'raise'); remove or repair it")
        if source.kind or finding.pixels is None:
            yield finding, "", ()
            continue
        side = chunk.sides[number] if chunk.sides else provisional_side(path, chunk.config)
        yield finding, side, cut(source, finding.pixels, side, chunk.config, content=finding.content, lq=finding.lq)


@lru_cache(maxsize=1)
def _clip(model: str, weights: str) -> ZeroShot:
    return ZeroShot(model, weights)


def _labelled(finding: ScanResult, config: PrepareConfig) -> ScanResult:
    """With `tags.zero_shot`, add CLIP's most likely label as a tag; exclude the file if the label is `drawing`."""
    prompts = config.tags.zero_shot
    if not prompts or finding.pixels is None or finding.source.kind:
        return finding
    shares = _clip(config.tags.clip_model, config.tags.clip_weights).scores([finding.pixels], prompts)[0]
    label = max(shares, key=lambda name: shares[name])
    source = finding.source
    if label == "drawing" and config.drawings == "leave_out" and not matches(source.path, config.allow):
        source = replace(source, kind="drawing", reason=f"a drawing, says CLIP ({shares[label]:.2f})")
    return replace(finding, source=replace(source, columns=(*source.columns, (ZERO_SHOT, label))))


def provisional_side(path: str, config: PrepareConfig) -> SplitName:
    """Return the split by path alone; the few files whose scene turns out larger are cut again."""
    return split_of(scene_of(path, folder=config.scenes.folder, title=config.scenes.title), config)
