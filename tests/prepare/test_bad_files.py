"""Every kind of bad or odd file is kept with the right pixels, or excluded by name with a reason. None is fatal.

The table is the contract: the file, whether it is kept, and the words of the note or reason.
"""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features
from profiles import ADOBE_RGB, DISPLAY_P3

from archsr.config import PrepareConfig, ScenesConfig
from archsr.data.prepare.pipeline import prepare
from archsr.data.prepare.sources.opening import open_photos
from archsr.data.prepare.survey.scan import inspect
from archsr.images.pixels import read_photo

# only the kind of file counts here: drawings and near-duplicates are not searched
SETTINGS = PrepareConfig(
    val=0.3,
    test=0.3,
    tile=128,
    min_side=120,
    pair_size=64,
    max_bad_share=0.9,
    drawings="keep",
    scenes=ScenesConfig(near_duplicates=False),
)
W, H = 200, 160


def card():
    """Return four soft quarters, red, green, blue and grey, with grain: a photograph that shows its orientation."""
    quarters = np.array([[[180, 40, 40], [40, 160, 60]], [[50, 60, 170], [128, 128, 128]]], dtype=np.float64)
    grain = np.random.default_rng(0).normal(0, 6, (H, W, 3))
    pixels = quarters.repeat(H // 2, 0).repeat(W // 2, 1) + grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def saved(kind, image=None, **options):
    buffer = io.BytesIO()
    (card() if image is None else image).save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(**options):
    return saved("JPEG", **{"quality": 95, "subsampling": 0, **options})


# ---------------------------------------------------------------- makers of odd files


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, *, depth=8, colour=2, rows=None, interlaced=0, end=True):
    """Build a PNG by hand; `rows` are the filtered scanlines."""
    rows = b"" if rows is None else rows
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + (chunk(b"IEND", b"") if end else b"")
    )


def png_rgb16():
    wide = np.asarray(card()).astype(">u2") * 257
    return png(W, H, depth=16, rows=b"".join(b"\0" + row.tobytes() for row in wide))


def png_interlaced():
    pixels, rows = np.asarray(card()), b""
    for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
                         (0, 1, 1, 2)):  # fmt: skip
        rows += b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels[y::dy, x::dx]))
    return png(W, H, rows=rows, interlaced=1)


def png_bad_crc():
    data = bytearray(saved("PNG"))
    place = data.index(b"IDAT") + 4
    data[place + struct.unpack(">I", data[place - 8 : place - 4])[0]] ^= 255
    return bytes(data)


def png_one_bit():
    data = bytearray(saved("PNG"))
    data[len(data) // 2] ^= 4
    return bytes(data)


def tiff(values, *, bits, form, colour, samples=1):
    """Build an uncompressed TIFF of one strip by hand. `form`: 1 unsigned, 3 floating point."""
    strip = values.tobytes()
    height, width = values.shape[:2]
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, colour), (273, 4, 8)]
    tags += [(277, 3, samples), (278, 4, height), (279, 4, len(strip)), (339, 3, form)]
    extra = b""
    entries = b""
    after = 8 + len(strip) + 2 + 12 * len(tags) + 4
    for tag, kind, value in tags:
        if tag in (258, 339) and samples > 1:
            entries += struct.pack("<HHII", tag, 3, samples, after + len(extra))
            extra += struct.pack(f"<{samples}H", *[value] * samples)
        else:
            entries += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
    return (
        b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + bytes(4) + extra
    )


def tiff_rgb16():
    return tiff(np.asarray(card()).astype("<u2") * 257, bits=16, form=1, colour=2, samples=3)


def oriented(value, kind="JPEG"):
    """Return the card as a rotated camera stores it; turned upright it is the card again."""
    back = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
            7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = value
    turned = card().transpose(Image.Transpose[back[value]])
    return saved(kind, turned, exif=exif, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))


def cmyk_adobe():
    """CMYK with Adobe's marker, which PIL writes and which means inverted values."""
    return jpeg(image=card().convert("CMYK"))


