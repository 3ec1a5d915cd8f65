"""Seeded drawings of twelve kinds that architects keep beside photographs: `KINDS[name](rng) -> image`.

Size (300-3000 px), weights, fonts and content vary; `drawing` then rotates, tints, scans and compresses the image.
"""

import io

import numpy as np
from drawn_lines import (
    PASTELS,
    WORDS,
    blueprint,
    dark_mode,
    elevation,
    floor_plan,
    font,
    inside,
    section,
    sketch,
    words,
)
from PIL import Image, ImageDraw, ImageFilter


def drawing(kind, seed, *, size=None):
    """Return an RGB image of that kind as a file would hold it; the same seed makes the same image."""
    rng = np.random.default_rng([sorted(KINDS).index(kind), seed])
    return finish(rng, KINDS[kind](rng, *(size or frame(rng))), scanned=kind not in ("render", "logo", "dark_mode"))


def frame(rng):
    long = int(np.exp(rng.uniform(np.log(300), np.log(800)))) if rng.random() < 0.94 else int(rng.integers(800, 3001))
    short = int(long * rng.uniform(0.6, 1))
    return (long, short) if rng.random() < 0.6 else (short, long)


def finish(rng, image, *, scanned):
    if rng.random() < 0.4:
        corner = image.getpixel((1, 1))
        image = image.rotate(rng.uniform(-1, 1), Image.Resampling.BICUBIC, fillcolor=corner)
    if scanned and rng.random() < 0.6:
        image = scan(rng, image)
    return compress(image, int(rng.integers(40, 96))) if rng.random() < 0.8 else image


def scan(rng, image):
    """Add yellowed or grey paper, uneven light, a little blur and noise."""
    tint = 255 - rng.uniform(0, 14) - rng.uniform(0, 1) * np.array([0, 4, 16])
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.7))), dtype=np.float32)
    height, width = pixels.shape[:2]
    light = 1 - rng.uniform(0, 0.04) * np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    grain = tiled(rng.normal(0, rng.uniform(0.3, 3), (256, 256, 1)), height, width)
    return Image.fromarray(np.clip(pixels * (tint / 255).astype(np.float32) * light + grain, 0, 255).astype(np.uint8))


