"""Models about which no verdict is given on these images, because the images, or a look at them, chose the model."""

from collections.abc import Sequence
from pathlib import Path

from archsr.checkpoint import about_snapshot
from archsr.data.remote import place_of
from archsr.evaluation.compared_models import ComparedModel
from archsr.evaluation.pairs import Pairs, ShardPairs
from archsr.runs.folders import is_run, run_config

EXPLORATORY = (
    "This share of the fine-tuning was not chosen before the images were seen, so its figures are exploratory and have "
    "no verdicts; `archsr blend` chooses a share on the validation images."
)


def unjudged(compared_models: Sequence[ComparedModel], pairs: Pairs) -> dict[str, str]:
    """By name of a model, the sentence that says why it has no verdicts."""
    found = {c.name: EXPLORATORY for c in compared_models if not c.weights}
    chosen = [c.name for c in compared_models if c.weights and chose_by(c.weights, pairs)]
    return found | {name: _chosen(name) for name in chosen}


def _chosen(name: str) -> str:
    return (
        f"{name} was chosen by these validation images, so its figures on them flatter it and have no verdicts; the "
        "test images (`--split test`) give them."
    )


def chose_by(weights: str, pairs: Pairs) -> bool:
    """Whether the weights of a file, or the share of a fine-tuning in it, were chosen by these validation images."""
    file = Path(weights)
    if not isinstance(pairs, ShardPairs) or pairs.split != "val" or not file.is_file():
        return False
    about = about_snapshot(file)
    if not about.get("step", 1):
        return False  # what a run began with
    run = str(file.parent.parent)
    if file.parent.name != "snapshots" or not is_run(run):
        return pairs.fingerprint in (about.get("fingerprint"), about.get("blend", {}).get("chosen_on"))
    config = run_config(run)
    if file.stem.startswith("last") and all(s.until == "iterations" for s in config.training.stages):
        return False
    return about.get("fingerprint") == pairs.fingerprint or place_of(config.data.shards, config.data) == pairs.place