def cmyk_plain():
    """Without the marker the values are not inverted."""
    data = jpeg(image=Image.fromarray(255 - np.asarray(card().convert("CMYK")), "CMYK"))  # PIL inverts once more
    place = data.index(b"\xff\xee")
    assert data[place + 4 : place + 9] == b"Adobe"
    return data[:place] + data[place + 2 + struct.unpack(">H", data[place + 2 : place + 4])[0] :]


def in_profile(wide):
    """Return the card's colours in a wider space; converted to sRGB they are the card's again."""
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(card(), srgb, ImageCms.ImageCmsProfile(io.BytesIO(wide)), outputMode="RGB")
    return saved("PNG", converted, icc_profile=wide)


def wrong_sof(data, *, height=None, width=None):
    place = next(data.index(m) for m in (b"\xff\xc0", b"\xff\xc2") if m in data)
    old = struct.unpack(">HH", data[place + 5 : place + 9])
    new = struct.pack(">HH", old[0] if height is None else height, old[1] if width is None else width)
    return data[: place + 5] + new + data[place + 9 :]


def wrong_sof_behind(data):
    """Return a truncated JPEG with a whole one, as a thumbnail, in its EXIF segment."""
    return with_exif(b"MM\0*\0\0\0\x08\0\0" + jpeg(image=card().resize((40, 32))), wrong_sof(data, height=4 * H))


def with_exif(content, data=None):
    """Insert this EXIF segment right after the start of the JPEG."""
    data = jpeg() if data is None else data
    body = b"Exif\0\0" + content
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def several(kind, **options):
    frames = [card(), card().rotate(180)]
    return saved(kind, frames[0], save_all=True, append_images=frames[1:], **options)


def with_alpha(value, mode="RGBA"):
    image = card().convert(mode)
    image.putalpha(value)
    return saved("PNG", image)


def palette(*, transparent):
    image = card().quantize(64)
    return saved("PNG", image, **({"transparency": 3} if transparent else {}))


