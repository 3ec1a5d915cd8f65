"""`archsr blend`: how much of a fine-tuning is used, given or chosen on validation pairs."""

from pathlib import Path

from archsr import checkpoint
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

    `choose`: "balance" or a metric, as a run chooses its weights (judge.py).

    Raises `UserError` for models that do not fit each other.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: a blend is written as .safetensors")
    start, _ = open_model(first)
    end, _ = open_model(second)
    ends = start.state_dict(), end.state_dict()
    blended(*ends, 0.5)  # before the work begins: do they fit?
    weights = Path(checkpoint.weights_of(second))
    chosen_on = about_snapshot(weights).get("fingerprint", "") if weights.is_file() else ""
    if alpha is None:
        alpha, chosen_on = _best(first, second, choose, on, limit)
    about = {"blend": {"first": _name(first), "second": _name(second), "alpha": alpha, "chosen_on": chosen_on}}
    write_snapshot(out, blended(*ends, alpha), about=about)
    print(f"{out}: {alpha:g} of the way from {_name(first)} to {_name(second)}")
    return alpha


def _best(first: str, second: str, choose: str, on: str | None, limit: int | None) -> tuple[float, str]:
    """The best share, and what the dataset of the validation pairs is known by."""
    config = run_config(second) if is_run(second) else None
    if on is None and config is None:
        raise UserError("--alpha, or --on SHARDS whose validation pairs choose it: the second model is no run")
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
    taken = evaluate(pairs, compared_models, metrics)
    found = {step: figures_of(taken, f"{step:g}") for step in STEPS}
    leading = next(m for m in metrics if m.name == rule.leading(found[0.0]))
    for step, figures in found.items():
        said = "; ".join(rule.objections(figures, found[0.0]))
        print(f"alpha {step:.1f}: {leading.title} {mean(figures[leading.name]):.4f}{f' ({said})' if said else ''}")
    fingerprint = pairs.fingerprint if isinstance(pairs, ShardPairs) else ""
    return rule.best(found, found[0.0]) or 0.0, fingerprint  # 0 itself is always allowed


def _name(source: str) -> str:
    return Path(checkpoint.weights_of(source)).name if not is_run(source) else Path(source).name