def tiled(field, height, width):
    """Repeat a field of noise over (height, width): random enough, and cheap at 3000 px."""
    rows, columns = -(-height // field.shape[0]), -(-width // field.shape[1])
    return np.tile(field.astype(np.float32), (rows, columns, 1))[:height, :width]


def compress(image, quality):
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


# ---------------------------------------------------------------- sheets


def text(rng, width, height):
    image = Image.new("RGB", (width, height), "white")
    pen, size = ImageDraw.Draw(image), max(width, height) * rng.uniform(0.011, 0.03)
    lettering, columns = font(rng, size), int(rng.integers(1, 3))
    margin = rng.uniform(0.04, 0.12) * width
    for column in range(columns):
        left = margin + column * (width - margin) / columns
        for y in np.arange(margin, height - margin, size * rng.uniform(1.3, 1.9)):
            line = words(rng, 40)[: int((width - 2 * margin) / columns / size * rng.choice([1.4, 1.6, 1.0]))]
            if rng.random() < 0.92:
                pen.text((left, y), line, fill=(20, 20, 20), font=lettering)
    return image


def table(rng, width, height):
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = inside(rng, width, height)
    rows, columns = int(rng.integers(6, 26)), int(rng.integers(3, 9))
    high, wide = (bottom - top) / rows, (right - left) / columns
    lettering, shade = font(rng, high * rng.uniform(0.4, 0.6)), PASTELS[rng.integers(len(PASTELS))]
    for row in range(rows):
        y = top + row * high
        if row == 0 or (row % 2 and rng.random() < 0.5):
            pen.rectangle((left, y, right, y + high), fill=shade)
        for column in range(columns):
            cell = f"{rng.uniform(0, 900):.2f}" if column else str(rng.choice(WORDS))
            x = left + column * wide
            pen.text((x + 0.05 * wide, y + 0.2 * high), cell[: int(2 * wide / high)], fill="black", font=lettering)
            pen.rectangle((x, y, x + wide, y + high), outline=(90, 90, 90))
    return image


# ---------------------------------------------------------------- surfaces


def ground_of(rng, width, height):
    """Draw the blank ground of a render: white or grey, sometimes a gradient, as float (h, w, 3)."""
    tone = rng.choice([255, 255, 245, 225, 190, 128]) * np.ones(3) - rng.uniform(0, 4, 3)
    fade = 1 - rng.choice([0, 0, 0.08, 0.2]) * np.linspace(0, 1, height)[:, None, None]
    return np.broadcast_to(tone * fade, (height, width, 3)).astype(np.float32)


def render(rng, width, height):
    """Draw smoothly shaded solids on blank ground with soft shadows, as in a modelling program."""
    image = Image.fromarray(np.clip(ground_of(rng, width, height), 0, 255).astype(np.uint8))
    for _ in range(int(rng.integers(1, 4))):
        size, (x, y) = rng.uniform(0.15, 0.4) * min(width, height), rng.uniform(0.3, 0.7, 2) * (width, height)
        shadow = Image.new("L", image.size, 0)
        ImageDraw.Draw(shadow).ellipse((x - size, y + 0.4 * size, x + 1.2 * size, y + 0.8 * size), fill=120)
        image.paste((60, 60, 64), mask=shadow.filter(ImageFilter.BoxBlur(0.08 * size)))
        colour = rng.uniform(70, 245) + rng.normal(0, 16, 3)
        (ball if rng.random() < 0.4 else block)(rng, image, x, y, size, colour)
    return image


def block(rng, image, x, y, size, colour):
    """Draw a box or tower in axonometry with shaded faces; floors and openings are lines."""
    pen, high, deep = ImageDraw.Draw(image), size * rng.uniform(0.6, 1.6), size * rng.uniform(0.2, 0.5)
    roof = [
        (x - size / 2, y - high / 2),
        (x, y - high / 2 - deep / 2),
        (x + size / 2, y - high / 2),
        (x, y - high / 2 + deep / 2),
    ]
    pen.polygon(roof, fill=tuple(int(v) for v in np.clip(colour * 1.1, 0, 255)))
    for side, shade in ((-1, 0.9), (1, 0.62)):
        for strip in range(64):
            top, bottom = (y + high * (strip / 64 - 0.5), y + high * ((strip + 1) / 64 - 0.5))
            tone = np.clip(colour * shade * (1 - 0.15 * strip / 64), 0, 255).astype(int)
            edge = [
                (x + side * size / 2, top),
                (x, top + deep / 2),
                (x, bottom + deep / 2),
                (x + side * size / 2, bottom),
            ]
            pen.polygon(edge, fill=tuple(int(v) for v in tone))
        for floor in np.linspace(0, 1, int(rng.integers(1, 9))):
            at = y + high * (floor - 0.5)
            tone = tuple(int(v) for v in np.clip(colour * 0.4, 0, 255))
            pen.line((x + side * size / 2, at, x, at + deep / 2), fill=tone, width=int(max(1, 0.01 * size)))


def ball(rng, image, x, y, size, colour):
    """Draw a lit sphere."""
    r = max(4, int(size / 2))
    v, u = np.mgrid[-1 : 1 : 2 * r * 1j, -1 : 1 : 2 * r * 1j]
    lit = np.clip(0.35 + 0.75 * (np.sqrt(np.clip(1 - u**2 - v**2, 0, 1)) * 0.7 - 0.5 * u - 0.5 * v), 0.1, 1.1)
    face = Image.fromarray(np.clip(colour * lit[..., None], 0, 255).astype(np.uint8))
    image.paste(face, (int(x) - r, int(y) - r), Image.fromarray(((u**2 + v**2 < 1) * 255).astype(np.uint8)))


def logo(rng, width, height):
    """Draw letters and shapes in a few flat colours."""
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(0, 256, 3)))
    if rng.random() < 0.5:
        image.paste((255, 255, 255), (0, 0, width, height))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 6))):
        (x, y), size = rng.uniform(0.1, 0.7, 2) * (width, height), rng.uniform(0.1, 0.5) * min(width, height)
        shape = (pen.ellipse, pen.rectangle)[rng.integers(2)]
        shape((x, y, x + size, y + size * rng.uniform(0.4, 1)), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    lettering = font(rng, min(width, height) * rng.uniform(0.08, 0.25))
    pen.text((0.1 * width, rng.uniform(0.2, 0.7) * height), words(rng, 2), fill=(20, 20, 20), font=lettering)
    return image


def site_map(rng, width, height):
    """Draw streets, blocks, parks and water in pale flat colours, with names."""
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(228, 246, 3)))
    pen, unit = ImageDraw.Draw(image), max(1.0, max(width, height) / 400)
    for colour in ((200, 225, 180), (170, 205, 235), (215, 210, 200)):
        for _ in range(int(rng.integers(1, 5))):
            around = np.sort(rng.uniform(0, 2 * np.pi, 7))
            rim = rng.uniform(0, 1, 2) * (width, height) + np.stack(
                [np.cos(around), np.sin(around)], 1
            ) * unit * rng.uniform(30, 110)
            pen.polygon([(float(x), float(y)) for x, y in rim], fill=colour)
    for _ in range(int(rng.integers(20, 120))):
        x, y = rng.uniform(0, 1, 2) * (width, height)
        wide, high = rng.uniform(5, 22, 2) * unit
        pen.rectangle((x, y, x + wide, y + high), fill=(205, 198, 188), outline=(170, 160, 150))
    for number in range(int(rng.integers(6, 20))):
        a, b = rng.uniform(-0.1, 1.1, (2, 2)) * (width, height)
        broad = int(unit * rng.uniform(2, 9))
        pen.line((*a, *b), fill=(180, 176, 170), width=broad + 2)
        pen.line((*a, *b), fill=(255, 255, 255) if number % 3 else (250, 215, 130), width=broad)
    for _ in range(int(rng.integers(4, 14))):
        pen.text(
            tuple(rng.uniform(0, 0.9, 2) * (width, height)), words(rng, 2), fill=(60, 60, 60), font=font(rng, 8 * unit)
        )
    return image


