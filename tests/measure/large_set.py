"""By hand: a large drawn set with planted copies and drawings, prepared and measured.

    python tests/measure/large_set.py FOLDER --photos 50000

Prints recall and precision of near-duplicates and drawings, the time per image against decoding and encoding the same
files alone with as many processes, and the peak of memory over all processes (proportional set size).
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import beside  # noqa: F401
import numpy as np
import psutil
from drawn_kinds import KINDS
from PIL import Image, ImageDraw, ImageEnhance

from archsr.data.prepare.worker_pool import init_worker
from archsr.data.prepare.writing.jpeg_blocks import JpegBlocks
from archsr.data.prepare.writing.samples import encode
from archsr.images.pixels import read_photo

SIZE = (512, 384)
PER_FOLDER = 4
SETTINGS = ["val=0.02", "test=0.02", "min_side=160", "pair_size=128", "pairs_per_photo=1", "tile=512", "min_detail=0"]


def noise_bank():
    """Fractal noise, one for all images."""
    rng = np.random.default_rng(7)
    total = np.zeros((1024, 1024))
    for octave in range(9):
        side = 2 ** (octave + 2)
        layer = Image.fromarray(rng.normal(size=(min(side, 1024), min(side, 1024))).astype(np.float32))
        total += np.asarray(layer.resize((1024, 1024), Image.Resampling.BICUBIC)) * 0.7**octave
    return (total / np.abs(total).max()).astype(np.float32)


BANK = noise_bank()


def texture(rng, width, height):
    """Three windows of the bank on top of each other: with one, images would share their clouds."""
    total = np.zeros((height, width), np.float32)
    for _ in range(3):
        y, x = rng.integers(0, [len(BANK) - height, len(BANK) - width])
        total += BANK[y : y + height, x : x + width][:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    return total / np.float32(3**0.5)


def photo(rng):
    """Blocks with rows of windows before a sky, weathered by noise."""
    width, height = SIZE
    image = Image.new("RGB", SIZE, tuple(int(v) for v in rng.integers(90, 240, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 8))):
        left, top = int(rng.integers(-60, width - 60)), int(rng.integers(0, height - 60))
        w, h = int(rng.integers(60, 320)), int(rng.integers(60, 320))
        wall, pane = (tuple(int(v) for v in rng.integers(20, 230, 3)) for _ in range(2))
        lean = int(rng.integers(-30, 31))
        draw.polygon([(left, top), (left + w, top + lean), (left + w, top + h), (left, top + h)], fill=wall)
        px, py = int(rng.integers(12, 50)), int(rng.integers(12, 60))
        ww, wh = max(4, int(px * rng.uniform(0.3, 0.8))), max(4, int(py * rng.uniform(0.3, 0.8)))
        for y in range(top + 6, top + h - wh, py):
            for x in range(left + 6, left + w - ww, px):
                draw.rectangle([x, y, x + ww, y + wh], fill=pane)
    pixels = np.asarray(image) + texture(rng, width, height)[..., None] * np.float32(rng.uniform(40, 110))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def disguised(image, rng):
    w, h = image.size
    keep = rng.uniform(0.8, 1.0)
    left, top = rng.uniform(0, 1 - keep), rng.uniform(0, 1 - keep)
    image = image.crop((int(left * w), int(top * h), int((left + keep) * w), int((top + keep) * h)))
    image = image.resize([max(200, int(s * rng.uniform(0.6, 0.9))) for s in image.size])
    return ImageEnhance.Brightness(image).enhance(float(rng.uniform(0.8, 1.2)))


def make(job):
    folder, number, kind = job
    if kind == "drawing":
        kinds = list(KINDS.values())
        image = kinds[number // 50 % len(kinds)](np.random.default_rng([1, number]), *SIZE).convert("RGB")
    elif kind == "copy":
        image = disguised(photo(np.random.default_rng([0, number // 100 * 100])), np.random.default_rng([2, number]))
    else:
        image = photo(np.random.default_rng([0, number]))
    path = folder / f"project {number // PER_FOLDER:06d}" / f"{number:07d} {kind}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=int(80 + number % 16))


def kind_of(number):
    """1 in 100 a copy of the first of its hundred, 2 in 100 drawings."""
    return {51: "copy", 20: "drawing", 70: "drawing"}.get(number % 100, "photo")


def limit(job):
    """Decoding and encoding alone; with `lossless`, a JPEG's own blocks written again."""
    path, encoding = job
    content = Path(path).read_bytes()
    pixels = read_photo(content).pixels
    whole = (0, 0, pixels.shape[1], pixels.shape[0])
    if encoding != "lossless" or JpegBlocks(content, pixels).cut(whole) is None:
        encode(pixels, encoding)


