"""Beginning a run folder."""

import itertools
from pathlib import Path

from archsr import lock
from archsr.atomic import write_bytes
from archsr.errors import UserError

SLURM = "slurm"  # in a run folder: scripts, configs and output of its jobs
_OTHERS = (lock.NAME, SLURM)  # of this start already


def set_aside(run: Path) -> Path | None:
    """Move what an attempt that saved no checkpoint left (its log, snapshots, ...) into a folder of its own.

    Else its snapshots would pass for the next run's. Returns that folder, or None where there was nothing.
    """
    left = [p for p in sorted(run.glob("*")) if not p.name.startswith("attempt-") and p.name not in _OTHERS]
    if not left:
        return None
    aside = next(p for n in itertools.count(1) if not (p := run / f"attempt-{n}").exists())
    try:
        aside.mkdir()
        for path in left:
            path.rename(aside / path.name)
    except OSError as error:
        raise UserError(f"{run}: the run folder cannot be written: {error.strerror}") from None
    return aside


def start_run(run: Path, config_text: str) -> None:
    """Make the run folder with its resolved config. Raises `UserError` if it cannot be written."""
    try:
        (run / "snapshots").mkdir(parents=True, exist_ok=True)
        (run / "samples").mkdir(exist_ok=True)
        write_bytes(run / "config.toml", config_text.encode())
    except OSError as error:
        raise UserError(f"{run}: the run folder cannot be written: {error.strerror}") from None
