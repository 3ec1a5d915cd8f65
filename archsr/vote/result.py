"""The result of a vote: a share with an interval over scenes and voters, counts per voter, and their agreement."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from archsr.errors import UserError
from archsr.evaluation.people import RESULT, PeopleVerdict
from archsr.evaluation.statistics.bootstrap import pooled
from archsr.utils.atomic import write_bytes
from archsr.vote.study import Study
from archsr.vote.votes import Vote, Votes


@dataclass(frozen=True)
class VoterCounts:
    """One voter's votes: for each model, ties, and for the left side; `seconds` is the median time of a vote."""

    voter: str
    for_a: int
    for_b: int
    ties: int
    left: int
    seconds: float


@dataclass(frozen=True)
class VoterAgreement:
    """In how many (`same`) of the `compared` images with votes of two voters both votes are the same.

    `by_chance` is the share for two votes drawn at random from all votes.
    """

    compared: int
    same: int
    by_chance: float


@dataclass(frozen=True)
class Result:
    """The whole result. `agreement` is None if no image has votes of two voters."""

    names: tuple[str, str]
    about: str
    asked: PeopleVerdict
    voters: tuple[VoterCounts, ...]
    agreement: VoterAgreement | None
    warning: str

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        return self.asked.sentence(*self.names)


def result_of(study: Study, votes: Votes) -> Result | None:
    """Return the result; None if there are no votes."""
    if not votes.votes:
        return None
    by_voter: dict[str, list[Vote]] = {}
    for vote in votes.votes:
        by_voter.setdefault(vote.voter, []).append(vote)
    asking = study.asking
    return Result(
        names=(asking.a.name, asking.b.name),
        about=asking.about,
        asked=_asked(study, list(by_voter.values())),
        voters=tuple(_counted(voter, own) for voter, own in by_voter.items()),
        agreement=_agreement(list(by_voter.values())),
        warning=votes.warning(),
    )


def _asked(study: Study, by_voter: Sequence[Sequence[Vote]]) -> PeopleVerdict:
    found = pooled([_by_scene(own) for own in by_voter])
    low, high = (None if math.isnan(v) else min(1.0, max(0.0, (1 + v) / 2)) for v in (found.low, found.high))
    return PeopleVerdict(
        a=study.asking.a.identity,
        b=study.asking.b.identity,
        dataset=study.asking.dataset,
        share=(1 + found.mean) / 2,
        low=low,
        high=high,
        votes=sum(map(len, by_voter)),
        voters=len(by_voter),
        images=len({vote.key for own in by_voter for vote in own}),
        scenes=found.scenes,
    )


def _by_scene(votes: Sequence[Vote]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for vote in votes:
        found.setdefault(vote.scene, []).append(vote.value)
    return found


def _counted(voter: str, votes: Sequence[Vote]) -> VoterCounts:
    values = Counter(vote.value for vote in votes)
    left = sum(vote.choice == "left" for vote in votes)
    return VoterCounts(voter, values[-1], values[1], values[0], left, statistics.median(v.seconds for v in votes))


def _agreement(by_voter: Sequence[Sequence[Vote]]) -> VoterAgreement | None:
    judged = [{vote.key: vote.value for vote in own} for own in by_voter]
    pairs = [(one[key], other[key]) for one, other in combinations(judged, 2) for key in one.keys() & other.keys()]
    if not pairs:
        return None
    often = Counter(vote.value for own in by_voter for vote in own)
    chance = sum((count / often.total()) ** 2 for count in often.values())
    return VoterAgreement(len(pairs), sum(a == b for a, b in pairs), chance)


# ---------------------------------------------------------------- for people and programs


def markdown(result: Result) -> str:
    """Return the result as Markdown."""
    a, b = (_cell(name) for name in result.names)
    lines = [f"# Which of two models people prefer: {a} or {b}", "", result.sentence, "", f"About {result.about}.", ""]
    lines += [f"| voter | votes | for {a} | for {b} | no difference | left chosen | seconds a vote |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|"]
    for one in result.voters:
        count = one.for_a + one.for_b + one.ties
        figures = [count, one.for_a, one.for_b, one.ties, one.left]
        lines.append(f"| {_cell(one.voter)} | {' | '.join(map(str, figures))} | {one.seconds:.1f} |")
    lines += ["", _agreed(result.agreement), "", _HOW]
    return "\n".join([*lines, *(["", f"{result.warning}."] if result.warning else [])]) + "\n"


_HOW = (
    "The sides of the models were random for each voter and image. The interval is for other scenes and other "
    "voters: both are resampled 10,000 times, scenes as a whole."
)


def _agreed(found: VoterAgreement | None) -> str:
    if found is None:
        return "No image has votes of two voters, so their agreement is unknown."
    return (
        f"Two voters agreed about an image in {found.same / found.compared:.0%} of {found.compared} comparisons; "
        f"chance would give {found.by_chance:.0%}."
    )


def _cell(text: str) -> str:
    """Escape text for a Markdown table."""
    return text.replace("|", "/").replace("<", "‹").replace(">", "›")


def write(folder: Path, result: Result) -> None:
    """Write result.json, which `archsr evaluate` also reads, and result.md. Raises `UserError`."""
    plain = {
        **asdict(result.asked),
        "models": dict(zip("AB", result.names, strict=True)),
        "about": result.about,
        "by_voter": [asdict(one) for one in result.voters],
        "agreement": asdict(result.agreement) if result.agreement else None,
        "sentence": result.sentence,
    }
    try:
        write_bytes(folder / RESULT, (json.dumps(plain, indent=1) + "\n").encode())
        write_bytes(folder / "result.md", markdown(result).encode())
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
