"""A hundred uploads that want to harm a server, or only happen to: names, sizes, kinds, damage."""

import io
import struct
import sys
import zipfile
import zlib
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "prepare"))

from test_bad_files import KEPT, TABLE, card, chunk, png, saved

NAMES = [
    "../../../../tmp/owned.png", "..\\..\\owned.png", "/etc/cron.d/owned.png", "C:\\owned.png", "owned\0.png", "..",
    ".", ".bashrc", "%2e%2e%2fowned.png", "....//owned.png", "owned.png/../../x.png", "\u202egnp.exe", "CON.png",
    "a" * 400 + ".png", "é" * 200 + ".png", "owned\r\nX-Header: 1.png", "$(touch owned).png", "`touch owned`.png",
    "; rm -rf ~.png", "-rf.png", "<script>alert(1)</script>.png", "{{7*7}}.png", "owned.png\u2028.png", "\ud7ff.png",
    " .png",
]  # fmt: skip


def zip_bomb():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.png", bytes(10**7))
    return buffer.getvalue()


def png_with(name, content):
    """The card with one more chunk before its pixels."""
    data = saved("PNG")
    return data[:33] + chunk(name, content) + data[33:]


def deflated_twice():
    """Rows that go on for 200 MB behind the pixels."""
    rows = b"".join(b"\0" + bytes(3 * 200) for _ in range(160))
    return png(200, 160, rows=rows + bytes(2 * 10**8))


def jpeg_of(width, height):
    data = bytearray(saved("JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def many_pages(count):
    buffer = io.BytesIO()
    page = Image.new("L", (8, 8))
    page.save(buffer, "TIFF", save_all=True, append_images=[page] * (count - 1))
    return buffer.getvalue()


def tiff_in_a_circle():
    """A directory that is its own successor."""
    data = bytearray(saved("TIFF"))
    place = struct.unpack("<I", data[4:8])[0]
    entries = struct.unpack("<H", data[place : place + 2])[0]
    data[place + 2 + 12 * entries : place + 6 + 12 * entries] = struct.pack("<I", place)
    return bytes(data)


SVG = (b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
       b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>&x;</text></svg>')  # fmt: skip

BOMBS = {
    "zip bomb.jpg": zip_bomb,
    "text bomb.png": lambda: png_with(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3 * 10**8))),
    "profile bomb.png": lambda: png_with(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3 * 10**8))),
    "long rows.png": deflated_twice,
    "wide.png": lambda: png(2**31 - 1, 1),
    "tall.png": lambda: png(1, 2**31 - 1),
    "square.png": lambda: png(50_000, 50_000),
    "deep.png": lambda: png(20_000, 20_000, depth=16),
    "interlaced.png": lambda: png(40_000, 40_000, interlaced=1),
    "huge.jpg": lambda: jpeg_of(65_500, 65_500),
    "flat.jpg": lambda: jpeg_of(65_500, 16),
    "no width.jpg": lambda: jpeg_of(0, 500),
    "huge.bmp": lambda: (
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0)
    ),
    "huge.gif": lambda: b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + b";",
    "huge.ppm": lambda: b"P6\n99999 99999\n255\n" + bytes(99),
    "pages.tif": lambda: many_pages(2000),
    "circle.tif": tiff_in_a_circle,
    "entity.svg": lambda: SVG,
    "entity.png": lambda: SVG,
    "script.png": lambda: b"#!/bin/sh\ntouch owned\n",
    "shell.php.png": lambda: b"<?php system($_GET['c']); ?>",
    "executable.jpg": lambda: b"\x7fELF\2\1\1" + bytes(5000),
    "ghost.jpg": lambda: b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 9 9\n(owned) run\n",
    "magick.jpg": lambda: b"push graphic-context\nfill 'url(https://127.0.0.1/\"|touch owned\")'\n",
    "matlab.png": lambda: b"MATLAB 5.0 MAT-file" + bytes(500),
    "fits.png": lambda: b"SIMPLE  =                    T" + bytes(3000),
    "radiance.png": lambda: b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 9 +X 9\n" + bytes(500),
    "moving.gif": lambda: saved("GIF", card(), save_all=True, append_images=[card().rotate(90)]),
}


def uploads(every=1):
    """Names and contents: more than a hundred, or every so-manieth of them."""
    plain = saved("PNG", card().resize((24, 20)))
    made = [(name, make) for name, make, kind, *_ in TABLE if kind not in (KEPT, "small", "transparent")]
    made += [*BOMBS.items(), *((name, lambda: plain) for name in NAMES)]
    made += [(f"cut at {at}.png", lambda at=at: saved("PNG")[:at]) for at in range(8, 160, 8)]
    yield from ((name, make()) for name, make in made[::every])
