"""The step "codec": samples saved and opened by real encoders, on threads of the processor.

Each encoder uses one thread, so that its result does not depend on their number. The speeds are fixed and bound the
time (configs/DEGRADATION.md has it). Colours are stored as 4:2:0.
"""

import importlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

from archsr.config import Codec
from archsr.degradation.canvas import Canvas, send
from archsr.errors import UserError
from archsr.images.pixels import Pixels

CODECS = ("none", "webp", "avif", "heic", "h264", "hevc")  # by number, in the order of config.Formats
_PACKAGES = {
    "heic": ("pillow_heif", "archsr[phone]"),
    "h264": ("av", "archsr[codecs]"),
    "hevc": ("av", "archsr[codecs]"),
}
_MISSING = 'degrade.codec.formats.{name} needs {what}; pip install "{package}", or set this share to 0'
_THREADS = 16
# of swscale: bicubic, full chroma in and out, accurate and equal everywhere; its default darkens by a level
_ACCURATE = 0x4 | 0x2000 | 0x4000 | 0x40000 | 0x80000
_SMALLEST = 64  # x265 refuses frames smaller than its blocks


def require(config: Codec) -> None:
    """Raise `UserError` if the encoder of a format with a share is not installed."""
    for name, share in config.formats.model_dump().items():
        if share > 0 and config.probability > 0:
            _require(name)


def _require(name: str) -> None:
    if name in _PACKAGES:
        _library(name)
    elif not features.check(name):
        raise UserError(_MISSING.format(name=name, what=f"Pillow with {name}", package="pillow>=11.3"))


def _library(name: str) -> Any:  # noqa: ANN401 - a module that may be missing
    module, package = _PACKAGES[name]
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(_MISSING.format(name=name, what=f"the package {module}", package=package)) from None


def encode_and_decode(canvas: Canvas, codec: Tensor, quality: Tensor) -> Tensor:
    """Save and open the samples whose `codec` is not 0; `codec` and `quality` (b,) are on the CPU. Returns pixels.

    A canvas on a device is copied to the host once, which waits for the device, and back once.
    """
    chosen = codec.nonzero()[:, 0]
    if not len(chosen):
        return canvas.pixels
    device = canvas.pixels.device
    rows = chosen if device.type == "cpu" else send(chosen, device)
    images = _to_host(canvas.take(rows))
    names = [CODECS[number] for number in codec[chosen].tolist()]
    qualities = [int(value) for value in quality[chosen].tolist()]
    with ThreadPoolExecutor(min(len(images), _THREADS, os.cpu_count() or 1)) as threads:
        saved = list(threads.map(save, images, names, qualities))
    levels = np.zeros((len(images), *canvas.pixels.shape[2:], 3), np.uint8)
    for i, image in enumerate(saved):
        levels[i, : image.shape[0], : image.shape[1]] = image
    back = torch.from_numpy(levels)  # pyright: ignore[reportUnknownMemberType]
    back = back if device.type == "cpu" else send(back, device)
    return canvas.pixels.index_copy(0, rows, back.permute(0, 3, 1, 2).float() / 255)


def _to_host(canvas: Canvas) -> list[Pixels]:
    """Return the samples, 8 bits, each at its own size. Pixels, and sizes if they differ, come in one copy."""
    b, c, h, w = canvas.pixels.shape
    levels = (canvas.pixels.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    if canvas.whole:
        return list(levels.cpu().numpy())
    sizes = torch.stack([canvas.height, canvas.width]).int().view(torch.uint8)
    packed = torch.cat([levels.flatten(), sizes.flatten()]).cpu()
    pixels = packed[: b * c * h * w].view(b, h, w, c).numpy()
    heights, widths = packed[b * c * h * w :].clone().view(torch.int32).view(2, b).tolist()
    return [pixels[i, : heights[i], : widths[i]] for i in range(b)]


def save(image: Pixels, codec: str, quality: int) -> Pixels:
    """Return the image as `codec` stores it, with `quality` in the encoder's units (a crf for h264 and hevc)."""
    return _SAVE[codec](np.ascontiguousarray(image), quality)


def _by_pil(image: Pixels, name: str, **options: Any) -> Pixels:  # noqa: ANN401 - the encoder's options
    file = io.BytesIO()
    Image.fromarray(image).save(file, name, **options)
    file.seek(0)
    with Image.open(file) as opened:
        return np.asarray(opened.convert("RGB"))


def _webp(image: Pixels, quality: int) -> Pixels:
    return _by_pil(image, "WEBP", quality=quality, method=4)


def _avif(image: Pixels, quality: int) -> Pixels:
    return _by_pil(image, "AVIF", quality=quality, speed=8, subsampling="4:2:0", max_threads=1)


def _heic(image: Pixels, quality: int) -> Pixels:
    library = _library("heic")
    file = io.BytesIO()
    parameters = {"preset": "ultrafast", "x265:pools": "none", "x265:frame-threads": "1"}
    library.from_pillow(Image.fromarray(image)).save(file, quality=quality, enc_params=parameters)
    file.seek(0)
    return np.asarray(library.open_heif(file, convert_hdr_to_8bit=True).to_pillow().convert("RGB"))


def _h264(image: Pixels, crf: int) -> Pixels:
    return _intra_frame(image, "libx264", {"crf": str(crf), "preset": "veryfast"})


def _hevc(image: Pixels, crf: int) -> Pixels:
    parameters = f"crf={crf}:pools=none:frame-threads=1:wpp=0:log-level=none"
    return _intra_frame(image, "libx265", {"preset": "ultrafast", "x265-params": parameters})


def _intra_frame(image: Pixels, encoder: str, options: dict[str, str]) -> Pixels:
    """Encode one frame and decode it. Its sides are even: the edge is repeated, and cut off again."""
    av = _library("h264")
    h, w = image.shape[:2]
    rows, columns = (max(side + side % 2, _SMALLEST) - side for side in (h, w))
    padded = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")
    context = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = padded.shape[1], padded.shape[0], "yuv420p"
    context.time_base, context.thread_count, context.options = Fraction(1, 25), 1, options
    frame = av.VideoFrame.from_ndarray(padded, format="rgb24").reformat(format="yuv420p", interpolation=_ACCURATE)
    packets = [*context.encode(frame), *context.encode(None)]
    reader = av.CodecContext.create("h264" if encoder == "libx264" else "hevc", "r")
    reader.thread_count = 1
    [decoded] = [out for packet in (*packets, None) for out in reader.decode(packet)]
    return decoded.to_ndarray(format="rgb24", interpolation=_ACCURATE)[:h, :w]


_SAVE: dict[str, Callable[[Pixels, int], Pixels]] = {
    "webp": _webp,
    "avif": _avif,
    "heic": _heic,
    "h264": _h264,
    "hevc": _hevc,
}
