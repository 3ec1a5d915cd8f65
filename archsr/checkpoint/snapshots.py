"""Snapshots: weights for use, as safetensors that say where they come from."""

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
    """Weights for use: float32 safetensors under the official names, with `about` as JSON in the metadata."""
    plain = {k: (v.float() if v.is_floating_point() else v).detach().cpu().contiguous() for k, v in state.items()}
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


def weights_of(source: str, *, which: str = "chosen") -> str:
    """The weights behind a model as users name it: a run folder's snapshot, or the file or name itself.

    "chosen" is the share of the fine-tuning that the run found best at its end, "best" all of it.
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
                f"{source}: holds only the model that it started from; the first weights of its own come with the next "
                "validation (archsr runs says whether it is running)"
            )
        raise WeightsError(f"{source}: {_why_none(folder)}")
    return str(found)


def strength_of(source: str) -> float:
    """The share of its fine-tuning that a run found best at its end; 1 of everything else."""
    path = Path(weights_of(source))
    return float(about_snapshot(path).get("strength", 1.0)) if path.is_file() else 1.0


def _why_none(folder: Path) -> str:
    if is_run(folder):
        return "has no weights yet: its training has not come to its first snapshot (archsr runs says where it is)"
    if runs := list(map(str, runs_in(folder))):
        more = ", ..." if runs[5:] else ""
        return f"a folder of runs; name one of them: {', '.join(runs[:5])}{more}"
    return NO_RUN
