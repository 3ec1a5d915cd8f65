"""The training loop."""

import time
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator

from archsr import checkpoint, config_file, notes
from archsr.config import Stage, TrainConfig
from archsr.degrade.apply import Pair
from archsr.degrade.recipe import Recipe
from archsr.errors import UserError
from archsr.images import Pixels
from archsr.lock import holding
from archsr.models.foreign import Foreign
from archsr.run_folders import folder_of
from archsr.seeds import generator
from archsr.sheet import cells, draw_sheet, header_of
from archsr.stopping import LOST, REASONS, Stopped, Wishes
from archsr.stream.loader import Batch, Stream
from archsr.stream.plan import Slice
from archsr.training import health, layers, optim
from archsr.training.data import as_before, open_together
from archsr.training.ending import Ending
from archsr.training.hang import LONG
from archsr.training.keys import KeysFile, cut_keys
from archsr.training.log import Meter, RunLog
from archsr.training.memory import forecast, micro_batch_of
from archsr.training.milestones import conclude, log_training, save_run, tell_saved, validate_run
from archsr.training.pairs import options_of, pair_of, stream_name
from archsr.training.records import read_lines
from archsr.training.resuming import check_same_run, ident_for, restore
from archsr.training.schedule import generator_learns, place_of, total_of, validation_due
from archsr.training.setup import Progress, Run, make_run
from archsr.training.step import Terms, judge_step, micro_step, update
from archsr.training.trackers import Track, Trackers, check_trackers
from archsr.world import World


def train(
    config: TrainConfig, accelerator: Accelerator, world: World, *, resume: bool, wishes: Wishes | None = None
) -> Path:
    """Train as `config` says and return the run folder. A collective: every rank calls it.

    With `resume` it goes on from the newest good checkpoint, or starts where there is none. Raises `UserError`, and
    `Stopped` where `wishes` ended it before its end.
    """
    folder = folder_of(config)
    wishes = wishes or Wishes()
    wishes.limit = config.training.seconds
    world.together(lambda: check_trackers(config.log.trackers) if world.rank == 0 else None)  # all ranks
    data = open_together(config, world)  # all ranks
    with holding(folder, world, lost=wishes.lose):  # all ranks
        saved = _take_up(config, folder, world, resume=resume)
        if saved is not None:
            data = as_before(data, saved.state["fingerprint"], config, world)  # all ranks
        with Ending(folder, active=world.rank == 0) as ending:
            ident = world.broadcast(ident_for(saved))  # all ranks
            run = replace(make_run(config, accelerator, world, data, saved=saved, ident=ident), wishes=wishes)
            ending.progress = restore(run, saved) if saved else Progress()
            ending.progress.ident = ident
            _work(run, ending.progress, saved)
    return folder


def _work(run: Run, progress: Progress, saved: checkpoint.Loaded | None) -> None:
    config, folder, world = run.config, run.folder, run.world
    world.together(lambda: _open_folder(config, folder, progress, world, fresh=saved is None))  # all ranks
    log = RunLog(folder, active=world.rank == 0, trackers=_trackers(run, progress))
    try:
        _introduce(run, progress, log, resumed=saved is not None)
        with run.alarm:
            _loop(run, progress, log)
            run.alarm.set(LONG)
            conclude(run, progress, log)  # all ranks
    finally:
        run.saver.close()
        log.close()


def _take_up(config: TrainConfig, folder: Path, world: World, *, resume: bool) -> checkpoint.Loaded | None:
    """The checkpoint to go on from, all ranks agreeing; a run folder is never continued or overwritten by accident."""
    mirror = config.checkpoint.mirror if resume else ""
    saved, skipped = checkpoint.load_newest(folder, world=world, mirror=mirror, mend=resume)  # all ranks
    if world.rank == 0:
        for line in skipped:
            notes.say(line)
    if saved and not resume:
        raise UserError(
            f"{folder}: holds a run already (step {saved.step}); continue it with --resume, or choose another "
            "name: --set name=..."
        )
    if skipped and not saved:
        raise UserError(f"{folder}: holds a run, but none of its checkpoints is whole; start anew under another name")
    if saved:
        check_same_run(config, folder, saved)
        return saved
    if problem := config.problem_with_targets:
        raise UserError(problem)
    if resume and world.rank == 0:
        notes.say(f"{folder}: no checkpoint to resume from; starting at step 0")
    return saved


