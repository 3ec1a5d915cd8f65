"""The run folder: checkpoints to go on from, snapshots to use, and how both are written and trusted.

    RUN/config.toml                              the resolved config
    RUN/log.jsonl, RUN/samples/, RUN/tensorboard/
    RUN/snapshots/{initial,best,best_raw,last,last_raw}.safetensors
    RUN/checkpoints/step-00000500/               tensors, state.json, one file per rank, MANIFEST.json

A folder is a checkpoint if its MANIFEST.json lists every file with the size and SHA-256 it has. It is written under a
temporary name, flushed and renamed, so a crash leaves the older ones and no half of a new one.
"""

import itertools
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from archsr.atomic import replacing, sha256, sync_file, sync_folder, write_bytes
from archsr.errors import UserError
from archsr.world import World

SCHEMA = "archsr-checkpoint/1"
_MANIFEST = "MANIFEST.json"
_HEADROOM = 64 * 2**20  # left free on the disk besides the checkpoint itself


@dataclass(frozen=True)
class Contents:
    """What goes into a checkpoint: named files of tensors and plain `state` from rank 0, `own` tensors of each rank."""

    files: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    own: Mapping[str, Tensor]


@dataclass(frozen=True)
class Loaded:
    """A verified checkpoint: `own` holds the tensors of every rank that wrote it, in rank order."""

    folder: Path
    step: int
    files: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    own: list[dict[str, Tensor]]


def save(run: Path, step: int, contents: Contents, *, world: World, keep: int) -> Path:
    """Write `step`'s checkpoint on all ranks together; afterwards the newest `keep` remain.

    Raises `UserError` on every rank if any rank could not write; the older checkpoints are then untouched.
    """
    parent = run / "checkpoints"
    final = parent / f"step-{step:08d}"
    temporary = parent / world.broadcast(f".{final.name}.{uuid.uuid4().hex[:8]}.tmp")  # all ranks
    error, table = "", dict[str, dict[str, Any]]()
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        table = _write_parts(temporary, contents, rank=world.rank)
    except Exception as problem:  # whatever it is, the other ranks wait for this one's word
        error = f"rank {world.rank}: {getattr(problem, 'strerror', None) or problem}"
    reports = world.gather((error, table))  # all ranks; also the barrier before the commit
    errors = [e for e, _ in reports if e]
    if world.rank == 0 and not errors:
        errors = _commit(temporary, final, {k: v for _, t in reports for k, v in t.items()}, step, world.size)
    errors = world.broadcast(errors)  # all ranks
    if errors:
        if world.rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"{final}: the checkpoint could not be written ({'; '.join(errors)}). The last good one is untouched: make "
            "room and run the same command with --resume"
        )
    if world.rank == 0:
        _prune(parent, keep)
    return final


def _write_parts(folder: Path, contents: Contents, *, rank: int) -> dict[str, dict[str, Any]]:
    """Write and flush this rank's files; their sizes and hashes by name."""
    parts: dict[str, Mapping[str, Tensor]] = {f"rank-{rank:05d}.safetensors": contents.own}
    if rank == 0:
        parts |= {f"{name}.safetensors": tensors for name, tensors in contents.files.items()}
    needed = sum(t.numel() * t.element_size() for tensors in parts.values() for t in tensors.values())
    free = shutil.disk_usage(folder).free
    if free < needed + _HEADROOM:
        raise OSError(0, f"disk full: {needed / 2**20:,.0f} MiB needed, {free / 2**20:,.0f} MiB free")
    for name, tensors in parts.items():
        plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        safetensors.torch.save_file(plain, folder / name)
    names = list(parts)
    if rank == 0:
        (folder / "state.json").write_text(json.dumps(contents.state, indent=1))
        names.append("state.json")
    for name in names:
        sync_file(folder / name)
    return {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in names}


