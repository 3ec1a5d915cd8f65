"""Upscaling keeps depth, profile, orientation, metadata, transparency and pages, and drops what must not be kept."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import pyvips
import safetensors.torch
import tifffile
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from archsr.images.image_files import BadImageError
from archsr.images.pixels import read_photo
from archsr.models.base import Generator
from archsr.upscaling.files import plan_files, upscale_files
from archsr.upscaling.one_image import OutputOptions, upscale_image
from archsr.upscaling.opening import open_model
from archsr.upscaling.source import open_source
from archsr.upscaling.upscaler import Upscaler

sys.path.insert(0, str(Path(__file__).parents[1] / "prepare"))
from test_bad_files import BAD, KEPT, TABLE, H, W


class Nearest(Generator):
    """A network that repeats every pixel, so that all other changes come from file handling."""

    title, scale = "nearest", 2

    @classmethod
    def from_config(cls, config):
        return cls()

    def halo(self):
        return 0

    def forward(self, x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.fixture
def upscaler():
    return Upscaler(Nearest(), tile=16, halo=4)


def doubled(pixels):
    return pixels.repeat(2, 0).repeat(2, 1)


def smooth(shape, *, top=255, dtype=np.uint8, seed=0):
    noise = np.random.default_rng(seed).random(shape)
    noise = ndimage.gaussian_filter(noise, (3, 3, 0)[: len(shape)])
    return ((noise - noise.min()) / np.ptp(noise) * top).astype(dtype)


def wide_profile():
    """Return Display P3, from libvips."""
    return pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb").icc_transform("p3").get("icc-profile-data")


# ---------------------------------------------------------------- place


@pytest.mark.parametrize("scale", [None, 3, 1])
def test_transparency_and_other_scales_stay_in_their_place(tmp_path, upscaler, scale):
    """A ramp must not move; libvips's resize shifts upsampled images by half a pixel."""
    rising = np.broadcast_to(np.linspace(20, 235, 60)[None], (40, 60)).astype(np.uint8)
    off = []
    for ramp in (rising, rising[:, ::-1]):
        Image.merge("LA", [Image.fromarray(ramp)] * 2).save(tmp_path / "a.png")
        upscale_image(tmp_path / "a.png", tmp_path / "b.png", upscaler, OutputOptions(scale))
        got = Image.open(tmp_path / "b.png")
        expected = np.asarray(Image.fromarray(ramp).resize(got.size, Image.Resampling.BICUBIC)).astype(float)
        off.append([(np.asarray(band).astype(float) - expected)[:, 8:-8].mean() for band in got.split()])
    moved = (np.array(off[0]) - off[1]) / 2 / (215 / got.width)  # what does not change sign is no movement
    assert np.abs(moved).max() < 0.15


# ---------------------------------------------------------------- depth and colour


