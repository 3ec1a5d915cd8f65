"""Create a run folder."""

import itertools
import json
import secrets
from pathlib import Path

from archsr.errors import UserError
from archsr.runs import run_lock
from archsr.runs.folders import CONFIG
from archsr.utils.atomic import write_bytes

SLURM = "slurm"  # subfolder for scripts, configs and output of SLURM jobs
IDENT = "run.json"
_OTHERS = (run_lock.NAME, SLURM)  # files that this start has already written


def set_aside(run: Path) -> Path | None:
    """Move the files of an attempt that saved no checkpoint (log, snapshots, ...) into a new subfolder.

    Otherwise its snapshots would be mistaken for the new run's. Return the subfolder, or None if there was nothing.
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


def new_ident() -> str:
    """Return a unique identifier for a run."""
    return secrets.token_hex(4)


def ident_of(run: Path) -> str:
    """Return the ident stored in a run folder, or an empty string if there is none or it cannot be read."""
    try:
        found = json.loads((run / IDENT).read_bytes())
        return str(found["ident"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def start_run(run: Path, config_text: str, *, ident: str) -> None:
    """Create the run folder with its ident and resolved config. Raises `UserError` if it cannot be written."""
    try:
        (run / "snapshots").mkdir(parents=True, exist_ok=True)
        (run / "samples").mkdir(exist_ok=True)
        write_bytes(run / IDENT, json.dumps({"ident": ident}).encode())
        write_bytes(run / CONFIG, config_text.encode())
    except OSError as error:
        raise UserError(f"{run}: the run folder cannot be written: {error.strerror}") from None
