"""Pairs from disk: a photograph's low-quality image has the same name in another folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from archsr.config import PrepareConfig
from archsr.data.prepare.sources.files import read_file, stamp_file
from archsr.data.prepare.sources.registration import aligned, refusal, register
from archsr.data.prepare.survey.scan import ScanResult
from archsr.errors import UserError
from archsr.images.pixels import BadImageError, Photo, Pixels, read_photo

UNPAIRED = "unpaired"


def with_partner(finding: ScanResult, config: PrepareConfig) -> ScanResult:
    """Add the `lq` to the result; a file without a usable one is excluded with the reason.

    A photograph of w × h needs an image of exactly w / scale × h / scale, otherwise pixels do not correspond. With
    `registration.max_shift` the two are aligned, and cut to what both show. With `lq_missing = "degrade"` a photograph
    without a file stays as it is.
    """
    if not config.lq_folder or finding.source.kind or finding.pixels is None:
        return finding
    path = Path(config.lq_folder) / finding.source.path
    if config.lq_missing == "degrade" and not path.exists():
        return finding
    try:
        photo = _read(path, config)
    except (OSError, BadImageError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _left_out(finding, f"its lq {path}: {reason}")
    if photo.alpha is not None:
        return _left_out(finding, f"its lq {path}: has transparent parts")
    if reason := _of_another_size(finding.pixels, photo.pixels, config):
        return _left_out(finding, f"its lq {path}: {reason}")
    if config.registration.max_shift:
        return _registered(finding, finding.pixels, photo.pixels, path, config)
    return replace(finding, lq=photo.pixels)


def _of_another_size(gt: Pixels, lq: Pixels, config: PrepareConfig) -> str:
    scale, (height, width) = config.scale, gt.shape[:2]
    found = (lq.shape[1] * scale, lq.shape[0] * scale)
    most = scale * config.registration.max_shift
    if max(abs(found[0] - width), abs(found[1] - height)) <= most:
        return ""
    return f"{lq.shape[1]}×{lq.shape[0]} times {scale} is {found[0]}×{found[1]}, but the photograph is {width}×{height}"


def _registered(finding: ScanResult, gt: Pixels, lq: Pixels, path: Path, config: PrepareConfig) -> ScanResult:
    found = register(gt, lq, scale=config.scale, reach=config.registration.max_shift)
    if reason := refusal(found, config.registration):
        return _left_out(finding, f"its lq {path}: {reason}")
    pixels, small, shift = aligned(gt, lq, found, scale=config.scale)
    if min(pixels.shape[:2]) < config.min_side:
        return _left_out(finding, f"its lq {path}: both show {pixels.shape[1]}×{pixels.shape[0]}, less than min_side")
    source = replace(finding.source, registered=shift)
    # the file's own blocks can be cut only where its pixels are as they were
    content = finding.content if np.array_equal(pixels, gt) else b""
    return replace(finding, source=source, pixels=pixels, content=content, lq=small)


def _read(path: Path, config: PrepareConfig) -> Photo:
    return read_photo(read_file(path), max_pixels=config.max_pixels)


def _left_out(finding: ScanResult, reason: str) -> ScanResult:
    return replace(finding, source=replace(finding.source, kind=UNPAIRED, reason=reason), pixels=None)


def stamps(names: Sequence[str], config: PrepareConfig) -> list[str]:
    """Return a cheap fingerprint of every photograph's `lq`, empty without a folder of them.

    Raises `UserError` if the folder does not exist.
    """
    if not config.lq_folder:
        return [""] * len(names)
    folder = Path(config.lq_folder)
    if not folder.is_dir():
        raise UserError(f"lq_folder: {folder}: no such folder")
    return [stamp_file(folder / name) for name in names]
