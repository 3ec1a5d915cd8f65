"""Seeded images of ten kinds that stand for photographs: `photo_like(kind, seed)`.

They are white, dark, misty or strongly geometric, all with what a camera adds: light falloff, texture, blur and sensor
noise.
"""

import numpy as np
from drawn_kinds import compress, frame, tiled
from PIL import Image, ImageDraw, ImageFilter

from archsr.data import drawn_photos

SMOOTH = {"fog": 0.0, "white_room": 0.2, "night": 0.5}  # plaster and mist have less texture than brick


def photo_like(kind, seed, *, size=None):
    """Return an RGB image of that kind as a camera would take it; the same seed makes the same image."""
    rng = np.random.default_rng([100 + list(KINDS).index(kind), seed])
    width, height = size or frame(rng)
    image = KINDS[kind](rng, width, height)
    if kind != "demo":
        image = expose(rng, image, texture=SMOOTH.get(kind, 1.0) * rng.uniform(0.01, 0.05))
    if rng.random() < 0.25:
        image = image.convert("L").convert("RGB")
    return compress(image, int(rng.integers(40, 96))) if rng.random() < 0.8 else image


def expose(rng, image, *, texture):
    """Add lens blur, uneven light, surface texture, vignetting and sensor noise; clipped white stays clipped."""
    width, height = image.size
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.9))), dtype=np.float32)
    pixels = np.where(pixels >= 254, 300, pixels)
    light = 1 + rng.uniform(0.01, 0.05) * cloud(rng, width, height, octaves=3)
    light += texture * cloud(rng, width, height, octaves=8)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light *= 1 - rng.uniform(0.02, 0.15) * (x**2 + y**2)
    noise = tiled(rng.normal(0, rng.uniform(0.8, 4), (256, 256, 3)), height, width)
    return Image.fromarray(np.clip(pixels * light[..., None].astype(np.float32) + noise, 0, 255).astype(np.uint8))


def cloud(rng, width, height, *, octaves):
    """Draw cloudy texture (h, w) of mean 0 and standard deviation 1, about equally strong in every octave."""
    total = np.zeros((min(height, 600), min(width, 600)), dtype=np.float32)
    for octave in range(octaves):
        coarse = Image.fromarray(rng.normal(size=(2 ** (octave + 2),) * 2).astype(np.float32))
        total += 0.85**octave * np.asarray(coarse.resize(total.shape[::-1], Image.Resampling.BILINEAR))
    total = (total - total.mean()) / (total.std() + 1e-6)
    return np.asarray(Image.fromarray(total).resize((width, height), Image.Resampling.BILINEAR))


def lean(rng, image):
    """Add a mild perspective, as seen from the side."""
    width, height = image.size
    a, b = rng.uniform(0, 0.25, 2) * height
    seen = image.transform(
        image.size, Image.Transform.QUAD, (0, a, 0, height - b, width, height, width, 0), Image.Resampling.BILINEAR
    )
    return seen.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else seen


def toned(rng, low, high, spread=6):
    return tuple(int(v) for v in np.clip(rng.uniform(low, high) + rng.normal(0, spread, 3), 0, 255))