def _open_folder(config: TrainConfig, folder: Path, progress: Progress, world: World, *, fresh: bool) -> None:
    """Rank 0 makes the run folder, or cuts the records back to where the checkpoint stands."""
    if world.rank != 0:
        return
    if fresh and (aside := checkpoint.set_aside(folder)) is not None:
        notes.say(f"{folder}: what an attempt without a checkpoint left is now in {aside}")
    checkpoint.start_run(folder, config_file.dump(config), ident=progress.ident)
    cut_keys(folder, progress.step)


def _trackers(run: Run, progress: Progress) -> Trackers | None:
    """Rank 0's; a run that goes on does so in the same curves."""
    if run.world.rank != 0:
        return None
    told = max((event["step"] for event in read_lines(run.folder)), default=-1)
    return Trackers(Track(run.config, run.folder, progress.ident, progress.step, told))


def _introduce(run: Run, progress: Progress, log: RunLog, *, resumed: bool) -> None:
    training = run.config.training
    log.say(layers.table(run.raw_g, run.groups))
    if log.active:  # it takes a second
        log.say(f"memory forecast per process:\n{forecast(run.config).table()}")
    log.say(
        f"{run.folder}: {run.world.size} × {run.accelerator.device.type}, {training.precision}, batch "
        f"{training.global_batch} = {run.world.size} × {training.micro_batch} × {run.accumulation} accumulated, "
        f"{run.data.summary()}"
    )
    for what, mend in run.data.doubts(run.config):
        log.warn(progress.step, f"{what}; {mend}")
    side = run.config.data.gt_size // run.config.model.scale
    if isinstance(run.raw_g, Foreign) and (padding := run.raw_g.padding_of(side)):
        log.say(f"WARNING: {padding}; another data.gt_size wastes less")
    if resumed:
        log.event("resume", progress.step, {"processes": run.world.size, "taken": dict(progress.taken)})
        log.say(f"resumed at step {progress.step}")
        if progress.step >= total_of(training.stages, progress.ends):
            log.say("it has all its iterations already; for more, raise those of the last of training.stages")


def _loop(run: Run, progress: Progress, log: RunLog) -> None:
    """All ranks run every line; only `log` and the snapshots are rank 0's."""
    config, training = run.config, run.config.training
    total = total_of(training.stages, progress.ends)
    run.wishes.training = True
    if validation_due(progress.step, total, config.validation.every) and progress.scored_at != progress.step:
        # of the original, so that the curves begin there; later what was given up when the run was stopped
        run.alarm.set(LONG)
        if not validate_run(run, progress, log):  # all ranks
            _check_owner(run)
            raise Stopped(REASONS[run.wishes.agreed], progress.step or None)
        total = total_of(training.stages, progress.ends)
    meter, begun = Meter(), progress.step
    stream: Stream | None = None
    current: Stage | None = None
    keys = KeysFile(run.folder, rank=run.world.rank, active=config.log.keys)
    try:
        while progress.step < total:
            # --- stage: its learning rate, and its stream from where it stopped
            place = place_of(training.stages, progress.step, progress.ends)
            stage = place.stage
            if stage is not current:
                if stream is not None and current is not None and current.subset != stage.subset:
                    stream.close()
                    stream = None
                stream = stream or _open_stream(run, stage, progress)
                current = stage
            assert stream is not None
            _set_rates(run, place.lr)
            # the first line soon, so that a user sees at once how long it will take
            logged = (progress.step + 1) % config.log.every == 0 or progress.step + 1 in (begun + 1, total)
            # --- one iteration: gradients of all micro-batches, then both updates
            with meter.timed():
                seen = _iterate(run, stream, meter, stage, progress, log, logged=logged)
                progress.step += 1
                name = stream_name(stage.subset)
                progress.taken[name] = progress.taken.get(name, 0) + training.global_batch
            keys.add(progress.step, seen)
            run.alarm.set(LONG)
            # --- log
            if logged:
                log_training(run, progress, log, meter, place, total=total)  # all ranks
                meter = Meter()
            # --- validate, then save; both on all ranks
            validated = True
            if validation_due(progress.step, total, config.validation.every):
                validated = validate_run(run, progress, log)  # all ranks
                total = total_of(training.stages, progress.ends)
            hopeless = health.too_many(run, progress)
            _check_owner(run)
            stopping = run.wishes.agreed and (progress.step < total or not validated)
            if progress.step % config.checkpoint.every == 0 or progress.step == total or hopeless or stopping:
                save_run(run, progress, log)  # all ranks
            if hopeless:
                run.saver.settle()  # all ranks
                raise health.give_up(run, progress)
            if stopping:
                _stop(run, progress, log)  # all ranks
    except RuntimeError:
        # a worker of the stream that dies raises here, whatever line the process is at
        if stream is not None and (cause := stream.cause()) is not None:
            raise cause from None
        raise
    finally:
        keys.close()
        if stream is not None:
            stream.close()


