"""A model that upscales images."""

import os
from pathlib import Path

import numpy as np
import pyvips
import torch

from archsr.api.kinds import ImageT, Pixels, map_image
from archsr.checkpoint import strength_of
from archsr.config import ModelConfig
from archsr.evaluation.compared_models import short_name
from archsr.runs.folders import is_run, run_config
from archsr.upscaling.devices import Precision, devices_of
from archsr.upscaling.label import label_of
from archsr.upscaling.one_image import OutputOptions, upscale_image
from archsr.upscaling.opening import open_model
from archsr.upscaling.resizing import to_size
from archsr.upscaling.upscaler import Upscaler
from archsr.utils.console import LOGGER
from archsr.utils.devices import best_device


class Model:
    """A generator that upscales images; `load_model` returns it.

    `source` is what it was loaded from, `name` a name for people, `scale` the upscaling factor, `strength` the share of
    a run's fine-tuning (1 without a run), `precision` and `devices` how and where it runs, `config` its network.
    """

    def __init__(self, source: str, config: ModelConfig, upscaler: Upscaler, *, strength: float) -> None:
        self.source = source
        self.name = run_config(source).name if is_run(source) else short_name(source)
        self.config = config
        self.scale = upscaler.scale
        self.strength = strength
        self.precision = upscaler.precision
        self.devices = tuple(upscaler.devices)
        self._upscaler = upscaler

    def __call__(self, image: ImageT, scale: float | None = None) -> ImageT:
        """Return the upscaled image, of the same kind, `scale` times as large (also 1.5; default: the model's).

        PIL images come back upright, with alpha, colour profile and EXIF. Arrays are (h, w), (h, w, 3) or (h, w, 4) of
        uint8, uint16, or float in [0, 1]. Tensors (b, 3, h, w), float in [0, 1], stay on their device. Raises
        `TypeError` and `ValueError` for anything else.
        """
        factor = self.scale if scale is None else scale
        if not 0 < factor <= 16:
            raise ValueError(f"expected a scale above 0 and at most 16, got {scale}")
        return map_image(image, lambda pixels: self._enlarged(pixels, factor))

    def upscale_file(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        scale: float | None = None,
        quality: int = 95,
        metadata: bool = True,
        label: bool = True,
    ) -> Path:
        """Upscale an image file of any size into another, like `archsr upscale`, and return the target.

        The target's ending is the format; `quality` is for JPEG and WebP. With `label` its XMP says that a network
        enlarged it, and which one. The target is complete or absent. Raises `BadImageError` for an unusable image,
        OSError if writing fails.
        """
        wanted = OutputOptions(scale, quality, metadata=metadata, label=label)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        if lost := upscale_image(Path(source), Path(target), self._upscaler, wanted):
            LOGGER.warning("%s: %s", source, lost)
        return Path(target)

    def __repr__(self) -> str:
        part = "" if self.strength == 1 else f", strength {self.strength:g}"
        places = ", ".join(map(str, self.devices))
        return f"<archsr model {self.name}: {self.config.arch}, ×{self.scale}{part}, {self.precision} on {places}>"

    def _enlarged(self, pixels: Pixels, factor: float) -> Pixels:
        size = tuple(max(1, round(side * factor)) for side in pixels.shape[:2])
        colours = pixels if pixels.shape[2] in (1, 3) else pixels[:, :, :-1]
        large = self._restored(colours.repeat(3, axis=2) if colours.shape[2] == 1 else colours)
        if (colours == colours[:, :, :1]).all():  # grey stays grey
            grey = large.mean(2, keepdims=True, dtype=np.float64)
            large = (grey if pixels.dtype.kind == "f" else np.rint(grey)).astype(large.dtype)
            large = large.repeat(colours.shape[2], axis=2)
        parts = [large] if colours is pixels else [large, pixels[:, :, -1:]]
        return np.concatenate([_to_size(part, size) for part in parts], axis=2).astype(pixels.dtype)

    def _restored(self, pixels: Pixels) -> Pixels:
        """Restore (h, w, 3) to (scale·h, scale·w, 3) of the same depth."""
        height, width = pixels.shape[:2]
        if pixels.dtype.kind == "f":
            lq = torch.from_numpy(np.ascontiguousarray(pixels, np.float32)).permute(2, 0, 1)[None]
            return self._upscaler.restore(lq)[0].permute(1, 2, 0).numpy()
        return np.concatenate(list(self._upscaler.rows(lambda a, b: pixels[a:b], height, width)))


def _to_size(pixels: Pixels, size: tuple[int, ...]) -> Pixels:
    if pixels.shape[:2] == size:
        return pixels
    plain = np.ascontiguousarray(pixels, np.float32 if pixels.dtype.kind == "f" else pixels.dtype)
    made = to_size(pyvips.Image.new_from_array(plain), size[0], size[1]).numpy()
    made = made[:, :, None] if made.ndim == 2 else made
    return made.clip(0, 1) if pixels.dtype.kind == "f" else made


def load_model(
    source: str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    precision: Precision = "auto",
    strength: float | None = None,
    tile: int | None = None,
) -> Model:
    """Load a model from a run folder, a `.pth` or `.safetensors` file, or by an official name (see `archsr weights`).

    `device` "auto" is the first GPU or the CPU, "all" every GPU; or give "cpu", "cuda:1", "cuda:0,cuda:1". `precision`
    is "fp32", "bf16" or "fp16"; "auto" is fp16 on GPUs and fp32 on CPUs. `strength` goes from a run's initial model
    (0) to the fine-tuned one (1); None is the run's best. `tile` is as for `archsr upscale`. Raises
    `WeightsError`, and `UserError` for a device or precision that is not available.

    >>> model = load_model("ncnn:realesr-animevideov3-x4", device="cpu")
    >>> model
    <archsr model ncnn:realesr-animevideov3-x4: srvgg, ×4, fp32 on cpu>
    >>> import numpy as np
    >>> model(np.zeros((20, 30, 3), np.uint8)).shape
    (80, 120, 3)
    >>> model(np.zeros((20, 30), np.uint16), scale=1.5).shape
    (30, 45)
    """
    name = os.fspath(source)
    devices = [best_device()] if str(device) == "auto" else devices_of(str(device))
    net, config = open_model(name, strength=strength)
    label = label_of(name, strength=strength)
    upscaler = Upscaler(net, devices=devices, tile=tile, precision=precision, label=label)
    return Model(name, config, upscaler, strength=strength_of(name) if strength is None else strength)
