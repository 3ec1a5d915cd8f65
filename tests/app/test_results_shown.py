"""Images in squares: together they are the image, and nothing else is given away."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from archsr.app.pixel_tiles import SIDE, make_view, preview_path, tile_png, write_crop
from archsr.app.storage import is_token
from archsr.app.upscale.job import result_name, unique_name


def noise(path, size, mode="RGB", **options):
    bands = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], bands), dtype=np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(path, **options)
    return pixels


def square(folder, size, column, row):
    return np.array(Image.open(io.BytesIO(tile_png(folder, size, column, row))))


def test_the_squares_of_a_image_are_its_pixels(tmp_path):
    pixels = noise(tmp_path / "a.png", (1100, 700))
    make_view(tmp_path / "a.png", tmp_path)
    rows = [np.concatenate([square(tmp_path, (1100, 700), c, r) for c in range(3)], 1) for r in range(2)]
    assert (np.concatenate(rows) == pixels).all()
    assert max(Image.open(preview_path(tmp_path)).size) <= 1600


def test_the_original_is_enlarged_by_bicubic_across_the_squares(tmp_path):
    noise(tmp_path / "a.png", (200, 160))
    make_view(tmp_path / "a.png", tmp_path)
    wanted = Image.open(tmp_path / "a.png").resize((800, 640), Image.Resampling.BICUBIC)
    got = np.concatenate([square(tmp_path, (800, 640), c, 0) for c in range(2)], 1)
    inner = np.s_[16:, 16:-16]
    assert np.abs(got[inner].astype(int) - np.array(wanted)[:SIDE][inner]).mean() < 0.2, "not half a pixel off"
    assert got.shape == (512, 800, 3)


@pytest.mark.parametrize(
    ("name", "mode"), [("grey.png", "L"), ("clear.png", "RGBA"), ("palette.gif", "RGB"), ("old.bmp", "RGB")]
)
def test_whatever_can_be_enlarged_can_be_looked_at(name, mode, tmp_path):
    noise(tmp_path / name, (70, 50), mode)
    make_view(tmp_path / name, tmp_path)
    assert square(tmp_path, (70, 50), 0, 0).shape == (50, 70, 3)


def test_sixteen_bits_and_a_turned_photograph(tmp_path):
    Image.fromarray(np.full((50, 70), 65535, np.uint16)).save(tmp_path / "deep.png")
    make_view(tmp_path / "deep.png", tmp_path)
    assert (square(tmp_path, (70, 50), 0, 0) == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(tmp_path / "turned.jpg", (70, 50), exif=exif)
    make_view(tmp_path / "turned.jpg", tmp_path)
    assert square(tmp_path, (50, 70), 0, 0).shape == (70, 50, 3)


@pytest.mark.parametrize(
    ("size", "place"),
    [((70, 50), (1, 0)), ((70, 50), (0, 1)), ((70, 50), (-1, 0)), ((0, 0), (0, 0)), ((70_000, 50), (0, 0)),
     ((70, 50_000), (0, 5)), ((2**40, 2**40), (0, 0))],
)  # fmt: skip
def test_what_is_not_there_is_not_made(size, place, tmp_path):
    noise(tmp_path / "a.png", (70, 50))
    make_view(tmp_path / "a.png", tmp_path)
    assert tile_png(tmp_path, size, *place) is None
    assert tile_png(tmp_path / "nowhere", (70, 50), 0, 0) is None


def test_a_detail_has_the_pixels_at_its_corner(tmp_path):
    pixels = noise(tmp_path / "a.png", (900, 700))
    make_view(tmp_path / "a.png", tmp_path)
    write_crop(tmp_path, (900, 700), (300, 100), tmp_path / "detail.png")
    assert (np.array(Image.open(tmp_path / "detail.png")) == pixels[100:612, 300:812]).all()


def test_names_say_how_much_larger_and_of_several_models_which():
    assert result_name("front.jpg", 4) == "front_x4.jpg"
    assert result_name("front.jpg", 1.5, suffix=".png", model="my run") == "front_x1.5_my-run.png"
    assert result_name("old.bmp", 2.0) == "old_x2.png"
    assert result_name("IMG_1.HEIC", 4) == "IMG_1_x4.jpg"


@given(st.lists(st.sampled_from(["a.jpg", "A.jpg", "a (2).jpg", "b.png", "none"])))
def test_no_two_names_are_alike(names):
    taken = set()
    made = [unique_name(name, taken) for name in names]
    assert len({name.casefold() for name in made}) == len(names)


def test_only_names_that_nobody_can_guess_lead_to_a_folder():
    assert is_token("0123456789abcdef" * 2)
    for other in (
        "",
        "..",
        "0123456789abcdef",
        "0123456789ABCDEF" * 2,
        "../../../../etc/passwd/0123456789",
        "0" * 31 + "\n",
    ):
        assert not is_token(other)