def bmp_rle():
    """RLE8: runs of one grey per quarter row, bottom row first."""
    rows = [bytes([W // 2, 60, W // 2, 200, 0, 0]) for _ in range(H)]
    body = b"".join(rows) + b"\0\1"
    colours = b"".join(bytes([i, i, i, 0]) for i in range(256))
    info = struct.pack("<IiiHHIIiiII", 40, W, H, 1, 8, 1, len(body), 2835, 2835, 256, 0)
    offset = 14 + len(info) + len(colours)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + info + colours + body


def psd():
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, H, W, 8, 3) + bytes(12) + b"\0\0" + np.asarray(card()).tobytes()


def zip_bytes():
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", saved("PNG"))
    return buffer.getvalue()


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>'
HTML = b"<!DOCTYPE html><html><head><title>404</title></head><body>not found</body></html>"


def grey16():
    return Image.fromarray(np.asarray(card().convert("L")).astype(np.uint16) * 257)


# ---------------------------------------------------------------- the table

KEPT = "kept"
BAD, OTHER = "unreadable", "no image"
CARD, GREY = "card", "grey"
# name, maker, kept or the kind of exclusion, words of the reason or note, the expected pixels
TABLE = [
    # damaged
    ("cut 02.jpg", lambda: jpeg()[: len(jpeg()) // 50], BAD, "", None),
    ("cut 30.jpg", lambda: jpeg()[: len(jpeg()) * 3 // 10], BAD, "truncated", None),
    ("cut 90.jpg", lambda: jpeg()[: len(jpeg()) * 9 // 10], BAD, "truncated", None),
    ("cut at the last byte.png", lambda: saved("PNG")[:-30], BAD, "", None),
    ("cut progressive.jpg", lambda: jpeg(progressive=True)[: len(jpeg()) // 2], BAD, "truncated", None),
    ("empty.jpg", lambda: b"", BAD, "empty file", None),
    ("zeros.jpg", lambda: bytes(5000), BAD, "not an image", None),
    ("wrong height.jpg", lambda: wrong_sof(jpeg(), height=4 * H), BAD, "lower part is missing", None),
    ("no height.jpg", lambda: wrong_sof(jpeg(), height=0), BAD, "", None),
    ("bad crc.png", png_bad_crc, BAD, "checksum", None),
    ("one bit.png", png_one_bit, BAD, "", None),
    ("no end.png", lambda: saved("PNG")[:-12], KEPT, "", CARD),
    ("no height.png", lambda: png(W, 0), BAD, "", None),
    ("bomb.png", lambda: png(60_000, 60_000), BAD, "pixels", None),
    ("big bomb.png", lambda: png(2**31 - 1, 2**31 - 1), BAD, "pixels", None),
    # not what the name says
    ("text.jpg", lambda: b"Dear Sir or Madam,\n" * 40, BAD, "text", None),
    ("page.jpg", lambda: HTML, BAD, "a web page", None),
    ("zip.png", zip_bytes, BAD, "zip", None),
    ("photoshop.psd", psd, BAD, "Photoshop", None),
    ("drawing.svg", lambda: SVG, BAD, "SVG", None),
    ("phone.heic", lambda: HEIC, BAD, "HEIC", None),
    ("plan.pdf", lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", OTHER, "PDF", None),
    ("clip.mp4", lambda: b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(99), OTHER, "video", None),
    ("camera.cr2", lambda: b"II*\0\x10\0\0\0CR\2\0" + bytes(99), BAD, "", None),
    ("render.jpg", lambda: jpeg(image=_half_grey()), KEPT, "", "half grey"),
    ("a png.jpg", lambda: saved("PNG"), KEPT, "", CARD),
    ("no ending", jpeg, KEPT, "", CARD),
    (".DS_Store", lambda: b"\0\0\0\1Bud1" + bytes(200), OTHER, "operating system", None),
    ("._photo.jpg", lambda: b"\0\5\x16\7\0\2\0\0" + bytes(99), OTHER, "operating system", None),
    ("Thumbs.db", lambda: b"\xd0\xcf\x11\xe0" + bytes(99), OTHER, "operating system", None),
    # colours
    ("cmyk adobe.jpg", cmyk_adobe, KEPT, "CMYK", CARD),
    ("cmyk plain.jpg", cmyk_plain, KEPT, "CMYK", CARD),
    ("grey.jpg", lambda: jpeg(image=card().convert("L")), KEPT, "L", GREY),
    ("grey 16.png", lambda: saved("PNG", grey16()), KEPT, "16-bit", GREY),
    ("grey 16.tif", lambda: saved("TIFF", grey16()), KEPT, "16-bit", GREY),
    ("colour 16.png", png_rgb16, KEPT, "", CARD),
    ("colour 16.tif", tiff_rgb16, KEPT, "", CARD),
    ("palette.png", lambda: palette(transparent=False), KEPT, "palette", "about"),
    ("palette transparent.png", lambda: palette(transparent=True), "transparent", "transparent", None),
    ("one bit.tif", lambda: saved("TIFF", card().convert("1")), KEPT, "1", None),
    ("lab.tif", lambda: saved("TIFF", _lab()), KEPT, "LAB", "about"),
    ("float.tif", lambda: tiff(np.ones((H, W), "<f4"), bits=32, form=3, colour=1), BAD, "floating", None),
    ("32 bits.tif", lambda: saved("TIFF", Image.fromarray(np.full((H, W), 9**9, np.int32))), BAD, "16 bits", None),
    ("adobe rgb.png", lambda: in_profile(ADOBE_RGB), KEPT, "ICC Adobe RGB", "about"),
    ("display p3.png", lambda: in_profile(DISPLAY_P3), KEPT, "ICC Display P3", "about"),
    ("broken profile.jpg", lambda: jpeg(icc_profile=b"not a profile" * 20), KEPT, "unusable ICC profile", CARD),
    ("cut profile.png", lambda: saved("PNG", icc_profile=ADOBE_RGB[:200]), KEPT, "unusable ICC profile", CARD),
    ("cmyk profile.png", lambda: saved("PNG", icc_profile=_lab_profile()), KEPT, "unusable ICC profile", CARD),
    # transparency
    ("glass.png", lambda: with_alpha(90), "transparent", "transparent", None),
    ("clear.png", lambda: with_alpha(0), "transparent", "transparent", None),
    ("opaque.png", lambda: with_alpha(255), KEPT, "", CARD),
    ("opaque grey.png", lambda: with_alpha(255, "LA"), KEPT, "LA", GREY),
    ("clear grey.png", lambda: with_alpha(9, "LA"), "transparent", "transparent", None),
    ("key colour.png", lambda: saved("PNG", transparency=(1, 2, 3)), KEPT, "", CARD),
    # several images in one file
    ("moving.gif", lambda: several("GIF"), BAD, "animated: 2 frames", None),
    ("moving.webp", lambda: several("WEBP"), BAD, "animated: 2 frames", None),
    ("moving.png", lambda: several("PNG"), BAD, "animated: 2 frames", None),
    ("still.gif", lambda: saved("GIF"), KEPT, "palette", "about"),
    ("pages.tif", lambda: several("TIFF"), KEPT, "first page", CARD),
    ("both eyes.mpo", lambda: several("MPO", quality=95, subsampling=0), KEPT, "", CARD),
    # sizes
    ("dot.png", lambda: saved("PNG", Image.new("RGB", (1, 1))), "small", "1×1", None),
    ("line.png", lambda: saved("PNG", Image.new("RGB", (20000, 2))), "small", "20000×2", None),
    # the other formats and their variants
    ("progressive.jpg", lambda: jpeg(progressive=True), KEPT, "", CARD),
    ("trailing.jpg", lambda: jpeg() + b"motion photo" * 999, KEPT, "", CARD),
    ("interlaced.png", png_interlaced, KEPT, "", CARD),
    ("run lengths.bmp", bmp_rle, KEPT, "", "runs"),
    ("plain.bmp", lambda: saved("BMP"), KEPT, "", CARD),
    ("plain.ppm", lambda: saved("PPM"), KEPT, "", CARD),
    ("jpeg inside.tif", lambda: saved("TIFF", compression="jpeg", quality=95), KEPT, "", "about"),
    ("zipped.tif", lambda: saved("TIFF", compression="tiff_adobe_deflate"), KEPT, "", CARD),
    ("lossy.webp", lambda: saved("WEBP", quality=90), KEPT, "", "about"),
    ("lossless.webp", lambda: saved("WEBP", lossless=True), KEPT, "", CARD),
    ("wavelets.jp2", lambda: saved("JPEG2000"), KEPT, "", CARD),
    ("new.avif", lambda: saved("AVIF", quality=95), KEPT, "", "about"),
    # EXIF
    *[(f"turned {n}.jpg", lambda n=n: oriented(n), KEPT, "turned upright", CARD) for n in range(2, 9)],
    ("turned.png", lambda: oriented(6, "PNG"), KEPT, "turned upright", CARD),
    ("turned.webp", lambda: oriented(8, "WEBP"), KEPT, "turned upright", "about"),
    ("turned.tif", lambda: oriented(6, "TIFF"), KEPT, "turned upright", CARD),
    ("turned to nowhere.jpg", lambda: with_exif(_orientation(77)), KEPT, "", CARD),
    ("thumbnail.jpg", lambda: wrong_sof_behind(jpeg()), BAD, "lower part is missing", None),
    ("huge exif.jpg", lambda: with_exif(b"MM\0*\0\0\0\x08\0\0" + bytes(65000)), KEPT, "", CARD),
    ("corrupt exif.jpg", lambda: with_exif(b"II*\0\xff\xff\xff\x7fgarbage" * 9), KEPT, "", CARD),
    ("corrupt exif 2.jpg", lambda: with_exif(b"\x93" * 500), KEPT, "", CARD),
]  # fmt: skip


def _orientation(value):
    return b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, value, 0) + bytes(4)


def _half_grey():
    """Return an image whose lower half has the grey with which decoders fill missing data."""
    image = card()
    image.paste((128, 128, 128), (0, H // 2, W, H))
    return image


def _lab():
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return ImageCms.applyTransform(card(), to_lab)


def _lab_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def wanted_pixels(kind):
    grey = card().convert("L").convert("RGB")
    runs = Image.fromarray(np.tile(np.repeat([60, 200], W // 2), (H, 1)).astype(np.uint8)).convert("RGB")
    kinds = {CARD: card(), GREY: grey, "about": card(), "runs": runs, "half grey": _half_grey()}
    return np.asarray(kinds[kind]).astype(int)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write every file of the table once, in a folder of its own."""
    top = tmp_path_factory.mktemp("bad")
    for name, make, *_ in TABLE:
        (top / name).write_bytes(make())
    return top


@pytest.mark.parametrize(
    ("name", "kind", "words", "pixels"), [pytest.param(n, k, w, p, id=n) for n, _, k, w, p in TABLE]
)
def test_each_is_kept_or_left_out_for_a_reason(folder, name, kind, words, pixels):
    if name.endswith(".avif") and not features.check("avif"):
        pytest.skip("PIL was built without AVIF")
    source = inspect(open_photos(str(folder)), name, SETTINGS).source
    assert (source.kind or KEPT, source.path) == (kind, name), source.reason
    if kind != KEPT:
        assert words in source.reason
        assert len(source.reason) > 8
        return
    assert words in " ".join(source.notes)
    assert (source.width, source.height) == (W, H)
    if pixels:
        found = read_photo(folder / name).pixels.astype(int)
        difference = np.abs(found - wanted_pixels(pixels))
        assert difference.mean() < (12 if pixels == "about" else 4), difference.mean()
        # each quarter has its colour: nothing is mirrored and no channels are exchanged
        means = found.reshape(2, H // 2, 2, W // 2, 3).mean((1, 3))
        assert np.abs(means - wanted_pixels(pixels).reshape(2, H // 2, 2, W // 2, 3).mean((1, 3))).max() < 8


def test_all_at_once_are_accounted_for(folder, tmp_path):
    """The whole table as one dataset: nothing is fatal, and kept plus excluded files are all files."""
    top = tmp_path / "photos"
    for number, name in enumerate(sorted(p.name for p in folder.iterdir())):
        (top / f"project {number}").mkdir(parents=True)
        (top / f"project {number}" / name).write_bytes((folder / name).read_bytes())
    (top / "odd").mkdir()
    os.symlink(top / "nowhere", top / "odd" / "dead.jpg")
    os.symlink("loop.jpg", top / "odd" / "loop.jpg")
    os.symlink(top, top / "odd" / "circle")
    os.mkfifo(top / "odd" / "pipe.jpg")
    (top / "odd" / "folder.jpg").mkdir()
    for number, name in enumerate(("folder.jpg/inner.jpg", "ünï – cödé 🏛.jpg", "new\nline.jpg")):
        (top / "odd" / name).write_bytes(jpeg(quality=80 + number))
    (top / "odd" / "copy.jpg").write_bytes(jpeg(quality=80))
    made = prepare(top, tmp_path / "out", SETTINGS)
    left = {item.path: item for item in made.left_out}
    assert made.sources.found == len(TABLE) + 7
    assert made.sources.kept + len(left) == made.sources.found
    assert {n for n in left if n.startswith("odd/")} == {
        f"odd/{n}.jpg" for n in ("dead", "loop", "pipe", "folder.jpg/inner")
    }
    assert left["odd/folder.jpg/inner.jpg"].kind == "duplicate"
    assert "does not exist" in left["odd/dead.jpg"].reason
    assert "itself" in left["odd/loop.jpg"].reason
    assert "pipe" in left["odd/pipe.jpg"].reason
    expected = {name: kind for name, _, kind, *_ in TABLE if kind != KEPT}
    found = {n.split("/")[1]: i.kind for n, i in left.items() if not n.startswith("odd/") and i.kind != "duplicate"}
    assert found == expected


def test_files_without_rights_are_left_out(folder, monkeypatch, tmp_path):
    (tmp_path / "closed.jpg").write_bytes(jpeg())
    real = os.open

    def refusing(path, *rest, **options):
        if Path(os.fsdecode(path)).name == "closed.jpg":
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", refusing)
    source = inspect(open_photos(str(tmp_path)), "closed.jpg", SETTINGS).source
    assert (source.kind, source.reason) == ("unreadable", "cannot be opened: Permission denied")


def test_the_table_is_long_enough():
    assert len({name for name, *_ in TABLE}) == len(TABLE) >= 50
