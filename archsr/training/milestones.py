"""What happens between iterations: logging, validating, keeping snapshots and checkpoints. All collectives."""

import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archsr import checkpoint
from archsr.config import LossConfig
from archsr.errors import UserError
from archsr.models.build import official_state
from archsr.training import sheets
from archsr.training.curves import draw_curves
from archsr.training.health import REMEDY, batch_kept, where_to_look
from archsr.training.log import Meter, RunLog, clock, peak_memory, sample_of
from archsr.training.schedule import Place, Plateau, judged, open_end, place_of, seconds_left
from archsr.training.setup import Progress, Run, contents
from archsr.training.validation import Validation, validate

SHOWN = (*LossConfig.model_fields, "total", "d_real", "d_fake")  # of the terms, on the console; log.jsonl has all


def log_training(run: Run, progress: Progress, log: RunLog, meter: Meter, place: Place, *, total: int) -> None:
    """Means over all ranks and iterations that were not skipped."""
    run.saver.check()  # all ranks
    tell_saved(run, log)
    reports = run.world.gather((meter.means(), meter.speed(), peak_memory()))  # all ranks
    means = {k: sum(r[0][k] for r in reports) / len(reports) for k in reports[0][0]}
    speed = sum(r[1]["images_per_second"] for r in reports)
    waited = max(r[1]["data_wait"] for r in reports)
    memory = max(r[2] for r in reports)
    each = run.config.training.global_batch / speed
    every, validating = run.config.validation.every, progress.validating
    left = seconds_left(progress.step, total, each=each, every=every, validating=validating)
    norms = {f"grad_norm/{k}": float(v) / run.parts.scaler_g.get_scale() for k, v in meter.norms.items()}
    values = {
        "iterations": meter.steps, **means, **norms, "lr": place.lr, "images_per_second": speed, "data_wait": waited,
        "peak_memory": memory, "seconds_left": left,
    }  # fmt: skip
    log.event("train", progress.step, values)
    at_most = "at most " if open_end(run.config.training.stages, progress.ends) else ""
    where = "" if torch.cuda.is_available() else " (whole process)"
    shown = "  ".join(f"{k} {v:.4f}" for k, v in means.items() if k in SHOWN)
    log.say(
        f"step {progress.step}/{total}  {shown}  lr {place.lr:g}  {speed:.2f} img/s  "
        f"data wait {waited:.0%}  peak {memory / 2**30:.2f} GiB{where}  left {at_most}{clock(left)}"
        f"{' for the validation' if progress.step == total else ''}"
    )
    for warning in run.watch.of_training(values):
        log.warn(progress.step, warning)


def validate_run(run: Run, progress: Progress, log: RunLog) -> bool:
    """The averaged and the raw weights on the fixed pairs; keeps the best as a snapshot, and ends a stage on a plateau.

    False where it was given up, because the run is to stop; all ranks agree on that then, and it is for the next start.
    """
    started = time.perf_counter()
    if progress.step == 0:
        count = min(run.data.manifest.splits["val"].samples, run.config.validation.samples)
        log.say(f"validating before the first iteration, {count} pairs")
    with run.ema.in_place():
        averaged = _score(run, pictures=run.config.validation.pictures)  # all ranks
    raw = averaged if progress.step == 0 or averaged is None else _score(run, pictures=0)  # all ranks
    if averaged is None or raw is None:
        run.wishes.agreed = max(run.world.gather(run.wishes.asked()))  # all ranks
        return False
    progress.validating = time.perf_counter() - started
    values = {"psnr": averaged.psnr, "ssim": averaged.ssim, "l1": averaged.l1, "pairs": averaged.pairs}
    values |= {"colour": averaged.colour, "consistency": averaged.consistency}
    values |= {"raw_psnr": raw.psnr, "raw_ssim": raw.ssim, "raw_l1": raw.l1}
    metric = run.config.validation.best
    score = float(values[metric])
    first = score if progress.first is None else progress.first
    progress.first = first
    log.event("validation", progress.step, values)
    if averaged.seen:
        before = sheets.before_of(sample_of(run.folder, 0), len(averaged.seen)) if progress.step else []
        log.picture(progress.step, sheets.draw(averaged.seen, progress.step, before))
    better = progress.best is None or score > progress.best
    unit = " dB" if metric == "psnr" else ""
    log.say(
        f"validation at {progress.step}: PSNR {averaged.psnr:.4f} dB (raw {raw.psnr:.4f})  SSIM {averaged.ssim:.4f} "
        f"(raw {raw.ssim:.4f})  {metric} against the start {score - first:+.4f}{unit}{'  best' if better else ''}"
    )
    progress.scored = (progress.step, score)
    progress.original = progress.original or {"colour": averaged.colour, "consistency": averaged.consistency}
    for warning in run.watch.of_validation(values, progress.original):
        log.warn(progress.step, warning)
    if better:
        progress.best = score
        _snapshots(run, progress, "initial" if progress.step == 0 else "best", {metric: score})
    if log.active:
        with log.forgiving("curves.png"):
            draw_curves(run.folder)
    if progress.step:
        _watch_plateau(run, progress, log, score)
    return True


