"""Export a model for other tools: the file is compared with the model first, and gets a model card."""

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from archsr.errors import UserError, first_line
from archsr.exporting.card import write_card
from archsr.exporting.graphs import require, write_ncnn, write_onnx, write_torchscript
from archsr.models.base import Generator
from archsr.models.build import official_state
from archsr.runs.folders import is_run
from archsr.upscaling.opening import open_model
from archsr.utils.atomic import replacing


def _tensors(net: Generator, precision: str) -> dict[str, Tensor]:
    width = torch.float16 if precision == "fp16" else torch.float32
    return {
        k: (v.to(width) if v.is_floating_point() else v).detach().clone().contiguous()
        for k, v in official_state(net).items()
    }


def write_pth(net: Generator, path: Path, precision: str) -> str:
    """Write `{"params_ema": tensors}`, the form of the official releases."""
    state = _tensors(net, precision)
    torch.save({"params_ema": state}, path)
    _refuse_other(torch.load(path, weights_only=True)["params_ema"], state)
    return f"{len(state)} tensors in {precision}, read back"


def write_safetensors(net: Generator, path: Path, precision: str) -> str:
    """Write the tensors alone."""
    state = _tensors(net, precision)
    safetensors.torch.save_file(state, path)
    _refuse_other(safetensors.torch.load_file(path), state)
    return f"{len(state)} tensors in {precision}, read back"


def _refuse_other(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    if found.keys() != wanted.keys() or not all(torch.equal(v, found[k]) for k, v in wanted.items()):
        raise UserError("the file that was read back differs from the model; check the disk")


FORMATS = {"pth": ".pth", "safetensors": ".safetensors", "onnx": ".onnx", "ncnn": ".param", "torchscript": ".pt"}
_WRITERS: dict[str, Callable[[Generator, Path, str], str]] = {
    ".pth": write_pth,
    ".safetensors": write_safetensors,
    ".onnx": write_onnx,
    ".param": write_ncnn,
    ".pt": write_torchscript,
}


@dataclass(frozen=True)
class Exported:
    """The files that were written (ncnn: two), and how they were compared."""

    files: tuple[Path, ...]
    summary: str


def export(source: str, target: Path, *, precision: str = "fp32", strength: float | None = None) -> Exported:
    """Export the model of a run folder, a weights file or an official name in the format of `target`'s ending.

    `.pth` is `{"params_ema": tensors}`; it and `.safetensors` have the official names, or those of the original file.
    `.onnx`, `.pt` (TorchScript) and `.param` (ncnn, with `.bin`) take any height and width. A model card,
    `NAME.ENDING.md`, is written beside. Raises `UserError` if the model cannot be read or written, if the file's
    results differ from torch's, or for another ending.
    """
    if target.suffix not in _WRITERS:
        raise UserError(f"{target}: got the ending {target.suffix or '(none)'}, expected {', '.join(_WRITERS)}")
    if "fp16" in target.stem.lower() and precision != "fp16":
        raise UserError(f"{target}: the name says fp16, the precision is {precision}; add --precision fp16")
    require(target.suffix)
    net, config = open_model(source, strength=strength)
    try:
        said, files = _write(net, target, precision)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError on a full disk
        raise UserError(f"{target}: cannot be written: {first_line(error)}") from None
    write_card(source, net, config, files, said=said, strength=strength)
    return Exported(files, said)


def _write(net: Generator, target: Path, precision: str) -> tuple[str, tuple[Path, ...]]:
    """Write and compare all files in a temporary folder, then move them into place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as folder:
        said = _WRITERS[target.suffix](net, Path(folder) / target.name, precision)
        made = sorted(Path(folder).iterdir())
        for file in made:
            with replacing(target.with_name(file.name)) as temporary:
                shutil.copyfile(file, temporary)
    others = [target.with_name(file.name) for file in made if file.name != target.name]
    return said, (target, *others)


def targets_of(source: str, formats: Sequence[str], *, scale: int, precision: str = "fp32") -> list[Path]:
    """Return the default paths for formats: RUN/export/RUN-x4.onnx, or the current folder without a run.

    Names contain fp16 if the tensors are fp16.
    """
    run = Path(source)
    folder = run / "export" if is_run(run) else Path()
    stem = re.sub(r"[._-]fp(16|32)$", "", run.stem, flags=re.IGNORECASE) or "model"
    narrow = "-fp16" if precision == "fp16" else ""
    return [folder / f"{stem}-x{scale}{narrow}{FORMATS[name]}" for name in formats]
