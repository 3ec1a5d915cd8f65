"""Runs inside the peers' environment: realesrgan's own upscaler on one picture.

python official_upscale.py WEIGHTS.pth PICTURE.npy OUT.npy TILE
Prints seconds of processor time for one picture after a small one.
"""

import sys
import time
import types

import numpy as np
import torchvision.transforms.functional as tv

# removed from torchvision after the release of basicsr 1.4.2
shim = types.ModuleType("torchvision.transforms.functional_tensor")
shim.rgb_to_grayscale = tv.rgb_to_grayscale
sys.modules["torchvision.transforms.functional_tensor"] = shim

from basicsr.archs.rrdbnet_arch import RRDBNet  # noqa: E402
from realesrgan import RealESRGANer  # noqa: E402


def main(weights, picture, out, tile):
    net = RRDBNet(num_in_ch=3, num_out_ch=3, num_feat=64, num_block=23, num_grow_ch=32, scale=4)
    upsampler = RealESRGANer(scale=4, model_path=weights, model=net, tile=int(tile), tile_pad=10, pre_pad=0, half=False)
    pixels = np.load(picture)[:, :, ::-1]
    upsampler.enhance(np.ascontiguousarray(pixels[:32, :32]), outscale=4)
    sys.stdout, spoken = sys.stderr, sys.stdout
    begun = time.process_time()
    result, _ = upsampler.enhance(np.ascontiguousarray(pixels), outscale=4)
    print(time.process_time() - begun, file=spoken)
    np.save(out, result[:, :, ::-1])


if __name__ == "__main__":
    main(*sys.argv[1:])
