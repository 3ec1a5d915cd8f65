"""What real encoders' files keep through `archsr upscale`: python tests/measure/kinds_of_files.py [FOLDER]

Files as phones, cameras, scanners and editors write them are made with exiftool, ImageMagick, heif-enc, avifenc,
cwebp, opj_compress, tiffcp and cjpeg, and enlarged into every format. exiftool, not archsr, then reads both sides.
Printed, for each file and format: how many of its tags came through, its colour profile, its depth, and whether it
stands upright. Exits 1 if anything is lost that the format can hold.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import beside  # noqa: F401
import numpy as np
import pillow_heif
import pyvips
from PIL import Image, ImageCms
from test_round_trip import Nearest

from archsr.upscaling.one_image import upscale_image
from archsr.upscaling.upscaler import Upscaler

NEEDED = ("exiftool", "convert", "heif-enc", "avifenc", "cwebp", "opj_compress", "tiffcp", "cjpeg")
FORMATS = ("png", "jpg", "webp", "tif")
TAGS = ["Make", "Model", "Artist", "Copyright", "ImageDescription", "DateTimeOriginal", "GPSLatitude", "GPSLongitude",
        "LensModel", "ISO", "ExposureTime", "FNumber", "Title", "XMP:Creator"]  # fmt: skip
CAMERA = [
    "-Make=Make", "-Model=Model 5", "-Artist=A. Photographer", "-Copyright=(c) them", "-ImageDescription=Town hall",
    "-DateTimeOriginal=2025:06:01 12:00:00", "-GPSLatitude=48.2", "-GPSLatitudeRef=N", "-GPSLongitude=16.37",
    "-GPSLongitudeRef=E", "-ISO=100", "-ExposureTime=1/250", "-FNumber=8", "-LensModel=35mm",
]  # fmt: skip
WRITTEN = ["-XMP-dc:Title=Town hall", "-XMP-dc:Creator=A. Photographer"]
CORNERS = [
    (200, 40, 40),
    (40, 180, 40),
    (40, 40, 200),
    (200, 200, 60),
]  # top left, top right, bottom left, bottom right


def drawn():
    """128×96 with a colour in each quarter, upright."""
    pixels = np.zeros((96, 128, 3), np.uint8)
    for number, colour in enumerate(CORNERS):
        top, left = divmod(number, 2)
        pixels[48 * top : 48 * top + 48, 64 * left : 64 * left + 64] = colour
    return Image.fromarray(pixels)


def sh(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip().splitlines()[-1:]}")


def tagged(path, *tags):
    sh("exiftool", "-q", "-overwrite_original", *tags, path)


class Made:
    """The files, each by a method's few lines."""

    def __init__(self, folder):
        self.folder, self.base = folder, folder / "base.png"
        drawn().save(self.base)
        self.wide = folder / "p3.icc"
        self.wide.write_bytes(
            pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb").icc_transform("p3").get("icc-profile-data")
        )
        self.srgb = folder / "srgb.icc"
        self.srgb.write_bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        self.cmyk = folder / "cmyk.icc"
        black = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
        self.cmyk.write_bytes(black.icc_transform("cmyk").get("icc-profile-data"))

    def jpeg(self, name, *options, turn=1, profile=None, tags=(), cjpeg=()):
        path, plain = self.folder / name, self.folder / "plain.ppm"
        stored = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[
            turn
        ]
        (drawn() if stored is None else drawn().transpose(stored)).save(plain)
        sh("cjpeg", "-quality", 95, *cjpeg, "-outfile", path, plain)
        if options:
            sh("convert", path, *options, path)
        tagged(
            path,
            *tags,
            *([f"-icc_profile<={profile}"] if profile else []),
            *([f"-Orientation#={turn}"] if turn > 1 else []),
        )
        return path

    def magick(self, name, *options, tags=()):
        path = self.folder / name
        sh("convert", self.base, *options, path)
        if tags:
            tagged(path, *tags)
        return path

    def heif(self, program, name, *options, turn=1, tags=CAMERA):
        source = self.jpeg("source.jpg", turn=turn, profile=self.wide, tags=tags)
        path = self.folder / name
        sh(program, *options, *([source, "-o", path] if program == "heif-enc" else [source, path]))
        return path

    def pillow_heif(self, name, *, turn=1, deep=False):
        """For what the packaged heif-enc does not write: its x265 has 8 bits, and it sets no rotation."""
        path, source = self.folder / name, self.jpeg("source.jpg", turn=turn, profile=self.wide, tags=CAMERA)
        image = Image.open(source)
        carried = {"exif": image.info["exif"], "icc_profile": image.info["icc_profile"]}
        if not deep:
            stored = Image.fromarray(np.asarray(image))  # what has EXIF would be turned
            pillow_heif.from_pillow(stored).save(path, quality=95, **carried)
            return path
        pixels = np.asarray(image).astype(np.uint16) * 257
        pillow_heif.options.SAVE_HDR_TO_12_BIT = False
        file = pillow_heif.from_bytes("RGB;16", image.size, pixels.tobytes())
        file.save(path, quality=95, **carried)
        return path


