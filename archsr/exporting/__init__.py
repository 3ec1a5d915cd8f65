"""Export a model for other tools: the file is compared with the model first, and gets a card and an entry."""

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
from archsr.exporting.card import Rights, about_of, card_of, card_path, licence_of, limits_of
from archsr.exporting.darktable import write_darktable
from archsr.exporting.graphs import require, write_ncnn, write_onnx, write_torchscript
from archsr.exporting.openmodeldb import architecture_of, name_of, write_entry
from archsr.models.base import Generator
from archsr.models.build import official_state
from archsr.runs.folders import is_run
from archsr.upscaling.opening import open_model
from archsr.utils.atomic import replacing, write_bytes


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


FORMATS = {
    "pth": ".pth", "safetensors": ".safetensors", "onnx": ".onnx", "ncnn": ".param", "torchscript": ".pt",
    "darktable": ".dtmodel",
}  # fmt: skip
_PACKAGE = ".dtmodel"
_WRITERS: dict[str, Callable[[Generator, Path, str], str]] = {
    ".pth": write_pth,
    ".safetensors": write_safetensors,
    ".onnx": write_onnx,
    ".param": write_ncnn,
    ".pt": write_torchscript,
}


@dataclass(frozen=True)
class Exported:
    """The files that were written (ncnn: two), how they were compared, and the `papers` beside: card and entry."""

    files: tuple[Path, ...]
    summary: str
    papers: tuple[Path, ...] = ()


def export(
    source: str, target: Path, *, precision: str = "fp32", strength: float | None = None, rights: Rights | None = None
) -> Exported:
    """Export the model of a run folder, a weights file or an official name in the format of `target`'s ending.

    `.pth` is `{"params_ema": tensors}`; it and `.safetensors` have the official names, or those of the original file.
    `.onnx`, `.pt` (TorchScript), `.param` (ncnn, with `.bin`) and `.dtmodel` (darktable) take any height and width. A
    model card, `NAME.ENDING.md`, is written beside, and an entry for OpenModelDB, `NAME.ENDING.json`, if it knows the
    format. Both state `rights`. Raises `UserError` if the model cannot be read or written, if the file's results differ
    from torch's, or for another ending.
    """
    if target.suffix not in FORMATS.values():
        raise UserError(f"{target}: got the ending {target.suffix or '(none)'}, expected {', '.join(FORMATS.values())}")
    if "fp16" in target.stem.lower() and precision != "fp16":
        raise UserError(f"{target}: the name says fp16, the precision is {precision}; add --precision fp16")
    require(target.suffix)
    rights = rights or Rights()
    net, config = open_model(source, strength=strength)
    about, licence = about_of(source), licence_of(source, rights)

    def card(files: Sequence[Path], said: str) -> str:
        return card_of(source, net, config, files, said=said, strength=strength, rights=rights)

    try:
        said, files = _write(net, target, precision, licence=licence, card=card)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError on a full disk
        raise UserError(f"{target}: cannot be written: {first_line(error)}") from None
    write_bytes(card_path(target), card(files, said).encode())
    entry = write_entry(target, source, net, config, about, description=limits_of(source, config.scale),
                        author=rights.author, licence=licence or None)  # fmt: skip
    return Exported(files, said, tuple(paper for paper in (card_path(target), entry) if paper is not None))


def _write(
    net: Generator, target: Path, precision: str, *, licence: str, card: Callable[[Sequence[Path], str], str]
) -> tuple[str, tuple[Path, ...]]:
    """Write and compare all files in a temporary folder, then move them into place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as folder:
        path = Path(folder) / target.name
        if target.suffix == _PACKAGE:
            said = write_darktable(net, path, precision, licence=licence, card=card)
        else:
            said = _WRITERS[target.suffix](net, path, precision)
        made = sorted(Path(folder).iterdir())
        for file in made:
            with replacing(target.with_name(file.name)) as temporary:
                shutil.copyfile(file, temporary)
    others = [target.with_name(file.name) for file in made if file.name != target.name]
    return said, (target, *others)


def targets_of(source: str, formats: Sequence[str], net: Generator, *, precision: str = "fp32") -> list[Path]:
    """Return the default paths for formats: RUN/export/4xRUN_esrgan.onnx, or the current folder without a run.

    Names follow the community's convention: scale, name, architecture. They contain fp16 if the tensors are fp16.
    """
    folder = Path(source) / "export" if is_run(source) else Path()
    kind = architecture_of(net).replace("-", "")
    name = re.sub(rf"^{net.scale}x[-_]?|[-_]x{net.scale}$|_{re.escape(kind)}$", "", name_of(source)) or "model"
    narrow = "_fp16" if precision == "fp16" else ""
    return [folder / f"{net.scale}x{name}_{kind}{narrow}{FORMATS[key]}" for key in formats]
