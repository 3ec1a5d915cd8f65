"""Beginning a run folder."""

import itertools
import json
import secrets
from pathlib import Path

from archsr.errors import UserError
from archsr.runs import run_lock
from archsr.runs.folders import CONFIG
from archsr.utils.atomic import write_bytes

SLURM = "slurm"  # in a run folder: scripts, configs and output of its jobs
IDENT = "run.json"
_OTHERS = (run_lock.NAME, SLURM)  # of this start already


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


def new_ident() -> str:
    """What tells a run from every other, also from one of the same name."""
    return secrets.token_hex(4)


def ident_of(run: Path) -> str:
    """The ident in a run folder; empty where it has none, or none that can be read."""
    try:
        found = json.loads((run / IDENT).read_bytes())
        return str(found["ident"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def start_run(run: Path, config_text: str, *, ident: str) -> None:
    """Make the run folder with its ident and resolved config. Raises `UserError` if it cannot be written."""
    try:
        (run / "snapshots").mkdir(parents=True, exist_ok=True)
        (run / "samples").mkdir(exist_ok=True)
        write_bytes(run / IDENT, json.dumps({"ident": ident}).encode())
        write_bytes(run / CONFIG, config_text.encode())
    except OSError as error:
        raise UserError(f"{run}: the run folder cannot be written: {error.strerror}") from None
