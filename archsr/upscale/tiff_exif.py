"""EXIF for TIFF files, which libvips writes without: camera, date, place and author become tags of the first page."""

import io
from pathlib import Path
from typing import Any, cast

import tifftools

_POINTERS = (34665, 34853)  # to the folders of EXIF and GPS
_OWN = {271, 272, 305, 306, 315, 33432, 270, *_POINTERS}  # maker, model, software, date, artist, copyright, description
_SIZE = {0xA002, 0xA003}  # of the picture before it was enlarged


def add_exif(path: Path, blob: bytes, target: Path) -> None:
    """Write the TIFF of `path` with the tags of an EXIF block to `target`; pixels are copied as they are.

    What the TIFF says itself stays. A block that cannot be read is left out.
    """
    info = cast(Any, tifftools).read_tiff(str(path))
    try:
        exif = cast(Any, tifftools).read_tiff(io.BytesIO(blob.removeprefix(b"Exif\0\0")))["ifds"][0]["tags"]
    except tifftools.TifftoolsError:
        exif = {}
    tags = info["ifds"][0]["tags"]
    for number in _OWN & exif.keys():
        if number in _POINTERS:
            for folder in exif[number].get("ifds", []):
                for unwanted in _SIZE & folder[0]["tags"].keys():
                    del folder[0]["tags"][unwanted]
        tags.setdefault(number, exif[number])
    cast(Any, tifftools).write_tiff(info, str(target))
