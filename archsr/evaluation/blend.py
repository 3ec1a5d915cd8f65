"""`archsr blend`: interpolate between two models, with a given alpha or the best one on validation pairs."""

from dataclasses import asdict
from pathlib import Path

from archsr import checkpoint
from archsr.checkpoint.ancestry import lineage
from archsr.checkpoint.snapshots import about_snapshot, write_snapshot
from archsr.config import DataConfig
from archsr.errors import UserError
from archsr.evaluation.compared_models import ComparedModel
from archsr.evaluation.pairs import ShardPairs, open_pairs
from archsr.evaluation.selection import BALANCE, Rule, distance_for, figures_of, mean, metrics_of
from archsr.evaluation.suite import evaluate
from archsr.models.blend import blended
from archsr.runs.folders import is_run, run_config
from archsr.upscaling.upscaler import Upscaler, open_model

STEPS = tuple(n / 10 for n in range(11))


def blend(
    first: str, second: str, *, alpha: float | None, out: Path, choose: str = BALANCE, on: str | None = None,
    limit: int | None = None,
) -> float:  # fmt: skip
    """Write the blend and return its alpha; without one, the best of 0, 0.1, ... 1 on the validation pairs.

    `choose` is "balance" or a metric, as in a run's config (`evaluation.selection`). Raises `UserError` if the models
    do not fit each other.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: expected a name that ends in .safetensors")
    start, _ = open_model(first)
    end, _ = open_model(second)
    ends = start.state_dict(), end.state_dict()
    blended(*ends, 0.5)  # raises early if the models do not fit
    weights = Path(checkpoint.weights_of(second))
    chosen_on = about_snapshot(weights).get("fingerprint", "") if weights.is_file() else ""
    if alpha is None:
        alpha, chosen_on = _best(first, second, choose, on, limit)
    about = {"blend": {"first": _name(first), "second": _name(second), "alpha": alpha, "chosen_on": chosen_on}}
    of_both = {a.sha256: asdict(a) for source in (first, second) for a in lineage(source)}
    write_snapshot(out, blended(*ends, alpha), about={**about, "ancestors": [*of_both.values()]})
    print(f"{out}: {alpha:g} of the way from {_name(first)} to {_name(second)}")
    return alpha


def _best(first: str, second: str, choose: str, on: str | None, limit: int | None) -> tuple[float, str]:
    """Return the best alpha, and the fingerprint of the dataset of the validation pairs."""
    config = run_config(second) if is_run(second) else None
    if on is None and config is None:
        raise UserError("the second model is not a run folder, so alpha cannot be chosen; give --alpha, or --on SHARDS")
    net, kind = open_model(first)
    data = config.data if config else DataConfig()
    pairs = open_pairs(on or data.shards, data, split="val", scale=kind.scale, limit=limit)
    ends = net.state_dict(), open_model(second)[0].state_dict()
    compared_models: list[ComparedModel] = []
    for step in STEPS:
        between, _ = open_model(first)
        between.load_state_dict(blended(*ends, step))
        compared_models.append(ComparedModel(f"{step:g}", f"{step:g}", Upscaler(between, tile=0).restore))
    metrics = metrics_of(kind.scale, distance_for(choose))
    floor = config.validation.fidelity_floor if config else 0.0
    rule = Rule.of(choose, floor, metrics)
    scores = evaluate(pairs, compared_models, metrics)
    candidates = {step: figures_of(scores, f"{step:g}") for step in STEPS}
    leading = next(m for m in metrics if m.name == rule.leading(candidates[0.0]))
    for step, figures in candidates.items():
        why = "; ".join(rule.objections(figures, candidates[0.0]))
        print(f"alpha {step:.1f}: {leading.title} {mean(figures[leading.name]):.4f}{f' ({why})' if why else ''}")
    fingerprint = pairs.fingerprint if isinstance(pairs, ShardPairs) else ""
    return rule.best(candidates, candidates[0.0]) or 0.0, fingerprint  # 0 is always allowed


def _name(source: str) -> str:
    return Path(checkpoint.weights_of(source)).name if not is_run(source) else Path(source).name
