"""Runs inside the peers' environment: calls the reference's own functions on given inputs.

python reference.py INPUTS.npz OUTPUTS.npz
"""

import sys
import types

import numpy as np
import torch
import torchvision.transforms.functional as tv

# removed from torchvision after the release of basicsr 1.4.2
shim = types.ModuleType("torchvision.transforms.functional_tensor")
shim.rgb_to_grayscale = tv.rgb_to_grayscale
sys.modules["torchvision.transforms.functional_tensor"] = shim

from basicsr.archs.rrdbnet_arch import RRDBNet  # noqa: E402
from basicsr.data.degradations import (  # noqa: E402
    bivariate_Gaussian,
    bivariate_generalized_Gaussian,
    bivariate_plateau,
    circular_lowpass_kernel,
)
from basicsr.metrics.niqe import calculate_niqe  # noqa: E402
from basicsr.metrics.psnr_ssim import calculate_psnr, calculate_ssim  # noqa: E402
from basicsr.utils.diffjpeg import DiffJPEG  # noqa: E402
from basicsr.utils.img_process_util import USMSharp, filter2D  # noqa: E402
from realesrgan import RealESRGANer  # noqa: E402
from realesrgan.archs.discriminator_arch import UNetDiscriminatorSN  # noqa: E402


@torch.no_grad()
def main(inputs, outputs):
    given = np.load(inputs)
    card = torch.from_numpy(given["card"])
    found = {}
    kinds = {
        "gaussian": bivariate_Gaussian,
        "generalized": bivariate_generalized_Gaussian,
        "plateau": bivariate_plateau,
    }
    for i, (kind, size, sx, sy, theta, beta) in enumerate(given["kernels"]):
        make = kinds[["gaussian", "generalized", "plateau"][int(kind)]]
        extra = {} if kind == 0 else {"beta": beta}
        found[f"kernel{i}"] = make(int(size), sx, sy, theta, isotropic=False, **extra)
    for i, (size, cutoff) in enumerate(given["sincs"]):
        found[f"sinc{i}"] = circular_lowpass_kernel(cutoff, int(size), pad_to=0)
    found["usm"] = USMSharp()(card).numpy()
    kernel = torch.from_numpy(np.pad(found["kernel0"], (21 - found["kernel0"].shape[0]) // 2)).float()
    found["filtered"] = filter2D(card, kernel[None].expand(len(card), -1, -1)).numpy()
    for quality in given["qualities"]:
        found[f"jpeg{quality:g}"] = DiffJPEG(differentiable=False)(
            card.contiguous(), quality=torch.tensor([quality]).float()
        ).numpy()
    a, b = given["photo"][:, :, ::-1], given["other"][:, :, ::-1]
    found["psnr"] = calculate_psnr(a, b, 4)
    found["ssim"] = calculate_ssim(a, b, 4)
    found["niqe"] = calculate_niqe(a, 4, convert_to="y")
    net_d = UNetDiscriminatorSN(3)
    net_d.load_state_dict({k[2:]: torch.from_numpy(given[k]) for k in given.files if k.startswith("d_")})
    found["logits"] = net_d.eval()(card).numpy()
    if "weights" in given.files:
        net = RRDBNet(num_in_ch=3, num_out_ch=3, num_feat=64, num_block=23, num_grow_ch=32, scale=4)
        upsampler = RealESRGANer(scale=4, model_path=str(given["weights"]), model=net, tile=0, pre_pad=0, half=False)
        small = given["small"]
        found["upscaled"] = upsampler.enhance(small[:, :, ::-1], outscale=4)[0][:, :, ::-1]
    np.savez(outputs, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
