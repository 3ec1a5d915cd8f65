"""Store the batch behind a NaN or Inf loss as JSON, and rebuild it from that file."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archsr.config import TrainConfig, config_file
from archsr.data.stream.loader import Batch, batch_at
from archsr.degradation.apply import Pair
from archsr.degradation.recipe import Recipe, from_json, to_json
from archsr.errors import UserError
from archsr.training.data import Data, open_data
from archsr.training.pairs import degraded, options_of, recipe_at, subset_of
from archsr.utils.atomic import write_bytes

VERSION = 1
FOLDER = "bad_batches"


@dataclass(frozen=True)
class RecentBatch:
    """A micro-batch: its step, its pairs' origin (see `pairs.origin_of`) and its loss terms.

    `values` holds the terms called `names` as one tensor on the device.
    """

    step: int
    origin: Tensor
    names: tuple[str, ...]
    values: Tensor


class RecentBatches:
    """The micro-batches whose verdict is not known yet, and the newest good one. Adding one does not wait."""

    def __init__(self) -> None:
        self.seen: list[RecentBatch] = []

    def add(self, step: int, origin: Tensor | None, names: tuple[str, ...], values: Tensor) -> None:
        """Remember a micro-batch of iteration `step`. Pairs of unknown origin cannot be rebuilt: they are not kept."""
        if origin is not None:
            self.seen.append(RecentBatch(step, origin, names, values))

    def of(self, step: int) -> RecentBatch | None:
        """Return the first micro-batch of an iteration with a NaN or Inf term, or None."""
        return next((s for s in self.seen if s.step == step and not bool(s.values.isfinite().all())), None)

    def newest(self) -> RecentBatch | None:
        """Return the newest micro-batch."""
        return self.seen[-1] if self.seen else None

    def settle(self, step: int, *, usable: bool) -> None:
        """Forget the micro-batches up to iteration `step`, but keep the newest if the iteration was `usable`."""
        later = [s for s in self.seen if s.step > step]
        kept = [s for s in self.seen if s.step == step][-1:] if usable and not later else []
        self.seen = kept + later


def save_suspect(
    folder: Path, suspect: RecentBatch, config: TrainConfig, data: Data, *, rank: int, device: str
) -> Path:
    """Write `folder`/bad_batches/STEP.json (STEP-rank-NNNNN.json on ranks other than 0) and return its path."""
    sources = sorted({(p, size, subset) for p, size, _, subset in suspect.origin.tolist() if size > 0})
    batches = [_source(config, data, position, size, subset_of(subset)) for position, size, subset in sources]
    rows: list[dict[str, Any]] = []
    for position, size, row, subset in suspect.origin.tolist():
        known = size > 0
        number = sources.index((position, size, subset)) if known else None
        key = batches[number]["keys"][row] if number is not None else None
        rows.append({"batch": number, "row": row, "position": position + row if known else None, "key": key})
    values = dict(zip(suspect.names, suspect.values.tolist(), strict=True))
    stored = {
        "version": VERSION,
        "step": suspect.step,
        "rank": rank,
        "device": device,
        "terms": {k: v if math.isfinite(v) else str(v) for k, v in values.items()},
        "fingerprint": data.manifest.fingerprint,
        "config": config.model_dump(mode="json"),
        "batches": batches,
        "rows": rows,
    }
    name = f"{suspect.step:08d}" + (f"-rank-{rank:05d}" if rank else "")
    path = folder / FOLDER / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, (json.dumps(stored, indent=1) + "\n").encode())
    return path


def _source(config: TrainConfig, data: Data, position: int, size: int, subset: float) -> dict[str, Any]:
    batch = _batch(config, data, position, size, subset)
    recipe = to_json(recipe_at(config, subset, position, size)) if data.manifest.degrades else None
    return {"position": position, "size": size, "subset": subset, "keys": list(batch.keys), "recipe": recipe}


def _batch(config: TrainConfig, data: Data, position: int, size: int, subset: float) -> Batch:
    return batch_at(options_of(config, data, subset), range(position, position + size))


@dataclass(frozen=True)
class Replay:
    """A rebuilt bad batch: its pairs, their keys, and a description.

    `sources` holds the recipe of each pair's micro-batch and the pair's row in it.
    """

    pair: Pair
    keys: list[str]
    sources: list[tuple[Recipe, int]]
    about: str
    config: TrainConfig


def rebuild(path: Path, *, overrides: list[str], device: torch.device | None = None) -> Replay:
    """Rebuild the pairs that `path` describes, bit for bit on the run's device type.

    `overrides` change the stored config, for example data.shards if the dataset has moved. Raises `UserError`.
    """
    stored = _read(path)
    config = config_file.check(TrainConfig, config_file.with_overrides(stored["config"], overrides), where=str(path))
    data = open_data(config, trained_on=stored["fingerprint"])
    if data.manifest.fingerprint != stored["fingerprint"]:
        raise UserError(f"{data.folder}: is not the dataset of {path}; give the right one: --set data.shards=FOLDER")
    lost = sum(row["batch"] is None for row in stored["rows"])
    if lost:
        raise UserError(f"{path}: {lost} pairs came from a pair pool saved by an older archsr; they cannot be rebuilt")
    device = device or torch.device(stored["device"] if _is_here(stored["device"]) else "cpu")
    if any(b["recipe"] is None for b in stored["batches"]):
        raise UserError(
            f"{path}: its pairs were read from disk without degradation; look up the samples by the keys in this file"
        )
    recipes = [from_json(b["recipe"]) for b in stored["batches"]]
    made: list[Pair] = []
    for source, recipe in zip(stored["batches"], recipes, strict=True):
        batch = _batch(config, data, source["position"], source["size"], source["subset"])
        made.append(degraded(batch, recipe, source["subset"], device=device))
    rows = [(row["batch"], row["row"]) for row in stored["rows"]]
    pair = Pair(torch.stack([made[b].lq[r] for b, r in rows]), torch.stack([made[b].gt[r] for b, r in rows]))
    terms = ", ".join(f"{k} {v if isinstance(v, str) else f'{v:.4g}'}" for k, v in stored["terms"].items())
    about = f"step {stored['step']}, rank {stored['rank']}, {stored['device']}: {terms}"
    if device.type != stored["device"]:
        about += f". Rebuilt on {device.type}, so not bit-identical"
    return Replay(pair, [row["key"] for row in stored["rows"]], [(recipes[b], r) for b, r in rows], about, config)


def _is_here(device: str) -> bool:
    return device == "cpu" or (device == "cuda" and torch.cuda.is_available())


def _read(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: not a bad batch file: {error}") from None
    if not isinstance(stored, dict) or "rows" not in stored or stored.get("version") != VERSION:
        raise UserError(f"{path}: not a bad batch file of version {VERSION}; they are in RUN/{FOLDER}")
    return stored  # pyright: ignore[reportUnknownVariableType]
