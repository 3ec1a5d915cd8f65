"""Create a run folder, and choose the checkpoint from which a run resumes."""

import itertools
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archsr.checkpoint.folder import Loaded, load, newest
from archsr.checkpoint.keeping import Keep
from archsr.checkpoint.mirror import Mirror
from archsr.errors import UserError
from archsr.runs import run_lock
from archsr.runs.folders import CONFIG
from archsr.utils.atomic import write_bytes
from archsr.utils.world import World

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


def start_run(run: Path, config_text: str, *, ident: str, ancestors: Sequence[Mapping[str, Any]] = ()) -> None:
    """Create the run folder with its ident, ancestors and resolved config. Raises `UserError` if it cannot be written.

    `ancestors`: the runs whose weights this one began with, the oldest first (`ancestry.Ancestor` as plain data).
    """
    try:
        (run / "snapshots").mkdir(parents=True, exist_ok=True)
        (run / "samples").mkdir(exist_ok=True)
        write_bytes(run / IDENT, json.dumps({"ident": ident, "ancestors": [*ancestors]}).encode())
        write_bytes(run / CONFIG, config_text.encode())
    except OSError as error:
        raise UserError(f"{run}: the run folder cannot be written: {error.strerror}") from None


def load_newest(run: Path, *, world: World, mirror: str = "", mend: bool = False) -> tuple[Loaded | None, list[str]]:
    """Return the newest good checkpoint, the same on all ranks, and a line about each damaged one.

    If the run folder has none, the newest is fetched from the `mirror`. With `mend`, damaged ones are renamed. A
    collective. Raises `UserError` if the mirror cannot be read or the folder cannot be written.
    """

    def look() -> tuple[str | None, list[str]]:
        if world.rank != 0:
            return None, []
        try:
            folder, skipped = newest(run, mend=mend)
            if folder is None and mirror:
                skipped += Mirror(mirror, keep=Keep()).get(run, ident=ident_of(run))
                folder, more = newest(run, mend=mend)
                skipped += more
        except OSError as error:
            raise UserError(f"{run}: a damaged checkpoint cannot be renamed: {error.strerror}") from None
        return (str(folder) if folder else None), skipped

    chosen, skipped = world.broadcast(world.on_all_ranks(look))  # all ranks
    return (load(Path(chosen)) if chosen else None), skipped