def _commit(temporary: Path, final: Path, table: dict[str, dict[str, Any]], step: int, world: int) -> list[str]:
    """The manifest, then the rename that makes it a checkpoint. Returns what went wrong."""
    try:
        manifest = {"schema": SCHEMA, "step": step, "world": world, "files": table}
        (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        sync_file(temporary / _MANIFEST)
        sync_folder(temporary)
        if final.exists():  # this step was reached again after a resume from an older checkpoint
            final.rename(final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.old"))
        temporary.rename(final)
        sync_folder(final.parent)
    except OSError as problem:
        return [problem.strerror or str(problem)]
    return []


def _prune(parent: Path, keep: int) -> None:
    """Remove old checkpoints and what crashes left behind. A folder loses its name before it loses its files."""
    for old in _numbered(parent)[keep:]:
        old.rename(old.with_name(f".{old.name}.{uuid.uuid4().hex[:8]}.old"))
    for litter in parent.glob(".step-*"):
        shutil.rmtree(litter, ignore_errors=True)


def _numbered(parent: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    return sorted((p for p in parent.glob("step-*") if p.is_dir()), reverse=True)


def problem_with(folder: Path) -> str:
    """What is wrong with a checkpoint folder, or an empty string: every byte is read and hashed."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        if manifest["schema"] != SCHEMA:
            return f"schema {manifest['schema']!r}, expected {SCHEMA!r}"
        for name, known in manifest["files"].items():
            path = folder / name
            if path.stat().st_size != known["bytes"] or sha256(path) != known["sha256"]:
                return f"{name} is damaged"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def load_newest(run: Path, *, world: World) -> tuple[Loaded | None, list[str]]:
    """The newest checkpoint that verifies, the same on all ranks, and a line about each one skipped."""
    chosen: str | None = None
    skipped: list[str] = []
    if world.rank == 0:
        for folder in _numbered(run / "checkpoints"):
            problem = problem_with(folder)
            if not problem:
                chosen = str(folder)
                break
            skipped.append(f"{folder}: skipped, {problem}")
    chosen, skipped = world.broadcast((chosen, skipped))  # all ranks
    return (_load(Path(chosen)) if chosen else None), skipped


def _load(folder: Path) -> Loaded:
    manifest = json.loads((folder / _MANIFEST).read_bytes())
    files: dict[str, dict[str, Tensor]] = {}
    own: list[dict[str, Tensor]] = []
    for name in sorted(n for n in manifest["files"] if n.endswith(".safetensors")):
        tensors = safetensors.torch.load_file(folder / name)
        if name.startswith("rank-"):
            own.append(tensors)
        else:
            files[name.removesuffix(".safetensors")] = tensors
    return Loaded(folder, manifest["step"], files, json.loads((folder / "state.json").read_bytes()), own)


def write_snapshot(path: Path, state: Mapping[str, Tensor], *, about: Mapping[str, Any]) -> None:
    """Weights for use: float32 safetensors under the official names, with `about` as JSON in the metadata."""
    plain = {k: v.detach().float().cpu().contiguous() for k, v in state.items()}
    try:
        with replacing(path) as temporary:
            safetensors.torch.save_file(plain, temporary, metadata={"archsr": json.dumps(about)})
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: the snapshot could not be written: {error}; the older one is untouched") from None


def about_snapshot(path: Path) -> dict[str, Any]:
    """The metadata that `write_snapshot` stored, or {} for a foreign file."""
    if path.suffix != ".safetensors":
        return {}
    with safetensors.safe_open(path, framework="pt") as opened:
        stored = (opened.metadata() or {}).get("archsr", "{}")
    return json.loads(stored)


def weights_of(source: str, *, which: str = "best") -> str:
    """The weights behind a model as users name it: a run folder's snapshot, or the file or name itself."""
    folder = Path(source)
    if not folder.is_dir():
        return source
    candidates = [folder / "snapshots" / f"{name}.safetensors" for name in (which, "last")]
    found = next((c for c in candidates if c.is_file()), None)
    if found is None:
        if (folder / "snapshots" / "initial.safetensors").is_file():
            raise UserError(f"{source}: holds only the model it started from: it stopped before its first snapshot")
        raise UserError(f"{source}: no snapshots there: is it a run folder?")
    return str(found)


def set_aside(run: Path) -> Path | None:
    """Move what an attempt that saved no checkpoint left (its log, snapshots, ...) into a folder of its own.

    Else its snapshots would pass for the next run's. Returns that folder, or None where there was nothing.
    """
    left = [p for p in sorted(run.glob("*")) if not p.name.startswith("attempt-")]
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