def axonometric(rng, width, height):
    """Draw a massing study: many blocks in flat colours with outlines."""
    image, unit = Image.new("RGB", (width, height), "white"), max(1.0, max(width, height) / 400)
    pen, hue = ImageDraw.Draw(image), rng.integers(120, 250, 3)
    for _ in range(int(rng.integers(3, 14))):
        (x, y), size = rng.uniform(0.2, 0.8, 2) * (width, height), rng.uniform(20, 70) * unit
        high, deep = size * rng.uniform(0.5, 2), size * 0.5
        top, foot = y - high, y
        faces = (
            ([(x - size, foot), (x, foot + deep), (x, top + deep), (x - size, top)], 0.95),
            ([(x + size, foot), (x, foot + deep), (x, top + deep), (x + size, top)], 0.75),
            ([(x - size, top), (x, top - deep), (x + size, top), (x, top + deep)], 1.0),
        )
        for points, shade in faces:
            pen.polygon(points, fill=tuple(int(v * shade) for v in hue), outline="black", width=int(max(1, unit * 0.6)))
    return image


KINDS = {
    "floor_plan": floor_plan,
    "section": section,
    "elevation": elevation,
    "blueprint": blueprint,
    "dark_mode": dark_mode,
    "sketch": sketch,
    "text": text,
    "table": table,
    "render": render,
    "logo": logo,
    "map": site_map,
    "axonometric": axonometric,
}
