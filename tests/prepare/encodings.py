"""Measures what a 512-pixel tile costs in each encoding, on your own JPEG photographs.

    python tests/prepare/encodings.py FOLDER

Prints medians over the photographs: size, encoding time, loss, and decoding time as in training, on one thread.
"""

import io
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from archsr.data.prepare.writing.jpeg_blocks import JpegBlocks
from archsr.images.pixels import decode_tensor, read_photo

BOX = (16, 32, 512, 512)


def saved(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def timed(work, *args):
    started = time.perf_counter()
    result = work(*args)
    return result, 1000 * (time.perf_counter() - started)


ENCODINGS = {
    "its own blocks": lambda content, pixels, tile: JpegBlocks(content, pixels).cut(BOX),
    "JPEG 95, 4:4:4": lambda _, __, tile: saved(tile, "JPEG", quality=95, subsampling=0),
    "JPEG 95, 4:2:0": lambda _, __, tile: saved(tile, "JPEG", quality=95, subsampling=2),
    "PNG, level 1": lambda _, __, tile: saved(tile, "PNG", compress_level=1),
    "WebP lossless, method 0": lambda _, __, tile: saved(tile, "WEBP", lossless=True, method=0),
    "WebP lossless, method 4": lambda _, __, tile: saved(tile, "WEBP", lossless=True, method=4),
}


def measure(path, name):
    content = path.read_bytes()
    pixels = read_photo(content).pixels
    left, top, width, height = BOX
    tile = np.ascontiguousarray(pixels[top : top + height, left : left + width])
    if tile.shape != (height, width, 3):
        return None
    made, encoding = timed(ENCODINGS[name], content, pixels, tile)
    if made is None:
        return None
    decoding = min(timed(decode_tensor, made)[1] for _ in range(3))
    got = decode_tensor(made).permute(1, 2, 0).numpy().astype(float)
    error = ((got - tile) ** 2).mean()
    return len(made) / 1000, encoding, np.inf if error == 0 else 10 * np.log10(255**2 / error), decoding


def main():
    torch.set_num_threads(1)
    paths = sorted(p for p in Path(sys.argv[1]).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    print("| stored as | KB | encoding, ms | loss | decoding, images/s |\n|---|---|---|---|---|")
    for name in ENCODINGS:
        rows = np.array([row for path in paths if (row := measure(path, name)) is not None])
        size, encoding, loss, decoding = np.median(rows, axis=0)
        words = "none" if loss == np.inf else f"{loss:.1f} dB"
        print(f"| {name} | {size:.0f} | {encoding:.1f} | {words} | {1000 / decoding:.0f} |", flush=True)
    print(f"{len(rows)} photographs")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
