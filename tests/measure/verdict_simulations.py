"""How often intervals contain the truth, and how often a report holds a false verdict, by drawn differences. Prints.

python tests/measure/verdict_simulations.py [--sets 4000] [--reports 2000]

Differences of scenes are *symmetric* (normal), *skewed* (exponential) or *jumping* (one scene in ten is far from the
rest); scenes have one to five images, which differ a little among themselves. "Nothing differs": the two models are
exchangeable, so that a scene is as likely to be +x as −x. "Mean of zero": the differences are one-sided about a mean of
zero, so that most scenes are a little worse and few much better. "Primary differs": clearly, and nothing else does.
"""

import argparse
import time

import beside  # noqa: F401
import numpy as np

from archsr.evaluation.architecture import architecture
from archsr.evaluation.metrics import standard
from archsr.evaluation.statistics.bootstrap import intervals, permutation_p
from archsr.evaluation.statistics.verdicts import INCONCLUSIVE, NOT_TESTED, findings, levels_and_verdicts
from archsr.evaluation.suite import ImageScores, Scores

SCENES = (6, 10, 30)
# so many metrics in groups that answer the same thing, and the correlation within a group, as those of real reports:
# pixels (PSNR, SSIM, MS-SSIM, colour, consistency), a perceptual distance (features, LPIPS, DISTS), NIQE and its
# distance, lines (fidelity, kept, invented, bend), and two alone (repetition, false texture)
GROUPS = ((3, 0.7), (5, 0.85), (2, 0.8), (4, 0.85), (1, 0.0), (1, 0.0))
_ACROSS = 0.3  # correlation of metrics of different groups
_AT_ONCE = 200


def symmetric(rng, shape):
    return rng.normal(size=shape)


def skewed(rng, shape):
    return rng.exponential(size=shape) - 1


def jumping(rng, shape):
    return 0.3 * rng.normal(size=shape) + 3 * (rng.random(shape) < 0.1) - 0.3


SHAPES = {"symmetric": symmetric, "skewed": skewed, "jumping": jumping}


def family(rng, draw, sets, scenes):
    """(sets, metrics, scenes) of mean 0: what all metrics share, what a group shares, what is a metric's own."""
    common = draw(rng, (sets, 1, scenes))
    found = []
    for number, r in GROUPS:
        shared, own = draw(rng, (sets, 1, scenes)), draw(rng, (sets, number, scenes))
        within = max(0.0, r - _ACROSS)
        found.append(np.sqrt(_ACROSS) * common + np.sqrt(within) * shared + np.sqrt(1 - _ACROSS - within) * own)
    return np.concatenate(found, axis=1)


def images(rng, effects):
    """Sums and numbers of images by scene, the numbers alike for all metrics of a set."""
    counts = rng.integers(1, 6, (effects.shape[0], *[1] * (effects.ndim - 2), effects.shape[-1]))
    noise = rng.normal(0, 0.3, effects.shape) / np.sqrt(counts)
    return (effects + noise) * counts, counts


def tested(rng, effects):
    """p-values and whether 95 % intervals leave out zero, of (..., scenes)."""
    sums, counts = images(rng, effects)
    low, high = intervals(sums, counts)
    return permutation_p(sums / counts), (low > 0) | (high < 0)


def in_parts(sets, work):
    """The mean of `work(number)` over parts of all sets."""
    parts = [_AT_ONCE] * (sets // _AT_ONCE)
    return np.mean([work(number) for number in parts], axis=0)


def of_one_metric(rng, draw, scenes, sets):
    """Coverage of the mean; false verdicts where nothing differs, and with a one-sided mean of zero."""

    def part(number):
        effects = draw(rng, (number, scenes))
        p, clear = tested(rng, effects)
        turned, turned_clear = tested(rng, effects * rng.choice((-1.0, 1.0), effects.shape))
        return [1 - clear.mean(), ((turned <= 0.05) & turned_clear).mean(), ((p <= 0.05) & clear).mean()]

    return in_parts(sets, part)


def of_reports(rng, draw, scenes, sets):
    """Reports with a false verdict: nothing differs, a one-sided mean of zero, and where the primary metric differs."""

    def part(number):
        effects = family(rng, draw, number, scenes)
        p, clear = tested(rng, effects * rng.choice((-1.0, 1.0), (number, 1, scenes)))
        none, zero = levels_and_verdicts(p, clear)[1], levels_and_verdicts(*tested(rng, effects))[1]
        p[:, 0], clear[:, 0] = 0.0, True
        return [none.any(-1).mean(), zero.any(-1).mean(), levels_and_verdicts(p, clear)[1][:, 1:].any(-1).mean()]

    return in_parts(sets, part)


def against_itself(times):
    """Verdicts of so many reports of a model against itself, by the function that reports are made with."""
    metrics, told = [*standard(4), *architecture()], 0
    for seed in range(times):
        rng = np.random.default_rng(seed)
        values = [{m.name: float(rng.normal()) for m in metrics} for _ in range(8)]
        rows = [ImageScores(n, str(n), f"scene {n}", {"old": v, "new": dict(v)}) for n, v in enumerate(values)]
        scores = Scores(rows, [("old", "old"), ("new", "new")], metrics, "old", primary="psnr")
        told += sum(f.verdict not in (INCONCLUSIVE, NOT_TESTED) for f in findings(scores, "new", "old").values())
    return told


def main():
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=4000)
    parser.add_argument("--reports", type=int, default=2000)
    args = parser.parse_args()
    began = time.process_time()
    metrics = sum(number for number, _ in GROUPS)
    print(f"{args.sets} sets of one metric, {args.reports} reports of {metrics} metrics; in per cent\n")
    heads = ["differences", "scenes", "coverage", "one metric: nothing differs", "mean of zero",
             "report: nothing differs", "mean of zero", "primary differs"]  # fmt: skip
    print(f"| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}")
    for name, draw in SHAPES.items():
        for scenes in SCENES:
            rng = np.random.default_rng(scenes)
            found = [*of_one_metric(rng, draw, scenes, args.sets), *of_reports(rng, draw, scenes, args.reports)]
            print(f"| {name} | {scenes} | " + " | ".join(f"{100 * v:.1f}" for v in found) + " |", flush=True)
    print(f"\nverdicts in 200 reports of a model against itself: {against_itself(200)}")
    print(f"{time.process_time() - began:.0f} s of processor time")


if __name__ == "__main__":
    main()