def phones(m):
    yield "phone JPEG, Display P3, turned 90°", m.jpeg("phone6.jpg", turn=6, profile=m.wide, tags=CAMERA)
    yield "phone JPEG, progressive, turned 270°", m.jpeg("phone8.jpg", turn=8, tags=CAMERA, cjpeg=["-progressive"])
    yield "phone JPEG, held upside down, 4:2:0", m.jpeg("phone3.jpg", turn=3, tags=CAMERA, cjpeg=["-sample", "2x2"])
    path = m.jpeg("trailer.jpg", tags=CAMERA)
    path.write_bytes(path.read_bytes() + b"SEFT" + bytes(500))
    yield "phone JPEG with data after its end", path
    yield "HEIC, 8 bits", m.heif("heif-enc", "phone.heic", "-q", 90)
    yield "HEIC, 8 bits, turned 90°", m.pillow_heif("phone6.heic", turn=6)
    yield "HEIC, 10 bits", m.pillow_heif("phone10.heic", deep=True)
    yield "AVIF, 8 bits", m.heif("avifenc", "phone.avif")
    yield "AVIF, 8 bits, turned 90°", m.heif("avifenc", "phone6.avif", turn=6)
    yield "AVIF, 10 bits", m.heif("avifenc", "phone10.avif", "-d", 10)


def cameras(m):
    yield (
        "camera JPEG, 4:2:2, sRGB",
        m.jpeg("camera.jpg", profile=m.srgb, tags=[*CAMERA, *WRITTEN], cjpeg=["-sample", "2x1"]),
    )
    yield "camera JPEG, grey", m.jpeg("grey.jpg", "-colorspace", "Gray", tags=CAMERA)
    yield "camera JPEG, 4:4:4, wide profile", m.jpeg("wide.jpg", profile=m.wide, tags=CAMERA, cjpeg=["-sample", "1x1"])
    for bits in (8, 16):
        for kind in ("None", "LZW", "Zip"):
            name = f"TIFF, {bits} bits, {kind}"
            options = ("-depth", bits, "-compress", kind, "-profile", m.wide)
            yield name, m.magick(f"t{bits}{kind}.tif", *options, tags=[*CAMERA, *WRITTEN])


def scanners(m):
    yield "scan, grey 8 bits, 600 dpi", m.magick("g8.tif", "-colorspace", "Gray", "-density", 600, tags=CAMERA[:5])
    yield "scan, grey 16 bits", m.magick("g16.tif", "-colorspace", "Gray", "-depth", 16, tags=CAMERA[:5])
    yield "scan, black and white, G4", m.magick("bw.tif", "-monochrome", "-compress", "Group4", tags=CAMERA[:5])
    yield "scan, JPEG in TIFF", m.magick("jt.tif", "-compress", "JPEG", tags=CAMERA[:5])
    yield "scan, CMYK TIFF", m.magick("cmyk.tif", "-profile", m.srgb, "-profile", m.cmyk, tags=CAMERA[:5])
    yield "scan, CMYK JPEG", m.magick("cmyk.jpg", "-profile", m.srgb, "-profile", m.cmyk, tags=CAMERA[:5])
    plain = m.magick("plain.tif", "-compress", "None", tags=CAMERA[:5])
    for name, option in (("tiled TIFF", ["-t"]), ("BigTIFF", ["-8"]), ("TIFF, planes apart", ["-p", "separate"])):
        path = m.folder / f"{name.replace(' ', '_')}.tif"
        sh("tiffcp", *option, plain, path)
        yield name, path
    yield (
        "PNG, 16 bits, 600 dpi",
        m.magick("p16.png", "-depth", 16, "-density", 600, "-define", "png:bit-depth=16", tags=CAMERA[:5]),
    )


def editors(m):
    yield "PNG, palette", m.magick("palette.png", "-type", "Palette", tags=WRITTEN)
    yield (
        "PNG, transparency, profile, XMP",
        m.magick("rgba.png", "-alpha", "set", "-profile", m.wide, tags=[*CAMERA, *WRITTEN]),
    )
    yield (
        "PNG, 16 bits, transparency",
        m.magick("rgba16.png", "-alpha", "set", "-depth", 16, "-define", "png:bit-depth=16"),
    )
    yield "PNG, interlaced", m.magick("adam7.png", "-interlace", "PNG", tags=WRITTEN)
    path = m.folder / "e.webp"
    sh("cwebp", "-quiet", "-lossless", m.base, "-o", path)
    tagged(path, *CAMERA, *WRITTEN)
    yield "WebP, lossless", path
    yield "TIFF, transparency", m.magick("rgba.tif", "-alpha", "set", "-profile", m.wide, tags=[*CAMERA, *WRITTEN])
    yield "TIFF, Lab", m.magick("lab.tif", "-colorspace", "Lab", tags=CAMERA[:5])
    yield "GIF", m.magick("e.gif")
    yield "BMP", m.magick("e.bmp")
    path = m.folder / "e.jp2"
    sh("opj_compress", "-i", m.base, "-o", path)
    yield "JPEG 2000", path


