"""Apply a generator to whole images in tiles without seams, from top to bottom in bounded memory."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archsr.errors import is_out_of_memory
from archsr.images.pixels import Pixels
from archsr.models.base import Generator as Network
from archsr.upscaling.devices import (
    DTYPES,
    Precision,
    autocast,
    measured_algorithms,
    memory_budget,
    place_network,
    resolve_precision,
)
from archsr.upscaling.label import ModelLabel
from archsr.upscaling.opening import open_model
from archsr.upscaling.passes import bytes_per_pixel, forward, most_pixels
from archsr.upscaling.seams import Seams
from archsr.upscaling.tiles import TileSpan, fitting_feather, spans
from archsr.upscaling.transfer import Arriving, Depth, ahead, at_depth, to_device
from archsr.utils.devices import best_device, takes_channels_last

__all__ = ["Precision", "Upscaler", "open_model"]
Fetch = Callable[[int, int], NDArray[Any]]  # (first, end) to (rows, w, 3); called from top to bottom, once per row

FEATHER = 8  # input pixels on each side of a seam
_STRIP = 192 * 2**20  # bytes of output held at a time
_LEAST = 32  # smallest side in pixels of an automatic tile
_DIVISIBLE = 32  # smallest side in pixels that is still divided
_SURELY_INDEXED = 2**18  # pixels of a window whose tensors certainly have fewer than 2^31 elements
_REPEATED = 4  # tiles of one shape for which measuring cuDNN's algorithms pays


def _silent(_: float) -> None:
    """Do nothing."""


class Upscaler:
    """Runs a generator over images.

    `tile` is the side of a tile in input pixels without its halo (None: as memory allows, 0: the whole image at once).
    `halo` are the pixels around it that the network sees as well (None: enough for this network). `precision` "auto" is
    fp16 on GPUs, fp32 on CPUs. `devices` process the tiles in turn. A tile that does not fit into memory is divided,
    and later ones too. With `benchmark` cuDNN measures its algorithms for an image of several tiles; without, the same
    image always gets the same ones. `label` names the model in the files that it makes.
    """

    def __init__(
        self,
        net: Network,
        *,
        device: torch.device | None = None,
        devices: Sequence[torch.device] = (),
        tile: int | None = None,
        halo: int | None = None,
        feather: int = FEATHER,
        precision: Precision = "fp32",
        compiled: bool = False,
        benchmark: bool = True,
        label: ModelLabel | None = None,
    ) -> None:
        self.label = label or ModelLabel()
        self.device = devices[0] if devices else device or best_device()
        self.devices = list(devices) or [self.device]
        self.precision = precision = resolve_precision(net, precision, self.devices)
        self.scale = net.scale
        self.tile = tile
        self.halo = net.halo() if halo is None else halo
        self.feather = min(feather, self.halo // 4)
        self._dtype = DTYPES[precision]
        self._nets = [place_network(net, d, precision, alone=len(self.devices) == 1) for d in self.devices]
        self._run = cast(Callable[[Network, Tensor], Tensor], torch.compile(forward) if compiled else forward)
        self._benchmark = benchmark
        self._ahead = sum(d.type == "cuda" for d in self.devices)  # tiles that compute while the host handles one
        self._per_pixel = 0.0
        self._indexed = 0  # largest window in pixels by the elements of its tensors; 0: not yet counted
        self._fits = 0  # largest window in pixels after one did not fit; 0: no limit

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (1, 3, h, w) in [0, 1] to (1, 3, scale·h, scale·w) in [0, 1], float32, on the input's device."""
        height, width = lq.shape[2:]
        with torch.inference_mode():
            image = lq[0].permute(1, 2, 0).float().cpu().numpy()
            strips = list(self._strips(lambda a, b: image[a:b], height, width))
            return torch.from_numpy(np.concatenate(strips)).permute(2, 0, 1)[None].contiguous().to(lq.device)

    def pixels(self, image: Pixels) -> Pixels:
        """Restore uint8 (h, w, 3) to uint8 (scale·h, scale·w, 3)."""
        height, width = image.shape[:2]
        return cast(Pixels, np.concatenate(list(self.rows(lambda a, b: image[a:b], height, width))))

    def rows(
        self, fetch: Fetch, height: int, width: int, *, on_tile: Callable[[float], None] = _silent
    ) -> Iterator[Depth]:
        """Restore the image whose rows `fetch` returns, uint8 or uint16; yields strips (rows, scale·w, 3) of the same
        depth.

        Strips come from top to bottom, and one is in memory at a time. `on_tile` receives the share of tiles that are
        done.
        """
        # inference mode must not stay on in the caller while this generator is suspended
        strips = self._strips(fetch, height, width, on_tile=on_tile)
        while True:
            with torch.inference_mode():
                strip = next(strips, None)
            if strip is None:
                return
            yield strip

    # ------------------------------------------------------------ tiles

    def tile_of(self, height: int, width: int) -> tuple[int, int]:
        """Return the tiles' height and width for an image: as configured, or as free memory allows; 0 is the whole
        side.

        0 is the whole side. Wide images get low tiles, so that a strip of results stays small.
        """
        low = max(_LEAST, _STRIP // (3 * width * self.scale**2))
        if self.tile is not None:
            return min(self.tile, low), self.tile
        self._per_pixel = self._per_pixel or bytes_per_pixel(self._nets[0], self._dtype)
        fits = int(min(memory_budget(d) for d in self.devices) / self._per_pixel)
        fits = min(fits, self._most(fits))
        if height * width <= fits and height <= low:
            return 0, 0
        rows = min(low, max(_LEAST, int(fits**0.5) - 2 * self.halo))
        window = min(height, rows + 2 * self.halo)
        return rows, max(_LEAST, fits // window - 2 * self.halo)

    def _most(self, pixels: int) -> int:
        """Return the largest window in pixels that may be tried, if `pixels` are wanted."""
        if pixels > _SURELY_INDEXED:
            self._indexed = self._indexed or most_pixels(self._nets[0])
        return min(self._fits or pixels, self._indexed or pixels)

    def _strips(
        self, fetch: Fetch, height: int, width: int, *, on_tile: Callable[[float], None] = _silent
    ) -> Generator[NDArray[Any]]:
        """Yield (rows, scale·w, 3) per row of tiles, of the depth of the fetched rows."""
        rows, columns = self.tile_of(height, width)
        down, across = spans(height, tile=rows, halo=self.halo), spans(width, tile=columns, halo=self.halo)
        total = len(down) * len(across)
        strip: NDArray[Any] | None = None
        for done, (left, arriving) in enumerate(
            ahead(self._tiles(fetch, down, across, (height, width)), self._ahead), 1
        ):
            pixels = arriving.wait()
            if strip is None:
                strip = pixels if len(across) == 1 else np.empty((len(pixels), width * self.scale, 3), pixels.dtype)
            if strip is not pixels:
                strip[:, left : left + pixels.shape[1]] = pixels
            on_tile(done / total)
            if done % len(across) == 0:
                yield strip
                strip = None

    def _tiles(
        self, fetch: Fetch, down: list[TileSpan], across: list[TileSpan], size: tuple[int, int]
    ) -> Iterator[tuple[int, Arriving]]:
        """Yield each tile's first output column, and its finished part (rows, columns, 3) on the way to the host.

        Nothing here waits for a GPU.
        """
        feather = fitting_feather(self.feather, [*across, *down]) if len(across) + len(down) > 2 else 0
        seams, held = Seams(*size, feather, self.scale), _Rows(fetch)
        repeated = self._benchmark and len(down) * len(across) >= _REPEATED
        for y in down:
            rows = held.between(y.start, y.end)
            for number, x in enumerate(across):
                with measured_algorithms() if repeated else nullcontext():
                    core = self._restored(rows[:, x.start : x.end], y, x, size, feather, number % len(self._nets))
                left, sr = seams.join(core, y, x)
                arriving = Arriving(at_depth(sr, rows.dtype))
                del core, sr  # the next tile needs the memory
                yield left, arriving

    def _restored(
        self, window: NDArray[Any], y: TileSpan, x: TileSpan, size: tuple[int, int], feather: int, number: int
    ) -> Tensor:
        """Return the used part of a tile, float32 (3, rows, columns), on device `number`."""
        top, bottom = (place - y.start for place in y.used(feather, size[0]))
        left, right = (place - x.start for place in x.used(feather, size[1]))
        on_device = to_device(window, self.devices[number])
        return self._window(self._nets[number], on_device, (top, bottom, left, right))[0].float()

    def _window(self, net: Network, window: Tensor, used: tuple[int, int, int, int]) -> Tensor:
        """Restore the used part (top, bottom, left, right, in input pixels); divide it if memory runs out."""
        top, bottom, left, right = (place * self.scale for place in used)
        pixels = window.shape[2] * window.shape[3]
        small = max(used[1] - used[0], used[3] - used[2]) < _DIVISIBLE
        if small or pixels <= self._most(pixels):
            try:
                return self._whole(net, window)[:, :, top:bottom, left:right]
            except (RuntimeError, MemoryError) as error:
                if small or not is_out_of_memory(error):
                    raise
                self._fits = max(1, pixels // 2)
        if window.device.type == "cuda":
            torch.cuda.empty_cache()
        return self._in_halves(net, window, used)

    def _in_halves(self, net: Network, window: Tensor, used: tuple[int, int, int, int]) -> Tensor:
        """Divide the longer side in two; each part keeps its halo."""
        top, bottom, left, right = used
        if bottom - top >= right - left:
            middle = (top + bottom) // 2
            above = min(window.shape[2], middle + self.halo)
            below = max(0, middle - self.halo)
            parts = [
                self._window(net, window[:, :, :above], (top, middle, left, right)),
                self._window(net, window[:, :, below:], (middle - below, bottom - below, left, right)),
            ]
            return torch.cat(parts, 2)
        turned = self._in_halves_across(net, window, used)
        return torch.cat(turned, 3)

    def _in_halves_across(self, net: Network, window: Tensor, used: tuple[int, int, int, int]) -> list[Tensor]:
        top, bottom, left, right = used
        middle = (left + right) // 2
        before = min(window.shape[3], middle + self.halo)
        after = max(0, middle - self.halo)
        return [
            self._window(net, window[:, :, :, :before], (top, bottom, left, middle)),
            self._window(net, window[:, :, :, after:], (top, bottom, middle - after, right - after)),
        ]

    def _whole(self, net: Network, window: Tensor) -> Tensor:
        if not net.converts:
            with autocast(window.device, self._dtype):
                return self._run(net, window)
        layout = torch.channels_last if takes_channels_last(window.device) else torch.contiguous_format
        return self._run(net, window.to(self._dtype, memory_format=layout))


class _Rows:
    """Fetches rows once each, for overlapping requests from top to bottom."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._top = self._bottom = 0
        self._held: NDArray[Any] | None = None

    def between(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows `top` to `bottom` (exclusive)."""
        kept = [] if self._held is None or top >= self._bottom else [self._held[top - self._top :]]
        if bottom > self._bottom:
            kept.append(self._fetch(self._bottom, bottom))
        self._held = np.concatenate(kept) if len(kept) > 1 else kept[0]
        self._top, self._bottom = top, max(bottom, self._bottom)
        return self._held[: bottom - top]
