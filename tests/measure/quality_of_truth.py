"""Plants damage in photographs and measures how well archsr/metrics/quality.py sees it, and its cost.

python tests/measure/quality_of_truth.py FOLDER ... [--every 1] [--workers 2]
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from archsr.images.pixels import Pixels, read_photo
from archsr.metrics.quality import Quality, measure

ALARMS = 0.05
Damage = Callable[[Image.Image], tuple[Pixels, bytes]]


@dataclass(frozen=True)
class Plant:
    """A damage by name, the value that should show it, whether more is worse, the size of the damage, and the damage.

    Its false alarms are counted on photographs as they are, those of `blocks` on reduced ones, which have no grid.
    """

    name: str
    value: str
    sign: int
    size: float
    damage: Damage


@dataclass(frozen=True)
class Found:
    """The values of a photograph, as it is, reduced, and damaged, and milliseconds of decoding and measuring it."""

    plain: Quality
    reduced: Quality
    damaged: list[Quality]
    decoding: float
    measuring: float


def enlarged(image: Image.Image, *, by: float, kernel: Image.Resampling, quality: int) -> tuple[Pixels, bytes]:
    """Enlarge with a kernel; with a `quality` it is then saved as JPEG."""
    large = image.resize((round(image.width * by), round(image.height * by)), kernel)
    return _jpeg(large, quality) if quality else (np.asarray(large), b"")


def _jpeg(image: Image.Image, quality: int) -> tuple[Pixels, bytes]:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(buffer.getvalue()))), buffer.getvalue()


def reduced(image: Image.Image) -> tuple[Pixels, bytes]:
    """Reduce to three quarters, which removes an earlier grid."""
    return np.asarray(image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.LANCZOS)), b""


def compressed(image: Image.Image, *, quality: int) -> tuple[Pixels, bytes]:
    """Compress a reduced copy, then cut off 3 columns and 5 rows."""
    pixels, content = _jpeg(Image.fromarray(reduced(image)[0]), quality)
    return pixels[5:, 3:], content


def noisy(image: Image.Image, *, sigma: float) -> tuple[Pixels, bytes]:
    """Add white noise to each channel, rounded to 8 bits."""
    rng = np.random.default_rng(image.width * image.height)
    noise = rng.normal(0, sigma, (image.height, image.width, 3))
    return (np.asarray(image) + noise).round().clip(0, 255).astype(np.uint8), b""


def filtered(image: Image.Image, *, kernel: ImageFilter.Filter) -> tuple[Pixels, bytes]:
    """Blur or sharpen."""
    return np.asarray(image.filter(kernel)), b""


def plants() -> Iterator[Plant]:
    """Yield all damages."""
    for by in (1.3, 1.6, 2.0):
        for kernel in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
            how = partial(enlarged, by=by, kernel=kernel, quality=0)
            yield Plant(f"enlarged {by:g}, {kernel.name.lower()}", "resolution", -1, by, how)
        for quality in (50, 75, 90):
            how = partial(enlarged, by=by, kernel=Image.Resampling.BICUBIC, quality=quality)
            yield Plant(f"enlarged {by:g}, JPEG {quality}", "resolution", -1, by, how)
    for quality in (50, 75, 90):
        yield Plant(f"JPEG {quality}, cropped", "blocks", 1, quality, partial(compressed, quality=quality))
    for sigma in (3, 6, 12):
        yield Plant(f"noise {sigma}", "noise", 1, sigma, partial(noisy, sigma=sigma))
    for sigma in (0.7, 1.2, 2.0):
        kernel = ImageFilter.GaussianBlur(sigma)
        yield Plant(f"blur {sigma}", "blur", 1, sigma, partial(filtered, kernel=kernel))
    for amount in (1, 2):
        kernel = ImageFilter.UnsharpMask(2, 100 * amount, 0)
        yield Plant(f"unsharp {amount}", "halo", 1, amount, partial(filtered, kernel=kernel))


def of_photo(path: Path) -> Found:
    """Measure a photograph and its damaged copies."""
    content = path.read_bytes()
    begun = time.process_time()
    pixels = read_photo(content).pixels
    decoded = time.process_time()
    plain = measure(pixels, content)
    done = time.process_time()
    image = Image.fromarray(pixels)
    damaged = [measure(*plant.damage(image)) for plant in plants()]
    return Found(plain, measure(*reduced(image)), damaged, 1000 * (decoded - begun), 1000 * (done - decoded))


def error(plant: Plant, before: Quality, after: Quality) -> float:
    """Return measured less true, in the unit of the value; NaN where the truth is unknown."""
    if plant.value == "resolution":
        return after.resolution - before.resolution / plant.size
    if plant.value == "noise":
        return after.noise - (before.noise**2 + plant.size**2) ** 0.5
    if plant.value == "blur":
        slope = (2 * np.pi) ** 0.5
        return after.blur - (before.blur**2 + (slope * plant.size) ** 2) ** 0.5
    if plant.value == "blocks":
        return float(after.jpeg - plant.size)
    return float("nan")


def main() -> None:
    """Print a row per damage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    for folder in asked.folders:
        paths = sorted(folder.rglob("*.jpg"))[:: asked.every]
        with ProcessPoolExecutor(asked.workers) as pool:
            found = list(pool.map(of_photo, paths, chunksize=4))
        report(folder.name, found)


def report(name: str, found: list[Found]) -> None:
    """Print the table of one folder."""
    decoding, measuring = (float(np.median([getattr(f, key) for f in found])) for key in ("decoding", "measuring"))
    print(f"\n{name}: {len(found)} photographs; decoding {decoding:.1f} ms, measuring {measuring:.1f} ms (medians)")
    print("| damage | limit | recall | median error | nine tenths of errors below |\n|---|---|---|---|---|")
    for number, plant in enumerate(plants()):
        bases = [f.reduced if plant.value == "blocks" else f.plain for f in found]
        before = np.array([plant.sign * getattr(base, plant.value) for base in bases])
        after = np.array([plant.sign * getattr(f.damaged[number], plant.value) for f in found])
        limit = float(np.quantile(before, 1 - ALARMS, method="higher"))
        errors = np.array([error(plant, f.plain, f.damaged[number]) for f in found])
        size = f"{np.median(errors):+.2f} | {np.quantile(np.abs(errors), 0.9):.2f}"
        print(f"| {plant.name} | {plant.sign * limit:.2f} | {(after > limit).mean():.2f} | {size} |")
    phases = [f.damaged[n].grid == (5, 3) for f in found for n, p in enumerate(plants()) if p.value == "blocks"]
    print(f"grid found at its phase: {np.mean(phases):.2f} of {len(phases)}")
    for key in ("resolution", "blocks", "jpeg", "noise", "blur", "halo", "clipped", "banding"):
        told = np.quantile([getattr(f.plain, key) for f in found], (0, 0.01, 0.05, 0.5, 0.95, 0.99, 1))
        print(f"{key}: " + " ".join(f"{v:.3g}" for v in told))


if __name__ == "__main__":
    main()
