"""The training loop, from top to bottom: batch, degradation, step, log, validation, checkpoint."""

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor

from archsr.config import TrainConfig
from archsr.data.stream.loader import Stream
from archsr.degradation.apply import Pair
from archsr.errors import UserError
from archsr.training.faults import health
from archsr.training.faults.hang import LONG
from archsr.training.hooks import conclude, log_training, report_saved, save_run, validate_run
from archsr.training.logging import sheets
from archsr.training.logging.log import Meter, RunLog, SampleKeysFile
from archsr.training.opening import opened
from archsr.training.optim import set_lr
from archsr.training.pairs import pair_of, stream_name
from archsr.training.schedule import place_of, total_of, validation_due
from archsr.training.setup import Progress, Run
from archsr.training.step import Stepped, train_step
from archsr.training.streams import Streams
from archsr.utils.seeds import generator
from archsr.utils.stopping import LOST, REASONS, Stopped, StopRequest
from archsr.utils.world import World


def train(
    config: TrainConfig,
    accelerator: Accelerator,
    world: World,
    *,
    resume: bool,
    stop_request: StopRequest | None = None,
) -> Path:
    """Train as `config` says and return the run folder. A collective: every rank calls it.

    With `resume` it continues from the newest good checkpoint, or starts at step 0 if there is none. Raises
    `UserError`, and `Stopped` if `stop_request` ended the run early.
    """
    with opened(config, accelerator, world, resume=resume, stop_request=stop_request or StopRequest()) as (
        run,
        progress,
        log,
    ):
        _loop(run, progress, log)
        run.alarm.set(LONG)
        conclude(run, progress, log)  # all ranks
    return run.folder


def _loop(run: Run, progress: Progress, log: RunLog) -> None:
    """Run the training loop. All ranks run every line; only the log and the snapshots belong to rank 0."""
    config, stages = run.config, run.config.training.stages
    total = total_of(stages, progress.ends)
    run.stop_request.training = True
    if validation_due(progress.step, total, config.validation.every) and progress.scored_at != progress.step:
        # validate the initial model, so that the curves start there, or repeat a validation cancelled by a stop
        run.alarm.set(LONG)
        if not validate_run(run, progress, log):  # all ranks
            _check_owner(run)
            raise Stopped(REASONS[run.stop_request.agreed], progress.step or None)
        total = total_of(stages, progress.ends)
    meter, first_step = Meter(), progress.step
    unread: deque[tuple[int, Stepped]] = deque()  # iterations whose verdict the host has not read
    keys = SampleKeysFile(run.folder, rank=run.world.rank, active=config.log.keys)
    with Streams(run, progress) as streams, closing(keys):
        while progress.step < total:
            # --- stage: its learning rate, and its stream from the current position
            place = place_of(stages, progress.step, progress.ends)
            stream = streams.of(place.stage.subset)
            for optimizer in run.optimizers:
                set_lr(optimizer, place.lr)
            # log the first iteration, so that users see the expected duration at once
            logged = (progress.step + 1) % config.log.every == 0 or progress.step + 1 in (first_step + 1, total)
            # --- one iteration: read and degrade; forward and backward; update
            with meter.timed():
                inputs = StepInputs()
                pairs = _pairs(run, stream, place.stage.subset, inputs, meter, log if progress.step == 0 else None)
                done = train_step(run, pairs, step=progress.step, count=run.accumulation, norms=logged)  # all ranks
                del pairs  # the last pair holds device memory
                progress.step += 1
                for origin, terms in zip(inputs.origins, done.terms, strict=True):
                    run.recent_batches.add(progress.step, origin, terms.names, terms.values)
                unread.append((progress.step, done))
                saving = progress.step % config.checkpoint.every == 0 or progress.step == total
                validating = validation_due(progress.step, total, config.validation.every)
                # where the device decides, the previous verdict is read, so that the host does not wait
                later = int(run.defers and not (logged or saving or validating))
                skipped = _read(run, progress, log, meter, unread, later=later)  # all ranks
                name = stream_name(place.stage.subset)
                progress.taken[name] = progress.taken.get(name, 0) + config.training.global_batch
            keys.add(progress.step, inputs.keys)
            run.alarm.set(LONG)
            # --- log
            if logged:
                log_training(run, progress, log, meter, place, total=total)  # all ranks
                meter = Meter()
            # --- validate, then save; both on all ranks
            validated = True
            if validating:
                validated = validate_run(run, progress, log)  # all ranks
                total = total_of(stages, progress.ends)
            hopeless = skipped and health.too_many(run, progress)
            _check_owner(run)
            stopping = run.stop_request.agreed and (progress.step < total or not validated)
            if saving or hopeless or stopping:
                save_run(run, progress, log)  # all ranks
            if hopeless:
                run.saver.settle()  # all ranks
                raise health.give_up(run, progress)
            if stopping:
                _stop(run, progress, log)  # all ranks


def _read(
    run: Run, progress: Progress, log: RunLog, meter: Meter, unread: deque[tuple[int, Stepped]], *, later: int
) -> bool:
    """Read the verdicts of all iterations but the newest `later`, or of all if one was skipped or the run is to stop.

    Return whether one was skipped. All ranks read the same verdicts.
    """
    any_skipped = False
    while len(unread) > (0 if any_skipped or run.stop_request.agreed else later):
        step, done = unread.popleft()
        usable, run.stop_request.agreed, _ = done.verdict.read()
        if usable:
            for terms in done.terms:
                meter.add(terms.names, terms.values)
            meter.norms, meter.steps = done.norms, meter.steps + 1
        else:
            health.skip(run, progress, log, step)  # all ranks
            any_skipped = True
        run.recent_batches.settle(step, usable=usable)
    return any_skipped


@dataclass
class StepInputs:
    """Inputs of an iteration on this rank: sample keys, and the origin of each micro-batch's pairs."""

    keys: list[str] = field(default_factory=list[str])
    origins: list[Tensor | None] = field(default_factory=list[Tensor | None])


def _pairs(
    run: Run, stream: Stream, subset: float, inputs: StepInputs, meter: Meter, log_to: RunLog | None
) -> Iterator[Pair]:
    """Yield the micro-batches of an iteration. Each is read, degraded and mixed by the pair pool on demand.

    The first is logged to `log_to`, if given. Keys, origins and times are added to `inputs` and `meter`.
    """
    for part in range(run.accumulation):
        run.alarm.set()
        with meter.waiting():
            batch = stream.next()
        pair, recipe = pair_of(run.config, batch, subset, device=run.accelerator.device)
        if log_to is not None and part == 0:
            with meter.paused():
                sheets.show_degradation(run.config, log_to, pair, recipe, batch.keys)
        pair = run.pool.swap(pair, generator(run.config.seed, "pool", stream_name(subset), batch.position))
        meter.samples += len(batch.keys)
        inputs.keys += batch.keys
        inputs.origins.append(pair.origin)
        yield pair


def _check_owner(run: Run) -> None:
    if run.stop_request.agreed == LOST:
        raise UserError(f"{run.folder}: another run has taken over this folder; stopped without saving")


def _stop(run: Run, progress: Progress, log: RunLog) -> None:
    """End the run as all ranks agreed. The checkpoint is complete when this raises `Stopped`."""
    run.saver.settle()  # all ranks
    run.stop_request.ignore_signals()
    report_saved(run, log)
    raise Stopped(REASONS[run.stop_request.agreed], progress.step)
