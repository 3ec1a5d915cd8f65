"""Copy metadata into the fields that libvips uses, for images that libvips did not read itself."""

import io
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import pyvips
from PIL import Image

FIELDS = ("exif-data", "xmp-data", "iptc-data", "icc-profile-data", "resolution-unit")


def is_carried(name: str) -> bool:
    """Return whether a libvips field is metadata to keep: not of the thumbnail (ifd1), not the orientation."""
    return name in FIELDS or (
        name.startswith(("exif-ifd0", "exif-ifd2", "exif-ifd3")) and not name.endswith("-Orientation")
    )


def with_exif(image: pyvips.Image, exif: bytes) -> pyvips.Image:
    """Add an EXIF block. libvips only saves EXIF from separate fields, which its own reader fills here.

    A block that cannot be read is ignored.
    """
    small = io.BytesIO()
    block: Any = exif  # PIL accepts bytes, but its types do not say so
    try:
        Image.new("L", (1, 1)).save(small, "PNG", exif=block)
        carrier = pyvips.Image.new_from_buffer(small.getvalue(), "")
    except (OSError, ValueError, pyvips.Error):
        return image
    image = image.copy()
    for name in carrier.get_fields():
        if is_carried(name) and name.startswith("exif-"):
            image.set_type(carrier.get_typeof(name), name, carrier.get(name))
    return image


def with_block(image: pyvips.Image, name: str, data: bytes) -> pyvips.Image:
    """Add a block of bytes, such as `icc-profile-data` or `xmp-data`."""
    image = image.copy()
    block: Any = data
    image.set_type(pyvips.GValue.blob_type, name, block)
    return image


_PNG_START = 33  # bytes: the signature and the header
_PNG_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"  # keyword; not compressed, no language, no translation


def add_png_xmp(path: Path, xmp: bytes, target: Path) -> None:
    """Copy the PNG at `path` to `target` with an XMP chunk, in UTF-8 and uncompressed as the XMP specification asks.

    libvips writes a compressed Latin-1 chunk, which few programs search for XMP.
    """
    body = b"iTXt" + _PNG_XMP + xmp
    with path.open("rb") as old, target.open("wb") as new:
        new.write(old.read(_PNG_START))
        new.write(struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
        shutil.copyfileobj(old, new, 2**22)
