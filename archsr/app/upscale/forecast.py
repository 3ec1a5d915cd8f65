"""How long upscaling takes on this machine: a short measurement, then what finished photographs show."""

import math
import threading
import time

import numpy as np

from archsr.upscaling.tiles import spans
from archsr.upscaling.upscaler import Upscaler

_SIDES = (32, 96, 192, 384)  # pixels; the first warms up
_LONG_ENOUGH = 0.3  # seconds of one measurement


class Speeds:
    """Pixels per second by model."""

    def __init__(self) -> None:
        self._speeds: dict[str, float] = {}
        self._lock = threading.Lock()

    def get(self, model: str) -> float | None:
        """Return the pixels per second, or None if the model was not measured."""
        with self._lock:
            return self._speeds.get(model)

    def measure(self, model: str, upscaler: Upscaler) -> None:
        """Measure a model that was not measured yet. Only the worker's thread may call it."""
        if self.get(model) is None:
            self.set(model, _pixels_per_second(upscaler))

    def set(self, model: str, pixels_per_second: float) -> None:
        """Replace the speed; a whole photograph is more accurate than the short measurement."""
        with self._lock:
            self._speeds[model] = pixels_per_second


def _pixels_per_second(upscaler: Upscaler) -> float:
    speed = 0.0
    for side in _SIDES:
        image = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
        started = time.perf_counter()
        upscaler.pixels(image)
        elapsed = time.perf_counter() - started
        speed = computed_pixels(upscaler, side, side)[0] / elapsed
        if side != _SIDES[0] and elapsed > _LONG_ENOUGH:
            break
    return speed


def computed_pixels(upscaler: Upscaler, height: int, width: int) -> tuple[int, int]:
    """Return the pixels of all tiles of an image, overlaps counted each time, and the number of tiles."""
    rows, columns = upscaler.tile_of(height, width)
    down, across = spans(height, tile=rows, halo=upscaler.halo), spans(width, tile=columns, halo=upscaler.halo)
    return sum(y.end - y.start for y in down) * sum(x.end - x.start for x in across), len(down) * len(across)


def displayed_share(reported: float, tiles: int, *, elapsed: float, expected: float) -> float:
    """Return the share to show: the reported one, moved on by the elapsed time, but not as far as the next tile."""
    by_time = elapsed / expected if expected > 0 else 0.0
    return min(max(reported, by_time), reported + 0.95 / max(1, tiles), 1.0)


def seconds_left(reported: float, *, elapsed: float, reported_at: float, expected: float) -> float:
    """Return the seconds until a photograph is done: from its own pace if it is known, otherwise from the forecast."""
    total = reported_at / reported if reported > 0 else expected
    return max(0.0, total - elapsed)


def format_duration(seconds: float) -> str:
    """Return a rounded time: about 5 seconds, about 40 minutes, about 2 hours 10 minutes."""
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