def _watch_plateau(run: Run, progress: Progress, log: RunLog, score: float) -> None:
    """End a stage that waits for a plateau when there is one. Equal on all ranks."""
    place = place_of(run.config.training.stages, progress.step - 1, progress.ends)  # of the last iteration
    if place.stage.until != "plateau":
        return
    known = Plateau(**progress.plateau) if progress.plateau else None
    found = judged(known, place, score)
    progress.plateau = asdict(found)
    if found.waited >= place.stage.patience and progress.step < place.end:
        progress.ends[str(place.number)] = progress.step
        log.event("plateau", progress.step, {"stage": place.number, "best": found.best})
        log.say(
            f"stage {place.number + 1} ends at {progress.step}: {found.waited} validations without a better "
            f"{run.config.validation.best} than {found.best:.4f}"
        )


def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers are numbers; one word from the device."""
    norms = torch._foreach_norm([t.detach() for t in tensors])  # pyright: ignore
    return bool(torch.isfinite(torch.stack(norms)).all())


def _score(run: Run, *, pictures: int) -> Validation | None:
    return validate(
        run.raw_g,
        run.data.folder,
        run.data.manifest,
        samples=run.config.validation.samples,
        pictures=pictures,
        device=run.accelerator.device,
        world=run.world,
        given_up=run.wishes.already,
    )


def _snapshots(run: Run, progress: Progress, name: str, scores: dict[str, float]) -> None:
    """Weights for use: averaged, and raw beside them. Rank 0's saver writes; every rank has the same weights."""
    if run.world.rank != 0:
        return
    about = {
        "run": run.config.name,
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
    """The weights as they are now, written by the saver's thread."""
    state = {k: v.detach().to("cpu", copy=True) for k, v in official_state(run.raw_g).items()}
    run.saver.submit(lambda: checkpoint.write_snapshot(path, state, about=about))


def save_run(run: Run, progress: Progress, log: RunLog) -> None:
    """A checkpoint, and the latest weights as a snapshot. A collective."""
    if not finite([*run.raw_g.parameters(), *run.ema.average.values()]):  # equal on all ranks, so all raise
        newest = run.suspects.first(or_newest=True) if run.world.rank == 0 else None
        path = batch_kept(run, log, newest)
        raise UserError(
            f"{run.folder}: weights are no longer numbers at step {progress.step}; nothing was "
            f"saved over the good checkpoints.{f' The newest batch: {where_to_look(run, path)}.' if path else ''} "
            f"{REMEDY}"
        )
    step, score = progress.scored or (None, None)
    # the snapshot first: a mirrored checkpoint takes it along
    _snapshots(run, progress, "last", {})
    run.saver.begin(progress.step, contents(run, progress), score=score if step == progress.step else None)  # all ranks
    tell_saved(run, log)


def tell_saved(run: Run, log: RunLog) -> None:
    """Say which checkpoints have become complete, and what the mirror had to say."""
    finished, run.saver.finished = run.saver.finished, []
    for saved in finished:
        run.wishes.saved_in(saved.seconds)
        values = {"seconds": saved.seconds, "stood_still": saved.stood_still}
        log.event("checkpoint", int(saved.folder.name.removeprefix("step-")), values)
        stood = f"training stood still {saved.stood_still:.2f} s"
        log.say(f"checkpoint {saved.folder.name} in {saved.seconds:.1f} s; {stood}")
    notes, run.saver.notes = run.saver.notes, []
    for note in notes:
        log.say(f"WARNING: {note}")


def conclude(run: Run, progress: Progress, log: RunLog) -> None:
    """Wait for what is still being written, and say plainly whether the run found anything better than its start."""
    run.saver.settle()  # all ranks
    tell_saved(run, log)
    metric = run.config.validation.best
    gain = (progress.best or 0.0) - (progress.first or 0.0)
    log.event("end", progress.step, {"best": progress.best, "first": progress.first})
    if gain > 0:
        log.say(f"done: best {metric} {progress.best:.4f}, {gain:+.4f} against the start; archsr evaluate {run.folder}")
    else:
        log.say(f"done: NOT BETTER than the start on the validation pairs ({metric}); archsr evaluate {run.folder}")
