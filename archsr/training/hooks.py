"""Work between iterations: logging, validation, snapshots and checkpoints. Every function here is a collective."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archsr import checkpoint
from archsr.checkpoint import about_snapshot
from archsr.config import TrainConfig
from archsr.errors import UserError
from archsr.evaluation.metrics import Metric
from archsr.evaluation.pairs import ShardPairs
from archsr.evaluation.report.words import listed
from archsr.evaluation.selection import Figures, Rule, changes_in_words, distance_for, mean, metrics_of
from archsr.evaluation.suite import EvaluationCancelledError
from archsr.models.adapters import merged_state
from archsr.models.blend import blended
from archsr.models.build import build, official_state
from archsr.training.faults.health import REMEDY, batch_kept, where_to_look
from archsr.training.logging import sheets
from archsr.training.logging.curves import LOSSES, draw_curves
from archsr.training.logging.log import Meter, RunLog, clock, peak_memory, sample_of
from archsr.training.resuming import contents
from archsr.training.schedule import (
    Plateau,
    StagePosition,
    open_end,
    place_of,
    seconds_left,
    updated_plateau,
    validation_share,
)
from archsr.training.setup import Progress, Run
from archsr.training.validation import Validation, validate
from archsr.upscaling.upscaler import open_model


def log_training(run: Run, progress: Progress, log: RunLog, meter: Meter, place: StagePosition, *, total: int) -> None:
    """Log the means over all ranks and over the iterations that were not skipped."""
    run.saver.check()  # all ranks
    report_saved(run, log)
    reports = run.world.gather((meter.means(), meter.speed(), peak_memory()))  # all ranks
    means = {k: sum(r[0][k] for r in reports) / len(reports) for k in reports[0][0]}
    speed = sum(r[1]["images_per_second"] for r in reports)
    waited = max(r[1]["data_wait"] for r in reports)
    memory = max(r[2] for r in reports)
    each = run.config.training.global_batch / speed
    every, validating = run.config.validation.every, progress.validating
    left = seconds_left(progress.step, total, each=each, every=every, validating=validating)
    share = validation_share(each=each, every=every, validating=validating)
    norms = {f"grad_norm/{k}": float(v) for k, v in meter.norms.items()}
    values = {
        "iterations": meter.steps, **means, **norms, "lr": place.lr, "images_per_second": speed, "data_wait": waited,
        "peak_memory": memory, "seconds_left": left, "validation_share": share,
    }  # fmt: skip
    log.event("train", progress.step, values)
    at_most = "at most " if open_end(run.config.training.stages, progress.ends) else ""
    where = "" if torch.cuda.is_available() else " (whole process)"
    shown = "  ".join(f"{k} {v:.4f}" for k, v in means.items() if k in LOSSES)
    log.say(
        f"step {progress.step}/{total}  {shown}  lr {place.lr:g}  {speed:.2f} img/s  "
        f"data wait {waited:.0%}  peak {memory / 2**30:.2f} GiB{where}  left {at_most}{clock(left)}"
        f"{' for the validation' if progress.step == total else ''}"
    )
    for warning in run.watch.of_training({**values, "validate_every": every}):
        log.warn(progress.step, warning)


def validate_run(run: Run, progress: Progress, log: RunLog) -> bool:
    """Validate the averaged weights, keep the best as a snapshot, and end the stage on a plateau.

    Return False if validation was cancelled because the run is stopping. All ranks agree on this.
    """
    started = time.perf_counter()
    if progress.step == 0:
        log.say(f"validating before the first iteration, {len(pairs_of(run).numbers())} pairs")
    if not progress.distance:
        named = distance_for(run.config.best, run.config.validation.perceptual)
        progress.distance = run.world.broadcast(named)  # all ranks
    metrics = metrics_of(run.config.model.scale, progress.distance)
    try:
        with run.ema.in_place():
            found = _validated(run, metrics, images=run.config.validation.images)  # all ranks
    except EvaluationCancelledError:
        run.stop_request.agreed = max(run.world.gather(run.stop_request.reason()))  # all ranks
        return False
    progress.validating = time.perf_counter() - started
    values = found.means()
    rule = rule_of(run.config, metrics)
    fresh = progress.start is None
    start = progress.start = progress.start or found.figures
    wins = rule.wins(found.figures, None if fresh else progress.chosen, start)
    progress.scored = (progress.step, rule.score(found.figures, start))
    facts = {
        "seconds": progress.validating,
        "images": found.images,
        "chosen": wins,
        "score": progress.scored[1],
        "leading": rule.leading(start),
    }
    log.event("validation", progress.step, {**{k: v for k, v in values.items() if math.isfinite(v)}, **facts})
    if found.seen:
        before = sheets.before_of(sample_of(run.folder, 0), len(found.seen)) if progress.step else []
        log.image(progress.step, sheets.draw(found.seen, progress.step, before))
    _tell_validation(progress.step, values, rule, found.figures, start, metrics, log, wins=wins)
    original = {name: mean(scenes) for name, scenes in start.items()}
    for warning in run.watch.of_validation(values, original):
        log.warn(progress.step, warning)
    if wins:
        progress.chosen, progress.chosen_at = found.figures, progress.step
        if run.world.rank == 0:  # its strength was measured for older weights
            (run.folder / "snapshots" / "chosen.safetensors").unlink(missing_ok=True)
        _snapshots(run, progress, "initial" if progress.step == 0 else "best", {"means": values})
    if log.active:
        with log.forgiving("curves.png"):
            draw_curves(run.folder)
    if progress.step:
        _watch_plateau(run, progress, log, found.figures, rule)
    return True


def _tell_validation(
    step: int, values: dict[str, float], rule: Rule, figures: Figures, start: Figures, metrics: Sequence[Metric],
    log: RunLog, *, wins: bool,
) -> None:  # fmt: skip
    taken = [m for m in metrics if math.isfinite(values[m.name])]
    shown = "  ".join(f"{m.title.split(',')[0]} {values[m.name]:.4g}{_ARROWS[m.higher_is_better]}" for m in taken)
    log.say(f"validation at {step}: {shown}{'  chosen' if wins else ''}")
    if step:
        said = rule.objections(figures, start)
        log.say(f"  against the start: {changes_in_words(figures, start, metrics)}"
                f"{f'; may not be chosen: {listed(said)}' if said else ''}")  # fmt: skip


_ARROWS = {True: "↑", False: "↓"}  # whether higher or lower is better


def rule_of(config: TrainConfig, metrics: Sequence[Metric]) -> Rule:
    """Return the rule by which a run chooses its weights."""
    return Rule.of(config.best, config.validation.fidelity_floor, metrics)


def pairs_of(run: Run) -> ShardPairs:
    """Return the validation pairs of a run."""
    return ShardPairs(run.data.folder, "val", run.config.validation.samples)


def _validated(run: Run, metrics: Sequence[Metric], *, images: int) -> Validation:
    """Validate the weights now in the network, in a plain copy like the one that `archsr evaluate` opens."""
    net = build(run.config.model)
    net.load_state_dict(merged_state(run.raw_g))
    return validate(
        net.requires_grad_(False).eval(), pairs_of(run), metrics, images=images, device=run.accelerator.device,
        world=run.world, is_cancelled=run.stop_request.requested,
    )  # fmt: skip


def _watch_plateau(run: Run, progress: Progress, log: RunLog, figures: Figures, rule: Rule) -> None:
    """End a stage with `until = "plateau"` if there is one. The result is equal on all ranks."""
    place = place_of(run.config.training.stages, progress.step - 1, progress.ends)  # the stage's last iteration
    if place.stage.until != "plateau" or progress.start is None:
        return
    known = Plateau(**progress.plateau) if progress.plateau else None
    found = updated_plateau(known, place, figures, start=progress.start, rule=rule)
    progress.plateau = asdict(found)
    if found.waited >= place.stage.patience and progress.step < place.end:
        name = rule.leading(figures)
        progress.ends[str(place.number)] = progress.step
        log.event("plateau", progress.step, {"stage": place.number, "best": mean(found.best[name])})
        log.say(
            f"stage {place.number + 1} ends at {progress.step}: {found.waited} validations without a better "
            f"{name} than {mean(found.best[name]):.4f}"
        )


def finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all values are finite. Waits for the device once."""
    norms = torch._foreach_norm([t.detach() for t in tensors])  # pyright: ignore
    return bool(torch.isfinite(torch.stack(norms)).all())


