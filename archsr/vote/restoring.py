"""Make all images of a vote: both models' results, the input, and the photograph."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from archsr.errors import UserError
from archsr.evaluation.compared_models import Restore
from archsr.evaluation.pairs import Pairs, TestPair
from archsr.evaluation.photos.photos import ClientPhoto, ClientPhotos
from archsr.images.pixels import tensor_to_pixels, to_float, write_image
from archsr.utils.progress import progress
from archsr.vote.study import Kind, Study, VoteImage, image_file, store

_SURROUNDINGS = 16  # input pixels around a crop that the networks also see


def restore_all(
    folder: Path, study: Study, pairs: Pairs | ClientPhotos, devices: list[torch.device], *, show: bool = True
) -> Study:
    """Restore all images of the study into `folder`, except those that exist. Raises `UserError`.

    `show`: with progress.
    """
    if study.images and all(_is_whole(folder, study, one.number) for one in study.images):
        return study
    restores: dict[Kind, Restore] = {"A": study.asking.a.restore(pairs.scale, devices),
                                     "B": study.asking.b.restore(pairs.scale, devices)}  # fmt: skip
    numbers, images = pairs.numbers(), list[VoteImage]()
    try:
        with progress("restoring", len(numbers), unit="image", shown=show) as advance:
            for pair in pairs.read(numbers):
                if not _is_whole(folder, study, pair.number):
                    _write(folder, study, pair, restores, scale=pairs.scale)
                images.append(VoteImage(pair.number, pair.key, pair.scene))
                advance(1)
        whole = replace(study, images=tuple(images))
        store(folder, whole)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return whole


def _is_whole(folder: Path, study: Study, number: int) -> bool:
    return all(image_file(folder, study.token(number, kind)).is_file() for kind in study.asking.kinds)


def _write(
    folder: Path, study: Study, pair: TestPair | ClientPhoto, restores: Mapping[Kind, Restore], *, scale: int
) -> None:
    crops = crops_of(pair, restores, scale=scale, crop=study.asking.crop)
    named = {study.token(pair.number, kind): pixels for kind, pixels in crops.items()}
    for token in sorted(named):  # so that file times do not reveal the models
        write_image(image_file(folder, token), tensor_to_pixels(named[token]))


def crops_of(
    pair: TestPair | ClientPhoto, restores: Mapping[Kind, Restore], *, scale: int, crop: int
) -> dict[Kind, Tensor]:
    """Return the middle of each kind of image, (1, 3, h, w) in [0, 1], at most `crop` pixels a side (input: 1/scale).

    There is no "photograph" without ground truth.
    """
    lq = to_float(pair.lq)[None]
    (top, bottom), (left, right) = (_middle(side, crop // scale) for side in lq.shape[2:])
    y, x = max(0, top - _SURROUNDINGS), max(0, left - _SURROUNDINGS)
    seen = lq[:, :, y : bottom + _SURROUNDINGS, x : right + _SURROUNDINGS]
    found: dict[Kind, Tensor] = {
        kind: _cut(restore(seen), top - y, bottom - y, left - x, right - x, times=scale)
        for kind, restore in restores.items()
    }
    found["input"] = _cut(lq, top, bottom, left, right, times=1)
    if isinstance(pair, TestPair):
        found["photograph"] = _cut(to_float(pair.gt)[None], top, bottom, left, right, times=scale)
    return found


def _middle(side: int, wanted: int) -> tuple[int, int]:
    start = max(0, (side - wanted) // 2)
    return start, min(side, start + wanted)


def _cut(image: Tensor, top: int, bottom: int, left: int, right: int, *, times: int) -> Tensor:
    return image[:, :, top * times : bottom * times, left * times : right * times]
