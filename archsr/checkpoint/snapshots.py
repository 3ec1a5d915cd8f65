"""Snapshots: weights for use, as safetensors with their origin in the metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from archsr.errors import UserError, WeightsError
from archsr.runs.folders import NO_RUN, is_run, runs_in
from archsr.utils.atomic import replacing


def write_snapshot(path: Path, state: Mapping[str, Tensor], *, about: Mapping[str, Any]) -> None:
    """Write float32 safetensors under the official tensor names, with `about` as JSON in the metadata."""
    plain = {k: (v.float() if v.is_floating_point() else v).detach().cpu().contiguous() for k, v in state.items()}
    try:
        with replacing(path) as temporary:
            safetensors.torch.save_file(plain, temporary, metadata={"archsr": json.dumps(about)})
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: the snapshot could not be written: {error}; the older one is untouched") from None


def about_snapshot(path: Path) -> dict[str, Any]:
    """Return the metadata that `write_snapshot` stored, or {} for another file."""
    if path.suffix != ".safetensors":
        return {}
    with safetensors.safe_open(path, framework="pt") as opened:
        stored = (opened.metadata() or {}).get("archsr", "{}")
    return json.loads(stored)


def weights_of(source: str, *, which: str = "chosen") -> str:
    """Return the weights file of a model: a run folder's snapshot, or the file or name itself.

    `which` "chosen" is the strength that the run found best at its end; "best" is full strength.
    """
    folder = Path(source)
    if not folder.is_dir():
        return source
    names = ("chosen", "best", "last") if which == "chosen" else (which, "last")
    candidates = [folder / "snapshots" / f"{name}.safetensors" for name in names]
    found = next((c for c in candidates if c.is_file()), None)
    if found is None:
        if (folder / "snapshots" / "initial.safetensors").is_file():
            raise WeightsError(
                f"{source}: holds only its initial model; the first trained weights are written at the next "
                "validation (archsr runs says whether it is running)"
            )
        raise WeightsError(f"{source}: {_why_none(folder)}")
    return str(found)


def strength_of(source: str) -> float:
    """Return the strength of the fine-tuning that a run found best at its end, or 1 for anything else."""
    path = Path(weights_of(source))
    return float(about_snapshot(path).get("strength", 1.0)) if path.is_file() else 1.0


def _why_none(folder: Path) -> str:
    if is_run(folder):
        return "has no weights yet: training has not reached its first snapshot (see archsr runs)"
    if runs := list(map(str, runs_in(folder))):
        more = ", ..." if runs[5:] else ""
        return f"a folder of runs; choose one of them: {', '.join(runs[:5])}{more}"
    return NO_RUN
