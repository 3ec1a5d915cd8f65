"""From one photograph to its encoded samples: training tiles, or fixed evaluation pairs."""

import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch

from archsr.config import PrepareConfig
from archsr.degrade.apply import apply
from archsr.degrade.recipe import draw, to_json
from archsr.errors import UserError
from archsr.images import BadImageError, Pixels, encode_webp, pixels_to_tensor, read_photo, tensor_to_pixels
from archsr.manifest import SplitName
from archsr.prepare.crops import Box, pair_boxes, tiles
from archsr.prepare.photos import Photos
from archsr.prepare.scan import Source
from archsr.seeds import generator, seed_of


@dataclass(frozen=True)
class Encoded:
    """One sample as it goes into a tar: `members` maps `gt.webp`, `lq.webp` and `json` to bytes."""

    key: str
    scene: str
    photo: str
    box: Box
    members: dict[str, bytes]


@dataclass(frozen=True)
class Job:
    """One photograph to cut for one side of the split."""

    photos: Photos
    source: Source
    scene: str
    split: SplitName
    config: PrepareConfig


def cut(job: Job) -> list[Encoded]:
    """The samples of one photograph, a pure function of the file and the config."""
    try:
        pixels = read_photo(job.photos.read(job.source.path), max_pixels=job.config.max_pixels).pixels
    except (BadImageError, OSError) as error:
        raise UserError(f"{job.photos.origin}: {job.source.path}: changed while being prepared: {error}") from None
    height, width = pixels.shape[:2]
    if job.split == "train":
        return [_tile(job, pixels, n, b) for n, b in enumerate(tiles(width, height, tile=job.config.tile))]
    side = job.config.pair_size + job.config.degrade.margin
    boxes = pair_boxes(width, height, size=side, count=job.config.pairs_per_photo, multiple=job.config.multiple)
    return [_pair(job, pixels, n, b) for n, b in enumerate(boxes)]


def _tile(job: Job, pixels: Pixels, number: int, box: Box) -> Encoded:
    return _encoded(job, number, box, {"gt.webp": encode_webp(_window(pixels, box))}, {})


def _pair(job: Job, pixels: Pixels, number: int, box: Box) -> Encoded:
    """A fixed pair: the recipe depends on the photograph's name and the tile, not on what else is in the folder."""
    config = job.config
    rng = generator(config.seed, "pair", job.source.path, number)
    recipe = draw(config.degrade, rng, 1, scale=config.scale, gt_size=box[2] - config.degrade.margin)
    pair = apply(pixels_to_tensor(_window(pixels, box)), recipe)
    members = {"gt.webp": encode_webp(tensor_to_pixels(pair.gt)), "lq.webp": encode_webp(tensor_to_pixels(pair.lq))}
    return _encoded(job, number, box, members, {"recipe": to_json(recipe)})


def _window(pixels: Pixels, box: Box) -> Pixels:
    left, top, width, height = box
    return pixels[top : top + height, left : left + width]


def _encoded(job: Job, number: int, box: Box, members: dict[str, bytes], extra: dict[str, object]) -> Encoded:
    source = job.source
    key = f"{_slug(source.path)}-{seed_of(0, 'key', source.path) >> 31:08x}-{number:03d}"
    about = {"photo": source.path, "photo_sha256": source.sha256, "scene": job.scene, "box": box, **extra}
    return Encoded(key, job.scene, source.path, box, {**members, "json": json.dumps(about, sort_keys=True).encode()})


def _slug(path: str) -> str:
    """Letters, digits, `-` and `_` of the name: webdataset cuts keys at the first dot."""
    ascii_only = PurePosixPath(path).stem.encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_-]+", "-", ascii_only)[:40].strip("-") or "photo"


def quiet_worker() -> None:
    """One thread per worker process: as many workers as cores share the machine, and results depend on no count."""
    torch.set_num_threads(1)
