"""From one photograph to its encoded samples: training tiles, or fixed evaluation pairs."""

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from archsr.config import PrepareConfig
from archsr.data.manifest import SplitName
from archsr.data.prepare.survey.scan import ScannedFile
from archsr.data.prepare.writing.crops import (
    Box,
    detail,
    pair_boxes,
    reference_boxes,
    reference_sizes,
    tiles,
    worth_keeping,
)
from archsr.data.prepare.writing.jpeg_blocks import UNIT, JpegBlocks
from archsr.degradation.apply import apply
from archsr.degradation.recipe import draw, to_json
from archsr.images.pixels import Pixels, encode_webp, pixels_to_tensor, tensor_to_pixels
from archsr.utils.seeds import generator, seed_of

# one name in all splits, because `load_dataset` requires the same members in all samples; decoders look at the content,
# so that WebP under `.jpg` works
_GT = {"lossless": "gt.jpg", "jpeg": "gt.jpg", "webp": "gt.webp", "png": "gt.png"}


@dataclass(frozen=True)
class Encoded:
    """One sample as written into a tar: `members` maps `gt.jpg`, `lq.webp` to bytes; `extra` goes into its JSON."""

    key: str
    box: Box
    members: dict[str, bytes]
    extra: dict[str, Any]


def cut(
    source: ScannedFile,
    pixels: Pixels,
    side: SplitName,
    config: PrepareConfig,
    *,
    content: bytes = b"",
    lq: Pixels | None = None,
) -> Iterator[Encoded]:
    """Yield the samples of one photograph: a pure function of its pixels, its path and the config.

    `content` is its file, whose own blocks are stored if it is a JPEG and `encoding` is `lossless`. `lq` is its `lq`
    from disk, cut at the same places.
    """
    height, width = pixels.shape[:2]
    if lq is not None:
        return _paired(source, pixels, lq, side, config, content)
    if side != "train":
        length = config.pair_size + config.degrade.margin
        boxes = pair_boxes(width, height, size=length, count=config.pairs_per_photo, multiple=config.multiple)
        return (_pair(source, pixels, n, b, config) for n, b in enumerate(boxes))
    blocks = JpegBlocks(content, pixels) if config.encoding == "lossless" else None
    if config.crops == "reference":
        return _reference(source, pixels, config, blocks)
    boxes = tiles(width, height, tile=config.tile, unit=UNIT if config.encoding == "lossless" else 1)
    details = [detail(_window(pixels, b)) for b in boxes]
    kept = worth_keeping(details, config.min_detail)
    about = _copied(source)
    return (_tile(source, pixels, n, boxes[n], config, about | _detail(details[n]), blocks) for n in kept)


def _paired(
    source: ScannedFile, pixels: Pixels, lq: Pixels, side: SplitName, config: PrepareConfig, content: bytes
) -> Iterator[Encoded]:
    """Yield crops of both images, at multiples of the scale in the larger one."""
    scale, (height, width) = config.scale, pixels.shape[:2]
    blocks = JpegBlocks(content, pixels) if side == "train" and config.encoding == "lossless" else None
    if side == "train":
        boxes = tiles(width, height, tile=config.tile, unit=math.lcm(scale, UNIT) if blocks else scale)
    else:
        count, multiple = config.pairs_per_photo, config.multiple
        boxes = pair_boxes(width, height, size=config.pair_size, count=count, multiple=multiple, unit=scale)
    details = [detail(_window(pixels, b)) for b in boxes]
    for number in worth_keeping(details, config.min_detail if side == "train" else 0):
        left, top, box_width, box_height = box = boxes[number]
        piece = _tile(source, pixels, number, box, config, {"pair": True} | _detail(details[number]), blocks)
        small = _window(lq, (left // scale, top // scale, box_width // scale, box_height // scale))
        yield replace(piece, members={**piece.members, "lq.webp": encode_webp(small)})


def _reference(
    source: ScannedFile, pixels: Pixels, config: PrepareConfig, blocks: JpegBlocks | None
) -> Iterator[Encoded]:
    """Yield 400-pixel pieces of multi-scale copies (Lanczos); a photograph too small for one piece is kept whole."""
    height, width = pixels.shape[:2]
    number = 0
    for size in reference_sizes(width, height):
        boxes = reference_boxes(*size)
        if not boxes:
            continue
        copy = pixels
        if size != (width, height):
            copy = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        for box in boxes:
            about = {"copy": list(size)} | _detail(detail(_window(copy, box)))
            yield _tile(source, copy, number, box, config, about, blocks if copy is pixels else None)
            number += 1
    if number == 0:
        about = {"copy": [width, height]} | _detail(detail(pixels))
        yield _tile(source, pixels, 0, (0, 0, width, height), config, about, blocks)


def _tile(
    source: ScannedFile,
    pixels: Pixels,
    number: int,
    box: Box,
    config: PrepareConfig,
    extra: dict[str, Any],
    blocks: JpegBlocks | None,
) -> Encoded:
    piece = blocks.cut(box) if blocks else None
    content = piece or encode(_window(pixels, box), config.encoding)
    return Encoded(key_of(source.path, number), box, {_GT[config.encoding]: content}, extra)


def _pair(source: ScannedFile, pixels: Pixels, number: int, box: Box, config: PrepareConfig) -> Encoded:
    """Make a fixed pair: the recipe depends on the photograph's name and the tile, not on the rest of the folder."""
    rng = generator(config.seed, "pair", source.path, number)
    recipe = draw(config.degrade, rng, 1, scale=config.scale, gt_size=box[2] - config.degrade.margin)
    pair = apply(pixels_to_tensor(_window(pixels, box)), recipe)
    gt = lossless(tensor_to_pixels(pair.gt), config.encoding)
    members = {_GT[config.encoding]: gt, "lq.webp": encode_webp(tensor_to_pixels(pair.lq))}
    return Encoded(key_of(source.path, number), box, members, {"recipe": to_json(recipe), **_copied(source)})


def _detail(share: float) -> dict[str, Any]:
    return {"detail": round(share, 3)}


def _copied(source: ScannedFile) -> dict[str, Any]:
    """Return the size of the downsampled copy in which a box lies; nothing for a photograph that was not enlarged."""
    return {"copy": list(source.reduced)} if source.reduced else {}


def _window(pixels: Pixels, box: Box) -> Pixels:
    left, top, width, height = box
    return pixels[top : top + height, left : left + width]


def encode(pixels: Pixels, encoding: str) -> bytes:
    """Encode a training tile by `encoding`; `lossless` is the case in which a JPEG's own blocks cannot be used."""
    if encoding == "jpeg":
        return _saved(pixels, "JPEG", quality=95, subsampling=0)
    return lossless(pixels, encoding)


def lossless(pixels: Pixels, encoding: str) -> bytes:
    """Encode as PNG in a dataset of PNG, otherwise as WebP."""
    return _saved(pixels, "PNG", compress_level=1) if encoding == "png" else encode_webp(pixels)


def _saved(pixels: Pixels, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def endings_of(config: PrepareConfig) -> tuple[str, ...]:
    """Return the possible suffixes of a sample's images in a tar."""
    return _GT[config.encoding], "lq.webp"


def key_of(path: str, number: int) -> str:
    """Return a key unique to the path: letters, digits, `-` and `_`, because webdataset cuts keys at the first dot."""
    ascii_only = PurePosixPath(path).stem.encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9_-]+", "-", ascii_only)[:40].strip("-") or "photo"
    return f"{slug}-{seed_of(0, 'key', path) >> 31:08x}-{number:03d}"
