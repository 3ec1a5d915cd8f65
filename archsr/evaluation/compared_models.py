"""The models that are compared: interpolations, original models, runs, files, and blends of an original and its run."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from archsr import checkpoint
from archsr.errors import UserError
from archsr.images.pixels import pixels_to_tensor, tensor_to_pixels
from archsr.metrics.niqe import imresize
from archsr.models.blend import blended
from archsr.runs.folders import is_run, run_config
from archsr.upscaling.upscaler import Upscaler, open_model
from archsr.utils.devices import best_device

Restore = Callable[[Tensor], Tensor]
INTERPOLATIONS = ("bicubic", "lanczos")


@dataclass(frozen=True)
class ComparedModel:
    """A model with a short `name` and a longer `title`; `restore` maps (1, 3, h, w) to (1, 3, s·h, s·w).

    `weights` is its file, official name or interpolation, empty for a blend. For a blend, `between` holds the names of
    the two models and `share` is the share of the second.
    """

    name: str
    title: str
    restore: Restore
    weights: str = ""
    between: tuple[str, str] | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Options:
    """How to open models.

    `which` is the snapshot of a run, `tile` the tile size (None: as memory allows), `blends` further shares of the
    fine-tuning between 0 and 1.
    """

    which: str = "chosen"
    tile: int | None = 0
    blends: tuple[float, ...] = ()


def bicubic(scale: int) -> ComparedModel:
    """Return MATLAB's bicubic upscaling, the field's baseline."""

    def restore(lq: Tensor) -> Tensor:
        pixels = tensor_to_pixels(lq).astype(np.float64) / 255
        enlarged = np.clip(imresize(pixels, scale=scale), 0, 1)
        return pixels_to_tensor(np.round(enlarged * 255).astype(np.uint8)).to(lq.device)

    return ComparedModel("bicubic", "bicubic", restore, "bicubic")


def lanczos(scale: int) -> ComparedModel:
    """Return PIL's Lanczos upscaling with three lobes."""

    def restore(lq: Tensor) -> Tensor:
        image = Image.fromarray(tensor_to_pixels(lq))
        large = image.resize((image.width * scale, image.height * scale), Image.Resampling.LANCZOS)
        return pixels_to_tensor(np.asarray(large)).to(lq.device)

    return ComparedModel("lanczos", "Lanczos", restore, "lanczos")


def scale_of(sources: Sequence[str]) -> int:
    """Return the scale of all models, 4 if there are only interpolations. Raises `UserError` if they differ."""
    scales = {s: run_config(s).model.scale if is_run(s) else open_model(s)[0].scale
              for s in sources if s not in INTERPOLATIONS}  # fmt: skip
    if len(set(scales.values())) > 1:
        raise UserError(f"models of different scales cannot be compared: {scales}")
    return next(iter(scales.values()), 4)


def open_models(sources: Sequence[str], scale: int, options: Options) -> list[ComparedModel]:
    """Open bicubic, the originals of all runs (each once) and the given models, in this order, with unique names."""
    found = [bicubic(scale)]
    found += [lanczos(scale)] if "lanczos" in sources else []
    runs = [s for s in sources if is_run(s)]
    originals = _originals(runs)
    for name, run in originals.items():
        start = checkpoint.weights_of(run, which="initial")
        title = f"original ({Path(run_config(run).model.weights).name})"
        found.append(_model(name, title, open_model(start)[0], options, weights=start))
    for source in sources:
        if is_run(source):
            original = next(n for n, run in originals.items() if _start(run) == _start(source))
            found += _of_run(source, options, run_labels(sources), original=original, alone=len(runs) == 1)
        elif source not in INTERPOLATIONS:
            weights = checkpoint.weights_of(source)
            ends, share = _blended_of(Path(weights))
            found.append(_model(short_name(source), short_name(source), open_model(source)[0], options, weights=weights,
                                between=ends, share=share))  # fmt: skip
    names = [c.name for c in found]
    if doubled := {n for n in names if names.count(n) > 1}:
        raise UserError(f"two models are named {sorted(doubled)[0]}; rename a file or a run")
    return found


def run_labels(sources: Sequence[str]) -> dict[str, str]:
    """Return the name of each run's folder in a report, with its parent's where two folders have the same name."""
    found = {s: Path(s).resolve() for s in sources if is_run(s)}
    names = [path.name for path in dict.fromkeys(found.values())]
    return {s: f"{p.parent.name}/{p.name}" if names.count(p.name) > 1 else p.name for s, p in found.items()}


