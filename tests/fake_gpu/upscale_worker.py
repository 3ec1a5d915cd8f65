"""Upscale on the fake GPU, in a process of its own, and print what was counted as JSON.

    python upscale_worker.py '{"tile": 16, "halo": 8, "size": [40, 100], "depth": "uint16"}'

Each argument is a case. The keys of a case are the arguments of `counted`.
"""

import json
import sys
import warnings
from typing import Any

warnings.filterwarnings("ignore")

import fake_device  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from archsr.config import RRDBNetConfig  # noqa: E402
from archsr.models.build import build  # noqa: E402
from archsr.models.rrdbnet import RRDBNet  # noqa: E402
from archsr.upscaling.upscaler import Upscaler  # noqa: E402

FRUGAL = RRDBNet.frugal


def counted(
    size: tuple[int, int] = (40, 100), depth: str = "uint8", devices: int = 1, **options: Any
) -> dict[str, Any]:
    """Return the counts of one image, without those of opening the network. `options` are the Upscaler's."""
    device = fake_device.FakeDevice()
    happened: list[str] = []
    benchmarked: set[bool] = set()

    def passing(self: RRDBNet, x: torch.Tensor) -> torch.Tensor:
        if x.device.type == "cuda":
            happened.append("pass")
            benchmarked.add(torch.backends.cudnn.benchmark)
        return FRUGAL(self, x)

    RRDBNet.frugal = passing  # type: ignore[method-assign]
    with device, device.waiting_for_events():
        net = build(RRDBNetConfig(features=8, blocks=1, growth=4)).eval()
        upscaler = Upscaler(net, devices=[torch.device("cuda")] * devices, **{"precision": "auto", **options})
        upscaler.tile_of(*size)  # counts the memory of a pass on shapes
        device.clear()
        device.phase = "upscale"
        image, shares = np.zeros((*size, 3), depth), []
        device.on_wait = lambda: happened.append("wait")
        strips = list(upscaler.rows(lambda a, b: image[a:b], *size, on_tile=shares.append))
    return {
        "tiles": len(shares),
        "shape": list(np.concatenate(strips).shape),
        "depth": str(strips[0].dtype),
        "waits": [[*key, count] for key, count in device.waits.items()],
        "copied": [[*key, count] for key, count in device.copied.items()],
        "casts": [[*key, count] for key, count in device.casts.items()],
        "happened": happened,
        "benchmarked": sorted(benchmarked),
        "benchmark_after": torch.backends.cudnn.benchmark,
    }


if __name__ == "__main__":
    fake_device.move_in_place()
    print(json.dumps([counted(**json.loads(text)) for text in sys.argv[1:]]))
