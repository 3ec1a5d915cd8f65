"""What to do after an evaluation: take the model, use another strength, or change the config.

`advise` is a pure function of verdicts and means. The decision follows the verdicts, never a difference without one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from archsr.evaluation.report.words import listed
from archsr.evaluation.selection import PERCEPTUAL
from archsr.evaluation.statistics.bootstrap import FEWEST_SCENES, INCONCLUSIVE
from archsr.evaluation.statistics.verdicts import findings, why_no_verdicts
from archsr.evaluation.suite import Scores
from archsr.evaluation.summary import mean

_TRUTH = ("psnr", "ssim", "ms_ssim")
_SHARPNESS = (*PERCEPTUAL, "niqe_distance")
_CAUSES = {  # by metric, the loss that is missing and whether a discriminator may be the cause
    **dict.fromkeys(_TRUTH, ("raise `losses.pixel.weight`", True)),
    **dict.fromkeys(PERCEPTUAL, ("raise `losses.perceptual.weight` (without VGG19 `losses.features.weight`)", False)),
    "niqe_distance": ("change `losses.gan.weight` (higher if results are too smooth, lower if too crisp)", False),
    "colour": ("raise `losses.colour.weight`", False),
    **dict.fromkeys(("lines", "lines_kept", "lines_bend"), ("raise `losses.gradient.weight`", False)),
    "lines_invented": ("raise `losses.ldl.weight`", True),
    "false_texture": ("raise `losses.ldl.weight`", True),
    "consistency": ("choose a `degrade.preset` nearer to your photographs", False),
}


class Blend(NamedTuple):
    """A measured blend: its share of the fine-tuning, mean PSNR and mean perceptual distance."""

    share: float
    psnr: float
    distance: float


@dataclass(frozen=True)
class Advised:
    """What advice depends on. `source` is the run or file of `model`, `strength` its share of the fine-tuning.

    `verdicts` by metric; `reason`: why there are none. `psnr` and `distance` are the means of baseline and model,
    `bicubic` that of bicubic interpolation. `weights` are the losses of the run's config that are not 0, None for a
    file.
    """

    model: str
    baseline: str
    source: str
    primary: str
    verdicts: Mapping[str, str]
    scenes: int
    reason: str = ""
    is_run: bool = True
    strength: float = 1.0
    psnr: tuple[float, float] | None = None
    distance: tuple[float, float] | None = None
    bicubic: float | None = None
    blends: Sequence[Blend] = ()
    weights: Mapping[str, float] = field(default_factory=dict[str, float])


def situation_of(
    scores: Scores, model: str, *, source: str, shares: Mapping[str, float], is_run: bool = True,
    weights: Mapping[str, float] | None = None,
) -> Advised:  # fmt: skip
    """Return what the scores say about a model. `shares` are the models' shares of the fine-tuning by name."""
    old, names = scores.baseline, [m.name for m in scores.metrics]
    distance = next((name for name in PERCEPTUAL if name in names), None)
    ends = {n: (mean(scores, old, n), mean(scores, model, n)) for n in ("psnr", distance) if n in names}
    plain = "bicubic" in dict(scores.compared_models) and "psnr" in ends
    line = next((path for path in scores.paths if model in path), ())
    inner = [n for n in line if n not in (old, model) and 0 < shares.get(n, 0) < 1]
    return Advised(
        model=model,
        baseline=old,
        source=source,
        primary=scores.primary,
        verdicts={n: found.verdict for n, found in findings(scores, model, old).items()},
        scenes=len({row.scene for row in scores.rows}),
        reason=why_no_verdicts(scores, model, old),
        is_run=is_run,
        strength=shares.get(model, 1.0),
        psnr=ends.get("psnr"),
        distance=ends.get(distance) if distance else None,
        bicubic=mean(scores, "bicubic", "psnr") if plain else None,
        blends=[Blend(shares[n], mean(scores, n, "psnr"), mean(scores, n, distance)) for n in inner if distance],
        weights=weights or {},
    )  # fmt: skip


def advise(on: Advised) -> list[str]:
    """Return the advice as sentences, the decision first."""
    if on.reason or on.primary not in on.verdicts:
        again = f"archsr evaluate {on.source}"
        return [f"Decide nothing by this report. {on.reason} `{again}` on the test images gives verdicts.".strip()]
    if on.verdicts[on.primary] == INCONCLUSIVE:
        return [s for s in (_undecided(on), _bicubic(on)) if s]
    truth, sharpness = _way(on, _TRUTH), _way(on, _SHARPNESS)
    if truth and sharpness and truth != sharpness:
        decided = _choice(on, truer=truth == "better")
    elif on.verdicts[on.primary] == "worse" or "worse" in (truth, sharpness):
        return [f"Do not take it: keep {on.baseline}.", _next(on, also_less=True)]
    else:
        decided = f"Take it: `archsr upscale PHOTOS OUT --model {on.source}`."
    return [s for s in (decided, _bicubic(on), _next(on)) if s]


