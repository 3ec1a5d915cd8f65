"""Rename and remove run folders. A run that is in use is left alone."""

import json
import re
import shutil
from pathlib import Path

from archsr.config import config_file
from archsr.errors import UserError
from archsr.runs import run_lock
from archsr.runs.folders import CONFIG, NO_RUN, is_run, run_config, runs_in
from archsr.utils.atomic import discarded, write_bytes

_NAME = re.compile(r"\w[\w.+ -]*")


def rename(run: Path, name: str) -> Path:
    """Give a run another name, in its folder and its config, and return the new folder. Raises `UserError`.

    Resume it with `--set name=NAME`. Runs that continue from it keep their own copy of its weights.
    """
    check_free(run)
    if not _NAME.fullmatch(name):
        raise UserError(f"--rename {name!r}: expected a name of letters, digits, spaces and ._+-, not a path")
    new = run.resolve().with_name(name)
    if new.exists():
        raise UserError(f"{new}: exists already; choose another name")
    config = run_config(run)
    runs = config.runs if Path(config.runs).resolve() == new.parent else str(new.parent)
    try:
        run.resolve().rename(new)
        write_bytes(new / CONFIG, config_file.dump(config.model_copy(update={"name": name, "runs": runs})).encode())
    except OSError as error:
        raise UserError(f"{run}: cannot be renamed: {error.strerror}") from None
    return run.with_name(name)


def remove(run: Path) -> None:
    """Delete a run folder with all that is in it. Raises `UserError` if it is in use or no run."""
    check_free(run)
    folder = run.resolve()
    gone = discarded(folder)
    try:
        folder.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        raise UserError(f"{run}: cannot be removed: {error.strerror}; what is left is in {gone}") from None


def losses_of(run: Path) -> str:
    """Return what would be lost with a run folder: its files and bytes, and the runs that continue from it."""
    files = [p for p in run.rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files)
    kept = [child.name for child in runs_in(run.resolve().parent) if _continues(child, run)]
    rest = f"; {', '.join(kept)} began with it and can go on without it" if kept else ""
    return f"{run}: {len(files)} files, {size / 1e6:.1f} MB{rest}"


def _continues(child: Path, run: Path) -> bool:
    """Return whether a run remembers another one among its ancestors."""
    try:
        ident = json.loads((run / "run.json").read_bytes())["ident"]
        return ident in [a["ident"] for a in json.loads((child / "run.json").read_bytes()).get("ancestors", [])]
    except (OSError, ValueError, KeyError):
        return False


def check_free(run: Path) -> None:
    """Raise `UserError` if a folder is no run, or if a living process uses it."""
    if not is_run(run):
        raise UserError(f"{run}: {NO_RUN}; `archsr runs` lists the runs")
    silent = run_lock.silence(run)
    if silent is not None and not run_lock.why_dead(run_lock.read(run), silent, run_lock.Holder()):
        holder = run_lock.read(run)
        raise UserError(f"{run}: in use by {holder.words() if holder else 'an unknown process'}; stop it first")
