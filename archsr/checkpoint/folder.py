"""Find, verify, load and prune checkpoint folders.

A checkpoint folder is recognised by its name: `step-` and at least eight digits. Other files and folders are never
read, renamed or removed. A checkpoint is good or damaged (`problem_with`). Damaged ones are renamed, so that they are
ignored from then on, but never deleted.
"""

import itertools
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors.torch
from torch import Tensor

from archsr.checkpoint.keeping import Keep, Stamp, core, staying
from archsr.runs.folders import checkpoints_folder, numbered, step_of
from archsr.utils.atomic import discarded, sha256

SCHEMA = "archsr-checkpoint/1"
MANIFEST = "MANIFEST.json"
_LITTER = re.compile(r"\.step-\d{8,}\.[0-9a-f]{8}\.(old|tmp)")


@dataclass(frozen=True)
class Loaded:
    """A verified checkpoint. `own` holds the tensors of every rank that wrote it, in rank order."""

    folder: Path
    step: int
    files: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    own: list[dict[str, Tensor]]


def set_damaged_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint so that it is ignored but kept. Raises OSError."""
    names = (folder.with_name(f"{folder.name}.damaged{n or ''}") for n in itertools.count())
    aside = next(p for p in names if not p.exists())
    folder.rename(aside)
    return aside


def manifest_problem(manifest: object, step: int | None = None) -> str:
    """Return what is wrong with a parsed manifest, or an empty string."""
    if not isinstance(manifest, dict):
        return f"{MANIFEST} is not a table"
    table = cast(Mapping[str, Any], manifest)
    if table.get("schema") != SCHEMA:
        return f"schema {table.get('schema')!r}, expected {SCHEMA!r}"
    if not isinstance(table.get("step"), int) or (step is not None and table["step"] != step):
        return f"it belongs to step {table.get('step')!r}"
    files = table.get("files")
    if not isinstance(files, dict) or "state.json" not in files:
        return f"{MANIFEST} lists no state.json"
    return ""


def problem_with(folder: Path) -> str:
    """Return what is wrong with a checkpoint folder, or an empty string. Reads and hashes every byte."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if problem := manifest_problem(manifest, step_of(folder.name)):
            return problem
        for name, known in manifest["files"].items():
            path = folder / name
            if path.stat().st_size != known["bytes"] or sha256(path) != known["sha256"]:
                return f"{name} is damaged"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


class Verified:
    """Remembers which folders are good, so that a process reads each of them once."""

    def __init__(self) -> None:
        self._good: set[tuple[Path, int]] = set()

    def add(self, folder: Path) -> None:
        """Mark a folder that this process wrote and flushed as good."""
        self._good.add(self._key(folder))

    def problem_with(self, folder: Path) -> str:
        """Like `problem_with`, but without reading good folders again."""
        try:
            key = self._key(folder)
        except OSError as error:
            return f"{type(error).__name__}: {error}"
        problem = "" if key in self._good else problem_with(folder)
        if not problem:
            self._good.add(key)
        return problem

    def _key(self, folder: Path) -> tuple[Path, int]:
        return folder, (folder / MANIFEST).stat().st_mtime_ns


def newest(run: Path, *, mend: bool = False) -> tuple[Path | None, list[str]]:
    """Return the newest good checkpoint folder, and a line about each damaged one.

    With `mend`, damaged ones are renamed if there is a good one. Raises OSError if that fails.
    """
    skipped: dict[Path, str] = {}
    found = None
    for folder in numbered(checkpoints_folder(run)):
        if not (problem := problem_with(folder)):
            found = folder
            break
        skipped[folder] = f"{folder}: skipped, {problem}"
    if found and mend:
        skipped = {f: f"{said}; it is now {set_damaged_aside(f).name}" for f, said in skipped.items()}
    return found, list(skipped.values())


def load(folder: Path) -> Loaded:
    """Load a checkpoint folder that was verified."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    files: dict[str, dict[str, Tensor]] = {}
    own: list[dict[str, Tensor]] = []
    for name in sorted(n for n in manifest["files"] if n.endswith(".safetensors")):
        tensors = safetensors.torch.load_file(folder / name)
        if name.startswith("rank-"):
            own.append(tensors)
        else:
            files[name.removesuffix(".safetensors")] = tensors
    return Loaded(folder, manifest["step"], files, json.loads((folder / "state.json").read_bytes()), own)


def prune(parent: Path, keep: Keep, *, verified: Verified | None = None) -> list[str]:
    """Remove old checkpoints and leftovers of crashes. Return a line about each damaged one, which is renamed.

    Only good ones count as newest or best, so that the run can resume from what stays. A folder is renamed before its
    files are deleted. Raises OSError.
    """
    verified = verified or Verified()
    there = {stamp.step: (folder, stamp) for folder in numbered(parent) if (stamp := _stamp(folder))}
    notes: list[str] = []
    while len(staying([stamp for _, stamp in there.values()], keep)) < len(there):
        leading = core([stamp for _, stamp in there.values()], keep)
        bad = {step: problem for step in leading if (problem := verified.problem_with(there[step][0]))}
        for step, problem in bad.items():
            folder, _ = there.pop(step)
            notes.append(f"{folder}: {problem}; it is now {set_damaged_aside(folder).name}")
        if not bad:
            break
    stay = staying([stamp for _, stamp in there.values()], keep)
    for step, (folder, _) in there.items():
        if step not in stay:
            folder.rename(discarded(folder))
    for litter in parent.glob(".step-*"):
        if _LITTER.fullmatch(litter.name):
            shutil.rmtree(litter, ignore_errors=True)
    return notes


def _stamp(folder: Path) -> Stamp | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return None if manifest_problem(manifest, step_of(folder.name)) else stamp_of(manifest)


def stamp_of(manifest: Mapping[str, Any]) -> Stamp:
    """Return the values of a manifest that decide whether its checkpoint is kept."""
    return Stamp(int(manifest["step"]), float(manifest.get("saved", 0.0)), manifest.get("score"))
