"""Reads samples out of tars by offset and verifies each against the manifest."""

import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archsr.data import manifest as mf
from archsr.data.cache import read
from archsr.data.remote import Place, Remote
from archsr.errors import DataError, UserError
from archsr.images.pixels import decode_tensor
from archsr.utils.digests import agrees

_OPEN_FILES = 64
_OPEN_INDEXES = 32


class ShardReader:
    """Reads the samples of one split. Opens files lazily and keeps few open; `close` when done.

    Shards at a URL are read from the cache and locked only while a sample is read, so that processes cannot deadlock.
    Every read is checked for its length and digest: a tar that was truncated or altered raises `UserError` and is never
    trained on.
    """

    def __init__(self, folder: Place, shards: list[mf.Shard]) -> None:
        self.folder = folder
        self.shards = shards
        self._files: OrderedDict[int, int] = OrderedDict()
        self._indexes: OrderedDict[int, list[mf.Sample]] = OrderedDict()
        self._buffer = bytearray()

    def sample(self, shard: int, index: int) -> mf.Sample:
        """Return the index entry of sample `index` of shard number `shard`."""
        if shard not in self._indexes:
            self._indexes[shard] = mf.read_index(self.folder, self.shards[shard])
            if len(self._indexes) > _OPEN_INDEXES:
                self._indexes.popitem(last=False)
        return self._indexes[shard][index]

    def image(self, shard: int, sample: mf.Sample, member: str) -> Tensor:
        """Return `gt` or `lq` as uint8 (3, h, w)."""
        place = sample.members[member]
        path = self.folder / self.shards[shard].file
        try:
            return decode_tensor(self._bytes(shard, place, sample.key))
        except UserError:
            raise
        except Exception as error:  # whatever a decoder raises, the message names the sample
            raise DataError(f"{path}: {sample.key} cannot be decoded: {type(error).__name__}: {error}") from error

    def metadata(self, shard: int, sample: mf.Sample) -> dict[str, Any]:
        """Return the JSON stored beside a sample's images; for fixed pairs it holds the recipe."""
        if (place := sample.members.get("json")) is None:
            return {}
        return json.loads(bytes(self._bytes(shard, place, sample.key)))

    def _bytes(self, shard: int, place: mf.Member, key: str) -> bytes | memoryview:
        """Return the bytes of a member, valid until the next call."""
        if isinstance(self.folder, Remote):
            item = self.shards[shard].tar_item
            return read(self.folder, item, digest=place.digest, offset=place.offset, size=place.size)
        path = self.folder / self.shards[shard].file
        if len(self._buffer) < place.size:
            self._buffer = bytearray(place.size)
        data = memoryview(self._buffer)[: place.size]
        found = os.preadv(self._file(shard, path), [data], place.offset)
        if found != place.size:
            raise DataError(f"{path}: truncated: {key} ends after {found:,} of {place.size:,} bytes")
        if not agrees(data, place.digest):
            raise DataError(f"{path}: {key} is damaged (its digest differs from the index); copy the tar again")
        return data

    def _file(self, shard: int, path: Path) -> int:
        if shard not in self._files:
            try:
                self._files[shard] = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise DataError(f"{path}: cannot be opened: {error.strerror}") from None
            if len(self._files) > _OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
        self._files.move_to_end(shard)
        return self._files[shard]

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.popitem()[1])


def read_pair(reader: ShardReader, shard: int, index: int) -> tuple[mf.Sample, Tensor, Tensor]:
    """Return a fixed evaluation pair: its entry, `lq` and `gt` as uint8 (3, h, w)."""
    sample = reader.sample(shard, index)
    return sample, reader.image(shard, sample, "lq"), reader.image(shard, sample, "gt")


