"""Files of phones and cameras, and files beside them: HEIC, AVIF, raw photographs, TIFF tags."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps, features
from test_round_trip import Nearest, doubled, smooth, wide_profile

from archsr.config import PrepareConfig
from archsr.data.prepare.sources.opening import open_photos
from archsr.data.prepare.survey.scan import inspect
from archsr.images.image_files import BadImageError
from archsr.images.pixels import read_photo, taken_at
from archsr.models.rrdbnet import RRDBNet
from archsr.upscaling.one_image import upscale_image
from archsr.upscaling.source import open_source, reason
from archsr.upscaling.upscaler import Upscaler


@pytest.fixture
def upscaler():
    return Upscaler(Nearest(), tile=64, halo=4)


# ---------------------------------------------------------------- raw photographs

RAW = "a raw photograph; develop it to TIFF or JPEG"
SENSOR = smooth((96, 128), top=4095, dtype=np.uint16)
PREVIEW = smooth((24, 32, 3))


def with_sub_folder(path, sensor, *, tags=(), big=False, order="<", **options):
    """Write a preview whose sub-directory holds the raw image."""
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
        upscale_image(tmp_path / name, tmp_path / "out.png", upscaler)
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
        upscale_image(tmp_path / f"{name}.tif", tmp_path / "out.tif", upscaler)
        assert np.array_equal(tifffile.TiffFile(tmp_path / "out.tif").pages[0].asarray(), doubled(pixels))
        assert np.array_equal(read_photo(tmp_path / f"{name}.tif").pixels, pixels)


def test_folders_in_a_circle_end(tmp_path):
    """The directory names itself as the next one and as its own sub-directory."""
    content = b"II*\0\x08\0\0\0\x01\0" + b"\x4a\x01\x04\0\x01\0\0\0\x08\0\0\0" + b"\x08\0\0\0"
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(BadImageError):
        open_source(tmp_path / "a.tif")
    with pytest.raises(BadImageError):
        read_photo(content)


# ---------------------------------------------------------------- the tags of a TIFF


def tiff_with_tags(path, *, order="<", big=False, orientation=6):
    """Write a TIFF like raw developers do: tags, EXIF and GPS, the old size, and a thumbnail."""
    import tifftools

    exif = {0x9003: "2024:05:06 07:08:09", 0x829A: [1, 250], 0xA002: [44], 0xA003: [30], 0xA430: "Jörg"}
    gps = {1: "N", 2: [52, 1, 31, 1, 12, 1]}
    kinds = {0x829A: 5, 0xA002: 4, 0xA003: 4, 2: 5}
    tifffile.imwrite(path, smooth((30, 44, 3)), photometric="rgb", byteorder=order, bigtiff=big, metadata=None)
    tifffile.imwrite(path, smooth((8, 8, 3)), photometric="rgb", append=True, subfiletype=1, metadata=None)
    info = tifftools.read_tiff(str(path))
    info["ifds"] = info["ifds"][:1]
    tags = info["ifds"][0]["tags"]
    texts = {270: "A façade", 271: "Camera works", 272: "Model 7", 306: "2024:06:07 08:09:10", 315: "Zoë"}
    for number, text in {**texts, 33432: "© 2024 Somebody"}.items():
        tags[number] = {"datatype": 2, "data": text}
    tags[274] = {"datatype": 3, "data": [orientation]}
    for number, folder in ((34665, exif), (34853, gps)):
        made = {n: {"datatype": kinds.get(n, 2), "data": value} for n, value in folder.items()}
        tags[number] = {"datatype": 13, "ifds": [[{"tags": made, **_of(info)}]]}
    tifftools.write_tiff(info, str(path), allowExisting=True, bigtiff=big, bigEndian=order == ">")


def _of(info):
    return {key: info[key] for key in ("path_or_fobj", "size", "bigEndian", "bigtiff")}


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("ending", ["tif", "png", "jpg", "webp"])
def test_the_tags_of_a_tiff_are_kept_in_every_format(tmp_path, upscaler, ending, order, big):
    tiff_with_tags(tmp_path / "a.tif", order=order, big=big)
    upscale_image(tmp_path / "a.tif", tmp_path / f"b.{ending}", upscaler)
    got = Image.open(tmp_path / f"b.{ending}")
    assert got.size == (60, 88)  # upright
    found = got.getexif()
    # PIL reads Latin-1 where UTF-8 is written
    texts = {n: found[n].encode("latin-1").decode() for n in (270, 271, 272, 306, 315, 33432)}
    assert texts == {
        270: "A façade",
        271: "Camera works",
        272: "Model 7",
        306: "2024:06:07 08:09:10",
        315: "Zoë",
        33432: "© 2024 Somebody",
    }
    assert found.get(0x0112, 1) == 1
    inner = found.get_ifd(0x8769)
    assert inner[0x9003] == "2024:05:06 07:08:09"
    assert float(inner[0x829A]) == 0.004
    assert inner[0xA430].encode("latin-1").decode() == "Jörg"
    assert (inner.get(0xA002, 60), inner.get(0xA003, 88)) == (60, 88)
    assert found.get_ifd(0x8825)[1] == "N"
    assert found.get_ifd(0x8825)[2] == (52.0, 31.0, 12.0)
    assert not found.get_ifd(1)  # no thumbnail
    assert found.get(256, 60) == 60


def test_a_description_of_the_old_pixels_is_left_out(tmp_path, upscaler):
    tifffile.imwrite(
        tmp_path / "a.tif", smooth((30, 44, 3)), photometric="rgb", datetime=True
    )  # {"shape": [30, 44, 3]}
    upscale_image(tmp_path / "a.tif", tmp_path / "b.tif", upscaler)
    found = Image.open(tmp_path / "b.tif").getexif()
    assert 270 not in found
    assert 306 in found


def test_tags_that_are_damaged_cost_no_image(tmp_path, upscaler):
    tiff_with_tags(tmp_path / "a.tif", orientation=1)
    whole = (tmp_path / "a.tif").read_bytes()
    place = whole.index((34665).to_bytes(2, "little") + b"\x0d\0")
    (tmp_path / "a.tif").write_bytes(whole[: place + 8] + b"\xff\xff\xff\x7f" + whole[place + 12 :])
    upscale_image(tmp_path / "a.tif", tmp_path / "b.png", upscaler)
    found = Image.open(tmp_path / "b.png")
    assert found.size == (88, 60)
    assert found.getexif()[271] == "Camera works"


# ---------------------------------------------------------------- full disks, one channel


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
@pytest.mark.parametrize("save", ["pngsave", "jpegsave", "webpsave"])
def test_a_full_disk_is_called_so_whoever_finds_it(save):
    image = pyvips.Image.gaussnoise(300, 300).cast("uchar")
    with pytest.raises(pyvips.Error) as found:
        getattr(image, save)("/dev/full")
    assert reason(found.value) == "No space left on device"


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_grey_image_has_no_tint(tmp_path, upscaler, ending, alpha):
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 52), dtype=np.uint8))
    if alpha:
        grey.putalpha(Image.new("L", grey.size, 200))
    grey.save(tmp_path / "a.png")
    upscale_image(tmp_path / "a.png", tmp_path / f"b.{ending}", upscaler)
    got = Image.open(tmp_path / f"b.{ending}")
    if ending == "webp":  # which knows only colours; lossy, its own rounding is one level
        assert np.ptp(np.asarray(got.convert("RGB")).astype(int), axis=2).max() <= 1
    else:
        assert got.mode == ("LA" if alpha and ending != "jpg" else "L")


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_a_grey_scan_saved_as_rgb_has_no_tint(tmp_path, ending):
    torch.manual_seed(0)
    net = RRDBNet(features=8, growth=4, blocks=1).eval().requires_grad_(False)
    net.conv_last.bias.fill_(0.5)
    upscaler = Upscaler(net, tile=64)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 52), dtype=np.uint8)).convert("RGB").save(
        tmp_path / f"a.{ending}"
    )
    upscale_image(tmp_path / f"a.{ending}", tmp_path / f"b.{ending}", upscaler)
    got = Image.open(tmp_path / f"b.{ending}")
    assert got.mode == "RGB"
    assert np.ptp(np.asarray(got).astype(int), axis=2).max() == 0


# ---------------------------------------------------------------- HEIC and AVIF


@pytest.fixture
def heif():
    library = pytest.importorskip("pillow_heif")
    library.register_heif_opener()
    return library


def phone_exif(orientation):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Telephone works", "Phone 7", orientation
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8769)[0xA002] = 44
    exif.get_ifd(0x8825)[1] = "N"
    return exif


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_a_heic_is_enlarged_with_profile_and_exif(tmp_path, upscaler, heif, ending, orientation):
    """The file's own rotation applies: by HEIF's standard, the EXIF orientation does not."""
    image, profile = Image.fromarray(smooth((120, 160, 3))), wide_profile()
    image.save(tmp_path / "a.heic", quality=100, chroma=444, exif=phone_exif(orientation), icc_profile=profile)
    upscale_image(tmp_path / "a.heic", tmp_path / f"b.{ending}", upscaler)
    got = Image.open(tmp_path / f"b.{ending}")
    assert np.abs(np.asarray(got).astype(int) - doubled(np.asarray(Image.open(tmp_path / "a.heic")))).mean() < 3
    assert got.info["icc_profile"] == profile
    found = got.getexif()
    assert (found[0x010F], found[0x0110], found.get(0x0112, 1)) == ("Telephone works", "Phone 7", 1)
    assert found.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
    assert found.get_ifd(0x8769).get(0xA002, got.width) == got.width
    assert found.get_ifd(0x8825)[1] == "N"


def test_a_heic_is_prepared_in_srgb(tmp_path, heif):
    image = Image.fromarray(smooth((120, 160, 3)))
    options = {"exif": phone_exif(1), "icc_profile": wide_profile()}
    image.save(tmp_path / "a.heic", quality=100, chroma=444, **options)
    image.save(tmp_path / "a.png", **options)
    found = inspect(open_photos(str(tmp_path)), "a.heic", PrepareConfig(min_side=100, drawings="keep"))
    assert (found.source.kind, found.source.taken) == ("", "2024-05-06T07:08:09")
    assert np.abs(found.pixels.astype(int) - read_photo(tmp_path / "a.png").pixels).mean() < 3
    assert taken_at((tmp_path / "a.heic").read_bytes())


def deep_heic(path, heif, pixels, **options):
    """Write 16-bit pixels as a 10-bit file."""
    before, heif.options.SAVE_HDR_TO_12_BIT = heif.options.SAVE_HDR_TO_12_BIT, False
    made = heif.from_bytes("RGB;16", pixels.shape[1::-1], pixels.tobytes())
    made.save(path, quality=100, chroma=444, **options)
    heif.options.SAVE_HDR_TO_12_BIT = before


def test_ten_bits_of_a_heic_become_sixteen(tmp_path, upscaler, heif):
    pixels = smooth((120, 160, 3), top=65535, dtype=np.uint16)
    pixels[:40, :40] = 65535
    deep_heic(tmp_path / "a.heic", heif, pixels)
    upscale_image(tmp_path / "a.heic", tmp_path / "b.tif", upscaler)
    got = tifffile.imread(tmp_path / "b.tif")
    assert got.dtype == np.uint16
    assert np.abs(got.astype(int) - doubled(pixels)).mean() < 257
    assert got[:60, :60].min() > 65535 - 200
    assert len(np.unique(got)) > 400  # more than 8 bits have


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_without_a_standard_image_is_refused(tmp_path, heif, transfer, name):
    pixels = smooth((120, 160, 3), top=65535, dtype=np.uint16)
    profile = {"color_primaries": 9, "transfer_characteristics": transfer, "matrix_coefficients": 9}
    deep_heic(tmp_path / "a.heic", heif, pixels, save_nclx_profile=True, **profile)
    for read in (open_source, read_photo):
        with pytest.raises(BadImageError, match=rf"an HDR image \({name}\)"):
            read(tmp_path / "a.heic")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_damaged_heic_is_called_so(tmp_path, heif, share):
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.heic")
    whole = (tmp_path / "a.heic").read_bytes()
    (tmp_path / "a.heic").write_bytes(whole[: int(len(whole) * share)])
    for read in (open_source, read_photo):
        with pytest.raises(BadImageError, match="damaged"):
            read(tmp_path / "a.heic")


def test_too_many_pixels_of_a_heic_are_refused(tmp_path, heif):
    Image.new("RGB", (100, 100)).save(tmp_path / "a.heic")
    for read in (open_source, read_photo):
        with pytest.raises(BadImageError, match="100×100 is more than 9,999 pixels"):
            read(tmp_path / "a.heic", max_pixels=9999)


def test_grey_and_transparent_heics_stay_so(tmp_path, upscaler, heif):
    rgb = Image.fromarray(smooth((120, 160, 3)))
    for mode in ("L", "RGBA"):
        rgb.convert(mode).save(tmp_path / f"{mode}.heic", quality=100)
        upscale_image(tmp_path / f"{mode}.heic", tmp_path / f"{mode}.png", upscaler)
        assert Image.open(tmp_path / f"{mode}.png").mode == mode


def test_where_heic_cannot_be_read_the_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for read in (open_source, read_photo):
        with pytest.raises(BadImageError, match=r'a HEIC image; pip install "archsr\[phone\]" to read it'):
            read(tmp_path / "a.heic")


@pytest.mark.skipif(not features.check("avif"), reason="PIL was built without AVIF")
@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_an_avif_is_read_alike_for_enlarging_and_preparing(tmp_path, upscaler, orientation):
    image = Image.fromarray(smooth((120, 160, 3)))
    options = {"exif": phone_exif(orientation), "icc_profile": wide_profile()}
    image.save(tmp_path / "a.avif", quality=98, subsampling="4:4:4", **options)
    upscale_image(tmp_path / "a.avif", tmp_path / "b.png", upscaler)
    got = Image.open(tmp_path / "b.png")
    assert got.getexif()[0x0110] == "Phone 7"
    assert got.getexif().get(0x0112, 1) == 1
    expected = Image.fromarray(doubled(np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.avif")))))
    assert np.abs(np.asarray(got).astype(int) - np.asarray(expected)).mean() < 3
    assert np.array_equal(read_photo(tmp_path / "a.avif").pixels, converted(expected.reduce(2)))


def converted(image):
    profile = ImageCms.ImageCmsProfile(io.BytesIO(wide_profile()))
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    return np.asarray(ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), intent, flags=flags))