def check_sources(sources: Sequence[str]) -> None:
    """Raise `UserError` for a folder that is not a run, or has no weights."""
    for source in sources:
        checkpoint.weights_of(source)  # raises for a folder without weights
        if Path(source).is_dir() and not is_run(source):
            raise UserError(f"{source}: not a run folder: it has no config.toml")


def baseline_of(compared_models: Sequence[ComparedModel], named: str) -> str:
    """Return the model called `named`; without a name the first original, else the first model, else the first.

    Raises `UserError` if no model has that name.
    """
    names = [c.name for c in compared_models]
    if named and named not in names:
        raise UserError(f"--baseline {named}: no such model; choose one of {', '.join(names)}")
    if named:
        return named
    originals = [n for n in names if n.startswith("original")]
    models = [n for n in names if n not in INTERPOLATIONS]
    return (originals or models or names)[0]


def _originals(runs: Sequence[str]) -> dict[str, str]:
    """Return a name for each distinct original, and a run that began with it."""
    by_weights: dict[str, str] = {}
    for run in runs:
        by_weights.setdefault(_start(run), run)
    if len(by_weights) == 1:
        return {"original": next(iter(by_weights.values()))}
    return {f"original {short_name(weights)}": run for weights, run in by_weights.items()}


def _of_run(
    run: str, options: Options, labels: Mapping[str, str], *, original: str, alone: bool
) -> list[ComparedModel]:
    source = Path(checkpoint.weights_of(run, which=options.which))
    about = checkpoint.about_snapshot(source)
    label = labels[run]
    name = "fine-tuned" if alone else label
    net, _ = open_model(str(source))
    share = f", strength {about['strength']:g}" if about.get("strength", 1) != 1 else ""
    title = f"fine-tuned ({label}, {source.stem}, step {about.get('step', '?')}{share})"
    line = original, name
    found = [_model(name, title, net, options, weights=str(source), between=line, share=about.get("strength", 1.0))]
    if not options.blends:
        return found
    start, _ = open_model(checkpoint.weights_of(run, which="initial"))
    whole, _ = open_model(checkpoint.weights_of(run, which="best" if options.which == "chosen" else options.which))
    for alpha in options.blends:
        between, _ = open_model(str(source))
        between.load_state_dict(blended(start.state_dict(), whole.state_dict(), alpha))
        title = f"{alpha:.0%} of the way to {name}"
        found.insert(-1, _model(f"{name} × {alpha:g}", title, between, options, between=line, share=alpha))
    return found


def _start(run: str) -> str:
    return run_config(run).model.weights


def _blended_of(weights: Path) -> tuple[tuple[str, str] | None, float]:
    """Return the names of the two models of a file that `archsr blend` wrote, and the share of the second."""
    about = checkpoint.about_snapshot(weights).get("blend") if weights.is_file() else None
    return ((about["first"], about["second"]), about["alpha"]) if about else (None, 1.0)


def paths_of(compared_models: Sequence[ComparedModel]) -> tuple[tuple[str, ...], ...]:
    """Return the names along each line of blends, from one end to the other; a line has three models or more."""
    found: list[tuple[str, ...]] = []
    for ends in dict.fromkeys(c.between for c in compared_models if c.between):
        inner = {c.name: c.share for c in compared_models if c.between == ends}
        shares = {c.name: place for place, end in enumerate(ends) for c in compared_models if end in _names(c)} | inner
        if len(shares) > 2:
            found.append(tuple(sorted(shares, key=shares.__getitem__)))
    return tuple(found)


def _names(compared_model: ComparedModel) -> set[str]:
    """Return all names of a model: in a report, as a file, as a run."""
    file = Path(compared_model.weights)
    of_run = file.parent.name == "snapshots" and file.stem != "initial"
    return {compared_model.name, file.name, *([file.parent.parent.name] if of_run else [])}


def _model(
    name: str, title: str, net: torch.nn.Module, options: Options, *, weights: str = "",
    between: tuple[str, str] | None = None, share: float = 1.0,
) -> ComparedModel:  # fmt: skip
    upscaler = Upscaler(net, tile=options.tile, device=_device(), benchmark=False)  # pyright: ignore[reportArgumentType]
    return ComparedModel(name, title, upscaler.restore, weights, between, share)


def _device() -> torch.device:
    best = best_device()
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if best.type == "cuda" else best


def short_name(source: str) -> str:
    """Return the name of a file or official model in a report."""
    return Path(source).name.removesuffix(".safetensors").removesuffix(".pth").removesuffix(".fp16")