def crop(
    image: Tensor, size: int, rng: torch.Generator, *, hflip: bool, rot90: bool = False, out: Tensor | None = None
) -> Tensor:
    """Return a random (3, size, size) crop, written into `out` if given.

    With `hflip` it is mirrored left to right with probability 1/2; with `rot90` it is then turned by 0 to 3 quarter
    turns. An image smaller than `size` is first mirrored outwards at the bottom and right, as the reference does.
    """
    short = [max(0, size - side) for side in image.shape[1:]]
    if any(short):
        rows = _mirrored(image.shape[1], image.shape[1] + short[0])
        columns = _mirrored(image.shape[2], image.shape[2] + short[1])
        image = image[:, rows][:, :, columns]
    top, left = (int(torch.randint(side - size + 1, (), generator=rng)) for side in image.shape[1:])
    flip, turns = _symmetry(rng, hflip=hflip, rot90=rot90)
    return _taken(image[:, top : top + size, left : left + size], flip, turns, out)


def _symmetry(rng: torch.Generator, *, hflip: bool, rot90: bool) -> tuple[bool, int]:
    """Draw whether to mirror and the number of quarter turns; disabled options draw nothing."""
    flip = hflip and float(torch.rand((), generator=rng)) < 0.5
    return flip, int(torch.randint(4, (), generator=rng)) if rot90 else 0


def _taken(window: Tensor, flip: bool, turns: int, out: Tensor | None) -> Tensor:
    if out is None:
        return (window.flip(2) if flip else window).rot90(turns, (1, 2))
    out.copy_(window)
    if flip:
        out.copy_(out.flip(2))  # of the small copy: mirroring out of the large image takes twice as long
    if turns:
        out.copy_(out.rot90(turns, (1, 2)))
    return out


def crop_pair(
    gt: Tensor,
    lq: Tensor,
    size: int,
    rng: torch.Generator,
    *,
    scale: int,
    hflip: bool,
    rot90: bool = False,
    out: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Crop both at the same random place to (3, size, size) and (3, size / scale, size / scale), written into `out`.

    Both are mirrored and turned alike. Images that are too small are first mirrored outwards, both about the middle of
    the last pixel of `lq`, so that `gt` stays aligned.
    """
    part = size // scale
    short = [max(0, part - side) for side in lq.shape[1:]]
    if any(short):
        wanted = [side + more for side, more in zip(lq.shape[1:], short, strict=True)]
        rows, columns = (_mirrored(side, n) for side, n in zip(lq.shape[1:], wanted, strict=True))
        gt_rows, gt_columns = (_enlarged(side, n, scale) for side, n in zip(lq.shape[1:], wanted, strict=True))
        lq, gt = lq[:, rows][:, :, columns], gt[:, gt_rows][:, :, gt_columns]
    top, left = (int(torch.randint(side - part + 1, (), generator=rng)) for side in lq.shape[1:])
    flip, turns = _symmetry(rng, hflip=hflip, rot90=rot90)
    small = lq[:, top : top + part, left : left + part]
    large = gt[:, top * scale : top * scale + size, left * scale : left * scale + size]
    gt_out, lq_out = out or (None, None)
    return _taken(large, flip, turns, gt_out), _taken(small, flip, turns, lq_out)


def _enlarged(side: int, wanted: int, scale: int) -> Tensor:
    """Return the indices of `gt` for `_mirrored(side, wanted)`: mirrored parts reverse each pixel's block."""
    back = torch.arange(wanted) % max(1, 2 * (side - 1)) > side - 1
    inside = torch.arange(scale)
    inside = torch.where(back[:, None], inside.flip(0), inside)  # (wanted, scale)
    return (_mirrored(side, wanted)[:, None] * scale + inside).flatten()


def _mirrored(side: int, wanted: int) -> Tensor:
    """Return the indices 0, 1, ..., side-1, side-2, ..., reflected as often as needed."""
    period = max(1, 2 * (side - 1))
    place = torch.arange(wanted) % period
    return torch.minimum(place, period - place).clamp(max=side - 1)
