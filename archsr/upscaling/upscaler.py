"""Apply a generator to whole images in tiles without seams, from top to bottom in bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archsr.images.pixels import Pixels
from archsr.models.base import Generator as Network
from archsr.upscaling.devices import (
    DTYPES,
    Precision,
    autocast,
    best_device,
    is_out_of_memory,
    memory_budget,
    place_network,
    resolve_precision,
)
from archsr.upscaling.label import ModelLabel
from archsr.upscaling.opening import open_model
from archsr.upscaling.passes import bytes_per_pixel, forward
from archsr.upscaling.tiles import TileSpan, fitting_feather, ramp, spans

__all__ = ["Precision", "Upscaler", "open_model"]
Depth = NDArray[np.uint8 | np.uint16]
Fetch = Callable[[int, int], Depth]  # (first, end) to (rows, w, 3); called from top to bottom, once per row

FEATHER = 8  # input pixels on each side of a seam
_STRIP = 192 * 2**20  # bytes of output held at a time
_LEAST = 32  # smallest side in pixels of an automatic tile
_DIVISIBLE = 32  # smallest side in pixels that is still divided


def _silent(_: float) -> None:
    """Do nothing."""


class Upscaler:
    """Runs a generator over images.

    `tile` is the side of a tile in input pixels without its halo (None: as memory allows, 0: the whole image at once).
    `halo` are the pixels around it that the network sees as well (None: enough for this network). `precision` "auto" is
    fp16 on GPUs, fp32 on CPUs. `devices` process the tiles in turn. A tile that does not fit into memory is divided,
    and later ones too. `label` names the model in the files that it makes.
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
        self._per_pixel = 0.0
        self._fits = 0  # largest window in pixels after one did not fit; 0: no limit

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (1, 3, h, w) in [0, 1] to (1, 3, scale·h, scale·w) in [0, 1], float32, on the input's device."""
        height, width = lq.shape[2:]
        with torch.inference_mode():
            strips = list(self._strips(lambda a, b: lq[:, :, a:b], height, width, depth=lambda: np.dtype(np.float32)))
            return torch.from_numpy(np.concatenate(strips)).permute(2, 0, 1)[None].contiguous().to(lq.device)

    def pixels(self, image: Pixels) -> Pixels:
        """Restore uint8 (h, w, 3) to uint8 (scale·h, scale·w, 3)."""
        height, width = image.shape[:2]
        return cast(Pixels, np.concatenate(list(self.rows(lambda a, b: image[a:b], height, width))))

    def rows(
        self, fetch: Fetch, height: int, width: int, *, on_tile: Callable[[float], None] = _silent
    ) -> Iterator[Depth]:
        """Restore the image whose rows `fetch` returns; yields strips (rows, scale·w, 3) of the same depth.

        Strips come from top to bottom, and one is in memory at a time. `on_tile` receives the share of tiles that are
        done.
        """
        depth: list[np.dtype[Any]] = []

        def floats(top: int, bottom: int) -> Tensor:
            got = fetch(top, bottom)
            depth[:] = [got.dtype]
            full = np.iinfo(got.dtype).max
            return torch.from_numpy(got.astype(np.float32)).div_(full).permute(2, 0, 1)[None]

        # inference mode must not stay on in the caller while this generator is suspended
        strips = self._strips(floats, height, width, depth=lambda: depth[0], on_tile=on_tile)
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
        if self._fits:
            fits = min(fits, self._fits)
        if height * width <= fits and height <= low:
            return 0, 0
        rows = min(low, max(_LEAST, int(fits**0.5) - 2 * self.halo))
        window = min(height, rows + 2 * self.halo)
        return rows, max(_LEAST, fits // window - 2 * self.halo)

    def _strips(
        self,
        fetch: Callable[[int, int], Tensor],
        height: int,
        width: int,
        *,
        depth: Callable[[], np.dtype[Any]],
        on_tile: Callable[[float], None] = _silent,
    ) -> Generator[NDArray[Any]]:
        """Yield (rows, scale·w, 3) per row of tiles, of the `depth` that is known once rows have been fetched.

        Results are converted as soon as possible; float32 is only kept where tiles fade into each other.
        """
        rows, columns = self.tile_of(height, width)
        down, across = spans(height, tile=rows, halo=self.halo), spans(width, tile=columns, halo=self.halo)
        feather = fitting_feather(self.feather, [*across, *down]) if len(across) + len(down) > 2 else 0
        fading = 2 * feather * self.scale
        done, total = 0, len(across) * len(down)
        held = _Rows(fetch)
        above = np.zeros((3, 0, width * self.scale), np.float32)  # the strip above, where it fades into this one
        for y in down:
            rows_read = held.between(y.start, y.end)
            first, last = (place * self.scale for place in y.used(feather, height))
            below = np.zeros((3, fading if y.core_end < height else 0, width * self.scale), np.float32)
            strip = np.empty((last - first - below.shape[1], width * self.scale, 3), depth())
            weight = ramp(y, feather=feather, side=height, scale=self.scale)[:, None]
            for left, right, piece in self._joined(rows_read, y, across, (height, width), feather):
                piece *= weight
                piece[:, : above.shape[1]] += above[:, :, left:right]
                below[:, :, left:right] = piece[:, len(strip) :]
                _store(piece[:, : len(strip)], strip[:, left:right])
                done += 1
                on_tile(done / total)
            above = below
            yield strip

    def _joined(
        self, rows: Tensor, y: TileSpan, across: list[TileSpan], size: tuple[int, int], feather: int
    ) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """Yield first and end output column, and the pixels (3, rows, columns) with the fading done."""
        fading = 2 * feather * self.scale
        before = np.zeros((3, 0, 0), np.float32)  # the left tile, where it fades into this one
        for x, core in self._restored(rows, y, across, size, feather):
            left, right = (place * self.scale for place in x.used(feather, size[1]))
            piece = core[0].numpy()
            piece *= ramp(x, feather=feather, side=size[1], scale=self.scale)
            if before.size:
                piece[:, :, : before.shape[2]] += before
            if fading and x.core_end < size[1]:
                before = piece[:, :, -fading:].copy()
                right -= fading
            yield left, right, piece[:, :, : right - left]

    def _restored(
        self, rows: Tensor, y: TileSpan, across: Iterable[TileSpan], size: tuple[int, int], feather: int
    ) -> Iterator[tuple[TileSpan, Tensor]]:
        """Yield the used part of each tile of a row, on the CPU. Devices work while others' results are copied."""
        height, width = size
        top, bottom = (place - y.start for place in y.used(feather, height))
        waiting: deque[tuple[TileSpan, Tensor]] = deque()
        for number, x in enumerate(across):
            left, right = (place - x.start for place in x.used(feather, width))
            net, device = self._nets[number % len(self._nets)], self.devices[number % len(self.devices)]
            window = rows[:, :, :, x.start : x.end].to(device, non_blocking=True)
            waiting.append((x, self._window(net, window, (top, bottom, left, right))))
            if len(waiting) > len(self.devices):
                span, core = waiting.popleft()
                yield span, core.float().cpu()
        for span, core in waiting:
            yield span, core.float().cpu()

    def _window(self, net: Network, window: Tensor, used: tuple[int, int, int, int]) -> Tensor:
        """Restore the used part (top, bottom, left, right, in input pixels); divide it if memory runs out."""
        top, bottom, left, right = used
        pixels = window.shape[2] * window.shape[3]
        if not self._fits or pixels <= self._fits:
            try:
                return self._whole(net, window)[
                    :, :, top * self.scale : bottom * self.scale, left * self.scale : right * self.scale
                ]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or max(bottom - top, right - left) < _DIVISIBLE:
                    raise
                self._fits = max(1, pixels // 2)
        if window.device.type == "cuda":
            torch.cuda.empty_cache()
        return self._in_halves(net, window, used)

    def _in_halves(self, net: Network, window: Tensor, used: tuple[int, int, int, int]) -> Tensor:
        """Divide the longer side in two; each part keeps its halo."""
        top, bottom, left, right = used
        if max(bottom - top, right - left) < _DIVISIBLE:
            self._fits = 0  # too small to divide, so try it and fail if it does not fit
            return self._window(net, window, used)
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
        return self._run(net, window.to(self._dtype, memory_format=torch.channels_last))


def _store(sr: NDArray[np.float32], strip: NDArray[Any]) -> None:
    """Convert `sr` (3, rows, columns) in about [0, 1] into `strip` (rows, columns, 3) at its depth; changes `sr`."""
    np.clip(sr, 0, 1, out=sr)
    if strip.dtype != np.float32:
        sr *= np.iinfo(strip.dtype).max
        np.rint(sr, out=sr)
    np.copyto(strip, sr.transpose(1, 2, 0), casting="unsafe")


class _Rows:
    """Fetches rows once each, for overlapping requests from top to bottom."""

    def __init__(self, fetch: Callable[[int, int], Tensor]) -> None:
        self._fetch = fetch
        self._top = self._bottom = 0
        self._held: Tensor | None = None

    def between(self, top: int, bottom: int) -> Tensor:
        """Return rows `top` to `bottom` (exclusive)."""
        kept = [] if self._held is None or top >= self._bottom else [self._held[:, :, top - self._top :]]
        if bottom > self._bottom:
            kept.append(self._fetch(self._bottom, bottom))
        self._held = torch.cat(kept, 2) if len(kept) > 1 else kept[0]
        self._top, self._bottom = top, max(bottom, self._bottom)
        return self._held[:, :, : bottom - top]
