"""Disguises of photographs for the tests of near-duplicates: what happens when files are passed on."""

import io

import numpy as np
from PIL import Image, ImageOps


def resized(image, factor):
    size = (max(8, round(image.width * factor)), max(8, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS)


def jpeg(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def toned(image, *, contrast=1.0, brightness=0.0, gamma=1.0):
    x = np.asarray(image, dtype=np.float64) / 255
    x = np.clip((x - 0.5) * contrast + 0.5 + brightness, 0, 1) ** gamma
    return Image.fromarray((x * 255).round().astype(np.uint8))


def grey(image):
    return image.convert("L").convert("RGB")


def cropped(image, left, top, right, bottom):
    w, h = image.size
    return image.crop((round(left * w), round(top * h), round(right * w), round(bottom * h)))


def drawn(image, rng, *, least=0.72):
    """Apply a random chain of disguises: windows of at least `least` of each side."""
    if rng.random() < 0.7:
        w, h = rng.uniform(least, 1, 2)
        x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
        image = cropped(image, x, y, x + w, y + h)
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    if rng.random() < 0.8:
        image = resized(image, rng.uniform(0.3, 1.2))
    if rng.random() < 0.7:
        image = toned(
            image,
            contrast=rng.uniform(0.7, 1.3),
            brightness=rng.uniform(-0.12, 0.12),
            gamma=rng.uniform(0.65, 1.5),
        )
    if rng.random() < 0.3:
        image = grey(image)
    return jpeg(image, int(rng.integers(25, 95))) if rng.random() < 0.8 else image
