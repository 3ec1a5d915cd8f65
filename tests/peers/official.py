"""Runs inside the peers' environment: realesrgan's own model and dataset, without GPU, files or networks.

Everything here is set-up around the reference's classes; none of its arithmetic is replaced, unless a function says so.
"""

import sys
import types

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as tv

# removed from torchvision after the release of basicsr 1.4.2
shim = types.ModuleType("torchvision.transforms.functional_tensor")
shim.rgb_to_grayscale = tv.rgb_to_grayscale
sys.modules["torchvision.transforms.functional_tensor"] = shim

import basicsr.data.degradations as degradations  # noqa: E402
import basicsr.utils.img_process_util as img_process  # noqa: E402
import realesrgan.data.realesrgan_dataset as dataset_module  # noqa: E402
import realesrgan.models.realesrgan_model as model_module  # noqa: E402

torch.set_num_threads(1)
__all__ = ["dataset", "dataset_module", "degradations", "img_process", "model", "model_module"]

# the numbers of options/train_realesrgan_x4plus.yml
FEED = {
    "scale": 4, "gt_size": 256, "queue_size": 180,
    "resize_prob": [0.2, 0.7, 0.1], "resize_range": [0.15, 1.5], "gaussian_noise_prob": 0.5, "noise_range": [1, 30],
    "poisson_scale_range": [0.05, 3], "gray_noise_prob": 0.4, "jpeg_range": [30, 95],
    "second_blur_prob": 0.8, "resize_prob2": [0.3, 0.4, 0.3], "resize_range2": [0.3, 1.2], "gaussian_noise_prob2": 0.5,
    "noise_range2": [1, 25], "poisson_scale_range2": [0.05, 2.5], "gray_noise_prob2": 0.4, "jpeg_range2": [30, 95],
}  # fmt: skip
FAMILIES = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
SHARES = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
DATASET = {
    "blur_kernel_size": 21, "kernel_list": FAMILIES, "kernel_prob": SHARES, "sinc_prob": 0.1, "blur_sigma": [0.2, 3],
    "betag_range": [0.5, 4], "betap_range": [1, 2],
    "blur_kernel_size2": 21, "kernel_list2": FAMILIES, "kernel_prob2": SHARES, "sinc_prob2": 0.1,
    "blur_sigma2": [0.2, 1.5], "betag_range2": [0.5, 4], "betap_range2": [1, 2],
    "final_sinc_prob": 0.8, "use_hflip": False, "use_rot": False, "dataroot_gt": "", "io_backend": {"type": "disk"},
}  # fmt: skip


def model(**changes):
    """A RealESRGANModel that can `feed_data` on the CPU; its pool is left out, so that `lq` is the batch's own."""
    made = object.__new__(model_module.RealESRGANModel)
    made.opt = {**FEED, **changes}
    made.is_train = True
    made.device = torch.device("cpu")
    made.jpeger = model_module.DiffJPEG(differentiable=False)
    made.usm_sharpener = model_module.USMSharp()
    made._dequeue_and_enqueue = lambda: None
    return made


def pad_contiguous():
    """`F.pad` keeps the permuted layout of DiffJPEG's output on the CPU and filter2D's `view` then fails."""
    pad = F.pad
    F.pad = lambda *a, **k: pad(*a, **k).contiguous()


def separable_sharpening():
    """USMSharp's dense 51×51 filter as two passes of 51 taps, in the form of convolution that is fastest on a CPU."""

    def filter2d(img, kernel):
        side = kernel[0].sum(0)
        b, c, h, w = img.shape
        flat = F.pad(img, (25, 25, 25, 25), mode="reflect").view(1, b * c, h + 50, w + 50)
        down = F.conv2d(flat, side.view(1, 1, -1, 1).expand(b * c, 1, 51, 1), groups=b * c)
        return F.conv2d(down, side.view(1, 1, 1, -1).expand(b * c, 1, 1, 51), groups=b * c).view(b, c, h, w)

    img_process.filter2D = filter2d


def dataset():
    """A RealESRGANDataset whose image is nothing: only the kernels of `__getitem__` are of interest."""
    made = object.__new__(dataset_module.RealESRGANDataset)
    paths = types.SimpleNamespace
    dataset_module.open = lambda *_: _Empty()
    made.__init__({**DATASET, "meta_info": "none"})
    del dataset_module.open
    made.paths = ["none"]
    made.file_client = paths(get=lambda *_: b"")
    blank = np.zeros((400, 400, 3), np.float32)
    dataset_module.imfrombytes = lambda *_, **__: blank
    dataset_module.augment = lambda img, *_: img
    dataset_module.img2tensor = lambda imgs, **_: imgs
    return made


class _Empty:
    def __enter__(self):
        return iter(())

    def __exit__(self, *_):
        return None
