"""A trained generator applied to whole pictures."""

import contextlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from archsr.checkpoint import about_snapshot, weights_of
from archsr.config import ModelConfig, SpandrelConfig
from archsr.errors import UserError
from archsr.images import Pixels, pixels_to_tensor, to_uint8
from archsr.models.build import Generator, build, infer, load_state
from archsr.models.foreign import Foreign, open_foreign
from archsr.models.ncnn import NCNN
from archsr.models.weights import load_weights, read_state
from archsr.upscale.tiles import Tile, plan_tiles

Precision = Literal["fp32", "bf16", "fp16"]
TILE, HALO = 384, 64


def open_model(source: str) -> tuple[Generator, ModelConfig]:
    """A generator from a run folder, a weights file or an official name, its kind told from the tensors.

    Files that are of none of our own networks are read by spandrel.
    """
    weights = weights_of(source)
    if weights in NCNN:
        config = NCNN[weights].config
        net = build(config)
        load_weights(net, weights)
    elif _says_spandrel(Path(weights)):
        net, config = _foreign(weights)
    else:
        net, config = _told_from_tensors(weights, source)
    return net.requires_grad_(False).eval(), config


def _says_spandrel(path: Path) -> bool:
    """Whether a snapshot says so; it may have tensors like one of our own networks."""
    return path.is_file() and about_snapshot(path).get("model", {}).get("arch") == "spandrel"


def _told_from_tensors(weights: str, source: str) -> tuple[Generator, ModelConfig]:
    try:
        state = read_state(weights)
        config = infer(state, where=source)
    except UserError as unknown:
        try:
            return _foreign(weights)
        except UserError:
            raise unknown from None
    net = build(config)
    load_state(net, state, where=source)
    return net, config


def _foreign(weights: str) -> tuple[Foreign, ModelConfig]:
    net = open_foreign(weights)
    return net, SpandrelConfig.model_validate({"arch": "spandrel", "scale": net.scale, "file": weights})


class Upscaler:
    """Runs a generator over pictures in tiles.

    `tile` is the side of a tile in input pixels (0: the whole picture at once), `halo` the context around it: with
    64 pixels x4plus differs from the untiled result by more than one 8-bit level in 0.02 % of the pixels.
    """

    def __init__(
        self,
        net: Generator,
        *,
        device: torch.device | None = None,
        tile: int = TILE,
        halo: int = HALO,
        precision: Precision = "fp32",
    ) -> None:
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if isinstance(net, Foreign):  # its architecture may need the plain order
            net.check_precision(precision)
            self.net = net.to(self.device)
        else:
            self.net = net.to(self.device).to(memory_format=torch.channels_last)
        self.scale = net.scale
        self.tile = tile
        self.halo = halo
        self.precision = precision

    @torch.inference_mode()
    def restore(self, lq: Tensor) -> Tensor:
        """(1, 3, h, w) in [0, 1] to (1, 3, scale·h, scale·w) in [0, 1], float32, on the input's device."""
        height, width = lq.shape[2:]
        out = torch.empty(1, 3, height * self.scale, width * self.scale, device=lq.device)
        for tile in self._tiles(height, width):
            rows, columns = self._core(tile)
            out[:, :, rows, columns] = self._tile(lq, tile).to(lq.device)
        return out

    @torch.inference_mode()
    def pixels(self, picture: Pixels) -> Pixels:
        """uint8 (h, w, 3) to uint8 (scale·h, scale·w, 3); only one tile is held as floats."""
        height, width = picture.shape[:2]
        out = np.empty((height * self.scale, width * self.scale, 3), dtype=np.uint8)
        lq = pixels_to_tensor(picture)
        for tile in self._tiles(height, width):
            rows, columns = self._core(tile)
            out[rows, columns] = to_uint8(self._tile(lq, tile))[0].permute(1, 2, 0).cpu().numpy()
        return out

    def _tiles(self, height: int, width: int) -> list[Tile]:
        return plan_tiles(height, width, tile=self.tile, halo=self.halo)

    def _core(self, tile: Tile) -> tuple[slice, slice]:
        s = self.scale
        return slice(tile.top * s, tile.bottom * s), slice(tile.left * s, tile.right * s)

    def _tile(self, lq: Tensor, tile: Tile) -> Tensor:
        """The restored core of a tile, clamped."""
        window = lq[:, :, tile.outer_top : tile.outer_bottom, tile.outer_left : tile.outer_right].to(self.device)
        sr = self._run(window)
        top, left = (tile.top - tile.outer_top) * self.scale, (tile.left - tile.outer_left) * self.scale
        bottom = top + (tile.bottom - tile.top) * self.scale
        right = left + (tile.right - tile.left) * self.scale
        return sr[:, :, top:bottom, left:right].float().clamp(0, 1)

    def _run(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        step = self.net.unshuffle  # ×2 and ×1 fold pixels: sides must be multiples
        if height % step or width % step:
            x = F.pad(x, (0, -width % step, 0, -height % step), mode="replicate")
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        context = torch.autocast(self.device.type, dtype=dtype) if dtype else contextlib.nullcontext()
        with context:
            return self.net(x)[:, :, : height * self.scale, : width * self.scale]
