"""Runs inside the peers' environment: basicsr's PSNR, SSIM and NIQE. python official_metrics.py IN.npz OUT.npz"""

import sys

import numpy as np
import official  # noqa: F401 - what basicsr needs before it imports

from basicsr.metrics import calculate_niqe, calculate_psnr, calculate_ssim  # isort: skip


def main():
    with np.load(sys.argv[1]) as given:
        images = dict(given)
    found = {}
    for name in sorted({key.split("/")[0] for key in images}):
        sr, gt = (np.ascontiguousarray(images[f"{name}/{part}"][:, :, ::-1]) for part in ("sr", "gt"))  # BGR
        for channel, y in (("rgb", False), ("y", True)):
            found[f"{name}/psnr/{channel}"] = calculate_psnr(sr, gt, 4, test_y_channel=y)
            found[f"{name}/ssim/{channel}"] = calculate_ssim(sr, gt, 4, test_y_channel=y)
        found[f"{name}/niqe"] = calculate_niqe(sr, 4, convert_to="y")
    np.savez(sys.argv[2], **found)


main()
