"""Leave out images that a compared model, or a run that it continues from, was trained on.

Photographs are compared by the SHA-256 of their files, and a scene with one such photograph is left out as a whole. A
re-encoded copy of a photograph has another digest and is not found.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from archsr.checkpoint.ancestry import Ancestor, lineage
from archsr.config import DataConfig
from archsr.data import manifest as mf
from archsr.data.remote import Remote, place_of
from archsr.errors import UserError
from archsr.evaluation.compared_models import INTERPOLATIONS
from archsr.evaluation.pairs import FolderPairs, Pairs, ShardPairs
from archsr.evaluation.report.words import listed
from archsr.utils.atomic import sha256

_NAMED = 12  # scenes that a sentence names; further ones are counted
_CHOSE = ("train", "val")  # the splits that shape a model: validation chooses its weights


@dataclass(frozen=True)
class Fresh:
    """The `pairs` that no model has seen, and `notes`: sentences about what was left out or could not be checked."""

    pairs: Pairs
    notes: tuple[str, ...]


def seen_photos(ancestor: Ancestor) -> set[str] | None:
    """Return the SHA-256 of every photograph that trained or chose a model; None if its dataset cannot be read."""
    try:
        place = place_of(ancestor.shards, DataConfig()) if ancestor.shards else None
        if isinstance(place, Remote):
            found = place, mf.load(place)
        else:
            found = mf.version_of(ancestor.shards, ancestor.fingerprint) if place else None
        if found is None or found[1].fingerprint != ancestor.fingerprint:
            return None
        return set(mf.photos_by_digest(*found, _CHOSE))
    except UserError:
        return None


def unseen(pairs: Pairs, sources: Sequence[str], *, which: str = "chosen") -> Fresh:
    """Return the pairs without the scenes that a model of `sources`, or an ancestor, has seen.

    `sources` are models as in `open_models`, `which` the snapshot of a run. A model's own dataset is skipped if it is
    that of `pairs`: its splits share no scene. Raises `UserError` if no image is left.
    """
    notes: list[str] = []
    for ancestor in _ancestors(sources, which):
        if isinstance(pairs, ShardPairs) and ancestor.fingerprint == pairs.fingerprint:
            continue
        photos = seen_photos(ancestor)
        if photos is None:
            notes.append(
                f"WARNING: archsr cannot check whether {ancestor.run} was trained on these images: the manifest of its "
                f"dataset ({ancestor.shards or 'not recorded'}, fingerprint {ancestor.fingerprint[:16]}) is not there."
            )
            continue
        every = _scenes(pairs)
        try:
            hit = _seen_scenes(pairs, photos)
        except UserError as error:  # shards that were copied without their list of sources
            notes.append(f"WARNING: archsr cannot check whether {ancestor.run} was trained on these images: {error}.")
            continue
        if not hit:
            continue
        why = f"because {ancestor.run} was trained on photographs of them"
        said = f"{len(hit)} of {len(every)} scenes are left out, {why}: {_some(sorted(hit))}."
        if hit == every:
            raise UserError(f"{pairs.name}: no image is left to evaluate on; {said} Give other images with --on")
        notes.append(f"WARNING: {said}")
        pairs = _without(pairs, hit)
    return Fresh(pairs, tuple(notes))


def _ancestors(sources: Sequence[str], which: str) -> list[Ancestor]:
    """Return every trained model behind the sources once."""
    trained = [s for s in sources if s not in INTERPOLATIONS]
    found = {(a.run, a.shards, a.fingerprint): a for s in trained for a in lineage(s, which=which)}
    return list(found.values())


def _scenes(pairs: Pairs) -> set[str]:
    """Return the names of all scenes of the pairs."""
    if isinstance(pairs, ShardPairs):
        return set(pairs.scene_by_photo.values())
    return {pairs.scene_of(gt) for gt, _ in pairs.files}


def _seen_scenes(pairs: Pairs, photos: Collection[str]) -> set[str]:
    """Return the scenes that have a photograph with one of these digests."""
    if isinstance(pairs, FolderPairs):
        return {pairs.scene_of(gt) for gt, _ in pairs.files if sha256(gt) in photos}
    there = pairs.photos_by_digest()
    paths = {path for digest, path in there.items() if digest in photos}
    return {scene for path, scene in pairs.scene_by_photo.items() if path in paths}


def _without(pairs: Pairs, scenes: Collection[str]) -> Pairs:
    if isinstance(pairs, ShardPairs):
        return replace(pairs, left_out=pairs.left_out | frozenset(scenes))
    return replace(pairs, files=tuple(f for f in pairs.files if pairs.scene_of(f[0]) not in scenes))


def _some(words: list[str]) -> str:
    rest = [f"{len(words) - _NAMED} more"] if len(words) > _NAMED else []
    return listed([*words[:_NAMED], *rest])
