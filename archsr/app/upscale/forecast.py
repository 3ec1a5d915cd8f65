"""How long photographs take on this machine: a short measurement, then what the work itself shows; and words for it."""

import math
import threading
import time

import torch

from archsr.upscaling.tiles import spans
from archsr.upscaling.upscaler import Upscaler

_SIDES = (32, 96, 192, 384)  # pixels; the first warms up
_LONG_ENOUGH = 0.3  # seconds of one measurement


class Speeds:
    """Pixels a second by model, each measured once and corrected by what is done."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}
        self._lock = threading.Lock()

    def known(self, model: str) -> float | None:
        """Pixels a second, or None as long as nobody has measured."""
        with self._lock:
            return self._known.get(model)

    def measure(self, model: str, upscaler: Upscaler) -> None:
        """Find it out, if that has not been done. On the worker's thread."""
        if self.known(model) is None:
            self.learn(model, _pixels_a_second(upscaler))

    def learn(self, model: str, pixels_a_second: float) -> None:
        """What a whole photograph has shown counts for more than a small measurement."""
        with self._lock:
            self._known[model] = pixels_a_second


def _pixels_a_second(upscaler: Upscaler) -> float:
    speed = 0.0
    for side in _SIDES:
        lq = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(side))
        began = time.perf_counter()
        upscaler.restore(lq)
        took = time.perf_counter() - began
        speed = computed_pixels(upscaler, side, side)[0] / took
        if side != _SIDES[0] and took > _LONG_ENOUGH:
            break
    return speed


def computed_pixels(upscaler: Upscaler, height: int, width: int) -> tuple[int, int]:
    """Pixels of all windows of an image, what overlaps counted as often as it is computed; and how many windows."""
    rows, columns = upscaler.tile_of(height, width)
    down, across = spans(height, tile=rows, halo=upscaler.halo), spans(width, tile=columns, halo=upscaler.halo)
    return sum(y.end - y.start for y in down) * sum(x.end - x.start for x in across), len(down) * len(across)


def shown_share(told: float, tiles: int, *, elapsed: float, expected: float) -> float:
    """The share that is shown: what was told, and as much of the next tile as the time that passed lets expect.

    Never less than `told`, never as much as the next tile will tell.
    """
    by_time = elapsed / expected if expected > 0 else 0.0
    return min(max(told, by_time), told + 0.95 / max(1, tiles), 1.0)


def seconds_left(told: float, *, elapsed: float, told_at: float, expected: float) -> float:
    """Seconds until a photograph is done: by its own pace once that is known, before by the forecast."""
    whole = told_at / told if told > 0 else expected
    return max(0.0, whole - elapsed)


def words_of_time(seconds: float) -> str:
    """about 5 seconds, about 40 minutes, about 2 hours 10 minutes: as exact as a forecast is."""
    if seconds < 55:
        return f"about {_count(max(5, 5 * math.ceil(seconds / 5)), 'second')}"
    minutes = max(1, round(seconds / 60))
    if minutes >= 10:
        minutes = 5 * round(minutes / 5)
    if minutes < 60:
        return f"about {_count(minutes, 'minute')}"
    hours, rest = divmod(10 * round(minutes / 10), 60)
    return f"about {_count(hours, 'hour')}" + (f" {_count(rest, 'minute')}" if rest and hours < 10 else "")


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" + ("" if number == 1 else "s")
