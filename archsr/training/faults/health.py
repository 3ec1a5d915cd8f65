"""Skip iterations with a NaN or Inf on all ranks, keep their batches, and end the run if there are too many."""

from archsr.training.faults.nonfinite import FOLDER, RecentBatch, save_suspect
from archsr.training.faults.stop_reason import TooManySkippedError
from archsr.training.logging.log import RunLog
from archsr.training.setup import Progress, Run

RECENT = 1000  # `training.max_skipped` skipped iterations among this many end the run
REMEDY = (
    "Split training.stages at the last good checkpoint's step, lower lr after it, and --resume. With fp16, "
    "try bf16 or fp32 in a new run"
)


def skip(run: Run, progress: Progress, log: RunLog, step: int) -> None:
    """Count iteration `step` (1, 2, ...), which was not usable, and report its NaN or Inf by rank. A collective."""
    reports = run.world.gather(_culprit(run, log, step))  # all ranks
    wrong = [(rank, names, path) for rank, (names, path) in enumerate(reports) if names]
    progress.skipped = [*(s for s in progress.skipped if s > step - RECENT), step]
    who = "; ".join(f"{', '.join(names)} on rank {rank}" for rank, names, _ in wrong) or "the gradient"
    replay = next((f"; {where_to_look(run, path)}" for _, _, path in wrong if path), "")
    log.event("skip", step, {"terms": [{"rank": rank, "terms": names, "batch": path} for rank, names, path in wrong]})
    log.say(
        f"step {step}: NaN or Inf in {who}. Skipped on all ranks ({len(progress.skipped)} of at most "
        f"{run.config.training.max_skipped} in {RECENT} iterations){replay}"
    )


def too_many(run: Run, progress: Progress) -> bool:
    """Return whether the limit of recent skips is reached. Ask after a skip."""
    return len(progress.skipped) >= run.config.training.max_skipped


def give_up(run: Run, progress: Progress) -> TooManySkippedError:
    """Return the error for a run with `too_many` skips. The checkpoint was just written."""
    return TooManySkippedError(
        f"{run.folder}: the loss was NaN or Inf in {len(progress.skipped)} of the last {RECENT} iterations; stopped at "
        f"step {progress.step} with a good checkpoint. The batches are in {run.folder / FOLDER}. {REMEDY}"
    )


def _culprit(run: Run, log: RunLog, step: int) -> tuple[list[str], str | None]:
    """Return the names of this rank's terms that are NaN or Inf, and the file with its batch."""
    suspect = run.recent_batches.of(step)
    if suspect is None:
        return [], None
    names = [name for name, good in zip(suspect.names, suspect.values.isfinite().tolist(), strict=True) if not good]
    return names, batch_kept(run, log, suspect)


def where_to_look(run: Run, path: str) -> str:
    """Return how the user can inspect a stored batch."""
    if not run.data.manifest.degrades:
        return f"{path} names the samples of the batch"
    return f"see the batch: archsr preview --replay {path}"


def batch_kept(run: Run, log: RunLog, suspect: RecentBatch | None) -> str | None:
    """Write the micro-batch for `archsr preview --replay`. Return its path, or None if nothing could be written."""
    path: str | None = None
    if suspect is not None:
        with log.forgiving(f"{FOLDER}/"):
            device = run.accelerator.device.type
            path = str(save_suspect(run.folder, suspect, run.config, run.data, rank=run.world.rank, device=device))
    return path