def _way(on: Advised, names: Sequence[str]) -> str:
    """Return "better" or "worse" if the verdicts of these metrics say only that, else an empty string."""
    said = {on.verdicts[n] for n in names if n in on.verdicts} & {"better", "worse"}
    return said.pop() if len(said) == 1 else ""


def _undecided(on: Advised) -> str:
    if on.scenes < FEWEST_SCENES:
        return (
            f"Decide nothing yet: {on.scenes} scenes are too few for a verdict. Prepare with a larger share for "
            "testing (`archsr prepare PHOTOS SHARDS --set test=0.35`) or more scenes, or look at the images."
        )
    return (
        f"Keep {on.baseline}, or train on: nothing shows a difference. Raise the iterations of `training.stages`, "
        "train more of `training.layers`, or evaluate on more scenes, which show smaller differences."
    )


def _choice(on: Advised, *, truer: bool) -> str:
    true, sharp = "truth to the photographs", "sharpness"
    wins, loses = (true, sharp) if truer else (sharp, true)
    return (
        f"If {wins} matters more, take it (`--model {on.source}`). If {loses} matters more, {_other(on, truer=truer)}"
    )


def _other(on: Advised, *, truer: bool) -> str:
    """Return how to get more of what this model lost."""
    if not on.is_run:
        return (
            f"blend it with {on.baseline}, if both are the same network: `archsr blend FIRST {on.source} --alpha 0.5 "
            "--out blend.safetensors`."
        )
    best = _best_blend(on, truer=truer)
    if best is not None:
        figures = f"measured here: PSNR {best.psnr:.2f}, distance {best.distance:.2f}"
        return f"use `--strength {best.share:g}` ({figures})."
    return (
        f"use `--strength {on.strength / 2:g}`, half way to {on.baseline}. It was not measured: `archsr evaluate "
        f"{on.source} --blend 0.25 --blend 0.5 --blend 0.75` does that."
    )


def _best_blend(on: Advised, *, truer: bool) -> Blend | None:
    """Return the measured blend that wins most back of what was lost, and keeps half of what was gained."""
    if not on.blends or on.psnr is None or on.distance is None:
        return None
    if truer:
        half = sum(on.psnr) / 2
        keeping = [b for b in on.blends if b.psnr >= half]
        return min(keeping or on.blends, key=lambda b: b.distance)
    half = sum(on.distance) / 2
    keeping = [b for b in on.blends if b.distance <= half]
    return max(keeping or on.blends, key=lambda b: b.psnr)


def _bicubic(on: Advised) -> str:
    """Return a caution if plain interpolation gains as much PSNR over the baseline as the model does."""
    if on.psnr is None or on.bicubic is None or on.psnr[1] <= on.psnr[0]:
        return ""
    gain, plain = on.psnr[1] - on.psnr[0], on.bicubic - on.psnr[0]
    if plain < gain - 1e-9:
        return ""
    return (
        f"Bicubic interpolation gains {plain:.2f} dB over {on.baseline}, too ({on.model}: {gain:.2f} dB): blur alone "
        "gives such a gain, so do not take the model for its PSNR."
    )


def _next(on: Advised, *, also_less: bool = False) -> str:
    """Return what to change in the config against what got worse."""
    worse = [name for name, verdict in on.verdicts.items() if verdict == "worse"]
    found = dict.fromkeys(way for name in worse if name in _CAUSES for way in _ways(on, name))
    ways = [*found, *(["lower the learning rate or iterations of `training.stages`"] if also_less else [])]
    return f"For the next training: {listed(ways)}." if ways else ""


def _ways(on: Advised, name: str) -> list[str]:
    more, by_gan = _CAUSES[name]
    lower = ["lower `losses.gan.weight`" + _now(on, "gan")] if by_gan and on.weights.get("gan", not on.weights) else []
    key = more.split("`")[1].removeprefix("losses.").removesuffix(".weight")
    shown = more + _now(on, key) if more.endswith(".weight`") else more
    return [*lower, shown]


def _now(on: Advised, key: str) -> str:
    """Return the present weight of a loss, if the config is known."""
    return f" (now {on.weights.get(key, 0):g})" if on.weights else ""
