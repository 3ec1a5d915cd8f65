"""Pairs from disk: a photograph's low-quality image has the same name in another folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from archsr.config import PrepareConfig
from archsr.data.prepare.sources.files import read_file, stamp_file
from archsr.data.prepare.survey.scan import ScanResult
from archsr.errors import UserError
from archsr.images.pixels import BadImageError, Photo, read_photo

UNPAIRED = "unpaired"


def with_partner(finding: ScanResult, config: PrepareConfig) -> ScanResult:
    """Add the `lq` to the result; without one of the exact size the file is excluded with the reason.

    A photograph of w × h needs an image of exactly w / scale × h / scale; otherwise pixels do not correspond.
    """
    if not config.lq_folder or finding.source.kind or finding.pixels is None:
        return finding
    path = Path(config.lq_folder) / finding.source.path
    try:
        photo = _read(path, config)
    except (OSError, BadImageError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _left_out(finding, f"its lq {path}: {reason}")
    height, width = finding.pixels.shape[:2]
    found = (photo.pixels.shape[1] * config.scale, photo.pixels.shape[0] * config.scale)
    if photo.alpha is not None:
        return _left_out(finding, f"its lq {path}: has transparent parts")
    if found != (width, height):
        return _left_out(
            finding,
            f"its lq {path}: {photo.pixels.shape[1]}×{photo.pixels.shape[0]} times {config.scale} is "
            f"{found[0]}×{found[1]}, but the photograph is {width}×{height}",
        )
    return replace(finding, lq=photo.pixels)


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