def grid(rng, width, height, wall, glass, *, gap):
    """Draw windows in a wall, each pane with its own tone."""
    image = Image.new("RGB", (width, height), wall)
    pen, across, up = ImageDraw.Draw(image), int(rng.integers(5, 16)), int(rng.integers(4, 14))
    for i in range(across):
        for j in range(up):
            x, y, w, h = i * width / across, j * height / up, width / across, height / up
            shift = rng.normal(0, 18)
            pane = tuple(int(np.clip(v + shift, 0, 255)) for v in glass)
            pen.rectangle((x + gap * w, y + gap * h, x + (1 - gap) * w, y + (1 - gap) * h), fill=pane)
            pen.line(
                (x + gap * w, y + gap * h, x + (1 - gap) * w, y + gap * h),
                fill=tuple(v // 3 for v in glass),
                width=max(1, int(h / 14)),
            )
    return image


def high_key(rng, width, height):
    """Draw a white façade in front of a partly burnt-out sky."""
    image = Image.new("RGB", (width, height), (255, 255, 255))
    facade = lean(
        rng, grid(rng, width, height, toned(rng, 222, 246, 3), toned(rng, 120, 205), gap=rng.uniform(0.2, 0.38))
    )
    cut = int(height * rng.uniform(0.05, 0.45))
    image.paste(facade.crop((0, 0, width, height - cut)), (0, cut))
    return image


def bw_grid(rng, width, height):
    tone = int(rng.integers(20, 80)), int(rng.integers(190, 245))
    dark, light = tone if rng.random() < 0.5 else tone[::-1]
    return (
        lean(rng, grid(rng, width, height, (light,) * 3, (dark,) * 3, gap=rng.uniform(0.06, 0.3)))
        .convert("L")
        .convert("RGB")
    )


def night(rng, width, height):
    """Draw a dark sky with glow at the horizon, a darker building, some lit windows and street lamps."""
    glow = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** 2 * toned(rng, 8, 50)
    image = Image.fromarray((np.zeros((height, width, 3)) + toned(rng, 2, 30, 4) + glow).clip(0, 255).astype(np.uint8))
    pen, wall = ImageDraw.Draw(image), toned(rng, 8, 45, 4)
    left, right, top = rng.uniform(0, 0.3) * width, rng.uniform(0.6, 1) * width, rng.uniform(0.1, 0.5) * height
    pen.rectangle((left, top, right, height), fill=wall)
    columns, rows = int(rng.integers(6, 20)), int(rng.integers(5, 14))
    w, h = (right - left) / columns, (height - top) / rows
    for i in range(columns):
        for j in range(rows):
            lit = (255, int(rng.integers(180, 240)), int(rng.integers(90, 190)))
            shade = rng.uniform(0.4, 1) if rng.random() < 0.45 else rng.uniform(0.03, 0.12)
            x, y = left + i * w, top + j * h
            box = (x + 0.25 * w, y + 0.2 * h, x + 0.8 * w, y + 0.75 * h)
            pen.rectangle(box, fill=tuple(int(v * shade) for v in lit))
    light = 1 + np.clip(cloud(rng, width, height, octaves=3), 0, 2)[..., None]
    lamps = Image.fromarray((np.asarray(image) * light).clip(0, 255).astype(np.uint8))
    return Image.blend(lamps, lamps.filter(ImageFilter.BoxBlur(max(1, width / 60))), 0.35)


def fog(rng, width, height):
    """Draw silhouettes in mist: a few tones that differ by few levels."""
    base = rng.uniform(150, 235)
    fade = np.linspace(0, rng.uniform(15, 45), height, dtype=np.float32)[:, None, None]
    image = Image.fromarray((np.ones((height, width, 3)) * base - fade).clip(0, 255).astype(np.uint8))
    for depth in range(int(rng.integers(2, 6))):
        mask, pen = Image.new("L", image.size, 0), None
        pen, x = ImageDraw.Draw(mask), rng.uniform(0, 0.8) * width
        pen.rectangle(
            (x, rng.uniform(0.2, 0.7) * height, x + rng.uniform(0.1, 0.3) * width, height), fill=40 + 30 * depth
        )
        image.paste(toned(rng, base * 0.6, base * 0.75, 3), mask=mask.filter(ImageFilter.BoxBlur(width / 90)))
    return image


def white_room(rng, width, height):
    """Draw walls, floor and ceiling in near-whites with soft gradients, a door and a burnt-out window."""
    image = Image.new("RGB", (width, height), toned(rng, 225, 248, 3))
    pen = ImageDraw.Draw(image)
    x0, x1, y0, y1 = np.array([0.25, 0.75, 0.25, 0.7]) * (width, width, height, height) + rng.normal(0, 0.04, 4) * width
    planes = ([(0, 0), (x0, y0), (x0, y1), (0, height)], [(width, 0), (x1, y0), (x1, y1), (width, height)],
              [(0, height), (x0, y1), (x1, y1), (width, height)])  # fmt: skip
    for plane in planes:
        pen.polygon(plane, fill=toned(rng, 195, 245, 4))
    pen.rectangle((x0 + 0.1 * width, y0 + 0.05 * height, x0 + 0.25 * width, y1 - 0.1 * height), fill=(255, 255, 255))
    pen.rectangle((x1 - 0.12 * width, y0 + 0.1 * height, x1 - 0.04 * width, y1), fill=toned(rng, 60, 200, 14))
    soft = image.filter(ImageFilter.BoxBlur(width / 40))
    return Image.blend(image, soft, rng.uniform(0.2, 0.5))


def bricks(rng, width, height):
    surface = drawn_photos._courses(
        rng, 384, 512, brick=(int(rng.integers(16, 60)), int(rng.integers(50, 150))),
        colour=np.array(toned(rng, 90, 200)) * [1.1, 0.85, 0.75], joint=np.array(toned(rng, 120, 230)),
    )  # fmt: skip
    return lean(rng, Image.fromarray(np.clip(surface, 0, 255).astype(np.uint8)).resize((width, height)))


def glass(rng, width, height):
    """Draw a curtain wall that mirrors sky and clouds."""
    sky = np.array(toned(rng, 110, 200, 10)) + cloud(rng, width, height, octaves=6)[..., None] * rng.uniform(6, 30)
    image = Image.fromarray(np.clip(sky * [0.85, 0.97, 1.12], 0, 255).astype(np.uint8))
    pen, bar = ImageDraw.Draw(image), toned(rng, 20, 230)
    for at in np.linspace(0, 1, int(rng.integers(6, 22))):
        pen.line((at * width, 0, at * width, height), fill=bar, width=max(1, width // 200))
        pen.line((0, at * height, width, at * height), fill=bar, width=max(1, width // 260))
    return lean(rng, image)


def texture(rng, width, height):
    """Draw foliage, gravel, rough stone or sensor noise: coarse or fine contrast everywhere."""
    field = cloud(rng, width, height, octaves=9) * rng.uniform(5, 60)
    field = field + tiled(rng.normal(0, rng.uniform(0, 60), (256, 256, 1)), height, width)[..., 0]
    pixels = rng.uniform(60, 200) + field[..., None] * rng.uniform(0.5, 1, 3)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def overcast(rng, width, height):
    """Draw a building against a sky that is clipped white or an even grey."""
    image = Image.new("RGB", (width, height), (255,) * 3 if rng.random() < 0.5 else toned(rng, 205, 245, 2))
    facade = lean(rng, grid(rng, width, height, toned(rng, 60, 190), toned(rng, 20, 120), gap=rng.uniform(0.12, 0.34)))
    left, top = int(rng.uniform(0, 0.4) * width), int(rng.uniform(0.1, 0.55) * height)
    image.paste(facade.crop((0, 0, width - left, height - top)), (left, top))
    return image


def demo(rng, width, height):
    """Draw one of the images of `archsr demo`."""
    draw = (drawn_photos._facade, drawn_photos._interior, drawn_photos._brickwork, drawn_photos._tiling)[
        rng.integers(4)
    ]
    image = drawn_photos._develop(draw(rng, rng), rng)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)


KINDS = {
    "high_key": high_key,
    "bw_grid": bw_grid,
    "night": night,
    "fog": fog,
    "white_room": white_room,
    "bricks": bricks,
    "glass": glass,
    "texture": texture,
    "overcast": overcast,
    "demo": demo,
}
