"""Runs inside the peers' environment: realesrgan's own upscaler on one image.

python official_upscale.py WEIGHTS.pth IMAGE.npy OUT.npy TILE [cpu|cuda [fp32|fp16]]
Prints seconds for one image after a small one: of processor time on a CPU, by the clock on a GPU.
"""

import sys
import time
import types

import numpy as np
import torch
import torchvision.transforms.functional as tv

# removed from torchvision after the release of basicsr 1.4.2
shim = types.ModuleType("torchvision.transforms.functional_tensor")
shim.rgb_to_grayscale = tv.rgb_to_grayscale
sys.modules["torchvision.transforms.functional_tensor"] = shim

from basicsr.archs.rrdbnet_arch import RRDBNet  # noqa: E402
from realesrgan import RealESRGANer  # noqa: E402


def now(device):
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def main(weights, image, out, tile, device="cpu", precision="fp32"):
    net = RRDBNet(num_in_ch=3, num_out_ch=3, num_feat=64, num_block=23, num_grow_ch=32, scale=4)
    upsampler = RealESRGANer(
        scale=4, model_path=weights, model=net, tile=int(tile), tile_pad=10, pre_pad=0, half=precision == "fp16",
        device=torch.device(device),
    )  # fmt: skip
    pixels = np.load(image)[:, :, ::-1]
    upsampler.enhance(np.ascontiguousarray(pixels[:32, :32]), outscale=4)
    sys.stdout, spoken = sys.stderr, sys.stdout
    begun = now(device)
    result, _ = upsampler.enhance(np.ascontiguousarray(pixels), outscale=4)
    print(now(device) - begun, file=spoken)
    np.save(out, result[:, :, ::-1])


if __name__ == "__main__":
    main(*sys.argv[1:])
