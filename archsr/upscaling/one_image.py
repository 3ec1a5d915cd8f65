"""Upscale one image file into another. Metadata is kept, and the result is complete or absent."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyvips

from archsr.images.image_files import BadImageError
from archsr.upscaling.label import ModelLabel, UnreadableXmpError, labelled
from archsr.upscaling.metadata import add_png_xmp, is_carried, with_block
from archsr.upscaling.pipe import Depth, Pipe, Room, StoppedError
from archsr.upscaling.resizing import to_size
from archsr.upscaling.source import MAX_PIXELS, ImageSource, is_colourless, open_source, reason
from archsr.upscaling.tiff_exif import add_exif
from archsr.upscaling.upscaler import Upscaler
from archsr.utils.atomic import replacing

_LONGEST = {".webp": 16383, ".jpg": 65500, ".jpeg": 65500}  # libwebp's and libjpeg's limits, pixels
_OPTIMISED = 2**25  # pixels
_NARROW = (".jpg", ".jpeg", ".webp")  # formats with 8 bits only
_MOST_XMP = {".jpg": 60000, ".jpeg": 60000}  # bytes; libvips leaves out more


@dataclass(frozen=True)
class OutputOptions:
    """Options of the result: `scale` (None: the network's) and `quality` of JPEG and WebP (WebP 100: lossless).

    Without `metadata` EXIF, XMP and IPTC are dropped; the colour profile is always kept. With `label` the XMP says that
    a network enlarged the image, and which one (`archsr/upscaling/label.py`).
    """

    scale: float | None = None
    quality: int = 95
    max_pixels: int = MAX_PIXELS
    metadata: bool = True
    label: bool = True


def _silent(_: float) -> None:
    """Do nothing."""


def upscale_image(
    source: Path,
    target: Path,
    upscaler: Upscaler,
    options: OutputOptions | None = None,
    *,
    on_progress: Callable[[float], None] = _silent,
) -> str:
    """Restore `source` into `target`, in the format of its suffix, completely or not at all.

    Returns what of the source the target could not keep, in words, or "".

    `on_progress` receives the share that is done; an exception from it stops the work and leaves nothing behind. Raises
    `BadImageError` for an unusable image or one too large for the format, OSError if writing fails.
    """
    with ThreadPoolExecutor(1) as writer:
        return restore_image(
            source, target, upscaler, options or OutputOptions(), writer, on_progress=on_progress
        ).result()


def restore_image(
    source: Path,
    target: Path,
    upscaler: Upscaler,
    options: OutputOptions,
    writer: ThreadPoolExecutor,
    *,
    on_progress: Callable[[float], None],
    room: Room | None = None,
) -> Future[str]:
    """Like `upscale_image`, but rows may still be unwritten until the future is done: as many as there is `room` for.

    If images share a room, `writer` must have a thread for each.
    """
    pages = _pages(source, target, options.max_pixels)
    sizes = [_size(p, upscaler.scale, options.scale) for p in pages]
    _check_size(target, sum(h for h, _ in sizes), max(w for _, w in sizes))
    factor, room = upscaler.scale, room or Room()
    pipes = [Pipe(p.size[0] * factor, p.size[1] * factor, p.image.bands, bits=p.bits, room=room) for p in pages]
    label = upscaler.label if options.label else None
    written = writer.submit(_write, pages, pipes, sizes, target, options, label)
    try:
        for number, (page, pipe) in enumerate(zip(pages, pipes, strict=True)):
            grey = page.image.bands == 1 or is_colourless(source, page=number, max_pixels=options.max_pixels)
            _restore(page, pipe, upscaler, lambda s, n=number: on_progress((n + s) / len(pages)), grey=grey)
    except StoppedError:
        written.result()  # raises the writer's exception
        raise
    except BaseException:
        for pipe in pipes:
            pipe.close()  # the writer stops waiting, and removes its file
        written.exception()
        raise
    return written


def _pages(path: Path, target: Path, max_pixels: int) -> list[ImageSource]:
    first = open_source(path, max_pixels=max_pixels)
    if first.pages == 1:
        return [first]
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise BadImageError(f"{first.pages} pages; use tiff, which supports several pages")
    if first.size[0] * first.size[1] * first.pages > max_pixels:
        raise BadImageError(f"{first.pages} pages of {first.size[1]}×{first.size[0]}: more than {max_pixels:,} pixels")
    pages = [open_source(path, page=n, max_pixels=max_pixels) for n in range(first.pages)]
    kinds = {(p.size, p.image.bands, p.bits, p.alpha is None) for p in pages}
    if len(kinds) > 1:
        raise BadImageError(f"{first.pages} pages of different sizes or kinds; split them")
    return pages


def _size(page: ImageSource, scale: int, wanted: float | None) -> tuple[int, int]:
    """Return height and width of the result."""
    factor = wanted or scale
    return max(1, round(page.size[0] * factor)), max(1, round(page.size[1] * factor))


def _check_size(target: Path, height: int, width: int) -> None:
    most = _LONGEST.get(target.suffix.lower())
    if most is not None and max(height, width) > most:
        raise BadImageError(
            f"{width}×{height} is too large for {target.suffix} (at most {most} a side); use png instead"
        )


def _restore(
    page: ImageSource, pipe: Pipe, upscaler: Upscaler, on_progress: Callable[[float], None], *, grey: bool
) -> None:
    reader, bands = page.reader(), page.image.bands
    for strip in upscaler.rows(reader, *page.size, on_tile=on_progress):
        if grey:
            strip = _grey(strip).repeat(bands, axis=2)
        pipe.put(strip)


def _grey(strip: Depth) -> Depth:
    return cast(Depth, np.rint(strip.mean(2, keepdims=True, dtype=np.float64)).astype(strip.dtype))


# ---------------------------------------------------------------- writing


def _write(
    pages: list[ImageSource],
    pipes: list[Pipe],
    sizes: list[tuple[int, int]],
    target: Path,
    options: OutputOptions,
    label: ModelLabel | None,
) -> str:
    lost = ""
    try:
        images = [_finished(p, q.image(), s) for p, q, s in zip(pages, pipes, sizes, strict=True)]
        image = images[0]
        if len(images) > 1:
            image = pyvips.Image.arrayjoin(images, across=1)
            image = image.copy()
            image.set_type(pyvips.GValue.gint_type, "page-height", sizes[0][0])
        image = _carrying(image, pages[0].image, metadata=options.metadata)
        if label is not None:
            image, lost = _with_label(image, label, most=_MOST_XMP.get(target.suffix.lower()))
        with replacing(target) as temporary:
            _save_whole(image, temporary, options.quality)
    except pyvips.Error as error:
        raise OSError(reason(error)) from None
    finally:
        for pipe in pipes:
            pipe.abandon()
    return lost


def _save_whole(image: pyvips.Image, path: Path, quality: int) -> None:
    """Write the file, and then what libvips does not write well: EXIF of a TIFF, XMP of a PNG."""
    adding = {".tif": ("exif-data", add_exif), ".tiff": ("exif-data", add_exif), ".png": ("xmp-data", add_png_xmp)}
    name, add = adding.get(path.suffix.lower(), ("", add_exif))
    block = cast(bytes, image.get(name)) if name and image.get_typeof(name) else b""
    if block and add is add_png_xmp:
        image = image.copy()
        image.remove(name)
    write_image(image, path, quality)
    if block:
        with replacing(path) as whole:
            add(path, block, whole)


def _finished(page: ImageSource, image: pyvips.Image, size: tuple[int, int]) -> pyvips.Image:
    """Return the image at its final size, with its transparency."""
    image = to_size(image, *size)
    return image if page.alpha is None else image.bandjoin(to_size(page.alpha, *size))


def _carrying(image: pyvips.Image, source: pyvips.Image, *, metadata: bool) -> pyvips.Image:
    """Copy the source's metadata, without thumbnail and orientation."""
    image = image.copy(xres=source.xres, yres=source.yres)
    for name in source.get_fields():
        if name == "icc-profile-data" or (metadata and is_carried(name)):
            image.set_type(source.get_typeof(name), name, source.get(name))
    if image.get_typeof("exif-data"):
        image.set_type(pyvips.GValue.gint_type, "orientation", 1)  # the pixels are upright
    return image


def _with_label(image: pyvips.Image, label: ModelLabel, *, most: int | None) -> tuple[pyvips.Image, str]:
    """Add the label to the XMP, or replace XMP that is unreadable or has more than `most` bytes and say so."""
    former = cast(bytes, image.get("xmp-data")) if image.get_typeof("xmp-data") else b""
    try:
        packet, lost = labelled(former, label), ""
    except UnreadableXmpError as error:
        packet, lost = labelled(b"", label), f"its XMP was left out: it cannot be read ({error})"
    if most is not None and len(packet) > most:
        lost = f"its XMP was left out: {len(packet):,} bytes, and this format holds {most:,}"
        packet = labelled(b"", label)
    return with_block(image, "xmp-data", packet), lost


def write_image(image: pyvips.Image, path: Path, quality: int) -> None:
    """Encode the image as the path's ending says. `quality` (1 to 100) is for JPEG and WebP; WebP 100 is lossless."""
    ending = path.suffix.lower()
    if ending in _NARROW and image.format == "ushort":
        image = (image / 257).rint().cast("uchar").copy(interpretation="srgb" if image.bands > 2 else "b-w")
    if ending in (".jpg", ".jpeg"):
        flat: Any = image.flatten(background=[255]) if image.hasalpha() else image
        small = flat.width * flat.height <= _OPTIMISED  # optimised tables need the whole image in memory
        flat.jpegsave(str(path), Q=quality, subsample_mode="off", optimize_coding=small)
    elif ending == ".webp":
        image.webpsave(str(path), Q=quality, lossless=quality == 100, effort=4, smart_subsample=True)
    elif ending in (".tif", ".tiff"):
        size = image.height * image.width * image.bands * (2 if image.format == "ushort" else 1)
        image.tiffsave(str(path), compression="deflate", predictor="horizontal", bigtiff=size > 2**32 - 2**25)
    else:
        image.pngsave(str(path), compression=6, bitdepth=16 if image.format == "ushort" else 8)