@pytest.mark.parametrize("shape", [(40, 52), (40, 52, 3), (40, 52, 2), (40, 52, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_grey_and_rgb_with_and_without_alpha_at_both_depths(tmp_path, upscaler, shape, dtype, ending):
    top = np.iinfo(dtype).max
    pixels = smooth(shape, top=top, dtype=dtype)
    source, target = tmp_path / "a.tif", tmp_path / f"b.{ending}"
    colours = 1 if len(shape) == 2 or shape[2] == 2 else 3
    extra = ["unassalpha"] if len(shape) == 3 and shape[2] != 3 else []
    tifffile.imwrite(source, pixels, photometric="minisblack" if colours == 1 else "rgb", extrasamples=extra)
    upscale_image(source, target, upscaler)
    got = tifffile.imread(target) if ending == "tif" else read_deep_png(target)
    assert got.dtype == dtype
    assert got.shape == (80, 104, *shape[2:])
    colour = slice(None) if len(shape) == 2 else (..., slice(0, colours))
    # ppc64le, arm and x86 round the half alike: 16 bits go through float32 without loss
    assert np.array_equal(got[colour], doubled(pixels)[colour])
    if extra:  # transparency is interpolated
        assert np.abs(got[..., -1].astype(float) - doubled(pixels)[..., -1]).mean() < 0.02 * top


def read_deep_png(path):
    import cv2

    got = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if got.ndim == 2:
        return got
    if got.shape[2] == 4 and (got[..., 0] == got[..., 1]).all() and (got[..., 1] == got[..., 2]).all():
        return got[..., [0, 3]]  # OpenCV has no grey with alpha
    return got[..., [2, 1, 0, 3][: got.shape[2]]]


def test_sixteen_bits_become_eight_where_the_format_has_no_more(tmp_path, upscaler):
    pixels = smooth((40, 52, 3), top=65535, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    upscale_image(tmp_path / "a.tif", tmp_path / "b.webp", upscaler, OutputOptions(quality=100))
    assert np.array_equal(np.array(Image.open(tmp_path / "b.webp")), doubled(np.rint(pixels / 257).astype(np.uint8)))


def test_a_wide_profile_stays_with_its_numbers(tmp_path, upscaler):
    """A conversion would lose colours outside of sRGB, so profile and values are kept."""
    profile = wide_profile()
    pixels = smooth((40, 52, 3))
    for ending in ("png", "jpg", "webp", "tif"):
        Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile)
        upscale_image(tmp_path / "a.png", tmp_path / f"b.{ending}", upscaler)
        found = Image.open(tmp_path / f"b.{ending}")
        assert found.info["icc_profile"] == profile
        assert np.abs(np.asarray(found).astype(int) - doubled(pixels)).mean() < 3  # JPEG and WebP


@pytest.mark.parametrize("mode", ["CMYK", "P", "LA", "1", "L", "RGBA"])
def test_images_of_other_kinds(tmp_path, upscaler, mode):
    rgb = Image.fromarray(smooth((40, 52, 3)))
    image = rgb.convert(mode)
    source = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(source)
    upscale_image(source, tmp_path / "b.png", upscaler)
    got = Image.open(tmp_path / "b.png")
    assert got.size == (104, 80)
    expected = {"CMYK": "RGB", "P": "RGB", "LA": "LA", "1": "L", "L": "L", "RGBA": "RGBA"}[mode]
    assert got.mode == expected
    tolerance = 40 if mode == "CMYK" else 12  # without a profile, CMYK is a matter of opinion
    wanted = doubled(np.asarray(image.convert("RGB")).astype(int))
    assert np.abs(np.asarray(got.convert("RGB")).astype(int) - wanted).mean() < tolerance


# ---------------------------------------------------------------- what files carry


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_exif_and_xmp_are_kept_but_for_what_was_done(tmp_path, upscaler, ending):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x8298] = "Camera works", "Model 7", "© 2024 Somebody"
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8769)[0x829A] = 0.004
    exif.get_ifd(0x8825)[1], exif.get_ifd(0x8825)[2] = "N", (52.0, 31.0, 12.0)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
    pixels = smooth((40, 52, 3))
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, xmp=xmp, quality=98, subsampling=0, dpi=(300, 300))
    upscale_image(tmp_path / "a.jpg", tmp_path / f"b.{ending}", upscaler)
    got = Image.open(tmp_path / f"b.{ending}")
    assert got.size == (80, 104)  # upright now
    found = got.getexif()
    assert found.get(0x0112, 1) == 1
    assert (found[0x010F], found[0x0110]) == ("Camera works", "Model 7")
    inner = found.get_ifd(0x8769)
    assert inner[0x9003] == "2024:05:06 07:08:09"
    assert found.get_ifd(0x8825)[2] == (52.0, 31.0, 12.0)
    assert (inner.get(0xA002, 80), inner.get(0xA003, 104)) == (80, 104)
    assert b"xmpmeta" in (got.info.get("xmp") or got.info.get("XML:com.adobe.xmp", "").encode() or found[700])
    turned = np.rot90(doubled(pixels), -1)
    assert np.abs(np.asarray(got).astype(int) - turned).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_what_pil_makes_of_it(tmp_path, upscaler, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(smooth((30, 44, 3))).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    upscale_image(tmp_path / "a.jpg", tmp_path / "b.png", upscaler)
    expected = doubled(np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))))
    assert np.abs(np.asarray(Image.open(tmp_path / "b.png")).astype(int) - expected).max() <= 2  # two JPEG decoders


