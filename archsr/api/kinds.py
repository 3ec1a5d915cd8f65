"""Convert PIL images, numpy arrays and tensors to plain arrays and back."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

Pixels = NDArray[Any]  # (h, w, c), c from 1 to 4: grey, grey and alpha, RGB, RGB and alpha
ImageT = TypeVar("ImageT", Image.Image, NDArray[Any], Tensor)
_BEYOND = 0.1  # overshoot of resampling that is clamped; beyond it, the pixels are not in [0, 1]
_KEPT = ("icc_profile", "exif", "dpi")  # metadata of a PIL image that is kept


def map_image(image: ImageT, change: Callable[[Pixels], Pixels]) -> ImageT:
    """Apply `change` to each image as an array (h, w, c), and return the results as the same kind.

    Raises `TypeError` and `ValueError` for anything else.
    """
    if isinstance(image, Tensor):
        return _tensor(image, change)
    if isinstance(image, Image.Image):
        return _pil(image, change)
    if not isinstance(image, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller has types
        raise TypeError(f"expected a PIL image, a numpy array or a torch tensor, got {type(image).__name__}")
    pixels = image[:, :, None] if image.ndim == 2 else image
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise ValueError(f"expected an array (h, w), (h, w, 3) or (h, w, 4), got {image.shape}")
    made = change(_checked(pixels))
    return made[:, :, 0] if image.ndim == 2 else made


def _checked(pixels: Pixels) -> Pixels:
    if pixels.dtype == np.uint8 or pixels.dtype == np.uint16:
        return pixels
    if pixels.dtype.kind != "f":
        raise TypeError(f"expected pixels of uint8, uint16 or float in [0, 1], got {pixels.dtype}")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -_BEYOND and high <= 1 + _BEYOND):  # NaN, too
        raise ValueError(f"expected float pixels in [0, 1], got {low:g} to {high:g}")
    return pixels.clip(0, 1)


def _tensor(batch: Tensor, change: Callable[[Pixels], Pixels]) -> Tensor:
    if batch.ndim != 4 or batch.shape[1] != 3 or not batch.numel():
        raise ValueError(f"expected a tensor (b, 3, h, w), got {tuple(batch.shape)}")
    if not batch.is_floating_point():
        raise TypeError(f"expected a float tensor in [0, 1], got {batch.dtype}")
    arrays = batch.detach().permute(0, 2, 3, 1).float().cpu().numpy()
    made = [torch.from_numpy(change(_checked(pixels))) for pixels in arrays]
    return torch.stack(made).permute(0, 3, 1, 2).contiguous().to(batch.device, batch.dtype)


def _pil(image: Image.Image, change: Callable[[Pixels], Pixels]) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    about = {key: upright.info[key] for key in _KEPT if key in upright.info}
    if image.mode == "CMYK":
        about.pop("icc_profile", None)  # it is a CMYK profile
    plain = upright if upright.mode.startswith("I;16") else upright.convert(_mode(upright))
    pixels = np.asarray(plain)
    made = change(pixels[:, :, None] if pixels.ndim == 2 else pixels)
    result = Image.fromarray(np.ascontiguousarray(made[:, :, 0] if made.shape[2] == 1 else made))
    result.info.update(about)
    return result


def _mode(image: Image.Image) -> str:
    """Return the 8-bit mode in which an image is processed and returned."""
    if image.mode in ("I", "F"):
        raise TypeError(
            f"PIL images of mode {image.mode} have no defined white level; pass an array of uint16 or float"
        )
    if image.mode in ("L", "1"):
        return "LA" if "transparency" in image.info else "L"
    if image.mode in ("LA", "La"):
        return "LA"
    return "RGBA" if image.mode in ("RGBA", "RGBa", "PA") or "transparency" in image.info else "RGB"
