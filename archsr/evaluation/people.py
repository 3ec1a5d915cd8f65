"""What people said of two models (`archsr vote`), where it is about models and images of this report."""

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
    """The result of asking people. `a`, `b`: `identity_of` each model; `share`: of the votes for B, ties counted half.

    `dataset`: `fingerprint_of` the images; `low` and `high`: the 95 % interval of `share`, None where there is none.
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
        """What people said, with names for the models."""
        of = f"{_many(self.images, 'image')} of {_many(self.scenes, 'scene')}"
        said = (
            f"Asked people: {b} got {self.share:.0%} of {_many(self.votes, 'vote')} against {a} (a tie is half a vote "
            f"for each), by {_many(self.voters, 'voter')} on {of}."
        )
        alone = " One voter says nothing about other people." if self.voters == 1 else ""
        return f"{said} {self._verdict(a, b)}{alone}"

    def _verdict(self, a: str, b: str) -> str:
        if self.low is None or self.high is None:
            return f"Fewer than {FEWEST_SCENES} scenes give no interval: this says nothing about other images."
        span = f"The 95 % interval is {self.low:.0%} to {self.high:.0%}"
        if self.low == self.high:  # a resample of equal values has no other mean
            span += " (all votes are alike, which makes it too narrow)"
        if self.low > 0.5:
            return f"{span}: {b} is preferred."
        return f"{span}: {a} is preferred." if self.high < 0.5 else f"{span}: a preference cannot be told."


def identity_of(weights: str) -> str:
    """What a model is known by: the SHA-256 of its weights file, or the name of an interpolation."""
    if weights in INTERPOLATIONS:
        return weights
    return sha256(ncnn_file(weights).verified() if weights in NCNN else locate(weights))


def fingerprint_of(pairs: Pairs | ClientPhotos) -> str:
    """What a set of pairs is known by, however many of them are taken: of a dataset with its split, or of files."""
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
    """A sentence for each result in `folders`, or in folders of theirs, about two of the models on these images."""
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
        reason = error.strerror if isinstance(error, OSError) else "damaged, or of another kind"
        console.warn(f"{file}: left out of the report: {reason}")
        return None


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"
