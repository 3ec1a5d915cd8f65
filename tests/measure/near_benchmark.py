"""`python tests/measure/near_benchmark.py [N ...]`: recall, precision, time and memory of near_pairs. Run by hand.

N images: façades, corridors and skylines drawn at 192x144, no two alike but all of few compositions, and among them
1 % disguised copies. Where the workspace's photographs are given (`--photos DIR`), also those with 12 disguises each.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import beside  # noqa: F401
import numpy as np
from disguises import drawn
from PIL import Image

from archsr.data.prepare.duplicates.near import near_pairs, thumbnail

W, H = 192, 144


def make_image(rng):
    """Sky above, a façade of windows in bays and floors in perspective below, a street; with dirt, shadows, people."""
    y, x = np.mgrid[0 : 1 : H * 1j, 0 : 1 : W * 1j]
    lean, rise, turn = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(-0.15, 0.15)
    u = x / (1 + lean * (y - 0.5)) + turn * y
    v = y / (1 + rise * (x - 0.5)) - turn * x
    bays, floors = rng.uniform(4, 14), rng.uniform(3, 12)
    column, row = np.floor(u * bays).astype(int) + 5, np.floor(v * floors).astype(int) + 5
    glass = rng.normal(70, 35, (40, 40))[row % 40, column % 40]
    share = rng.uniform(0.3, 0.8, 2)
    window = ((u * bays) % 1 < share[0]) & ((v * floors) % 1 < share[1])
    image = np.where(window, glass, rng.uniform(90, 210))
    roof = rng.uniform(0.02, 0.45) + rng.uniform(-0.4, 0.4) * (x - 0.5) + 0.04 * np.sign(np.sin(x * rng.uniform(3, 40)))
    image = np.where(y < roof, rng.uniform(140, 240) - rng.uniform(0, 60) * y, image)
    image = np.where(y > rng.uniform(0.75, 0.98), rng.uniform(60, 150), image)
    for _ in range(int(rng.integers(2, 9))):  # trees, cars, neighbours
        cx, cy, rx, ry = rng.uniform(0, 1, 4) * [1, 1, 0.15, 0.2] + [0, 0.1, 0.02, 0.02]
        image = np.where(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1, rng.uniform(10, 230), image)
    for cells in (4, 12, 48):  # light and dirt
        coarse = Image.fromarray(rng.normal(0, 9, (cells * 3 // 4, cells)).astype(np.float32))
        image = image + np.asarray(coarse.resize((W, H), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)).convert("RGB")


def synthetic(n, path):
    """A memory map of n thumbnails at `path`; the last 1 % are copies. And the scene of each."""
    thumbs = np.lib.format.open_memmap(path, "w+", np.uint8, (n, 64, 64))
    copies = n // 100
    scene = np.arange(n)
    for i in range(n - copies):
        thumbs[i] = thumbnail(make_image(np.random.default_rng([1, i])))
    for i in range(n - copies, n):
        scene[i] = (i - n + copies) * 97 % (n - copies)
        original = make_image(np.random.default_rng([1, int(scene[i])]))
        thumbs[i] = thumbnail(drawn(original, np.random.default_rng([2, i])))
    thumbs.flush()
    return np.load(path, mmap_mode="r"), scene


def peak():
    """MiB of memory of this process alone, at most so far (mapped thumbnails count as far as they were read)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(name, thumbs, scene, wanted):
    before, start = peak(), time.perf_counter()
    pairs = near_pairs(thumbs)
    seconds = time.perf_counter() - start
    false = [p for p in pairs if scene[p.a] != scene[p.b]]
    found = {(p.a, p.b) for p in pairs} | {(p.b, p.a) for p in pairs}
    linked = {i for i, j in found if scene[i] == scene[j] and j not in wanted}
    print(
        f"{name}: n {len(thumbs)}, {seconds:.1f} s, peak {peak():.0f} MiB (before {before:.0f}), pairs {len(pairs)}, "
        f"false {len(false)}, precision {1 - len(false) / max(len(pairs), 1):.5f}, "
        f"recall {np.mean([i in linked for i in wanted]):.4f} of {len(wanted)} copies",
        flush=True,
    )
    for p in sorted(false, key=lambda p: -p.score)[:5]:
        print("  false:", p)


def real(folder, disguises=12):
    """The photographs, then one disguise of each, `disguises` times; `view-2` files are crops of `view-1`."""
    paths = sorted(folder.rglob("*.jpg"))
    images = [Image.open(path).convert("RGB") for path in paths]
    planted = {"lobby-final": "building-003", "copy of building": "building-009", "IMG_2231": "building-018"}
    names = [planted.get(path.stem, path.stem.split("_view")[0]) for path in paths]
    ids = np.array([sorted(set(names)).index(name) for name in names])
    rng = np.random.default_rng(5)
    extra = [[thumbnail(drawn(image, rng)) for image in images] for _ in range(disguises)]
    originals, n = [thumbnail(image) for image in images], len(images)
    for k, some in enumerate(extra):
        report(f"real, disguise {k}", np.stack(originals + some), np.tile(ids, 2), set(range(n, 2 * n)))
    everything = np.stack(originals + [t for some in extra for t in some])
    report("real, all disguises", everything, np.tile(ids, disguises + 1), set(range(n, len(everything))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("n", type=int, nargs="*")
    parser.add_argument("--photos", type=Path)
    args = parser.parse_args()
    if args.photos:
        real(args.photos)
    for n in args.n:
        with tempfile.TemporaryDirectory() as folder:
            thumbs, scene = synthetic(n, Path(folder) / "thumbs.npy")
            report("drawn", thumbs, scene, set(range(n - n // 100, n)))
