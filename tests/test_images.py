import io
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from archsr.images import pixels
from archsr.images.pixels import BadImageError, read_photo

_ADOBE_TO_SRGB = np.array([[1.39836, -0.39836, 0.0], [0.0, 1.0, 0.0], [0.0, -0.04293, 1.04293]])


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    return coarse.resize((64, 48), Image.Resampling.BICUBIC)


def test_a_plain_image_comes_back_as_it_is(image):
    photo = read_photo(encoded(image))
    assert np.array_equal(photo.pixels, np.asarray(image))
    assert photo.alpha is None
    assert photo.notes == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(image, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {
        1: image,
        2: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: image.transpose(Image.Transpose.ROTATE_180),
        4: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: image.transpose(Image.Transpose.TRANSPOSE),
        6: image.transpose(Image.Transpose.ROTATE_90),
        7: image.transpose(Image.Transpose.TRANSVERSE),
        8: image.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    photo = read_photo(encoded(stored, "PNG", exif=exif))
    assert np.array_equal(photo.pixels, np.asarray(image))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(image, mode):
    if mode == "I;16":
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
        source, expected = Image.fromarray(grey), image.convert("L").convert("RGB")
    else:
        source = image.convert(mode)
        expected = source.convert("RGB")
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    photo = read_photo(encoded(source, kind, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {})))
    assert photo.pixels.shape == (48, 64, 3)
    tolerance = 12 if kind == "JPEG" else 0
    assert np.abs(photo.pixels.astype(int) - np.asarray(expected).astype(int)).max() <= tolerance


def test_sixteen_bit_grey_keeps_its_white():
    photo = read_photo(encoded(Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))))
    assert photo.pixels[0, :, 0].tolist() == [0, 128, 255]


def adobe_rgb_profile():
    """A matrix/curve profile with the primaries of Adobe RGB (1998) and gamma 2.2, written by hand (ICC.1:2001)."""
    xyz = lambda *v: b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(x * 65536)) for x in v)
    text = b"text" + bytes(4) + b"none\0"
    name = b"Wide RGB\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": text,
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        **{k: b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256)) for k in (b"rTRC", b"gTRC", b"bTRC")},
    }
    table, data = b"", b""
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(content))
        data += content
    size = 128 + 4 + len(table) + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + struct.pack(">iii", 63190, 65536, 54061) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + data


def test_a_wide_gamut_profile_is_converted():
    colours = np.array([[[128, 128, 128], [200, 80, 60], [90, 160, 90], [255, 255, 255]]], dtype=np.uint8)
    photo = read_photo(encoded(Image.fromarray(colours), icc_profile=adobe_rgb_profile()))
    assert photo.notes == ("ICC Wide RGB",)
    # Adobe RGB to sRGB by its published matrices, in linear light
    linear = (colours / 255) ** 2.2 @ _ADOBE_TO_SRGB.T
    encoded_srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.clip(linear, 0, 1) ** (1 / 2.4) - 0.055)
    assert np.abs(photo.pixels - np.clip(encoded_srgb, 0, 1) * 255).max() < 2.5


def test_profiles_that_say_srgb_or_nothing_useful(image):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(read_photo(encoded(image, icc_profile=srgb)).pixels, np.asarray(image))
    for useless in (b"not a profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()):
        photo = read_photo(encoded(image, icc_profile=useless))
        assert photo.notes[0].startswith("unusable ICC profile")
        assert np.array_equal(photo.pixels, np.asarray(image))


def test_transparency_is_kept_apart(image):
    half = image.convert("RGBA")
    half.putalpha(128)
    assert (read_photo(encoded(half)).alpha == 128).all()
    assert read_photo(encoded(image.convert("RGBA"))).alpha is None


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animations_are_refused(image, kind):
    data = encoded(image, kind, save_all=True, append_images=[image.rotate(90)])
    with pytest.raises(BadImageError, match="animated: 2 frames"):
        read_photo(data)


def test_a_tiff_of_several_pages_gives_its_first(image):
    photo = read_photo(encoded(image, "TIFF", save_all=True, append_images=[image.rotate(90)]))
    assert np.array_equal(photo.pixels, np.asarray(image))
    assert "first page" in photo.notes


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_files_are_refused(image, kind, share):
    data = encoded(image, kind)
    with pytest.raises(BadImageError):
        read_photo(data[: int(len(data) * share)])


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg></svg>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x00" * 4096])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(BadImageError):
        read_photo(data)


def test_bombs_are_refused_before_they_are_decoded():
    with pytest.raises(BadImageError, match="more than 1,000 pixels"):
        read_photo(encoded(Image.new("L", (400, 300))), max_pixels=1000)
    with pytest.raises(BadImageError, match="pixels"):
        read_photo(encoded(Image.new("1", (30000, 30000))))


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_a_clear_refusal(data):
    with pytest.raises(BadImageError):
        read_photo(data)


def test_lossless_webp_survives_and_decodes_to_the_same(image):
    given = np.asarray(image)
    decoded = pixels.decode_tensor(pixels.encode_webp(given))
    assert np.array_equal(decoded.permute(1, 2, 0).numpy(), given)


def test_tensors_and_pixels_are_inverse():
    given = np.arange(256 * 3, dtype=np.uint32).astype(np.uint8).reshape(16, 16, 3)
    assert np.array_equal(pixels.tensor_to_pixels(pixels.pixels_to_tensor(given)), given)
    assert pixels.to_uint8(torch.tensor([-0.2, 0.5, 1.7])).tolist() == [0, 128, 255]


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".tif"])
def test_writing_is_complete_or_not_at_all(image, tmp_path, ending):
    path = tmp_path / "deep" / f"a{ending}"
    pixels.write_image(path, np.asarray(image))
    assert np.abs(read_photo(path).pixels.astype(int) - np.asarray(image)).max() <= (
        0 if ending in (".png", ".tif") else 24
    )
    with pytest.raises((KeyError, ValueError, OSError)):
        pixels.write_image(tmp_path / "b.unknown", np.asarray(image))
    assert not list(tmp_path.glob("*unknown*"))
