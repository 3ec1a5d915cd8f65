"""Read image files for upscaling row by row, upright, with their bit depth, colours and metadata.

Unlike `archsr.images.pixels.read_photo`, which converts everything to 8-bit sRGB, nothing is lost here. libvips decodes
as a stream, so a gigapixel image needs no gigabytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyvips
from numpy.typing import NDArray

from archsr.images.heic import heif_library, is_heic, refuse_hdr
from archsr.images.image_files import BadImageError, TooManyPixelsError, looks_like
from archsr.images.pixels import read_photo
from archsr.images.raw_files import refuse_raw
from archsr.upscaling.metadata import with_block, with_exif
from archsr.upscaling.tiff_exif import exif_of_tiff

MAX_PIXELS = 2_000_000_000
# only decoders that are hardened against hostile files
pyvips.operation_block_set("VipsForeignLoad", True)
for _name in ("Jpeg", "Png", "Webp", "Tiff", "Nsgif", "Heif"):
    pyvips.operation_block_set(f"VipsForeignLoad{_name}", False)
_FOR_PIL = (b"BM", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51", b"P5", b"P6")  # BMP, JPEG 2000, PPM
_DEPTHS = ("uchar", "ushort")
_HEAD = 1 << 16
_AT_ONCE = 64  # rows


@dataclass(frozen=True)
class ImageSource:
    """A page of an image file: `image` has 1 or 3 bands of 8 or 16 bits, to be read once from top to bottom."""

    image: pyvips.Image
    alpha: pyvips.Image | None
    pages: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.height, self.image.width

    @property
    def bits(self) -> int:
        """8 or 16."""
        return 16 if self.image.format == "ushort" else 8

    def reader(self) -> "Reader":
        """Return a reader of rows for the network."""
        return Reader(self.image)


class Reader:
    """Reads rows (n, w, 3) of an image from top to bottom; grey is repeated. Raises `BadImageError`."""

    def __init__(self, image: pyvips.Image) -> None:
        self._region = pyvips.Region.new(image)
        self._width, self._bands = image.width, image.bands
        self._type: Any = np.uint16 if image.format == "ushort" else np.uint8

    def __call__(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows `top` to `bottom` (exclusive)."""
        try:
            data = self._region.fetch(0, top, self._width, bottom - top)
        except pyvips.Error as error:
            raise BadImageError(f"damaged: {reason(error)}") from None
        rows = np.frombuffer(data, self._type).reshape(bottom - top, self._width, self._bands)
        return rows if self._bands == 3 else np.repeat(rows, 3, axis=2)