def _snapshots(run: Run, progress: Progress, name: str, scores: dict[str, Any]) -> None:
    """Write averaged and raw weights as snapshots. Rank 0 writes them, as all ranks have the same weights."""
    if run.world.rank != 0:
        return
    about = {
        "run": run.config.name,
        "ident": progress.ident,
        "ancestors": progress.ancestors,
        "shards": run.config.data.shards,
        "step": progress.step,
        "model": run.config.model.model_dump(mode="json"),
        "fingerprint": run.data.manifest.fingerprint,
        **scores,
    }
    folder = run.folder / "snapshots"
    if name != "initial":
        _write_later(run, folder / f"{name}_raw.safetensors", {**about, "weights": "raw"})
    with run.ema.in_place():
        _write_later(run, folder / f"{name}.safetensors", {**about, "weights": "ema"})


def _write_later(run: Run, path: Path, about: dict[str, Any]) -> None:
    state = {k: v.detach().to("cpu", copy=True) for k, v in official_state(run.raw_g).items()}
    run.saver.submit(lambda: checkpoint.write_snapshot(path, state, about=about))


def save_run(run: Run, progress: Progress, log: RunLog) -> None:
    """Write a checkpoint, and the latest weights as a snapshot. A collective."""
    if not finite([*run.raw_g.parameters(), *run.ema.average.values()]):  # equal on all ranks, so all of them raise
        newest = run.recent_batches.newest() if run.world.rank == 0 else None
        path = batch_kept(run, log, newest)
        raise UserError(
            f"{run.folder}: the weights contain NaN or Inf at step {progress.step}; nothing was saved, and the good "
            f"checkpoints are untouched.{f' The newest batch: {where_to_look(run, path)}.' if path else ''} "
            f"{REMEDY}"
        )
    step, score = progress.scored or (None, None)
    # snapshot first: a mirrored checkpoint includes it
    _snapshots(run, progress, "last", {})
    run.saver.begin(progress.step, contents(run, progress), score=score if step == progress.step else None)  # all ranks
    report_saved(run, log)


