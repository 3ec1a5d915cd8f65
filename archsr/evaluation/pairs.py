"""Image pairs to evaluate on: a dataset's fixed pairs, a benchmark's folders, or photographs and their downsampled
copies.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archsr.config import DataConfig
from archsr.data import manifest as mf
from archsr.data.remote import Place, Remote, place_of
from archsr.data.stream.loader import pairs_at, spread
from archsr.errors import DataError
from archsr.images.image_files import BadImageError, is_image
from archsr.images.pixels import Pixels, read_photo
from archsr.metrics.niqe import imresize

# folder names of the field's benchmarks, e.g. Set5/GTmod12 and Set5/LRbicx4, or Urban100/HR and Urban100/LR/X4
_GT = ("hr", "gt", "gtmod12", "gtmod4", "gt_mod12", "original", "high", "target")
_LQ = ("lr", "lq", "lr_bicubic", "low", "input")
_MARKS = re.compile(r"([_-]?(SRF_?\d|x\d|hr|lr|gt|lq|bicubic))+$", re.IGNORECASE)


@dataclass(frozen=True)
class TestPair:
    """One image: `lq` and `gt` uint8 (3, h, w), its number in the whole set, key, scene and tags.

    `recipe` is the stored degradation, None if there is none.
    """

    number: int
    key: str
    scene: str
    tags: tuple[str, ...]
    lq: Tensor
    gt: Tensor
    recipe: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ShardPairs:
    """The fixed pairs of a split of a dataset, without the scenes `left_out`."""

    place: Place
    split: str
    limit: int | None = None
    left_out: frozenset[str] = frozenset()

    @cached_property
    def _manifest(self) -> mf.Manifest:
        return mf.load(self.place)

    @property
    def scale(self) -> int:
        """The ratio of the sides of `gt` and `lq`."""
        return self._manifest.scale

    @property
    def name(self) -> str:
        """A description for people."""
        return f"the fixed {self.split} pairs of {self.place}"

    @property
    def unit(self) -> str:
        """The word for a pair: a dataset's pairs are cut from photographs."""
        return "crops"

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the whole dataset."""
        return self._manifest.fingerprint

    def numbers(self) -> list[int]:
        """Return the numbers of the pairs to evaluate."""
        count = self._manifest.splits[self.split].samples
        if not self.left_out and (self.limit is None or self.limit >= count):
            return list(range(count))
        scenes = [sample.scene for sample in self._samples]
        kept = [n for n, scene in enumerate(scenes) if scene not in self.left_out]
        return [kept[n] for n in of_each([scenes[n] for n in kept], count if self.limit is None else self.limit)]

    @cached_property
    def _samples(self) -> list[mf.Sample]:
        return [s for shard in self._manifest.splits[self.split].shards for s in mf.read_index(self.place, shard)]

    @property
    def scene_by_photo(self) -> dict[str, str]:
        """The scene of each photograph that a pair was cut from."""
        return {s.photo: s.scene for s in self._samples if s.scene not in self.left_out}

    def photos_by_digest(self) -> dict[str, str]:
        """Return the paths of the split's photographs by the SHA-256 of their files. Raises `UserError`."""
        return mf.photos_by_digest(self.place, self._manifest, (self.split,))

    def read(self, numbers: list[int]) -> Iterator[TestPair]:
        """Yield the pairs with these numbers."""
        for pair in pairs_at(self.place, self._manifest.splits[self.split], numbers):
            yield TestPair(pair.number, pair.sample.key, pair.sample.scene, pair.sample.tags, pair.lq, pair.gt,
                       pair.recipe)  # fmt: skip

    def check(self) -> None:
        """Raise `UserError` if the split has no fixed pairs or a tar file is truncated."""
        if self.split not in self._manifest.splits or self.split == "train":
            raise DataError(f"{self.place}: split {self.split!r} has no fixed pairs; choose val or test")
        mf.check_sizes(self.place, self._manifest.splits[self.split].shards)


def of_each(scenes: Sequence[str], limit: int) -> list[int]:
    """Return at most `limit` indices into `scenes`, shared equally between scenes and evenly spread within each."""
    groups: dict[str, list[int]] = {}
    for number, scene in enumerate(scenes):
        groups.setdefault(scene, []).append(number)
    shares = dict.fromkeys(groups, 0)
    left = min(limit, len(scenes))
    while left:
        for scene in [s for s in groups if shares[s] < len(groups[s])][:left]:
            shares[scene] += 1
            left -= 1
    return sorted(groups[s][i] for s, share in shares.items() for i in spread(len(groups[s]), share))


