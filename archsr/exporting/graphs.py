"""Export networks as graphs that do not need our Python: ONNX, TorchScript, ncnn. All take any height and width."""

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsr.errors import UserError, first_line
from archsr.exporting.check import check_agreement, image, probes
from archsr.models.base import Generator as Network
from archsr.models.build import official_state

_GRAPH = ("onnx", "onnxscript", "onnxruntime")
_NEEDED = {".onnx": _GRAPH, ".dtmodel": _GRAPH, ".param": ("pnnx", "ncnn")}
_NO_END = 1e30
_RECORDED = (32, 48), (40, 80)  # sizes at which graphs are traced


def require(ending: str) -> None:
    """Raise `UserError` if the libraries for a format are not installed."""
    missing = [name for name in _NEEDED.get(ending, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"a {ending} file needs {' and '.join(missing)}: pip install 'archsr[export]'")


def _type(precision: str) -> torch.dtype:
    return torch.float16 if precision == "fp16" else torch.float32


def write_onnx(net: Network, path: Path, precision: str) -> str:
    """Write a graph from `lq` (b, 3, h, w) to `sr` (b, 3, scale·h, scale·w), both in `precision`, not clamped."""
    net.check_precision(precision)
    tried = probes(net)
    if net.tested:
        _record(net, path, _type(precision))
    else:
        _record_apart(net, path, precision)
    _name_dimensions(path)
    found = _run_onnx(path, [p for p, _ in tried], precision)
    return (
        f"onnx in {precision}, {check_agreement(found, [e for _, e in tried], tool='onnxruntime', precision=precision)}"
    )


def _record(net: nn.Module, path: Path, width: torch.dtype) -> None:
    """Export the network as one ONNX file, weights included."""
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter itself
        torch.onnx.export(
            net.to(width),
            (torch.cat([image(*_RECORDED[0])] * 2).to(width),),  # a batch of 1 would become fixed
            str(path),
            input_names=["lq"],
            output_names=["sr"],
            dynamic_shapes=(free,),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _record_apart(net: Network, path: Path, precision: str) -> None:
    """Run `_record` in another process, because torch's exporter can crash on unknown networks."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "net.safetensors"
        safetensors.torch.save_file({k: v.contiguous() for k, v in official_state(net).items()}, weights)
        done = subprocess.run(
            [sys.executable, "-c", _RECORD, str(weights), str(path), precision],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode < 0:
        raise UserError(
            f"{net.title} cannot be exported to ONNX: torch's exporter ended with signal {-done.returncode}"
        )
    if done.returncode:
        why = done.stderr.strip().splitlines() or ["no reason given"]
        raise UserError(f"{net.title} cannot be exported to ONNX: {why[-1]}")


_RECORD = """
import sys
from pathlib import Path
from archsr.exporting.graphs import _record, _type
from archsr.models.foreign import open_foreign
_record(open_foreign(sys.argv[1]).eval().requires_grad_(False), Path(sys.argv[2]), _type(sys.argv[3]))
"""


def _name_dimensions(path: Path) -> None:
    """Name the dynamic dimensions `batch`, `height` and `width`, in outputs too (`4*height`)."""
    import onnx  # pyright: ignore[reportMissingImports]

    model = cast(Any, onnx).load(str(path))
    shape = model.graph.input[0].type.tensor_type.shape
    names = {shape.dim[n].dim_param: name for n, name in ((0, "batch"), (2, "height"), (3, "width"))}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\w+", lambda found: names.get(found[0], found[0]), dim.dim_param)
    cast(Any, onnx).save(model, str(path))


def _run_onnx(path: Path, images: list[Tensor], precision: str) -> list[Tensor]:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    width = _type(precision)
    try:
        session = cast(Any, onnxruntime).InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        return [torch.from_numpy(session.run(None, {"lq": p.to(width).numpy()})[0]) for p in images]
    except Exception as error:  # its exceptions have no other common base
        raise UserError(f"onnxruntime cannot run the exported graph: {first_line(error)}") from None


def write_torchscript(net: Network, path: Path, precision: str) -> str:
    """Write a traced module in float32 for `torch.jit.load`; its argument is (1, 3, h, w)."""
    if precision != "fp32":
        raise UserError(f"{path.suffix}: TorchScript is written in fp32; call .half() on what torch.jit.load returns")
    tried = probes(net)
    _trace(net, path)
    loaded = torch.jit.load(str(path))
    with torch.inference_mode():
        found = [loaded(p) for p, _ in tried]
    return f"TorchScript, {check_agreement(found, [e for _, e in tried], tool='TorchScript', precision=precision)}"


def _trace(net: nn.Module, path: Path) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch prefers torch.export, which these readers cannot open
        traced = cast(Any, torch.jit.trace(net, image(*_RECORDED[0])))  # pyright: ignore[reportUnknownMemberType]
        traced.save(str(path))


def write_ncnn(net: Network, path: Path, precision: str) -> str:
    """Write `.param` and `.bin`, with blobs `data` and `output` as Upscayl expects."""
    tried = probes(net)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with _kept_apart(net):
            _trace(net, work / "net.pt")
        param, weights = _convert(work, precision)
        found = _run_ncnn(param, weights, [p for p, _ in tried])
        said = check_agreement(found, [e for _, e in tried], tool="ncnn", precision=precision)
        shutil.copyfile(param, path)
        shutil.copyfile(weights, path.with_suffix(".bin"))
    return f"ncnn with weights in {precision}, {said}"


@contextlib.contextmanager
def _kept_apart(net: Network) -> Generator[None]:
    """Insert a clamp without effect after every residual block.

    pnnx merges nested sums into expressions and repeats a shared part for each of its users: 2^23 times in x4plus.
    """

    def mark(module: nn.Module, args: object, out: Tensor) -> Tensor:  # noqa: ARG001 - torch's signature
        return F.hardtanh(out, -_NO_END, _NO_END)

    hooks = [block.register_forward_hook(mark) for block in net.sums()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _without_marks(lines: list[str]) -> list[str]:
    """Remove those clamps from the lines of a `.param` file."""
    magic, _, *layers = lines
    renamed: dict[str, str] = {}
    kept: list[list[str]] = []
    for words in (line.split() for line in layers):
        inputs = slice(4, 4 + int(words[2]))
        words[inputs] = [renamed.get(w, w) for w in words[inputs]]
        if words[0] == "Clip" and all(abs(float(w.split("=")[1])) >= _NO_END for w in words[6:]):
            renamed[words[5]] = words[4]
        else:
            kept.append(words)
    blobs = {name for words in kept for name in words[4 + int(words[2]) : 4 + int(words[2]) + int(words[3])]}
    return [magic, f"{len(kept)} {len(blobs)}", *(" ".join(words) for words in kept)]


def _convert(work: Path, precision: str) -> tuple[Path, Path]:
    import pnnx  # pyright: ignore[reportMissingImports]

    shapes = [f"inputshape{n or ''}=[1,3,{h},{w}]f32" for n, (h, w) in zip((0, 2), _RECORDED, strict=True)]
    program = Path(cast(str, cast(Any, pnnx).__file__)).parent / ("pnnx.exe" if os.name == "nt" else "pnnx")
    program = program if program.is_file() else Path(shutil.which("pnnx") or "pnnx")
    done = subprocess.run(
        [str(program), "net.pt", *shapes, f"fp16={int(precision == 'fp16')}"],
        cwd=work, capture_output=True, text=True, check=False,
    )  # fmt: skip
    param, weights = work / "net.ncnn.param", work / "net.ncnn.bin"
    if done.returncode or not param.is_file():
        raise UserError(f"pnnx could not convert this network: {(done.stderr or done.stdout).strip()[-300:]}")
    words = {"in0": "data", "out0": "output"}
    marked = _without_marks(param.read_text().splitlines())
    lines = [" ".join(words.get(w, w) for w in line.split()) for line in marked]
    param.write_text("\n".join(lines) + "\n")
    return param, weights


def _run_ncnn(param: Path, weights: Path, images: list[Tensor]) -> list[Tensor]:
    """Run the ncnn library in another process, because it and torch bring different OpenMP libraries."""
    inputs = weights.with_name("inputs.npz")
    cast(Any, np).savez(inputs, **{str(n): p[0].numpy() for n, p in enumerate(images)})
    outputs = weights.with_name("outputs.npz")
    done = subprocess.run(
        [sys.executable, "-c", _NCNN, str(param), str(weights), str(inputs), str(outputs)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise UserError(f"ncnn could not run what pnnx wrote: {done.stderr.strip()[-300:]}")
    with np.load(outputs) as found:
        return [torch.from_numpy(found[str(n)])[None] for n in range(len(images))]


_NCNN = """
import sys, ncnn, numpy as np
net = ncnn.Net()
net.opt.use_vulkan_compute = False
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
net.opt.use_bf16_storage = False
assert net.load_param(sys.argv[1]) == 0 and net.load_model(sys.argv[2]) == 0
out = {}
with np.load(sys.argv[3]) as images:
    for name in images.files:
        image = np.ascontiguousarray(images[name])  # ncnn keeps no reference to it
        run = net.create_extractor()
        run.input("data", ncnn.Mat(image))
        code, mat = run.extract("output")
        assert code == 0, code
        out[name] = np.array(mat)
np.savez(sys.argv[4], **out)
"""
