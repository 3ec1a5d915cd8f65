"""Crops of a JPEG hold its own blocks: the same pixels, the same coefficients, or nothing."""

import io
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from profiles import DISPLAY_P3

from archsr.config import PrepareConfig
from archsr.data.prepare.survey.scan import ScannedFile
from archsr.data.prepare.writing import jpeg_blocks
from archsr.data.prepare.writing.jpeg_blocks import JpegBlocks
from archsr.data.prepare.writing.samples import cut
from archsr.errors import UserError
from archsr.images.pixels import read_photo

RNG = np.random.default_rng(3)
SMALL = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
IMAGE = Image.fromarray(SMALL).resize((613, 427), Image.Resampling.BICUBIC)
KINDS = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"subsampling": 2, "progressive": True},
    "restart markers": {"subsampling": 2, "restart_marker_rows": 1},
    "optimised": {"optimize": True},
    "quality 100": {"quality": 100, "subsampling": 0},
    "quality 5": {"quality": 5},
}


def jpeg(image=IMAGE, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def blocks(content):
    pixels = read_photo(content).pixels
    return JpegBlocks(content, pixels), pixels


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def window(pixels, box):
    left, top, width, height = box
    return pixels[top : top + height, left : left + width]


@pytest.mark.parametrize("kind", KINDS)
@given(
    st.integers(0, 37), st.integers(0, 25), st.integers(1, 38), st.integers(1, 26)
)  # in blocks of 16; too large means to the edge
@settings(max_examples=12, deadline=None)
def test_a_piece_shows_the_same_pixels(kind, left, top, width, height):
    whole, pixels = blocks(jpeg(**KINDS[kind]))
    box = (16 * left, 16 * top, min(16 * width, 613 - 16 * left), min(16 * height, 427 - 16 * top))
    made = whole.cut(box)
    assert made is not None
    difference = np.abs(decoded(made) - window(pixels, box))
    assert difference[1:-1, 1:-1].max(initial=0) == 0
    if "4:2" not in kind and "subsampling" in KINDS[kind] and KINDS[kind]["subsampling"] == 0:
        assert difference.max() == 0


def test_the_whole_is_a_piece_too_and_no_larger_and_says_nothing_of_the_camera():
    exif = Image.Exif()
    exif[0x010F] = "Some Camera"
    content = jpeg(exif=exif, subsampling=2)
    made = blocks(content)[0].cut((0, 0, 613, 427))
    assert np.array_equal(decoded(made), decoded(content))
    assert b"Some Camera" not in made
    assert len(made) < 1.05 * len(content)


def test_grey_stays_grey():
    content = jpeg(IMAGE.convert("L"))
    made = blocks(content)[0].cut((32, 16, 256, 128))
    assert Image.open(io.BytesIO(made)).mode == "L"
    assert np.array_equal(decoded(made), window(decoded(content), (32, 16, 256, 128)))


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(exif=exif)


@pytest.mark.parametrize(
    "content",
    [turned(), jpeg(icc_profile=DISPLAY_P3), jpeg(IMAGE.convert("CMYK")), jpeg(keep_rgb=True)],
    ids=["turned", "another profile", "CMYK", "RGB"],
)
def test_what_would_show_other_pixels_is_refused_and_stored_as_webp(content):
    whole, pixels = blocks(content)
    assert whole.cut((0, 0, 64, 64)) is None
    for made in cut(ScannedFile("a.jpg"), pixels, "train", PrepareConfig(tile=256), content=content):
        got = np.asarray(Image.open(io.BytesIO(made.members["gt.jpg"])).convert("RGB"))
        assert np.array_equal(got, window(pixels, made.box))
        assert made.members["gt.jpg"][8:12] == b"WEBP"


def test_boxes_between_blocks_and_other_files_are_refused():
    whole, pixels = blocks(jpeg())
    assert whole.cut((8, 0, 64, 64)) is None
    assert whole.cut((0, 0, 60, 64)) is None
    assert whole.cut((0, 0, 64, 64)) is not None
    buffer = io.BytesIO()
    IMAGE.save(buffer, "PNG")
    assert JpegBlocks(buffer.getvalue(), pixels).cut((0, 0, 64, 64)) is None
    assert JpegBlocks(jpeg()[:300], pixels).cut((0, 0, 64, 64)) is None


def test_tiles_of_a_jpeg_are_its_blocks():
    content = jpeg(IMAGE.resize((1300, 900)), subsampling=0)
    pixels = read_photo(content).pixels
    made = list(cut(ScannedFile("a.jpg"), pixels, "train", PrepareConfig(min_detail=0), content=content))
    assert len(made) == 6
    for one in made:
        assert np.array_equal(decoded(one.members["gt.jpg"]), window(pixels, one.box))


def test_without_the_library_it_says_what_to_do(monkeypatch):
    jpeg_blocks.jpeglib.cache_clear()
    monkeypatch.setitem(sys.modules, "jpeglib", None)
    with pytest.raises(UserError, match="encoding=webp"):
        jpeg_blocks.jpeglib()
    jpeg_blocks.jpeglib.cache_clear()


def test_real_photographs(real_photos):
    for path in sorted(real_photos.rglob("*.jpg"))[::8]:
        content = path.read_bytes()
        whole, pixels = blocks(content)
        made = whole.cut((16, 32, 256, 256))
        assert np.abs(decoded(made) - window(pixels, (16, 32, 256, 256)))[1:-1, 1:-1].max() == 0
