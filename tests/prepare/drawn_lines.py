"""Line drawings on paper, blueprint blue and dark screens, in PIL: `kind(rng, width, height) -> image`."""

from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = (
    "DejaVuSerif.ttf",
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSansMono.ttf",
    "LiberationSans-Regular.ttf",
)
WORDS = """section detail scale level north terrace kitchen storage ventilation load bearing wall concrete
insulation""".split()  # noqa: SIM905
PASTELS = ((250, 236, 214), (222, 238, 226), (214, 228, 246), (246, 222, 222), (236, 228, 246), (240, 240, 240))


def font(rng, size):
    for name in rng.permutation(FONTS):
        try:
            return ImageFont.truetype(str(name), max(6, int(size)))
        except OSError:
            continue
    return ImageFont.load_default(max(6, int(size)))


def words(rng, count):
    return " ".join(rng.choice(WORDS, count))


# ---------------------------------------------------------------- plans and sections


def plan_lines(rng, pen, box, ink, *, fills=()):
    """Draw rooms in a grid of walls with doors, windows, labels and dimension lines."""
    left, top, right, bottom = box
    unit = max(1.0, max(right - left, bottom - top) / 400)
    wall, thin = int(max(1, unit * rng.uniform(1.5, 7))), int(max(1, unit * rng.uniform(0.4, 1.2)))
    xs = [left, *np.sort(rng.uniform(left, right, int(rng.integers(1, 5)))), right]
    ys = [top, *np.sort(rng.uniform(top, bottom, int(rng.integers(1, 4)))), bottom]
    lettering = font(rng, unit * rng.uniform(7, 13))
    for x0, x1 in pairwise(xs):
        for y0, y1 in pairwise(ys):
            if fills and rng.random() < 0.8:
                pen.rectangle((x0, y0, x1, y1), fill=fills[rng.integers(len(fills))])
            pen.rectangle((x0, y0, x1, y1), outline=ink, width=wall)
            door, at = unit * rng.uniform(14, 26), rng.uniform(x0, x1)
            pen.line((at, y1, at + door, y1), fill=fills[0] if fills else None, width=wall)
            pen.arc((at - door, y1 - door, at + door, y1 + door), 180, 270, fill=ink, width=thin)
            if rng.random() < 0.8:
                text = f"{rng.choice(WORDS)}\n{rng.uniform(4, 40):.1f} m2"
                pen.text((x0 + 6 * unit, y0 + 8 * unit), text, fill=ink, font=lettering)
            if rng.random() < 0.4:
                pen.rectangle((x0 + 8 * unit, y1 - 30 * unit, x0 + 30 * unit, y1 - 8 * unit), outline=ink, width=thin)
    if rng.random() < 0.6:
        pen.line((left, bottom + 14 * unit, right, bottom + 14 * unit), fill=ink, width=thin)


def inside(rng, width, height):
    """Return a box that leaves a margin of paper."""
    margin = rng.uniform(0.0, 0.22) * rng.uniform(0.1, 1, 4) * np.array([width, height, width, height])
    return margin[0], margin[1], width - margin[2], height - margin[3]


def floor_plan(rng, width, height):
    image = Image.new("RGB", (width, height), "white")
    dark = tuple(int(v) for v in rng.integers(0, 90, 3)) if rng.random() < 0.5 else (0, 0, 0)
    fills = [PASTELS[i] for i in rng.permutation(len(PASTELS))[:3]] if rng.random() < 0.4 else []
    plan_lines(rng, ImageDraw.Draw(image), inside(rng, width, height), dark, fills=fills)
    return image


def hatch(pen, box, step, ink, width):
    left, top, right, bottom = (int(v) for v in box)
    for start in np.arange(left - (bottom - top), right, step):
        pen.line((start, bottom, start + bottom - top, top), fill=ink, width=width)


