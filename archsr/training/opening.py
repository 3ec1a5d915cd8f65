"""Open a run: dataset, lock, checkpoint, networks, records, and first messages."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from archsr import checkpoint
from archsr.config import TrainConfig, config_file
from archsr.errors import UserError
from archsr.runs.folders import folder_of
from archsr.runs.records import read_lines
from archsr.runs.run_lock import run_lock
from archsr.training import layers
from archsr.training.data import dataset_of_run, open_on_all_ranks
from archsr.training.faults.stop_reason import StopRecorder
from archsr.training.logging.log import RunLog, cut_keys
from archsr.training.logging.trackers import Track, Trackers, check_trackers
from archsr.training.memory.forecast import forecast
from archsr.training.resuming import changed_keys, check_same_run, ident_for, restore
from archsr.training.schedule import total_of
from archsr.training.setup import Progress, Run, fresh_progress, make_run
from archsr.utils import console
from archsr.utils.stopping import StopRequest
from archsr.utils.world import World

Changed = dict[str, tuple[Any, Any]]


@contextmanager
def opened(
    config: TrainConfig, accelerator: Accelerator, world: World, *, resume: bool, stop_request: StopRequest
) -> Generator[tuple[Run, Progress, RunLog]]:
    """Open a run that is ready to train or resume, with its folder locked until the end. All ranks.

    Raises `UserError`. If anything raises inside, the reason is recorded in the log.
    """
    folder = folder_of(config)
    stop_request.limit = config.training.seconds
    world.on_all_ranks(lambda: check_trackers(config.log.trackers) if world.rank == 0 else None)  # all ranks
    data = open_on_all_ranks(config, world)  # all ranks
    with run_lock(folder, world, lost=stop_request.lose_lock):  # all ranks
        saved = _checkpoint_to_resume(config, folder, world, resume=resume)
        if saved is not None:
            data = dataset_of_run(data, saved.state["fingerprint"], config, world)  # all ranks
        with StopRecorder(folder, active=world.rank == 0) as ending:
            ident = world.broadcast(ident_for(saved))  # all ranks
            run = replace(
                make_run(config, accelerator, world, data, saved=saved, ident=ident), stop_request=stop_request
            )
            progress = ending.progress = restore(run, saved) if saved else fresh_progress(config.model)
            progress.ident = ident
            changed = None if saved is None else changed_keys(run.config, folder, saved)
            with _recorded(run, progress, changed=changed) as log, run.alarm:
                yield run, progress, log


@contextmanager
def _recorded(run: Run, progress: Progress, *, changed: Changed | None) -> Generator[RunLog]:
    """Create or open the run folder and its log, and log the run's description.

    `changed`: for a resumed run, the config keys that changed since its start.
    """
    run.world.on_all_ranks(lambda: _open_folder(run, progress, fresh=changed is None))  # all ranks
    log = RunLog(run.folder, active=run.world.rank == 0, trackers=_trackers(run, progress))
    try:
        _introduce(run, progress, log, changed=changed)
        yield log
    finally:
        run.saver.close()
        log.close()


def _checkpoint_to_resume(config: TrainConfig, folder: Path, world: World, *, resume: bool) -> checkpoint.Loaded | None:
    """Return the checkpoint to resume from. Raises `UserError` instead of overwriting a run by accident."""
    mirror = config.checkpoint.mirror if resume else ""
    saved, skipped = checkpoint.load_newest(folder, world=world, mirror=mirror, mend=resume)  # all ranks
    if world.rank == 0:
        for line in skipped:
            console.say(line)
    if saved and not resume:
        raise UserError(
            f"{folder}: already holds a run (step {saved.step}); continue it with --resume, or choose another "
            "name: --set name=..."
        )
    if skipped and not saved:
        raise UserError(
            f"{folder}: holds a run, but all of its checkpoints are damaged; start a new run under another name"
        )
    if saved:
        check_same_run(config, folder, saved)
        return saved
    if problem := config.problem_with_targets:
        raise UserError(problem)
    if resume and world.rank == 0:
        console.say(f"{folder}: no checkpoint to resume from; starting at step 0")
    return saved


def _open_folder(run: Run, progress: Progress, *, fresh: bool) -> None:
    """On rank 0, create the run folder, or cut the records back to the checkpoint's step."""
    if run.world.rank != 0:
        return
    if fresh and (aside := checkpoint.set_aside(run.folder)) is not None:
        console.say(f"{run.folder}: moved the files of an attempt without a checkpoint to {aside}")
    checkpoint.start_run(run.folder, config_file.dump(run.config), ident=progress.ident,
                         ancestors=progress.ancestors)  # fmt: skip
    cut_keys(run.folder, progress.step)


def _trackers(run: Run, progress: Progress) -> Trackers | None:
    """Return rank 0's trackers. A resumed run continues its curves."""
    if run.world.rank != 0:
        return None
    logged_until = max((event["step"] for event in read_lines(run.folder)), default=-1)
    return Trackers(Track(run.config, run.folder, progress.ident, progress.step, logged_until))


def _introduce(run: Run, progress: Progress, log: RunLog, *, changed: Changed | None) -> None:
    training = run.config.training
    log.say(layers.table(run.raw_g, run.groups))
    if log.active:  # only on rank 0: it takes a second
        log.say(f"memory forecast per process:\n{forecast(run.config).table()}")
    log.say(
        f"{run.folder}: {run.world.size} × {run.accelerator.device.type}, {training.precision}, batch "
        f"{training.global_batch} = {run.world.size} × {training.micro_batch} × {run.accumulation} accumulated, "
        f"{run.data.summary()}"
    )
    for what, mend in run.data.warnings(run.config):
        log.warn(progress.step, f"{what}; {mend}")
    side = run.config.data.gt_size // run.config.model.scale
    if padding := run.raw_g.padding_of(side):
        log.say(f"WARNING: {padding}; another data.gt_size wastes less")
    if changed is not None:
        taken = dict(progress.taken)
        log.event("resume", progress.step, {"processes": run.world.size, "taken": taken, "changed": changed})
        log.say(f"resumed at step {progress.step}")
        if changed:
            log.say("\n  ".join(["config keys changed since the run started:", *config_file.in_words(changed)]))
        if progress.step >= total_of(training.stages, progress.ends):
            log.say("all iterations are done already; for more, increase iterations of the last of training.stages")
