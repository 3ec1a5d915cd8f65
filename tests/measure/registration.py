"""`python tests/measure/registration.py PHOTOS`: how exactly pairs are aligned, with planted differences.

Each photograph becomes a pair with an `lq` of a quarter of its size: moved, of other colours, blurred, noisy, saved as
JPEG, rotated or zoomed. Prints errors, and for what no translation aligns, the measure by which it is refused.
"""

import io
import sys
import time
from pathlib import Path

import beside  # noqa: F401
import numpy as np
from PIL import Image, ImageFilter

from archsr.config.prepare import RegistrationConfig
from archsr.data.prepare.sources.registration import refusal, register

SCALE, EDGE = 4, 16
LIMITS = RegistrationConfig(max_shift=3)


def low_quality(image, *, gain=(1, 1, 1), offset=0.0, blur=0.0, noise=0.0, quality=60):
    size = (image.width // SCALE, image.height // SCALE)
    stored = io.BytesIO()
    image.filter(ImageFilter.GaussianBlur(blur)).resize(size, Image.Resampling.BICUBIC).save(
        stored, "JPEG", quality=quality
    )
    values = np.asarray(Image.open(stored)) * np.array(gain) + offset
    noisy = values + np.random.default_rng(0).normal(0, noise, values.shape)
    return np.clip(noisy.round(), 0, 255).astype(np.uint8)


def moved(photos, shift, **damage):
    """Yield the measurement of each photograph, and its error in pixels of `lq`."""
    right, down = shift
    for image in photos:
        box = (EDGE, EDGE, image.width - EDGE, image.height - EDGE)
        other = image.crop((box[0] - right, box[1] - down, box[2] - right, box[3] - down))
        found = register(np.asarray(image.crop(box)), low_quality(other, **damage), scale=SCALE, reach=LIMITS.max_shift)
        yield found, np.hypot(found.shift[0] - right / SCALE, found.shift[1] - down / SCALE)


def changed(photos, change):
    for image in photos:
        yield register(np.asarray(image), low_quality(change(image)), scale=SCALE, reach=LIMITS.max_shift)


def rotated(degrees):
    return lambda image: image.rotate(degrees, Image.Resampling.BICUBIC)


def zoomed(factor):
    def change(image):
        x, y = (side * (1 - 1 / factor) / 2 for side in image.size)
        extent = (x, y, image.width - x, image.height - y)
        return image.transform(image.size, Image.Transform.EXTENT, extent, Image.Resampling.BICUBIC)

    return change


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    paths = sorted(p for p in Path(sys.argv[1]).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    photos = [
        i.crop((0, 0, i.width // 4 * 4, i.height // 4 * 4)) for i in (Image.open(p).convert("RGB") for p in paths)
    ]
    photos = [i for i in photos if min(i.size) >= 400]
    print(f"{len(photos)} photographs; displacements in pixels of lq\n")
    print("| planted | error, median | error, largest | refused |\n|---|---:|---:|---:|")
    cases = [
        ("nothing", (0, 0), {}),
        ("0.75 to the right", (3, 0), {}),
        ("1.25 to the right, 1.5 up", (5, -6), {}),
        ("2.25, 0.5, other colours, noise 4", (9, 2), {"gain": (1.1, 1, 0.9), "offset": 4, "noise": 4}),
        ("0.25, 0.25, blur of 1.5, noise 12", (1, 1), {"blur": 6, "noise": 12}),
    ]
    started = time.process_time()
    for name, shift, damage in cases:
        found = list(moved(photos, shift, **damage))
        errors = [error for _, error in found]
        refused = sum(bool(refusal(one, LIMITS)) for one, _ in found)
        print(f"| {name} | {np.median(errors):.3f} | {max(errors):.3f} | {refused} of {len(found)} |")
    each = (time.process_time() - started) / len(cases) / len(photos)
    print("\n| planted | spread, median | refused |\n|---|---:|---:|")
    for name, change in [
        ("rotated by 0.1 degrees", rotated(0.1)), ("by 0.3", rotated(0.3)), ("by 1", rotated(1)),
        ("zoomed by 0.2 %", zoomed(1.002)), ("by 1 %", zoomed(1.01)),
        ("mirrored", lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    ]:  # fmt: skip
        found = list(changed(photos, change))
        refused = sum(bool(refusal(one, LIMITS)) for one in found)
        print(f"| {name} | {np.median([one.spread for one in found]):.2f} | {refused} of {len(found)} |")
    print(f"\n{each:.2f} s of processor a pair, making it included")


if __name__ == "__main__":
    main()
