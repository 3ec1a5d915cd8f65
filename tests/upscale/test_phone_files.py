"""What phones and cameras write, and what lies beside it: HEIC, AVIF, raw photographs, the tags of a TIFF."""

import numpy as np
import pytest
import tifffile
from test_round_trip import Nearest, doubled, smooth

from archsr.config import PrepareConfig
from archsr.images import read_photo
from archsr.picture_files import BadImageError
from archsr.prepare.scan import inspect
from archsr.prepare.sources import open_photos
from archsr.upscale.picture import upscale_picture
from archsr.upscale.source import open_source
from archsr.upscale.upscaler import Upscaler


@pytest.fixture
def upscaler():
    return Upscaler(Nearest(), tile=64, halo=4)


# ---------------------------------------------------------------- raw photographs

RAW = "a raw photograph; develop it to TIFF or JPEG"
SENSOR = smooth((96, 128), top=4095, dtype=np.uint16)
PREVIEW = smooth((24, 32, 3))


def with_sub_folder(path, sensor, *, tags=(), big=False, order="<", **options):
    """A preview whose sub-folder holds what the sensor saw."""
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as file:
        file.write(PREVIEW, photometric="rgb", subfiletype=1, subifds=1, extratags=tags, metadata=None)
        file.write(sensor, metadata=None, **options)


def dng(path, **options):
    version = (50706, 1, 4, bytes([1, 4, 0, 0]), True)
    with_sub_folder(path, SENSOR, tags=[version], photometric=32803, subfiletype=0, **options)


RAWS = {
    "a.dng": dng,
    "motorola.dng": lambda path: dng(path, order=">"),
    "big.dng": lambda path: dng(path, big=True),
    "renamed.tif": dng,
    "a.nef": lambda path: with_sub_folder(path, SENSOR, photometric=32803),
    "no dng version.tif": lambda path: with_sub_folder(path, SENSOR, photometric=32803),
    "linear.tif": lambda path: with_sub_folder(path, smooth((96, 128, 3)), photometric=34892),
    "a.PEF": lambda path: tifffile.imwrite(path, SENSOR, photometric=32803, metadata=None),
    "by its ending.ARW": lambda path: tifffile.imwrite(path, PREVIEW, photometric="rgb"),
}


@pytest.mark.parametrize("name", RAWS)
def test_a_raw_photograph_is_refused_and_not_its_preview_enlarged(tmp_path, upscaler, name):
    RAWS[name](tmp_path / name)
    with pytest.raises(BadImageError, match=RAW):
        upscale_picture(tmp_path / name, tmp_path / "out.png", upscaler)
    assert not (tmp_path / "out.png").exists()
    found = inspect(open_photos(str(tmp_path)), name, PrepareConfig()).source
    assert RAW in found.reason
    assert found.kind == "unreadable"


@pytest.mark.parametrize("big", [False, True])
def test_pages_and_pyramids_are_no_raw_photographs(tmp_path, upscaler, big):
    pixels = smooth((96, 128, 3))
    with tifffile.TiffWriter(tmp_path / "pyramid.tif", bigtiff=big) as file:
        file.write(pixels, photometric="rgb", subifds=1)
        file.write(pixels[::2, ::2], photometric="rgb", subfiletype=1)
    with tifffile.TiffWriter(tmp_path / "pages.tif", bigtiff=big) as file:
        for _ in range(2):
            file.write(pixels, photometric="rgb")
    for name in ("pyramid", "pages"):
        upscale_picture(tmp_path / f"{name}.tif", tmp_path / "out.tif", upscaler)
        assert np.array_equal(tifffile.TiffFile(tmp_path / "out.tif").pages[0].asarray(), doubled(pixels))
        assert np.array_equal(read_photo(tmp_path / f"{name}.tif").pixels, pixels)


def test_folders_in_a_circle_end(tmp_path):
    """A folder that names itself as the next one and as its own sub-folder."""
    content = b"II*\0\x08\0\0\0\x01\0" + b"\x4a\x01\x04\0\x01\0\0\0\x08\0\0\0" + b"\x08\0\0\0"
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(BadImageError):
        open_source(tmp_path / "a.tif")
    with pytest.raises(BadImageError):
        read_photo(content)
