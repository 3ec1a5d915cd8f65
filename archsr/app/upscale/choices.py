"""What can be chosen on the Upscale page, and the order that is meant by it."""

from collections.abc import Iterable, Sequence

from archsr.app.upscale.job import UpscaleRequest
from archsr.app.upscale.uploads import Upload

OWN, SAME, FITTING = "model's own", "original's", "what memory allows"
FORMATS = {SAME: "", "PNG": ".png", "JPEG": ".jpg", "WebP": ".webp", "TIFF": ".tif"}
TILES = (128, 256, 384, 512, 1024)
_SCALES = ("1", "1.5", "2", "3", "4")


def scales(factors: Iterable[int]) -> list[tuple[str, str]]:
    """What the scale may be, as shown and as meant: the models' own with its factor, and others."""
    own = " or ".join(f"{factor}×" for factor in sorted(set(factors)))
    return [(f"{own} ({OWN})" if own else OWN, OWN), *((f"{s}×", s) for s in _SCALES)]


def order_of(
    photos: Sequence[Upload], models: Sequence[str], scale: str, strength: float, tile: str, ending: str
) -> UpscaleRequest:
    """The order behind the values of the page's controls."""
    return UpscaleRequest(
        photos,
        models,
        scale=None if scale == OWN else float(scale),
        strength=strength,
        tile=None if tile == FITTING else int(tile),
        ending=FORMATS[ending],
    )
