"""Photographs in harsh sun and in haze: `bleached(image)` gives the conditions by name."""

import numpy as np
from drawn_kinds import compress
from PIL import Image

SUN = (1.3, 1.6, 2.0)
HAZE = ((0.45, 225), (0.6, 225), (0.65, 235), (0.7, 245), (0.8, 230))


def bleached(image):
    """Yield (name, image) of an RGB image: brightened until it clips, or blended with grey; also JPEG, cropped."""
    for scale in SUN:
        yield f"sun x{scale}", sunny(image, scale)
    for share, grey in HAZE:
        yield f"haze {share:.0%} of {grey}", hazy(image, share, grey)
    yield "haze that thickens upwards", hazy(image, np.linspace(0.9, 0.4, image.height)[:, None, None], 228)
    yield "sun x1.6, JPEG", compress(sunny(image, 1.6), 80)
    yield "haze 65% of 235, JPEG", compress(hazy(image, 0.65, 235), 80)
    part = image.crop((image.width // 4, image.height // 4, image.width * 3 // 4, image.height * 3 // 4))
    yield "sun x1.6, the middle", sunny(part, 1.6)
    yield "haze 65% of 235, the middle", hazy(part, 0.65, 235)


def sunny(image, scale):
    """Multiply by `scale` and clip."""
    return Image.fromarray(np.clip(np.asarray(image, dtype=np.float32) * scale, 0, 255).astype(np.uint8))


def hazy(image, share, grey):
    """Blend with `grey`; `share` is a number or an array of (h, 1, 1)."""
    pixels = np.asarray(image, dtype=np.float32)
    return Image.fromarray((pixels * (1 - share) + grey * share).clip(0, 255).astype(np.uint8))


def burnt(image):
    """Return the share of white pixels."""
    return (np.asarray(image.convert("RGB")).min(-1) >= 250).mean()
