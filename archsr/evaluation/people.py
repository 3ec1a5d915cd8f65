"""Results of `archsr vote` about the models and images of a report."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from archsr.evaluation.compared_models import INTERPOLATIONS, ComparedModel
from archsr.evaluation.pairs import Pairs, ShardPairs
from archsr.evaluation.photos.photos import ClientPhotos
from archsr.evaluation.statistics.bootstrap import FEWEST_SCENES
from archsr.models.ncnn import NCNN, ncnn_file
from archsr.models.weights import locate
from archsr.utils import console
from archsr.utils.atomic import sha256

RESULT = "result.json"
VOTES_FOLDER = Path("vote")  # where `archsr vote` has its folders by default
VOTES_IN_RUN = "votes"  # where in a run folder they may lie as well


@dataclass(frozen=True)
class PeopleVerdict:
    """The result of a vote. `share` is the share of votes for B, where a tie is half a vote.

    `a` and `b` identify the models (`identity_of`), `dataset` the images (`fingerprint_of`). `low` and `high` are the
    95 % interval of `share`, None if there are too few scenes.
    """

    a: str
    b: str
    dataset: str
    share: float
    low: float | None
    high: float | None
    votes: int
    voters: int
    images: int
    scenes: int

    def sentence(self, a: str, b: str) -> str:
        """Return the result in words, with these names for the models."""
        of = f"{_many(self.images, 'image')} of {_many(self.scenes, 'scene')}"
        said = (
            f"Asked people: {b} got {self.share:.0%} of {_many(self.votes, 'vote')} against {a} (a tie is half a vote "
            f"for each), by {_many(self.voters, 'voter')} on {of}."
        )
        alone = " One voter says nothing about other people." if self.voters == 1 else ""
        return f"{said} {self._verdict(a, b)}{alone}"

    def _verdict(self, a: str, b: str) -> str:
        if self.low is None or self.high is None:
            return f"Fewer than {FEWEST_SCENES} scenes give no interval, so this says nothing about other images."
        span = f"The 95 % interval is {self.low:.0%} to {self.high:.0%}"
        if self.low == self.high:  # resampling equal values gives the same mean
            span += " (all votes are alike, which makes it too narrow)"
        if self.low > 0.5:
            return f"{span}: {b} is preferred."
        return f"{span}: {a} is preferred." if self.high < 0.5 else f"{span}: there is no clear preference."


def identity_of(weights: str) -> str:
    """Return the SHA-256 of a model's weights file, or the name of an interpolation."""
    if weights in INTERPOLATIONS:
        return weights
    return sha256(ncnn_file(weights).verified() if weights in NCNN else locate(weights))


def fingerprint_of(pairs: Pairs | ClientPhotos) -> str:
    """Return the fingerprint of a set of images, whatever part of it is used: of a dataset and split, or of files."""
    if isinstance(pairs, ClientPhotos):
        return pairs.fingerprint
    if isinstance(pairs, ShardPairs):
        return f"{pairs.fingerprint} {pairs.split}"
    digest = hashlib.sha256(str(pairs.scale).encode())
    for gt, lq in pairs.files:
        digest.update("\0".join([gt.relative_to(pairs.root).as_posix(), sha256(gt), sha256(lq) if lq else ""]).encode())
    return digest.hexdigest()


def vote_sentences(
    folders: Sequence[Path], compared_models: Sequence[ComparedModel], pairs: Pairs | ClientPhotos
) -> list[str]:
    """Return a sentence for each vote in `folders` or their sub-folders about two of the models on these images."""
    files = [f for folder in folders for f in sorted([*folder.glob(RESULT), *folder.glob(f"*/{RESULT}")])]
    found = [one for file in files if (one := _read(file)) is not None]
    if not found:
        return []
    names = {identity_of(c.weights): c.name for c in reversed(compared_models) if c.weights}
    here = [one for one in dict.fromkeys(found) if one.a in names and one.b in names]
    dataset = fingerprint_of(pairs) if here else ""
    return [one.sentence(names[one.a], names[one.b]) for one in here if one.dataset == dataset]


def _read(file: Path) -> PeopleVerdict | None:
    try:
        return TypeAdapter(PeopleVerdict).validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged, or not a vote's result"
        console.warn(f"{file}: ignored in the report: {reason}")
        return None


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"
