"""A model as a file for other tools: `.pth`, `.safetensors` or `.onnx`, compared with the model before it is there."""

import importlib.util
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import safetensors.torch
import torch
from torch import Tensor, nn

from archsr.atomic import replacing
from archsr.errors import UserError
from archsr.models.build import Generator, official_state
from archsr.models.foreign import Foreign
from archsr.upscale.upscaler import open_model

Precision = Literal["fp32", "fp16"]
# decibels against torch in float32, of a range of 1: rounding in another order, and rounding to 11 bits
LEAST = {"fp32": 80.0, "fp16": 50.0}
# not of the size at which the graph is recorded, not square, and a second one: sizes must be free
_SIZES = ((24, 40), (36, 20))


def export(source: str, target: Path, *, precision: Precision = "fp32") -> str:
    """Write the model of a run folder, a weights file or an official name as the ending of `target` says.

    `.pth` is `{"params_ema": tensors}`; it and `.safetensors` have the official names, or those of the file that the
    model was fine-tuned from. `.onnx` takes any height and width. Returns what was compared, for people. Raises
    `UserError` where the model cannot be read or written, or `target` has another ending.
    """
    writers: dict[str, Callable[[Generator, Path, Precision], str]] = {
        ".pth": _pth,
        ".safetensors": _safetensors,
        ".onnx": _onnx,
    }
    if target.suffix not in writers:
        raise UserError(f"{target}: got the ending {target.suffix or '(none)'}, expected {', '.join(writers)}")
    if target.suffix == ".onnx":
        _require_onnx()
    net, _ = open_model(source)
    try:
        with replacing(target) as temporary:
            return f"{target}: {writers[target.suffix](net, temporary, precision)}"
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError on a full disk
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{target}: cannot be written: {first}") from None


def _tensors(net: Generator, precision: Precision) -> dict[str, Tensor]:
    width = torch.float16 if precision == "fp16" else torch.float32
    return {
        k: (v.to(width) if v.is_floating_point() else v).detach().clone().contiguous()
        for k, v in official_state(net).items()
    }


def _pth(net: Generator, path: Path, precision: Precision) -> str:
    state = _tensors(net, precision)
    torch.save({"params_ema": state}, path)
    _refuse_other(torch.load(path, weights_only=True)["params_ema"], state)
    return f"{len(state)} tensors in {precision}, read back"


def _safetensors(net: Generator, path: Path, precision: Precision) -> str:
    state = _tensors(net, precision)
    safetensors.torch.save_file(state, path)
    _refuse_other(safetensors.torch.load_file(path), state)
    return f"{len(state)} tensors in {precision}, read back"


def _refuse_other(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    if found.keys() != wanted.keys() or not all(torch.equal(v, found[k]) for k, v in wanted.items()):
        raise UserError("what was written is not what was to be written; is the disk sound?")


# ---------------------------------------------------------------- onnx


def _require_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"an .onnx file needs {' and '.join(missing)}: pip install 'archsr[export]'")


def _onnx(net: Generator, path: Path, precision: Precision) -> str:
    """A graph from `lq` (1, 3, h, w) to `sr` (1, 3, scale·h, scale·w), both in `precision`, not clamped."""
    if isinstance(net, Foreign):
        net.check_precision(precision)
    pictures = [_picture(*size) for size in _SIZES]
    with torch.inference_mode():
        expected = [net(picture) for picture in pictures]
    _record(net, path, torch.float16 if precision == "fp16" else torch.float32)
    worst = min(_psnr(a, b) for a, b in zip(_run_onnx(path, pictures, precision), expected, strict=True))
    if worst < LEAST[precision]:
        raise UserError(
            f"onnxruntime gives {worst:.1f} dB against torch, expected {LEAST[precision]:.0f} or more; nothing written"
        )
    return f"onnx in {precision}, {worst:.1f} dB against torch in fp32"


def _record(net: nn.Module, path: Path, width: torch.dtype) -> None:
    """Draw the network's graph into one file, weights included."""
    free = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's own inside
        torch.onnx.export(
            net.to(width),
            (_picture(32, 48).to(width),),
            str(path),
            input_names=["lq"],
            output_names=["sr"],
            dynamic_shapes=(free,),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _run_onnx(path: Path, pictures: list[Tensor], precision: Precision) -> list[Tensor]:
    import onnxruntime

    session = cast(Any, onnxruntime).InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    width = torch.float16 if precision == "fp16" else torch.float32
    return [torch.from_numpy(session.run(None, {"lq": p.to(width).numpy()})[0]) for p in pictures]


def _picture(height: int, width: int) -> Tensor:
    """(1, 3, h, w): waves and a little noise."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    waves = torch.stack([0.5 + 0.4 * torch.sin(0.3 * (c + 1) * x + 0.2 * y) for c in range(3)])[None]
    noise = torch.rand(waves.shape, generator=torch.Generator().manual_seed(0))
    return 0.9 * waves + 0.1 * noise


def _psnr(a: Tensor, b: Tensor) -> float:
    error = (a.double() - b.double()).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)
