"""Photographs without ground truth: which files and which pixels of each are measured."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from archsr.errors import DataError
from archsr.evaluation.pairs import of_each
from archsr.images.image_files import READ, is_image, is_litter
from archsr.images.pixels import BadImageError, Pixels, read_photo
from archsr.utils.atomic import sha256
from archsr.utils.progress import tracked


@dataclass(frozen=True)
class ClientPhoto:
    """A photograph: `lq` uint8 (3, h, w) are the measured pixels, `window` is their top, left, height, width.

    `size` is the whole's height and width. `key` is the path in the folder. `scene` is the sub-folder, or the file
    outside of sub-folders.
    """

    number: int
    key: str
    scene: str
    lq: Tensor
    window: tuple[int, int, int, int]
    size: tuple[int, int]


@dataclass(frozen=True)
class ClientPhotos:
    """The photographs of a folder, of each of which the middle is measured.

    `crop` is the largest side of the middle, 0 for the whole. `left_out` are the names of files without an image's
    ending.
    """

    root: Path
    files: tuple[Path, ...]
    scale: int
    crop: int = 0
    limit: int | None = None
    left_out: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A description for people."""
        return f"the photographs of {self.root.resolve().name}"

    @property
    def unit(self) -> str:
        """The word for what is measured."""
        return "photographs"

    def numbers(self) -> list[int]:
        """Return the numbers of the files to measure; a limit is shared equally between scenes."""
        every = list(range(len(self.files)))
        return every if self.limit is None else of_each([self._scene(file) for file in self.files], self.limit)

    def read(self, numbers: list[int]) -> Iterator[ClientPhoto]:
        """Yield the photographs with these numbers. Raises `UserError` for a file that cannot be read."""
        for number in numbers:
            file = self.files[number]
            pixels = _pixels(file)
            top, left, height, width = window = _middle(pixels, self.crop)
            lq = np.ascontiguousarray(pixels[top : top + height, left : left + width].transpose(2, 0, 1))
            key = file.relative_to(self.root).as_posix()
            yield ClientPhoto(
                number, key, self._scene(file), torch.from_numpy(lq), window, (pixels.shape[0], pixels.shape[1])
            )

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the whole folder."""
        digest = hashlib.sha256(f"photographs as they are, enlarged {self.scale} times".encode())
        for file in self.files:
            name = file.relative_to(self.root).as_posix()
            digest.update(f"\0{name}\0{sha256(file)}".encode())
        return digest.hexdigest()

    def check(self) -> None:
        """Decode the files to measure, so that a damaged one is reported early. Raises `UserError`."""
        numbers = self.numbers()
        for number in tracked(numbers, "reading", unit="photograph"):
            _pixels(self.files[number])

    def _scene(self, file: Path) -> str:
        return file.relative_to(self.root).parts[0]


def open_photos(folder: str, *, scale: int, crop: int = 0, limit: int | None = None) -> ClientPhotos:
    """Open the photographs in a folder and its sub-folders. Raises `UserError` if one cannot be read."""
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{folder}: no such folder; --photos takes a folder of photographs")
    there = sorted(p for p in root.rglob("*") if p.is_file() and not p.name.startswith(".") and not is_litter(p.name))
    files = tuple(p for p in there if is_image(p))
    left_out = tuple(p.relative_to(root).as_posix() for p in there if not is_image(p))
    if not files:
        raise DataError(f"{folder}: contains no photographs ({_told(left_out)}); expected {', '.join(READ)}")
    photos = ClientPhotos(root, files, scale, crop, limit, left_out)
    photos.check()
    return photos


def _told(others: tuple[str, ...]) -> str:
    counts = Counter(Path(name).suffix.lower() or "no ending" for name in others)
    return ", ".join(f"{count} × {ending}" for ending, count in sorted(counts.items())) or "it is empty"


def _pixels(file: Path) -> Pixels:
    try:
        return read_photo(file).pixels
    except BadImageError as error:
        raise DataError(f"{file}: {error}; repair or remove it") from None


def _middle(pixels: Pixels, crop: int) -> tuple[int, int, int, int]:
    height, width = (min(side, crop or side) for side in pixels.shape[:2])
    return (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2, height, width
