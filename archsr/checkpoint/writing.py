"""Write a checkpoint: each rank its part into one temporary folder, then rank 0 the manifest and the final name."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from archsr.checkpoint.folder import MANIFEST, SCHEMA
from archsr.utils.atomic import discarded, sha256, sync_file, sync_folder

_HEADROOM = 64 * 2**20  # bytes to leave free on the disk
_LOOK = 0.02  # seconds between checks for the other ranks' parts


@dataclass(frozen=True)
class Contents:
    """The contents of a checkpoint: rank 0's named tensor files and plain `state`, and `own` tensors of each rank."""

    files: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    own: Mapping[str, Tensor]


class HostCopies:
    """Copies of tensors in host memory, which later training steps do not change.

    GPU tensors are copied to pinned memory asynchronously, after the work already queued; `ready` waits for that. The
    memory is reused for the next checkpoint.
    """

    def __init__(self) -> None:
        self._room: dict[str, Tensor] = {}
        self._waits: list[Callable[[], None]] = []

    def take(self, name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return copies of `tensors`. `name` distinguishes them from others of the same checkpoint."""
        copies = {k: self._copy(f"{name}/{k}", v.detach()) for k, v in tensors.items()}
        if any(v.is_cuda for v in tensors.values()):
            self._waits.append(torch.cuda.current_stream().record_event().synchronize)
        return copies

    def _copy(self, key: str, tensor: Tensor) -> Tensor:
        room = self._room.get(key)
        if room is None or room.shape != tensor.shape or room.dtype != tensor.dtype:
            pinned = tensor.is_cuda
            room = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)  # contiguous in any memory layout
            self._room[key] = room
        return room.copy_(tensor, non_blocking=tensor.is_cuda)

    def ready(self) -> None:
        """Wait for all copies taken so far."""
        for wait in self._waits:
            wait()
        self._waits.clear()


def write_part(folder: Path, contents: Contents, *, rank: int) -> None:
    """Write and flush this rank's files, then the note that gives rank 0 their sizes and hashes. Raises OSError."""
    parts: dict[str, Mapping[str, Tensor]] = {f"rank-{rank:05d}.safetensors": contents.own}
    if rank == 0:
        parts |= {f"{name}.safetensors": tensors for name, tensors in contents.files.items()}
    needed = sum(t.numel() * t.element_size() for tensors in parts.values() for t in tensors.values())
    free = shutil.disk_usage(folder).free
    if free < needed + _HEADROOM:
        raise OSError(0, f"disk full: {needed / 2**20:,.0f} MiB needed, {free / 2**20:,.0f} MiB free")
    for name, tensors in parts.items():
        safetensors.torch.save_file(dict(tensors), folder / name)
    names = list(parts)
    if rank == 0:
        (folder / "state.json").write_text(json.dumps(contents.state, indent=1))
        names.append("state.json")
    for name in names:
        sync_file(folder / name)
    table = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in names}
    _announce(_note(folder, rank), json.dumps(table))


def _announce(note: Path, text: str) -> None:
    """Write the note, which must be a rank's last write: rank 0 renames the folder as soon as all notes exist.

    The note is not flushed, because it is removed before the checkpoint gets its name.
    """
    hidden = note.with_suffix(".tmp")
    hidden.write_text(text)
    hidden.replace(note)


def _note(folder: Path, rank: int) -> Path:
    return folder / f"part-{rank:05d}.json"


def gathered(folder: Path, *, world: int, wanted: Callable[[], bool]) -> dict[str, Any] | None:
    """Return what all ranks wrote, once all have finished, or None if `wanted` returns False before.

    This uses files instead of a collective, because it waits in a thread beside the training's own collectives, and a
    dead rank must not block it.
    """
    while not all(_note(folder, rank).exists() for rank in range(world)):
        if not wanted():
            return None
        time.sleep(_LOOK)
    table: dict[str, Any] = {}
    for rank in range(world):
        table |= json.loads(_note(folder, rank).read_bytes())
    return table


def commit(temporary: Path, final: Path, about: Mapping[str, Any]) -> None:
    """Write the manifest and rename the folder, which makes it a checkpoint. Raises OSError."""
    for note in temporary.glob("part-*.json"):
        note.unlink()
    (temporary / MANIFEST).write_text(json.dumps({"schema": SCHEMA, "saved": time.time(), **about}, indent=1))
    sync_file(temporary / MANIFEST)
    sync_folder(temporary)
    # a step reached again after resuming from an older checkpoint; the next pruning removes the old folder
    if final.exists():
        final.rename(discarded(final))
    temporary.rename(final)
    sync_folder(final.parent)