def section(rng, width, height):
    image = Image.new("RGB", (width, height), "white")
    pen, unit = ImageDraw.Draw(image), max(1.0, max(width, height) / 400)
    left, top, right, bottom = inside(rng, width, height)
    ground = top + (bottom - top) * rng.uniform(0.6, 0.85)
    hatch(pen, (0, ground, width, bottom), unit * rng.uniform(4, 12), (0, 0, 0), int(max(1, unit * 0.6)))
    pen.rectangle((0, bottom, width, height), fill="white")
    pen.line((0, ground, width, ground), fill="black", width=int(unit * 3))
    for floor in np.linspace(top, ground, int(rng.integers(3, 7)) + 1):
        pen.rectangle((left, floor - 2 * unit, right, floor + 2 * unit), fill=(30, 30, 30))
        pen.text((right + 4 * unit, floor), f"+{rng.uniform(0, 30):.2f}", fill="black", font=font(rng, 9 * unit))
    for x in np.linspace(left, right, int(rng.integers(3, 7))):
        pen.rectangle((x - 2 * unit, top, x + 2 * unit, ground), fill=(30, 30, 30))
    return image


def elevation(rng, width, height):
    """Draw a façade in thin lines: brick hatching, windows, cast shadows in grey."""
    image = Image.new("RGB", (width, height), "white")
    pen, unit = ImageDraw.Draw(image), max(1.0, max(width, height) / 400)
    left, top, right, bottom = inside(rng, width, height)
    grey = int(rng.integers(0, 140))
    for y in np.arange(top, bottom, unit * rng.uniform(3, 9)):
        pen.line((left, y, right, y), fill=(grey,) * 3, width=int(max(1, unit * rng.uniform(0.3, 0.7))))
    across, up = int(rng.integers(3, 10)), int(rng.integers(2, 7))
    for column in range(across):
        for row in range(up):
            x, y = left + (column + 0.25) * (right - left) / across, top + (row + 0.25) * (bottom - top) / up
            box = (x, y, x + 0.5 * (right - left) / across, y + 0.55 * (bottom - top) / up)
            pen.rectangle(box, fill="white", outline="black", width=int(unit))
            shadow = (box[0], box[1], box[2], box[1] + 3 * unit)
            pen.rectangle(shadow, fill=(170, 170, 170))
            pen.line(((box[0] + box[2]) / 2, box[1], (box[0] + box[2]) / 2, box[3]), fill="black")
    pen.rectangle((left, top, right, bottom), outline="black", width=int(2 * unit))
    pen.line((0, bottom, width, bottom), fill="black", width=int(3 * unit))
    return image


def blueprint(rng, width, height):
    blue = tuple(int(v) for v in rng.normal((30, 70, 150), (12, 18, 22)).clip(0, 220))
    image = Image.new("RGB", (width, height), blue)
    pale = tuple(int(v) for v in rng.integers(200, 256, 3))
    plan_lines(rng, ImageDraw.Draw(image), inside(rng, width, height), pale)
    return image


def dark_mode(rng, width, height):
    """Draw the screen of a drawing program: coloured lines on black or slate, sometimes with a grid."""
    ground = tuple(int(v) for v in rng.integers(0, 50) + rng.integers(0, 12, 3))
    image = Image.new("RGB", (width, height), ground)
    pen = ImageDraw.Draw(image)
    if rng.random() < 0.5:
        step = int(rng.integers(14, 60))
        for at in range(0, max(width, height), step):
            pen.line((at, 0, at, height), fill=tuple(v + 14 for v in ground))
            pen.line((0, at, width, at), fill=tuple(v + 14 for v in ground))
    for _ in range(int(rng.integers(1, 4))):
        ink = tuple(int(v) for v in rng.choice([0, 90, 200, 255], 3) | 64)
        plan_lines(rng, pen, inside(rng, width, height), ink)
    return image


def sketch(rng, width, height):
    """Draw freehand lines on cream paper: a street in perspective."""
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers([240, 232, 210], 256)))
    pen, grey = ImageDraw.Draw(image), int(rng.integers(20, 110))
    vanishing = rng.uniform(0.3, 0.7, 2) * (width, height)
    for _ in range(int(rng.integers(30, 130))):
        start = rng.uniform(0.06, 0.94, 2) * (width, height)
        aim = (
            (vanishing - start) * rng.uniform(0.1, 0.8)
            if rng.random() < 0.5
            else np.array([0, rng.normal(0, 0.2 * height)])
        )
        steps = np.linspace(0, 1, 12)[:, None]
        points = start + aim * steps + rng.normal(0, 0.002 * width, (12, 2))
        line = [(float(x), float(y)) for x, y in points]
        pen.line(line, fill=(grey,) * 3, width=int(max(1, max(width, height) * rng.uniform(0.001, 0.004))))
    return image
