"""Whether what was found rests on one scene."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archsr.evaluation.statistics.bootstrap import FEWEST_SCENES, LEVEL, paired


@dataclass(frozen=True)
class LeaveOneOut:
    """What becomes of a difference without one scene: the means between which it moves, and what it rests on.

    `share`: how much of the mean the `scene` carries that carries most of it, 1 for all. `changed`: the scene without
    which the verdict is another, and that verdict; None where it stands, or where one scene fewer could show nothing.
    """

    least: float
    most: float
    scene: str
    share: float
    changed: tuple[str, str] | None


def left_out(
    differences: Mapping[str, Sequence[float]], *, higher_is_better: bool, level: float = LEVEL
) -> LeaveOneOut:
    """Per-image differences by scene, two scenes or more, without each of them in turn."""
    groups = {name: d for name, d in differences.items() if len(d)}
    names, sums = list(groups), np.array([np.sum(d) for d in groups.values()])
    counts = np.array([len(d) for d in groups.values()])
    means = (sums.sum() - sums) / (counts.sum() - counts)
    shares = sums / sums.sum() if sums.sum() else np.zeros(len(sums))
    heaviest = int(np.argmax(shares))
    changed = None
    if 2.0 ** (2 - len(names)) <= level and len(names) > FEWEST_SCENES:
        before = paired(groups, higher_is_better=higher_is_better).verdict(
            higher_is_better=higher_is_better, level=level
        )
        # the two that pull the mean farthest up and down: without any other less changes
        for index in (int(np.argmin(means)), int(np.argmax(means))):
            rest = {name: d for name, d in groups.items() if name != names[index]}
            found = paired(rest, higher_is_better=higher_is_better)
            after = found.verdict(higher_is_better=higher_is_better, level=level)
            changed = changed or ((names[index], after) if after != before else None)
    return LeaveOneOut(float(means.min()), float(means.max()), names[heaviest], float(shares[heaviest]), changed)