def open_source(path: Path, *, page: int = 0, max_pixels: int = MAX_PIXELS) -> ImageSource:
    """Open page `page` of an image file, upright.

    RGB and grey keep depth and profile; palettes become RGB, CMYK and others sRGB. Raises `BadImageError` for files
    that are not images, raw, animated, larger than `max_pixels`, or neither 8 nor 16 bits deep.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            refuse_raw(file, path.name)
    except OSError as error:
        raise BadImageError(f"cannot be opened: {error.strerror}") from None
    if head.startswith(_FOR_PIL):
        return _by_pil(path, max_pixels)
    if is_heic(head):
        return _by_heif(path, max_pixels)
    try:
        return _by_vips(path, head, page, max_pixels)
    except pyvips.Error as error:
        if "bad labq format" in str(error):  # libvips cannot read all 8-bit CIELab
            source, exif = _by_pil(path, max_pixels), exif_of_tiff(path)
            return replace(source, image=with_exif(source.image, exif)) if exif else source
        if "is not a known file format" in str(error):
            raise BadImageError(f"not an image that can be read{looks_like(head)}") from None
        raise BadImageError(f"damaged: {reason(error)}") from None


def _by_vips(path: Path, start: bytes, page: int, max_pixels: int) -> ImageSource:
    options: dict[str, Any] = {"fail_on": "error"}
    if page:
        options["page"] = page
    head = pyvips.Image.new_from_file(str(path), access="sequential", **options)
    _check(head, max_pixels)
    if start.startswith(b"\xff\xd8"):
        _check_end(path, 8 if min(head.width, head.height) >= 16 else 1, max_pixels)
    pages = cast(int, head.get("n-pages")) if head.get_typeof("n-pages") else 1
    animated = start.startswith(b"\x89PNG") and b"acTL" in start
    tiff = str(head.get("vips-loader")).startswith("tiff")
    if animated or (pages > 1 and not tiff):
        raise BadImageError("animated: more than one frame")
    turned = bool(head.get_typeof("orientation")) and cast(int, head.get("orientation")) > 1
    # rotated images are decoded first, into a temporary file above 100 MB
    access = "random" if turned else "sequential"

    def again() -> pyvips.Image:
        image = pyvips.Image.new_from_file(str(path), access=access, **options)
        return image.autorot() if turned else image

    image, alpha = again(), None
    if image.hasalpha():
        alpha = again()[image.bands - 1]  # decoded twice, because a stream has one reader
        image = image[: image.bands - 1]
    image = _in_rgb_or_grey(image)
    if tiff and not page and not image.get_typeof("exif-data") and (exif := exif_of_tiff(path)):
        image = with_exif(image, exif)
    return ImageSource(image, alpha, pages)


def _check(image: pyvips.Image, max_pixels: int) -> None:
    width, height = image.width, image.height
    if width * height > max_pixels:
        raise TooManyPixelsError(f"{width}×{height} is more than {max_pixels:,} pixels")
    if image.format in ("float", "double"):
        raise BadImageError("floating-point pixels; expected 8 or 16 bits")
    if image.format not in _DEPTHS:
        raise BadImageError(f"{image.format} pixels; expected unsigned 8 or 16 bits")


def _check_end(path: Path, shrink: int, max_pixels: int) -> None:
    """Refuse a truncated JPEG, which libvips fills with grey: a grey lower edge is checked by a full decode."""
    small = pyvips.Image.new_from_file(str(path), access="sequential", shrink=shrink)
    edge = small.crop(0, small.height - 1, small.width, 1).numpy()
    if ((edge == 127) | (edge == 128)).all():
        read_photo(path, max_pixels=max_pixels)


def _in_rgb_or_grey(image: pyvips.Image) -> pyvips.Image:
    if image.interpretation == "cmyk":
        depth = 16 if image.format == "ushort" else 8
        # without a profile in the file, libvips's CMYK profile is used
        return image.icc_transform(
            "srgb", embedded=True, input_profile="cmyk", depth=depth, black_point_compensation=True
        )
    if image.interpretation not in ("srgb", "rgb16", "b-w", "grey16", "rgb", "multiband"):
        image = image.colourspace("rgb16" if image.format == "ushort" else "srgb")
    if image.bands not in (1, 3):
        raise BadImageError(f"{image.bands} colour channels; expected grey, RGB or CMYK")
    return image


def _by_pil(path: Path, max_pixels: int) -> ImageSource:
    photo = read_photo(path, max_pixels=max_pixels)
    alpha = None if photo.alpha is None else pyvips.Image.new_from_array(photo.alpha)
    return ImageSource(pyvips.Image.new_from_array(photo.pixels).copy(interpretation="srgb"), alpha, 1)


def _by_heif(path: Path, max_pixels: int) -> ImageSource:
    """Read the main image of a HEIC file. The library turns it upright; more than 8 bits become 16."""
    library = heif_library()
    try:
        file = library.open_heif(str(path), convert_hdr_to_8bit=False)
        width, height = cast(tuple[int, int], file.size)
        if width * height > max_pixels:
            raise BadImageError(f"{width}×{height} is more than {max_pixels:,} pixels")
        info = cast(dict[str, Any], file.info)
        refuse_hdr(info)
        pixels: NDArray[Any] = np.ascontiguousarray(file)
    except BadImageError:
        raise
    except Exception as error:  # its decoders raise several kinds of exceptions
        raise BadImageError(f"damaged: {error}") from None
    if pixels.dtype == np.uint16:
        pixels = pixels | (pixels >> int(info.get("bit_depth", 10)))  # white becomes 65535, not 65472
    image = pyvips.Image.new_from_array(pixels)
    deep = image.format == "ushort"
    alpha = image[image.bands - 1] if image.bands in (2, 4) else None
    image = image[: image.bands - 1] if alpha is not None else image
    kinds = ("grey16" if deep else "b-w", "rgb16" if deep else "srgb")
    image = image.copy(interpretation=kinds[image.bands == 3])
    for name, key in (("icc-profile-data", "icc_profile"), ("xmp-data", "xmp")):
        if info.get(key):
            image = with_block(image, name, cast(bytes, info[key]))
    if info.get("exif"):
        image = with_exif(image, cast(bytes, info["exif"]))
    return ImageSource(image, alpha, 1)


def is_colourless(path: Path, *, page: int, max_pixels: int) -> bool:
    """Return whether red, green and blue are equal everywhere, as in grey scans saved as RGB.

    The page is decoded from the top until the first colour.
    """
    source = open_source(path, page=page, max_pixels=max_pixels)
    return all((rows == rows[:, :, :1]).all() for rows in _in_chunks(source))


def _in_chunks(source: ImageSource) -> Iterator[NDArray[Any]]:
    read, (height, _) = source.reader(), source.size
    return (read(top, min(height, top + _AT_ONCE)) for top in range(0, height, _AT_ONCE))


def why_unreadable(path: Path, first: BadImageError) -> BadImageError:
    """Decode a damaged file again, alone, to get its own error; else return the `first` one.

    libvips has one error list for all threads, so with two files one may get the other's error.
    """
    if not str(first).startswith("damaged"):
        return first
    pyvips.vips_lib.vips_error_clear()
    try:
        for page in range(open_source(path).pages):
            for _ in _in_chunks(open_source(path, page=page)):
                pass
    except BadImageError as error:
        return error
    return first


def reason(error: pyvips.Error) -> str:
    """Return the cause in libvips's message: the system error, such as a full disk, or the last line."""
    lines = [line.strip() for line in str(error.detail or error.message).splitlines() if line.strip()]
    causes = [line.removeprefix("system error: ") for line in lines if line.startswith("system error: ")]
    known = [cause for cause in causes if not cause.startswith("Unknown error")]
    if known:
        return known[0]
    return lines[-1] if lines else "unknown"