class Watch(threading.Thread):
    """The peak of the memory of a process and its children."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.process, self.peak, self.when, self.started = psutil.Process(pid), 0, 0.0, time.perf_counter()

    def run(self):
        while True:
            try:
                family = [self.process, *self.process.children(recursive=True)]
                now = sum(p.memory_full_info().pss for p in family)
                if now > self.peak:
                    self.peak, self.when = now, time.perf_counter() - self.started
            except psutil.Error:
                if not self.process.is_running():
                    return
            time.sleep(0.5)


def measure(photos, out, files, workers, encoding):
    some = [(path, encoding) for path in files[:: max(1, len(files) // 2000)]]
    with ProcessPoolExecutor(workers, initializer=init_worker) as pool:
        list(pool.map(limit, some[:64], chunksize=8))
        started = time.perf_counter()
        list(pool.map(limit, some, chunksize=8))
        floor = (time.perf_counter() - started) / len(some)
    overrides = [word for setting in [*SETTINGS, f"encoding={encoding}"] for word in ("--set", setting)]
    command = [sys.executable, "-m", "archsr", "prepare", str(photos), str(out), "--workers", str(workers), *overrides]
    started = time.perf_counter()
    process = subprocess.Popen(command)
    watch = Watch(process.pid)
    watch.start()
    if process.wait():
        sys.exit("archsr prepare failed")
    taken = (time.perf_counter() - started) / len(files)
    print(f"decode and encode alone {1000 * floor:.2f} ms/image, archsr prepare {1000 * taken:.2f} ms/image: "
          f"{floor / taken:.0%} of the limit; peak memory {watch.peak / 2**30:.2f} GiB after {watch.when:.0f} of "
          f"{taken * len(files):.0f} s")  # fmt: skip


def report(out):
    lines = [json.loads(line) for line in (out / "sources.jsonl").read_text().splitlines()]
    for wanted, name in (("drawing", "drawings"),):
        found = {s["path"] for s in lines if s["kind"] == wanted}
        true = {s["path"] for s in lines if s["path"].endswith(" drawing.jpg")}
        print(f"{name}: recall {len(found & true) / len(true):.4f}, precision {len(found & true) / len(found):.4f}")
    number = {s["path"]: int(Path(s["path"]).name[:7]) for s in lines}
    pairs = [json.loads(line) for line in (out / "same.jsonl").read_text().splitlines()]
    right = [p for p in pairs if len({number[p[k]] // 100 * 100 for k in "ab"}) == 1
             and {number[p["a"]] % 100, number[p["b"]] % 100} == {0, 51}]  # fmt: skip
    copies = sum(kind_of(n) == "copy" for n in number.values())
    print(f"near-duplicates: recall {len(right) / copies:.4f} of {copies}, precision {len(right) / len(pairs):.4f}")


def main():
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--encoding", default="lossless")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    photos, out = args.folder / f"photos-{args.photos}", args.folder / f"shards-{args.photos}"
    if not photos.exists():
        with ProcessPoolExecutor(args.workers) as pool:
            list(pool.map(make, [(photos, n, kind_of(n)) for n in range(args.photos)], chunksize=32))
    measure(photos, out, sorted(map(str, photos.rglob("*.jpg"))), args.workers, args.encoding)
    report(out)


if __name__ == "__main__":
    main()
