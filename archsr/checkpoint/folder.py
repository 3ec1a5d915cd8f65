"""Checkpoint folders: finding, trusting, loading and pruning them."""

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from archsr.atomic import sha256
from archsr.checkpoint.keeping import Keep, Stamp, staying

SCHEMA = "archsr-checkpoint/1"
MANIFEST = "MANIFEST.json"


@dataclass(frozen=True)
class Loaded:
    """A verified checkpoint: `own` holds the tensors of every rank that wrote it, in rank order."""

    folder: Path
    step: int
    files: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    own: list[dict[str, Tensor]]


def home(run: Path) -> Path:
    """Where a run's checkpoints lie."""
    return run / "checkpoints"


def name_of(step: int) -> str:
    """The folder name of a step's checkpoint."""
    return f"step-{step:08d}"


def numbered(parent: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    return sorted((p for p in parent.glob("step-*") if p.is_dir()), reverse=True)


def aside(folder: Path) -> Path:
    """A name under which a folder is no checkpoint any more; the next pruning removes it."""
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")


def problem_with(folder: Path) -> str:
    """What is wrong with a checkpoint folder, or an empty string: every byte is read and hashed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["schema"] != SCHEMA:
            return f"schema {manifest['schema']!r}, expected {SCHEMA!r}"
        for name, known in manifest["files"].items():
            path = folder / name
            if path.stat().st_size != known["bytes"] or sha256(path) != known["sha256"]:
                return f"{name} is damaged"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def newest(run: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint folder that verifies, and a line about each one skipped."""
    skipped: list[str] = []
    for folder in numbered(home(run)):
        problem = problem_with(folder)
        if not problem:
            return folder, skipped
        skipped.append(f"{folder}: skipped, {problem}")
    return None, skipped


def load(folder: Path) -> Loaded:
    """A checkpoint folder that verifies."""
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


def prune(parent: Path, keep: Keep) -> None:
    """Remove old checkpoints and what crashes left behind. A folder loses its name before it loses its files."""
    there = {folder: _stamp(folder) for folder in numbered(parent)}
    stay = staying(list(there.values()), keep)
    for folder, stamp in there.items():
        if stamp.step not in stay:
            folder.rename(aside(folder))
    for litter in parent.glob(".step-*"):
        shutil.rmtree(litter, ignore_errors=True)


def _stamp(folder: Path) -> Stamp:
    """Of a folder without a readable manifest only the step is known."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        manifest = {}
    return Stamp(int(folder.name.removeprefix("step-")), manifest.get("saved", 0.0), manifest.get("score"))