def test_without_metadata_only_the_profile_stays(tmp_path, upscaler):
    exif = Image.Exif()
    exif[0x010F] = "Camera works"
    Image.fromarray(smooth((30, 44, 3))).save(tmp_path / "a.jpg", exif=exif, icc_profile=wide_profile())
    upscale_image(tmp_path / "a.jpg", tmp_path / "b.jpg", upscaler, OutputOptions(metadata=False))
    got = Image.open(tmp_path / "b.jpg")
    assert 0x010F not in got.getexif()
    assert got.info["icc_profile"] == wide_profile()


def test_pages_of_a_tiff_stay_pages(tmp_path, upscaler):
    pages = [smooth((30, 44, 3), seed=n) for n in range(3)]
    tifffile.imwrite(tmp_path / "a.tif", pages[0], photometric="rgb")
    for page in pages[1:]:
        tifffile.imwrite(tmp_path / "a.tif", page, photometric="rgb", append=True)
    upscale_image(tmp_path / "a.tif", tmp_path / "b.tif", upscaler)
    with tifffile.TiffFile(tmp_path / "b.tif") as found:
        assert len(found.pages) == 3
        for page, expected in zip(found.pages, pages, strict=True):
            assert np.array_equal(page.asarray(), doubled(expected))
    with pytest.raises(BadImageError, match="3 pages; use tiff"):
        upscale_image(tmp_path / "a.tif", tmp_path / "b.png", upscaler)


@pytest.mark.parametrize("scale", [0.5, 1, 1.5, 2, 3, 5])
def test_any_output_scale(tmp_path, upscaler, scale):
    image = Image.fromarray(smooth((41, 53, 4)))
    image.save(tmp_path / "a.png")
    upscale_image(tmp_path / "a.png", tmp_path / "b.png", upscaler, OutputOptions(scale=scale))
    got = Image.open(tmp_path / "b.png")
    assert got.size == (round(53 * scale), round(41 * scale))
    expected = np.asarray(image.resize(got.size, Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(np.asarray(got).astype(int) - expected)[..., :3].mean() < 4


# ---------------------------------------------------------------- what goes wrong


def bad_files(folder):
    """Write unusable image files, by name."""
    pixels = smooth((60, 80, 3))

    def encoded(form, **options):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, form, **options)
        return out.getvalue()

    made = {"empty.jpg": b"", "text.png": b"hello", "page.jpg": b"<html></html>", "zip.png": b"PK\3\4" + bytes(200)}
    made["drawing.svg.png"] = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>'
    made["document.tif"] = b"%PDF-1.4 nothing"
    for form, ending in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif"), ("GIF", "gif")):
        whole = encoded(form)
        for share in (0.05, 0.3, 0.6, 0.9):
            made[f"cut{share}.{ending}"] = whole[: int(len(whole) * share)]
        made[f"head.{ending}"] = whole[:12]
        if form != "WEBP":  # zeros are an image to it
            made[f"zeros.{ending}"] = whole[:40] + bytes(len(whole) - 40)
    png = encoded("PNG")
    made["crc.png"] = png[:200] + bytes([png[200] ^ 255]) + png[201:]
    made["huge.png"] = png[:16] + (200_000).to_bytes(4, "big") * 2 + png[24:]
    still = io.BytesIO()
    Image.fromarray(pixels).save(still, "GIF", save_all=True, append_images=[Image.fromarray(pixels[::-1])])
    made["moving.gif"] = still.getvalue()
    moving = io.BytesIO()
    Image.fromarray(pixels).save(moving, "PNG", save_all=True, append_images=[Image.fromarray(pixels[::-1])])
    made["moving.png"] = moving.getvalue()
    deep = io.BytesIO()
    tifffile.imwrite(deep, pixels.astype(np.float32))
    made["floats.tif"] = deep.getvalue()
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return made


def test_bad_files_are_refused_one_by_one_and_leave_nothing(tmp_path, upscaler):
    (tmp_path / "in").mkdir()
    made = bad_files(tmp_path / "in")
    assert len(made) >= 40
    smooth_image = Image.fromarray(smooth((30, 44, 3)))
    smooth_image.save(tmp_path / "in" / "good.jpg")
    outcome = upscale_files(plan_files([tmp_path / "in"], tmp_path / "out", ending=".png").pairs, upscaler)
    failed = {path.name: reason for path, reason in outcome.failed}
    assert [p.name for p in outcome.written] == ["good.png"]
    assert set(failed) == set(made)
    assert all(reason and "\n" not in reason for reason in failed.values())
    assert [p.name for p in (tmp_path / "out").rglob("*")] == ["good.png"]
    assert "zip archive" in failed["zip.png"]
    assert "animated" in failed["moving.gif"]
    assert "animated" in failed["moving.png"]
    assert "2,000,000,000 pixels" in failed["huge.png"]
    assert "floating-point" in failed["floats.tif"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (100, 100), (160, 200, 3), (64, 512), (600, 40)])
