"""Contents of a run's checkpoint, and the check that a resumed config matches it."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import tomli
from torch import Tensor

from archsr import checkpoint
from archsr.config import TrainConfig, config_file
from archsr.degradation.pool import redistribute
from archsr.errors import UserError
from archsr.runs.folders import run_config
from archsr.runs.records import read_lines
from archsr.training.optim import pack, unpack
from archsr.training.schedule import changed_at, total_of
from archsr.training.setup import Progress, Run

# keys that may differ when a run is resumed
_FREE = (
    "name", "runs", "log.", "validation.every", "validation.images", "checkpoint.", "data.shards", "data.cache",
    "data.retries", "data.workers", "training.micro_batch", "training.max_skipped", "training.gradient_checkpointing",
    "training.recompute", "training.time_limit", "training.collective_timeout",
)  # fmt: skip


def contents(run: Run, progress: Progress) -> checkpoint.Contents:
    """Return everything needed to resume that cannot be derived."""
    optim_g, plain_g = pack(run.optimizer_g)
    files: dict[str, Mapping[str, Tensor]] = {
        "generator": run.raw_g.state_dict(),
        "ema": run.ema.average,
        "optimizer_g": optim_g,
    }
    state: dict[str, Any] = {
        "progress": vars(progress),
        "config": config_file.dump(run.config),
        "micro_batch": run.config.training.micro_batch,
        "precision": run.config.training.precision,
        "fingerprint": run.data.manifest.fingerprint,
        "optimizer_g": plain_g,
        "scaler_g": run.parts.scaler_g.state_dict(),
        "scaler_d": run.parts.scaler_d.state_dict(),
    }
    if run.optimizer_d is not None and run.parts.raw_d is not None:
        files["optimizer_d"], state["optimizer_d"] = pack(run.optimizer_d)
        files["discriminator"] = run.parts.raw_d.state_dict()
    return checkpoint.Contents(files, state, run.pool.state())


def restore(run: Run, saved: checkpoint.Loaded) -> Progress:
    """Load a checkpoint into a new run. Pair pools of another number of ranks are redistributed."""
    if saved.state["fingerprint"] != run.data.manifest.fingerprint:
        raise UserError(
            f"{run.data.folder}: not the dataset that the run was trained on (fingerprint "
            f"{run.data.manifest.fingerprint[:16]}, expected {saved.state['fingerprint'][:16]}); start a new "
            "run on it"
        )
    run.raw_g.load_state_dict(saved.files["generator"])
    run.ema.load(saved.files["ema"])
    unpack(run.optimizer_g, saved.files["optimizer_g"], saved.state["optimizer_g"])
    if run.optimizer_d is not None and run.parts.raw_d is not None:
        unpack(run.optimizer_d, saved.files["optimizer_d"], saved.state["optimizer_d"])
        run.parts.raw_d.load_state_dict(saved.files["discriminator"])
    run.parts.scaler_g.load_state_dict(saved.state["scaler_g"])
    run.parts.scaler_d.load_state_dict(saved.state["scaler_d"])
    own = saved.own
    same = len(own) == run.world.size
    share = own[run.world.rank] if same else redistribute(own, rank=run.world.rank, world=run.world.size)
    run.pool.load(share, device=run.accelerator.device)
    return progress_from(saved.state["progress"])


def ident_for(saved: checkpoint.Loaded | None) -> str:
    """Return the ident of the checkpoint's run, or a new one. Broadcast it to make it equal on all ranks."""
    known = saved.state["progress"].get("ident") if saved is not None else ""
    return str(known or checkpoint.new_ident())


def progress_from(stored: Mapping[str, Any]) -> Progress:
    """Return the progress stored in a checkpoint. Those of earlier versions have one score and no metrics."""
    known = {f.name for f in fields(Progress)}
    found = {name: value for name, value in stored.items() if name in known}
    if "start" not in stored:
        found |= {"scored": None, "plateau": None}
    return Progress(**found)


def changed_keys(config: TrainConfig, folder: Path, saved: checkpoint.Loaded) -> dict[str, tuple[Any, Any]]:
    """Return what each config key was when the run started, and what it is now, for those that differ.

    The checkpoint has the config of the last start; the log has what earlier starts changed.
    """
    found = config_file.changes(_config_of(saved, folder), config)
    for event in reversed(read_lines(folder)):
        for path, (old, new) in event.get("changed", {}).items() if event["event"] == "resume" else ():
            found[path] = (old, found[path][1] if path in found else new)
    return {path: (old, new) for path, (old, new) in found.items() if old != new}


def _config_of(saved: checkpoint.Loaded, folder: Path) -> TrainConfig:
    """Return the resolved config of a checkpoint. Earlier versions stored it beside the checkpoints only."""
    if (text := saved.state.get("config")) is not None:
        return config_file.check(TrainConfig, tomli.loads(text), where=f"{saved.folder}/state.json")
    return run_config(folder)


def check_same_run(config: TrainConfig, folder: Path, saved: checkpoint.Loaded) -> None:
    """Raise `UserError` if the config differs from the checkpoint's in a key that affects past iterations.

    Later stages may be changed.
    """
    step, ends = saved.step, saved.state["progress"].get("ends", {})
    stages = config.training.stages
    if (total := total_of(stages, ends)) < step:
        raise UserError(
            f"{folder}: its checkpoint is at step {step}, but training.stages end at {total}; increase iterations"
        )
    stored = _config_of(saved, folder)
    losses = stored.losses.terms().keys() | config.losses.terms().keys()
    idle = tuple(f"losses.{name}." for name in type(config.losses).model_fields if name not in losses)
    changed = [d for d in config_file.differences(stored, config) if not d.startswith((*_FREE, *idle))]
    changed = [d for d in changed if not d.startswith("training.stages")]
    if told := changed_at(stored.training.stages, stages, ends, step):
        changed.append(told)
    if changed:
        more = (
            f" (and {len(changed) - 1} more: {', '.join(c.split(':')[0] for c in changed[1:])})" if changed[1:] else ""
        )
        raise UserError(
            f"{folder}: config differs from the checkpoint's: {changed[0]}{more}. Restore the values, or use a new name"
        )