@dataclass(frozen=True)
class FolderPairs:
    """Images of a folder and their low-resolution files, or copies downsampled by MATLAB's bicubic where None.

    A scene is a sub-folder. Images outside of sub-folders, as in benchmarks, are a scene each.
    """

    name: str
    scale: int
    files: tuple[tuple[Path, Path | None], ...]
    root: Path
    limit: int | None = None

    @property
    def unit(self) -> str:
        """The word for a pair: a whole file."""
        return "images"

    def numbers(self) -> list[int]:
        """Return the numbers of the files to evaluate."""
        return spread(len(self.files), self.limit)

    def read(self, numbers: list[int]) -> Iterator[TestPair]:
        """Yield the pairs with these numbers."""
        for number in numbers:
            gt_file, lq_file = self.files[number]
            gt = _pixels(gt_file)
            gt = gt[: gt.shape[0] // self.scale * self.scale, : gt.shape[1] // self.scale * self.scale]
            lq = reduced(gt, self.scale) if lq_file is None else _pixels(lq_file)
            if tuple(n * self.scale for n in lq.shape[:2]) != gt.shape[:2]:
                raise DataError(
                    f"{lq_file}: {lq.shape[1]} × {lq.shape[0]} pixels, expected {gt.shape[1] // self.scale} × "
                    f"{gt.shape[0] // self.scale}, 1/{self.scale} of {gt_file.name}"
                )
            key = gt_file.relative_to(self.root).as_posix()
            yield TestPair(number, key, self.scene_of(gt_file), (), _tensor(lq), _tensor(gt))

    def scene_of(self, gt_file: Path) -> str:
        """Return the scene of a file."""
        inside = gt_file.relative_to(self.root)
        return inside.parts[0] if len(inside.parts) > 1 else inside.stem

    def check(self) -> None:
        """Do nothing: files are checked when they are read."""


Pairs = ShardPairs | FolderPairs


def reduced(gt: Pixels, scale: int) -> Pixels:
    """Downsample uint8 (h, w, 3) to 1/scale by MATLAB's bicubic with antialiasing, rounded, as for the field's test
    sets.
    """
    small = np.clip(imresize(gt.astype(np.float64) / 255, scale=1 / scale), 0, 1)
    return np.round(small * 255).astype(np.uint8)


def open_pairs(on: str, data: DataConfig, *, split: str, scale: int, limit: int | None = None) -> Pairs:
    """Open what `--on` names: shards (a folder or a URL), a benchmark's folder, or a folder of photographs."""
    place = place_of(on, data)
    if isinstance(place, Remote) or mf.is_dataset(place):
        pairs: Pairs = ShardPairs(place, split, limit)
    elif not place.is_dir():
        raise DataError(f"{on}: no such folder; --on takes shards, a benchmark's folder or a folder of photographs")
    else:
        pairs = _folder_pairs(place, scale, limit)
    if pairs.scale != scale:
        raise DataError(f"{on}: the pairs have scale {pairs.scale}, but the model has scale {scale}")
    pairs.check()
    return pairs


def _folder_pairs(root: Path, scale: int, limit: int | None) -> FolderPairs:
    folders = {p.name.lower(): p for p in sorted(root.iterdir()) if p.is_dir()}
    gt = next((folders[name] for name in _GT if name in folders), None)
    lq = _reductions(folders, scale)
    if gt is not None and lq is not None:
        return FolderPairs(f"{root.name} ({lq.relative_to(root)})", scale, tuple(_matched(gt, lq)), gt, limit)
    files = _images(gt or root)
    by_end = {p.stem[-3:].lower() for p in files}
    if {"_hr", "_lr"} <= by_end:  # one folder holds img_001_SRF_4_HR.png and img_001_SRF_4_LR.png
        both = [(p, _without_marks(p), p.stem.lower().endswith("_hr")) for p in files]
        low = {key: p for p, key, high in both if not high}
        pairs = [(p, low[key]) for p, key, high in both if high and key in low]
        return FolderPairs(root.name, scale, tuple(pairs), root, limit)
    if not files:
        raise DataError(f"{root}: contains no images")
    made = f"the photographs of {root.name}, reduced by MATLAB's bicubic"
    return FolderPairs(made, scale, tuple((p, None) for p in files), gt or root, limit)


def _reductions(folders: Mapping[str, Path], scale: int) -> Path | None:
    """Find the folder of `lq`, by its name with or without the scale, or its sub-folder X4."""
    for name, path in folders.items():
        base = re.sub(r"[_-]?(bic(ubic)?)?[_-]?x\d$", "", name)
        stated = re.search(r"x(\d)$", name)
        if (name in _LQ or base in _LQ) and (stated is None or int(stated.group(1)) == scale):
            inner = next((p for p in path.iterdir() if p.is_dir() and p.name.lower() == f"x{scale}"), None)
            return inner or path
    return None


def _matched(gt: Path, lq: Path) -> list[tuple[Path, Path | None]]:
    """Pair the files of both folders, ignoring marks like x4, _HR, _LR. Raises `UserError` for a missing one."""
    small = {_without_marks(p): p for p in _images(lq)}
    pairs: list[tuple[Path, Path | None]] = []
    for path in _images(gt):
        if _without_marks(path) not in small:
            raise DataError(f"{path}: {lq} has no image of that name")
        pairs.append((path, small[_without_marks(path)]))
    if not pairs:
        raise DataError(f"{gt}: contains no images")
    return pairs


def _without_marks(path: Path) -> str:
    return _MARKS.sub("", path.stem) or path.stem


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if is_image(p) and not p.name.startswith("."))


def _pixels(path: Path) -> Pixels:
    try:
        return read_photo(path).pixels
    except BadImageError as error:
        raise DataError(f"{path}: {error}") from None


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
