"""Metadata in the fields in which libvips keeps it, for images that libvips did not read it from."""

import io
from typing import Any

import pyvips
from PIL import Image

FIELDS = ("exif-data", "xmp-data", "iptc-data", "icc-profile-data", "resolution-unit")


def is_carried(name: str) -> bool:
    """Whether a field of libvips's is metadata; not those of the thumbnail, ifd1, nor the orientation."""
    return name in FIELDS or (
        name.startswith(("exif-ifd0", "exif-ifd2", "exif-ifd3")) and not name.endswith("-Orientation")
    )


def with_exif(image: pyvips.Image, exif: bytes) -> pyvips.Image:
    """With an EXIF block, of which libvips saves only what is also in fields of their own; its own reader fills them.

    A block that cannot be read is left out.
    """
    small = io.BytesIO()
    block: Any = exif  # PIL takes bytes, though its types do not say so
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
    """With a block of bytes, such as `icc-profile-data` or `xmp-data`."""
    image = image.copy()
    block: Any = data
    image.set_type(pyvips.GValue.blob_type, name, block)
    return image