def report_saved(run: Run, log: RunLog) -> None:
    """Report which checkpoints are complete, and the mirror's messages."""
    finished, run.saver.finished = run.saver.finished, []
    for saved in finished:
        run.stop_request.record_save(saved.seconds)
        values = {"seconds": saved.seconds, "stood_still": saved.paused}
        log.event("checkpoint", int(saved.folder.name.removeprefix("step-")), values)
        stood = f"training paused {saved.paused:.2f} s"
        log.say(f"checkpoint {saved.folder.name} in {saved.seconds:.1f} s; {stood}")
    notes, run.saver.notes = run.saver.notes, []
    for note in notes:
        log.say(f"WARNING: {note}")


def conclude(run: Run, progress: Progress, log: RunLog) -> None:
    """Find the best strength of the fine-tuning, and report what improved and what got worse."""
    run.saver.settle()  # all ranks
    report_saved(run, log)
    if progress.start is None or progress.chosen is None:
        return
    metrics = metrics_of(run.config.model.scale, progress.distance)
    strength, figures = 1.0, progress.chosen
    if run.config.validation.strength and progress.chosen_at:
        strength, figures = _best_strength(run, progress, log, metrics)  # all ranks
    told = changes_in_words(figures, progress.start, metrics)
    rule = rule_of(run.config, metrics)
    log.event("end", progress.step, {"chosen": progress.chosen_at, "strength": strength, "rule": rule.best_by})
    more = f"archsr evaluate {run.folder}"
    if not progress.chosen_at:
        log.say(f"done: NOT BETTER than the start by {_rule_in_words(rule, figures)} on the validation pairs; {more}")
        return
    share = f" at strength {strength:g}" if strength != 1 else ""
    log.say(f"done: iteration {progress.chosen_at}{share} is chosen by {_rule_in_words(rule, figures)}; {told}; {more}")


def _rule_in_words(rule: Rule, figures: Figures) -> str:
    return f"balance ({rule.leading(figures)}, with PSNR and NIQE kept)" if rule.best_by == "balance" else rule.best_by


def _best_strength(run: Run, progress: Progress, log: RunLog, metrics: Sequence[Metric]) -> tuple[float, Figures]:
    """Store the best of four blends of initial and chosen weights, and of the two blends around the best."""
    assert progress.start is not None
    assert progress.chosen is not None
    folder, rule = run.folder / "snapshots", rule_of(run.config, metrics)
    start, net = run.world.on_all_ranks(
        lambda: [open_model(str(folder / f"{n}.safetensors"))[0] for n in ("initial", "best")]
    )
    ends = start.state_dict(), {k: v.clone() for k, v in net.state_dict().items()}  # `net` holds each blend in turn
    found = {1.0: progress.chosen}

    def best_of(*shares: float) -> float:
        for share in shares:
            net.load_state_dict(blended(*ends, share))
            found[share] = validate(
                net, pairs_of(run), metrics, images=0, device=run.accelerator.device, world=run.world
            ).figures  # all ranks
        return rule.best(found, progress.start or {}) or 1.0

    best = best_of(0.75, 0.5, 0.25)
    best = best_of(*(s for s in (best - 0.125, best + 0.125) if s < 1))
    log.event("strength", progress.step, {f"{s:g}": rule.score(f, progress.start) for s, f in sorted(found.items())})
    net.load_state_dict(blended(*ends, best))
    about = {**about_snapshot(folder / "best.safetensors"), "strength": best}
    if run.world.rank == 0:
        checkpoint.write_snapshot(folder / "chosen.safetensors", official_state(net), about=about)
    return best, found[best]
