"""Plants known damage in photographs with PIL and numpy, and measures what `archsr fit-degradation` finds of it.

python tests/measure/degradation_fit.py PHOTOS [--images 60] [--sets blur,noise] [--seed 0]

Half of the photographs are damaged, the other half are the clean ones. Rows: a planted set and, of each number, the
truth, the estimate with its interval, and whether the interval holds the truth. The last lines are what single files
tell without a fit: quality, sampling, earlier compressions.
"""

import argparse
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from archsr.degradation.fitting.image_traces import ImageTraces, traces_of
from archsr.degradation.fitting.matching import match
from archsr.degradation.fitting.simulate import clean_crops
from archsr.images.pixels import Pixels, read_photo

SCALE = 4
Range = tuple[float, float, float]  # share, low, high
NONE: Range = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Planted:
    """A set: spreads of σ, amount, noise, lost share of the size, and of the JPEG's quality; an earlier JPEG."""

    blur: Range = NONE
    sharpening: Range = NONE
    noise: Range = NONE
    lost: Range = NONE
    quality: tuple[int, int] = (85, 95)
    earlier: tuple[int, int] | None = None
    moved: bool = False
    sampling: int = 2
    png: bool = False
    grey: bool = False


SETS = {
    "clean": Planted(),
    "blur": Planted(blur=(1.0, 0.6, 1.3), quality=(75, 92)),
    "noise": Planted(noise=(1.0, 2.0, 8.0), quality=(85, 96), sampling=0),
    "grey noise": Planted(noise=(0.6, 2.0, 6.0), quality=(88, 96), grey=True),
    "enlarged": Planted(lost=(0.7, 0.0, 0.5), quality=(80, 92)),
    "sharpened": Planted(sharpening=(1.0, 0.5, 1.5)),
    "all": Planted(blur=(0.8, 0.3, 1.0), noise=(0.7, 1.0, 5.0), sharpening=(0.4, 0.3, 1.2), quality=(60, 90)),
    "twice": Planted(earlier=(50, 70), quality=(80, 92)),
    "moved": Planted(earlier=(50, 70), quality=(80, 92), moved=True),
    "PNG": Planted(quality=(50, 92), png=True),
    "PNG 4:4:4": Planted(quality=(50, 92), sampling=0, png=True),
}


def damaged(clean: Image.Image, planted: Planted, rng: np.random.Generator) -> tuple[bytes, dict[str, float]]:
    """Return a file and its numbers, 0 for what it does not have."""
    small = clean.resize((clean.width // SCALE, clean.height // SCALE), Image.Resampling.LANCZOS)
    drawn = {
        name: float(rng.uniform(low, high)) if rng.random() < share else 0.0
        for name in ("blur", "sharpening", "noise", "lost")
        for share, low, high in [getattr(planted, name)]
    }
    if drawn["lost"]:
        before = [round(side * (1 - drawn["lost"])) for side in small.size]
        small = small.resize((before[0], before[1]), Image.Resampling.LANCZOS).resize(
            small.size, Image.Resampling.BICUBIC
        )
    if drawn["blur"]:
        pixels = np.asarray(small).astype(np.float32)
        small = Image.fromarray(_blurred(pixels, drawn["blur"]))
    if drawn["sharpening"]:
        small = small.filter(ImageFilter.UnsharpMask(0.8, round(100 * drawn["sharpening"]), 0))
    if drawn["noise"]:
        shape = (small.height, small.width, 1 if planted.grey else 3)
        noisy = np.asarray(small) + rng.normal(0, drawn["noise"], shape)
        small = Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))
    if planted.earlier:
        small = Image.open(io.BytesIO(_jpeg(small, int(rng.integers(*planted.earlier)), planted.sampling))).convert(
            "RGB"
        )
        small = small.crop((3, 5, *small.size)) if planted.moved else small
    drawn["quality"] = float(rng.integers(planted.quality[0], planted.quality[1] + 1))
    content = _jpeg(small, int(drawn["quality"]), planted.sampling)
    return (_png(content) if planted.png else content), drawn


