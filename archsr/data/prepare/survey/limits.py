"""The limits of quality: which value each key of `[quality]` limits, and the words for it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from archsr.config import PrepareConfig, QualityConfig
from archsr.images.pixels import Pixels
from archsr.metrics.quality import Quality, measure


@dataclass(frozen=True)
class Limit:
    """A value of `Quality` and its limit.

    `key` is the config key: `min_...` or `max_...`. `kind` says why a photograph is left out, in a word, and `words` in
    a sentence with its value. `edges` are those of a histogram.
    """

    value: str
    key: str
    kind: str
    title: str
    words: str
    edges: tuple[float, ...]

    def is_broken(self, found: float, config: QualityConfig) -> bool:
        """Return whether a photograph with this value is left out. Without a limit none is, nor is one unmeasured."""
        limit = self.of(config)
        if not limit or (self.value == "jpeg" and not found):
            return False
        return found < limit if self.lowest else found > limit

    @property
    def lowest(self) -> bool:
        """Whether lower values are worse."""
        return self.key.startswith("min_")

    def of(self, config: QualityConfig) -> float:
        """Return the limit that is set; 0: none."""
        return float(getattr(config, self.key))


LIMITS = (
    Limit("resolution", "min_resolution", "enlarged", "Resolved share of each side", "resolves {:.2f} of its size",
          (0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)),
    Limit("jpeg", "min_jpeg", "compressed", "Quality of JPEG (0: another format)", "a JPEG of quality {:.0f}",
          (0, 1, 30, 50, 60, 70, 80, 90, 95)),
    Limit("blocks", "max_blocks", "blocky", "Jumps at JPEG's blocks (levels)",
          "jumps of {:.1f} levels at JPEG's blocks", (0, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.5, 2, 3)),
    Limit("noise", "max_noise", "noisy", "Noise (levels)", "noise of {:.1f} levels",
          (0, 0.5, 1, 2, 3, 4, 6, 8, 12, 16)),
    Limit("blur", "max_blur", "blurred", "Width of edges (pixels)", "edges {:.1f} pixels wide",
          (0, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)),
    Limit("halo", "max_halo", "sharpened", "Halos beside edges (share of their height)",
          "halos of {:.2f} of the edges' height", (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)),
    Limit("clipped", "max_clipped", "clipped", "Share that is pure black or white", "{:.0%} is pure black or white",
          (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)),
    Limit("banding", "max_banding", "banded", "Share in visible steps", "{:.0%} is slopes in visible steps",
          (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)),
)  # fmt: skip


def verdict(quality: Quality, config: QualityConfig) -> tuple[str, str]:
    """Return the kind and the reason by which a photograph is left out: the first limit that it breaks; or empty."""
    return next(_broken(quality, config), ("", ""))


def _broken(quality: Quality, config: QualityConfig) -> Iterator[tuple[str, str]]:
    for limit in LIMITS:
        found = float(getattr(quality, limit.value))
        if limit.is_broken(found, config):
            yield limit.kind, f"{limit.words.format(found)} ({limit.key} {limit.of(config):g})"


def judged(pixels: Pixels, quality: Quality, config: PrepareConfig) -> tuple[Pixels, str, str]:
    """Return the pixels to cut, uint8 (h, w, 3), and the kind and reason by which they are left out, or empty.

    With `downscale_enlarged` an enlarged photograph is downsampled to the size that it resolves (Lanczos), and judged
    as it is then. It is left out as enlarged if its shorter side falls below `min_side`.
    """
    limits = config.quality
    if not limits.downscale_enlarged or quality.resolution >= limits.min_resolution:
        return pixels, *verdict(quality, limits)
    width, height = (round(side * quality.resolution) for side in pixels.shape[1::-1])
    if min(width, height) < config.min_side:
        reason = f"resolves {width}×{height}, smaller than min_side ({config.min_side})"
        return pixels, "enlarged", reason
    small = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
    return small, *verdict(replace(measure(small), resolution=1.0, jpeg=quality.jpeg), limits)