def _check_owner(run: Run) -> None:
    if run.wishes.agreed == LOST:
        raise UserError(f"{run.folder}: another run has taken over this folder; stopped without saving")


def _stop(run: Run, progress: Progress, log: RunLog) -> None:
    """End as all ranks agreed to: the checkpoint is complete when this raises `Stopped`."""
    run.saver.settle()  # all ranks
    run.wishes.ignore_more()
    tell_saved(run, log)
    raise Stopped(REASONS[run.wishes.agreed], progress.step)


def _iterate(
    run: Run, stream: Stream, meter: Meter, stage: Stage, progress: Progress, log: RunLog, *, logged: bool
) -> list[str]:
    """One optimiser step over the accumulated micro-batches. Returns the keys it trained on."""
    seen: list[str] = []
    terms: list[Terms] = []
    learns = run.optimizer_d is None or generator_learns(run.config.discriminator, progress.step)
    for part in range(run.accumulation):
        run.alarm.set()
        waiting = time.perf_counter()
        batch = stream.next()
        meter.waited += time.perf_counter() - waiting
        pair, recipe = pair_of(run.config, batch, stage.subset, device=run.accelerator.device)
        if progress.step == part == 0 and log.active and recipe is not None:
            with meter.paused():
                log.degradation(_sheet(run, pair, recipe, batch))
        pair = run.pool.swap(pair, generator(run.config.seed, "pool", stream_name(stage.subset), batch.position))
        share = 1 / run.accumulation
        step = micro_step if learns else judge_step
        terms.append(step(run.parts, pair, share=share, last=part == run.accumulation - 1))
        run.suspects.add(progress.step + 1, pair, terms[-1])
        meter.samples += len(batch.keys)
        seen += batch.keys
    good, judged_right = health.usable(run, terms)  # all ranks
    if not good:
        health.skip(run, progress, log)  # all ranks
        return seen
    meter.add(terms)
    if learns:
        if logged:
            scale = run.parts.scaler_g.get_scale()  # now: the update may change it
            meter.norms = {name: norm / scale for name, norm in optim.gradient_norms(run.groups).items()}
        update(run.optimizer_g, run.parts.scaler_g, clip=run.config.training.clip)
        run.ema.update(progress.step + 1)
    if run.optimizer_d is not None:
        if judged_right > run.config.discriminator.pause:
            run.optimizer_d.zero_grad(set_to_none=True)
        else:
            update(run.optimizer_d, run.parts.scaler_d, clip=run.config.discriminator.clip)
    run.suspects.forget()
    return seen


def _sheet(run: Run, pair: Pair, recipe: Recipe, batch: Batch) -> Pixels:
    """The first pairs of a run with their recipes in words."""
    header = header_of(recipe, run.config.name, run.config.degrade.preset)
    return draw_sheet(cells(pair, recipe, batch.keys)[:12], header)


def _open_stream(run: Run, stage: Stage, progress: Progress) -> Stream:
    config = run.config
    options = options_of(config, run.data, stage.subset)
    part = Slice(
        start=progress.taken.get(stream_name(stage.subset), 0),
        micro_batch=micro_batch_of(config),
        accumulation=run.accumulation,
        rank=run.world.rank,
        world=run.world.size,
    )
    pin = run.accelerator.device.type == "cuda"
    return Stream(options, part, workers=config.data.workers, pin_memory=pin)


def _set_rates(run: Run, lr: float) -> None:
    for optimizer in (run.optimizer_g, run.optimizer_d):
        if optimizer is not None:
            optim.set_lr(optimizer, lr)