def _blurred(pixels: np.ndarray, sigma: float) -> Pixels:
    at = np.arange(-8, 9)
    taps = np.exp(-0.5 * (at / sigma) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        padded = np.pad(pixels, [(8, 8) if a == axis else (0, 0) for a in range(3)], mode="reflect")
        along = [t * np.take(padded, np.arange(pixels.shape[axis]) + i, axis) for i, t in enumerate(taps)]
        pixels = np.sum(along, axis=0)
    return pixels.round().clip(0, 255).astype(np.uint8)


def _jpeg(image: Image.Image, quality: int, sampling: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=sampling)
    return buffer.getvalue()


def _png(content: bytes) -> bytes:
    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(content)).convert("RGB")
    image.crop((2, 6, *image.size)).save(buffer, "PNG")
    return buffer.getvalue()


def report(name: str, planted: Planted, images: list[ImageTraces], crops: list[tuple[int, Pixels]], seed: int) -> None:
    """Print the rows of one set."""
    found = match(images, crops, seed=seed, scale=SCALE, advance=lambda _: None)
    truth = {n: getattr(planted, "lost" if n == "kept" else n) for n in ("blur", "sharpening", "noise", "kept")}
    truth["kept"] = (truth["kept"][0], 1 - truth["kept"][2], 1.0)
    for number, true in truth.items():
        parts: list[str] = []
        for part, value in zip(("share", "low", "high"), true, strict=True):
            told = found.intervals[f"{number} {part}"]
            if part == "share" or true[0]:
                parts.append(f"{part} {value:g}: {told.text()}{'' if told.low <= value <= told.high else ' *'}")
        print(f"| {name} | {number} | {'; '.join(parts)} |", flush=True)
    print(
        f"| {name} | grey, Poisson | {planted.grey:g}: {found.fit.grey:.2f}; 0: {found.fit.poisson:.2f} |", flush=True
    )


def single(name: str, planted: Planted, images: list[ImageTraces], drawn: list[dict[str, float]]) -> None:
    """Print what single files tell."""
    errors = np.array([abs(t.jpeg - d["quality"]) for t, d in zip(images, drawn, strict=True) if t.jpeg] or [np.nan])
    wanted = {2: "4:2:0", 0: "4:4:4"}[planted.sampling]
    sampled = np.mean([t.sampling == wanted for t in images if t.jpeg] or [np.nan])
    seen, same = np.mean([t.jpeg > 0 for t in images]), np.mean([t.earlier > 0 for t in images])
    off, right = np.mean([t.moved is not None for t in images]), np.mean([t.moved == (5, 3) for t in images])
    quality = f"quality seen {seen:.2f}, errors: median {np.median(errors):.0f}, largest {errors.max():.0f}"
    earlier = f"earlier on the grid {same:.2f}, off it {off:.2f} (at its place {right:.2f})"
    print(f"| {name} | {quality} | sampling right {sampled:.2f} | {earlier} |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--single", action="store_true", help="only what single files tell")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    photos = [p for f in sorted(asked.photos.rglob("*.jpg")) if min((p := read_photo(f).pixels).shape[:2]) >= 640]
    sources, clean = photos[::2], photos[1::2]
    crops = clean_crops(clean, 600, side=640, seed=asked.seed)
    for name in asked.sets.split(","):
        planted, rng = SETS[name], np.random.default_rng(asked.seed)
        made = [damaged(_part(sources[n % len(sources)], n), planted, rng) for n in range(asked.images)]
        told = [(t, d) for n, (content, d) in enumerate(made) if (t := traces_of(f"{name} {n}", content, side=160))]
        images = [t for t, _ in told]
        single(name, planted, images, [d for _, d in told])
        if not asked.single:
            report(name, planted, images, crops, asked.seed)


def _part(pixels: Pixels, number: int) -> Image.Image:
    """Return the photograph, mirrored at its second turn, so that no two files are alike."""
    return Image.fromarray(np.ascontiguousarray(pixels[:, ::-1] if number % 2 else pixels))


if __name__ == "__main__":
    main()
