"""Selects training samples by their tags, and repeats rare ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from archsr.config import TagChoice
from archsr.errors import DataError, did_you_mean

Tags = tuple[str, ...]
UNTAGGED = "the others"


@dataclass(frozen=True)
class Portion:
    """`samples` of one sub-domain, together seen `seen` times an epoch."""

    name: str
    samples: int
    seen: int


@dataclass(frozen=True)
class Choice:
    """`picks[shard]`: the numbers of a shard's samples in an epoch, in order; repeated ones occur several times."""

    picks: tuple[NDArray[np.int32], ...]
    portions: tuple[Portion, ...]

    @property
    def total(self) -> int:
        """Return the samples of an epoch, with repetitions."""
        return sum(len(p) for p in self.picks)

    def table(self) -> str:
        """Return a table with a line per sub-domain."""
        rows = [f"  {p.name:24}{p.samples:9,} samples{p.seen:10,} an epoch" for p in self.portions]
        return "\n".join(["training samples by tag:", *rows])


def choose(shards: Sequence[Sequence[Tags]], config: TagChoice) -> Choice:
    """Select samples with these tags, given by shard, as `config` says.

    A sample belongs to the first pattern of `balance` that one of its tags matches. The sub-domain with the most
    samples for its share is seen once an epoch, the others are repeated up to their shares; no sample is left out for
    balance. If a repetition is not whole (2.4), it is 2 for some samples and 3 for others, evenly spread. Raises
    `UserError` if a pattern matches no tag or no sample remains.
    """
    _check({tag for shard in shards for tags in shard for tag in tags}, config)
    patterns = list(config.balance)
    of = [np.array([_portion(t, patterns) if _taken(t, config) else -1 for t in shard], np.int64) for shard in shards]
    counts = np.bincount(np.concatenate([*of, np.zeros(0, np.int64)]) + 1, minlength=len(patterns) + 2)[1:]
    if not counts.sum():
        raise DataError(f"data.tags: no training sample remains with only = {config.only}, without = {config.without}")
    times = _times(counts, [config.balance[p] for p in patterns])
    picks, seen = _repeat(of, times)
    names = [*patterns, UNTAGGED if patterns else "all"]
    portions = (Portion(n, int(c), int(s)) for n, c, s in zip(names, counts, seen, strict=True) if c)
    return Choice(picks, tuple(portions))


def matching(tags: Iterable[str], pattern: str) -> bool:
    """Return whether one of the tags matches the pattern (`*` and `?`; case-sensitive)."""
    return any(fnmatchcase(tag, pattern) for tag in tags)


def _taken(tags: Tags, config: TagChoice) -> bool:
    wanted = not config.only or any(matching(tags, p) for p in config.only)
    return wanted and not any(matching(tags, p) for p in config.without)


def _portion(tags: Tags, patterns: Sequence[str]) -> int:
    return next((i for i, p in enumerate(patterns) if matching(tags, p)), len(patterns))


def _check(known: set[str], config: TagChoice) -> None:
    for where, patterns in (("only", config.only), ("without", config.without), ("balance", config.balance)):
        for pattern in patterns:
            if not matching(known, pattern):
                there = ", ".join(sorted(known)[:20]) or "none"
                raise DataError(
                    f"data.tags.{where}: no training sample has a tag {pattern!r}{did_you_mean(pattern, known)}; "
                    f"existing tags: {there}{', ...' if len(known) > 20 else ''}"
                )


def _times(counts: NDArray[np.int64], shares: Sequence[float]) -> list[float]:
    """Return how often samples of each portion are seen an epoch: at least once; exactly once without a share."""
    need = [share / count if count else 0.0 for share, count in zip(shares, counts, strict=False)]
    least = min((n for n in need if n), default=1.0)
    return [n / least for n in need] + [1.0]


def _repeat(of: Sequence[NDArray[np.int64]], times: Sequence[float]) -> tuple[tuple[NDArray[np.int32], ...], list[int]]:
    """Round systematically: the k-th sample of a portion is taken ⌊k·t⌋ − ⌊(k−1)·t⌋ times."""
    done = [0] * len(times)
    seen = [0] * len(times)
    picks: list[NDArray[np.int32]] = []
    for portions in of:
        repeats = np.zeros(len(portions), np.int64)
        for number, t in enumerate(times):
            here = np.flatnonzero(portions == number)
            k = done[number] + np.arange(len(here) + 1)
            ends = np.floor(k * t + 1e-9).astype(np.int64)  # 3 · (1/3) must be 1
            repeats[here] = np.diff(ends)
            done[number] += len(here)
            seen[number] += int(repeats[here].sum())
        picks.append(np.repeat(np.arange(len(portions), dtype=np.int32), repeats))
    return tuple(picks), seen