def test_few_pixels_in_many_strips_all_arrive(tmp_path, upscaler, shape):
    """The packer may hold back strips, and a reader may request more than there is."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    upscale_image(tmp_path / "a.png", tmp_path / "b.png", upscaler)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), doubled(pixels))


def test_every_kind_of_file_that_a_preparation_may_meet(tmp_path, upscaler):
    """Each is upscaled or refused with a message; none is fatal or blocks the others."""
    (tmp_path / "in").mkdir()
    for name, make, *_ in TABLE:
        (tmp_path / "in" / name).write_bytes(make())
    pairs = [(p, tmp_path / "out" / f"{p.name}.png") for p in sorted((tmp_path / "in").iterdir())]
    outcome = upscale_files(pairs, upscaler)
    failed = {path.name: reason for path, reason in outcome.failed}
    written = {path.name.removesuffix(".png") for path in outcome.written}
    assert sorted([*failed, *written]) == sorted(name for name, *_ in TABLE)
    assert all(reason and "\n" not in reason for reason in failed.values())
    kept = {name for name, _, kind, *_ in TABLE if kind == KEPT}
    assert kept & set(failed) == {"pages.tif"}  # a PNG has no pages
    bad = {name for name, _, kind, *_ in TABLE if kind == BAD}
    assert bad & written == set()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}.png" for name in written}
    for name in kept & written:
        assert Image.open(tmp_path / "out" / f"{name}.png").size == (2 * W, 2 * H), name


def test_lab_is_read_as_pil_does(tmp_path):
    lab = Image.merge("LAB", [Image.linear_gradient("L").rotate(turn) for turn in (0, 90, 180)])
    lab.save(tmp_path / "lab.tif")
    source = open_source(tmp_path / "lab.tif")
    assert np.array_equal(source.reader()(0, 256), read_photo(tmp_path / "lab.tif").pixels)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 3), (15, 16), (17, 23)])
def test_a_small_jpeg(tmp_path, size):
    Image.new("RGB", size, (200, 10, 10)).save(tmp_path / "a.jpg")
    assert open_source(tmp_path / "a.jpg").size == size[::-1]


def test_a_image_that_is_grey_below_is_whole(tmp_path):
    make_image = np.full((70, 40, 3), 128, np.uint8)
    make_image[:20] = 7
    Image.fromarray(make_image).save(tmp_path / "fog.jpg")
    assert open_source(tmp_path / "fog.jpg").size == (70, 40)


def test_the_limit_of_pixels_is_the_callers(tmp_path):
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    with pytest.raises(BadImageError, match="100×100 is more than 9,999 pixels"):
        open_source(tmp_path / "a.png", max_pixels=9999)


def test_cancelled_it_leaves_nothing_and_can_be_done_again(tmp_path, upscaler):
    Image.fromarray(smooth((200, 200, 3))).save(tmp_path / "a.png")
    seen = []

    def cancel(share):
        seen.append(share)
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscale_image(tmp_path / "a.png", tmp_path / "out" / "b.png", upscaler, on_progress=cancel)
    assert seen == sorted(seen)
    assert 0 < seen[0] < 0.1
    assert list((tmp_path / "out").iterdir()) == []
    upscale_image(tmp_path / "a.png", tmp_path / "out" / "b.png", upscaler)
    assert Image.open(tmp_path / "out" / "b.png").size == (400, 400)


def test_a_place_that_cannot_be_written_is_named(tmp_path, upscaler):
    Image.fromarray(smooth((200, 200, 3))).save(tmp_path / "a.png")
    (tmp_path / "out").write_text("a file where a folder should be")
    outcome = upscale_files([(tmp_path / "a.png", tmp_path / "out" / "b.png")], upscaler)
    assert "cannot be written" in outcome.failed[0][1]


def test_a_full_disk_is_named_and_leaves_no_part(tmp_path, upscaler, monkeypatch):
    from archsr.upscaling import one_image as module

    Image.fromarray(smooth((300, 300, 3))).save(tmp_path / "a.png")

    def full(image, path, quality):
        image.crop(0, 0, image.width, 20).pngsave(str(path))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_image", full)
    outcome = upscale_files(plan_files([tmp_path / "a.png"], tmp_path / "out", ending=".png").pairs, upscaler)
    assert "No space left on device" in outcome.failed[0][1]
    assert list((tmp_path / "out").iterdir()) == []


def test_too_large_for_the_format_fails_before_the_work(tmp_path, upscaler):
    Image.new("RGB", (8200, 3)).save(tmp_path / "a.png")
    with pytest.raises(BadImageError, match=r"16400×6 is too large for \.webp \(at most 16383 a side\)"):
        upscale_image(tmp_path / "a.png", tmp_path / "a.webp", upscaler, on_progress=lambda s: pytest.fail("worked"))


# ---------------------------------------------------------------- memory


class Hungry(Nearest):
    """Has memory for a limited number of pixels at a time."""

    most = 900

    def forward(self, x):
        if x.shape[2] * x.shape[3] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().forward(x)


def test_a_tile_that_does_not_fit_is_divided_without_losing_work():
    pixels = smooth((130, 210, 3))
    upscaler = Upscaler(Hungry(), tile=64, halo=2)
    upscaler._nets[0].most = 200
    with pytest.raises(torch.OutOfMemoryError):  # a tile is not divided for ever
        upscaler.pixels(pixels)
    upscaler._nets[0].most = 900
    assert np.array_equal(upscaler.pixels(pixels), doubled(pixels))


def test_several_devices_take_tiles_in_turn():
    pixels = smooth((130, 210, 3))
    net, _ = open_model_of_noise()
    one = Upscaler(net, tile=32, halo=8).pixels(pixels)
    two = Upscaler(net, tile=32, halo=8, devices=[torch.device("cpu"), torch.device("cpu")]).pixels(pixels)
    assert np.array_equal(one, two)


def open_model_of_noise():
    from archsr.config import RRDBNetConfig
    from archsr.models.build import build

    config = RRDBNetConfig(features=8, blocks=1, growth=4)
    return build(config, seed=1).requires_grad_(False).eval(), config


# ---------------------------------------------------------------- killed


@pytest.mark.gate
def test_killed_half_way_through_a_folder_it_goes_on(tmp_path):
    net, _ = open_model_of_noise()
    safetensors.torch.save_file(net.state_dict(), tmp_path / "net.safetensors")
    (tmp_path / "in").mkdir()
    for n in range(12):
        Image.fromarray(smooth((150, 150, 3), seed=n)).save(tmp_path / "in" / f"{n:02}.png")
    command = [sys.executable, "-m", "archsr", "upscale", "in", "out", "--model", "net.safetensors", "--device", "cpu"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("out/[0-9]*.png"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("out/[0-9]*.png")}
    assert len(before) < 12
    for path in before:
        Image.open(path).load()  # whole
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"{12 - len(before)} written, {len(before)} skipped" in done.stdout
    assert all(p.stat().st_mtime_ns == when for p, when in before.items())
    assert sorted(p.name for p in tmp_path.glob("out/[0-9]*.png")) == [f"{n:02}.png" for n in range(12)]


def test_strength_is_between_the_beginning_and_the_end_of_a_run(tmp_path):
    from archsr.errors import UserError

    net, _ = open_model_of_noise()
    safetensors.torch.save_file(net.state_dict(), tmp_path / "net.safetensors")
    with pytest.raises(UserError, match="needs a run folder"):
        open_model(str(tmp_path / "net.safetensors"), strength=0.5)


def test_metadata_of_a_png_text_is_no_obstacle(tmp_path, upscaler):
    info = PngInfo()
    info.add_text("Comment", "hello")
    Image.fromarray(smooth((30, 44, 3))).save(tmp_path / "a.png", pnginfo=info)
    upscale_image(tmp_path / "a.png", tmp_path / "b.jpg", upscaler)
    assert Image.open(tmp_path / "b.jpg").size == (88, 60)