def read_by_exiftool(path):
    asked = [*TAGS, "ProfileDescription", "Orientation", "BitsPerSample", "BitDepth"]
    done = subprocess.run(
        ["exiftool", "-j", "-n", "-G0", *(f"-{t}" for t in asked), str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)[0]
    tags = {}
    for name, value in found.items():
        group, _, tag = name.partition(":")
        if group in ("EXIF", "XMP", "ICC_Profile", "PNG"):
            tags.setdefault("XMP:Creator" if name == "XMP:Creator" else tag, value)
    return tags


def compared(source, target):
    """(tags kept, tags there, names of the lost, profile kept, depth, upright)."""
    before, after = read_by_exiftool(source), read_by_exiftool(target)
    there = [t for t in TAGS if t in before]
    lost = [t for t in there if str(after.get(t)) != str(before[t])]
    image = pyvips.Image.new_from_file(str(target))
    rgb = image if image.interpretation in ("srgb", "rgb16") else image.colourspace("srgb")
    values = rgb.numpy().astype(float) / (257 if rgb.format == "ushort" else 1)
    height, width = values.shape[:2]
    spots = [
        values[height * (1 + 2 * t) // 4, width * (1 + 2 * s) // 4][:3] for t, s in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    upright = width > height and after.get("Orientation", 1) in (0, 1) and _alike(spots)
    depth = 16 if image.format == "ushort" else 8
    return (
        len(there) - len(lost),
        len(there),
        lost,
        (before.get("ProfileDescription"), after.get("ProfileDescription")),
        depth,
        upright,
    )


def _alike(spots):
    """Whether each quarter has its own colour, or, of grey, its own brightness."""
    weights = np.array([0.299, 0.587, 0.114])
    wanted = [np.array(c) @ weights for c in CORNERS]
    colour = [int(np.argmin([np.abs(s - c).sum() for c in CORNERS])) for s in spots] == [0, 1, 2, 3]
    grey = all(np.ptp(s) < 3 for s in spots) and np.argmax([s @ weights for s in spots]) == int(np.argmax(wanted))
    return colour or bool(grey)


def main():
    missing = [p for p in NEEDED if shutil.which(p) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    upscaler = Upscaler(Nearest(), tile=64, halo=4)
    wrong = 0
    with contextlib.ExitStack() as stack:
        folder = Path(sys.argv[1] if sys.argv[1:] else stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(exist_ok=True, parents=True)
        m = Made(folder)
        print(f"| file | {' | '.join(FORMATS)} |\n|---|{'---|' * len(FORMATS)}")
        for kinds in (phones, cameras, scanners, editors):
            for name, source in kinds(m):
                deep = pyvips_depth(source)
                cells = []
                for ending in FORMATS:
                    target = folder / "out" / f"{source.name}.{ending}"
                    target.parent.mkdir(exist_ok=True)
                    try:
                        upscale_image(source, target, upscaler)
                    except Exception as error:
                        cells.append(f"REFUSED: {error}")
                        wrong += 1
                        continue
                    kept, there, lost, (had, has), depth, upright = compared(source, target)
                    converted = "CMYK" in name or "Lab" in name
                    bad = [*(["lost " + ", ".join(lost)] if lost else []),
                           *([f"profile {had} → {has}"] if had and had != has and not converted else []),
                           *([f"{depth} bits of {deep}"] if depth < (deep if ending in ("png", "tif") else 8) else []),
                           *([] if upright or "black and white" in name else ["not upright"])]  # fmt: skip
                    wrong += bool(bad)
                    cells.append(
                        "; ".join(bad) or f"{kept}/{there} tags, {'profile, ' if had and has else ''}{depth} bits"
                    )
                print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"{wrong} wrong")
    return bool(wrong)


def pyvips_depth(path):
    """8 or 16, as ImageMagick or the HEIF reader sees it."""
    if path.suffix in (".heic", ".avif"):
        return 16 if "10" in path.stem else 8
    done = subprocess.run(["identify", "-format", "%z", f"{path}[0]"], capture_output=True, text=True, check=True)
    return 16 if int(done.stdout) > 8 else 8


if __name__ == "__main__":
    sys.exit(main())
