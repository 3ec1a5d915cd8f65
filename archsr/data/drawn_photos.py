"""Draws a small set of architecture images: façades, interiors, brickwork, tiled floors, and a few floor plans.

Everything is procedural and seeded, so that the demo and the tests need no photographs and no network. Surfaces are
painted flat with fine texture and then projected in perspective at twice the final size.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from archsr.utils.atomic import replacing
from archsr.utils.seeds import seed_of

Array = NDArray[np.float64]
Rng = np.random.Generator
Point = tuple[float, float]

WIDTH, HEIGHT = 512, 384
_FINE = 2  # drawn this much larger, then downscaled to avoid jagged edges


def draw_photos(folder: Path, *, seed: int = 0, projects: int = 18, views: int = 2, plans: int = 3) -> int:
    """Write `projects` folders of `views` images each and `plans` floor plans; return the number of files.

    The same seed draws the same files.
    """
    kinds: tuple[tuple[str, Callable[[Rng, Rng], Image.Image]], ...] = (
        ("facade", _facade),
        ("interior", _interior),
        ("brick", _brickwork),
        ("tiling", _tiling),
    )
    for number in range(projects):
        name, draw = kinds[number % len(kinds)]
        place = folder / f"{number:02d} {name} project"
        for view in range(views):
            subject = np.random.default_rng(seed_of(seed, "demo subject", number))
            camera = np.random.default_rng(seed_of(seed, "demo camera", number, view))
            _write(place / f"{name} view {view + 1}.jpg", _develop(draw(subject, camera), camera))
    for number in range(plans):
        place = folder / f"{number * 4:02d} facade project"
        _write(place / f"plan {number + 1}.png", _floor_plan(np.random.default_rng(seed_of(seed, "demo plan", number))))
    return projects * views + plans


def _write(path: Path, image: Image.Image) -> None:
    with replacing(path) as temporary:
        image.save(temporary, quality=95, subsampling=0)


def _develop(image: Image.Image, camera: Rng) -> Image.Image:
    """Downscale to the final size and add vignetting and a little grain."""
    small = np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), dtype=np.float64)
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    shade = 1 - 0.12 * (x**2 + y**2)
    grain = camera.normal(0, 0.8, small.shape)
    return Image.fromarray(np.clip(small * shade[..., None] + grain, 0, 255).astype(np.uint8))


# ---------------------------------------------------------------- materials: float (h, w, 3), 0-255


def _tone(rng: Rng, low: float, high: float) -> Array:
    return rng.uniform(low, high) + rng.normal(0, 9, 3) + rng.uniform(-8, 14) * np.array([1.0, 0.3, -0.8])


def _fractal(rng: Rng, height: int, width: int, *, octaves: int = 6, fade: float = 0.6) -> Array:
    """Draw a cloudy texture (h, w) of mean 0 and standard deviation 1."""
    total = np.zeros((height, width))
    for octave in range(octaves):
        cells = 2 ** (octave + 2)
        coarse = rng.normal(size=(min(cells, height), min(cells, width))).astype(np.float32)
        layer = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        total += fade**octave * np.asarray(layer)
    return (total - total.mean()) / (total.std() + 1e-9)


def _plain(rng: Rng, height: int, width: int, colour: Array, *, rough: float = 6.0) -> Array:
    fine = rng.normal(0, 0.5 * rough, (height, width))
    return colour + (rough * _fractal(rng, height, width) + fine)[..., None]


def _courses(rng: Rng, height: int, width: int, *, brick: tuple[int, int], colour: Array, joint: Array) -> Array:
    """Draw brick or stone in running bond; each stone has its own tone."""
    bh, bw = brick
    y, x = np.mgrid[0:height, 0:width]
    row = y // bh
    shifted = x + (row % 2) * (bw // 2)
    column = shifted // bw
    tones = rng.normal(0, 14, (height // bh + 2, width // bw + 3))
    stone = colour + tones[row, column][..., None] * np.array([1.0, 0.8, 0.7])
    gap = max(2, bh // 8)
    in_joint = (y % bh < gap) | (shifted % bw < gap)
    lit = np.where(y % bh == gap, 12, np.where(y % bh == bh - 1, -16, 0))
    surface = np.where(in_joint[..., None], joint, stone + lit[..., None])
    return surface + 5 * _fractal(rng, height, width, fade=0.9)[..., None] + rng.normal(0, 4, (height, width, 1))


def _tiles(rng: Rng, height: int, width: int, *, tile: int) -> Array:
    """Draw a tiled floor: checkered, with diamonds, or with a motif in each tile."""
    y, x = np.mgrid[0:height, 0:width]
    dark, light = _tone(rng, 40, 110), _tone(rng, 160, 230)
    u, v = (x % tile) / tile - 0.5, (y % tile) / tile - 0.5
    odd = (x // tile + y // tile) % 2 == 1
    pattern = int(rng.integers(3))
    if pattern == 0:
        mask = odd
    elif pattern == 1:
        mask = np.abs(u) + np.abs(v) < 0.34
    else:
        radius = np.hypot(np.abs(u) - 0.5, np.abs(v) - 0.5)
        mask = (radius < 0.5) & (radius > 0.36) | (np.hypot(u, v) < 0.13)
    grout = (x % tile < max(2, tile // 24)) | (y % tile < max(2, tile // 24))
    surface = np.where(mask[..., None], dark, light)
    surface = np.where(grout[..., None], 0.6 * dark + 40, surface)
    return surface + 4 * _fractal(rng, height, width, fade=0.8)[..., None]


def _image(surface: Array) -> Image.Image:
    return Image.fromarray(np.clip(surface, 0, 255).astype(np.uint8))


# ---------------------------------------------------------------- projection


def _project(target: Image.Image, surface: Image.Image, corners: list[Point]) -> None:
    """Paint `surface` onto the quadrilateral `corners` (clockwise from top left) of `target` in perspective."""
    w, h = surface.size
    flat = [(0.0, 0.0), (float(w), 0.0), (float(w), float(h)), (0.0, float(h))]
    rows: list[list[float]] = []
    for (x, y), (u, v) in zip(corners, flat, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    coefficients = np.linalg.solve(np.array(rows), np.array(flat).ravel())
    seen = surface.transform(
        target.size, Image.Transform.PERSPECTIVE, tuple(coefficients), resample=Image.Resampling.BICUBIC
    )
    mask = Image.new("L", target.size, 0)
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    target.paste(seen, mask=mask)


def _frame() -> tuple[int, int]:
    return WIDTH * _FINE, HEIGHT * _FINE


def _sky(rng: Rng) -> Image.Image:
    width, height = _frame()
    depth = rng.uniform(0, 1)
    top = np.array([60.0, 105, 165]) * (1 - depth) + np.array([120.0, 150, 190]) * depth
    low = top * 0.4 + 135
    blend = np.linspace(0, 1, height)[:, None, None]
    clouds = np.clip(_fractal(rng, height, width, octaves=5), 0, 2)[..., None] * rng.uniform(10, 40)
    return _image(top * (1 - blend) + low * blend + clouds)


# ---------------------------------------------------------------- subjects


def _facade(subject: Rng, camera: Rng) -> Image.Image:
    floors, bays, cell = int(subject.integers(5, 9)), int(subject.integers(6, 11)), 128
    height, width = floors * cell, bays * cell
    tone = _tone(subject, 110, 205)
    if subject.random() < 0.5:
        wall = _courses(subject, height, width, brick=(16, 44), colour=tone * [1, 0.75, 0.65], joint=tone * 0.9 + 20)
    else:
        wall = _plain(subject, height, width, tone)
    facade = _image(wall)
    _windows(facade, subject, floors=floors, bays=bays, cell=cell)
    image = _sky(subject)
    w, h = image.size
    lean, near = camera.uniform(-0.12, 0.12), camera.uniform(0.02, 0.2)
    left, right = camera.uniform(-0.15, 0.1) * w, camera.uniform(0.9, 1.15) * w
    corners = [(left, h * (near + lean)), (right, h * (near - lean)), (right, h * (1.05 + lean)), (left, h * 1.08)]
    _project(image, facade, corners)
    return image


def _windows(facade: Image.Image, subject: Rng, *, floors: int, bays: int, cell: int) -> None:
    """Draw a grid of windows with frames, sills, shadows and reflections."""
    pen = ImageDraw.Draw(facade)
    frame = tuple(int(v) for v in subject.uniform(200, 245, 3))
    margin, panes = int(subject.integers(22, 34)), int(subject.integers(1, 4))
    arched = subject.random() < 0.3
    for floor in range(floors):
        pen.rectangle((0, floor * cell, bays * cell, floor * cell + 5), fill=tuple(int(c * 0.85) for c in frame))
        pen.rectangle((0, floor * cell + 6, bays * cell, floor * cell + 8), fill=(70, 65, 60))
        for bay in range(bays):
            x0, y0 = bay * cell + margin, floor * cell + margin
            x1, y1 = (bay + 1) * cell - margin, (floor + 1) * cell - margin // 2
            glass = tuple(int(v) for v in _tone(subject, 30, 130) * [0.8, 0.95, 1.15])
            if arched:
                pen.ellipse((x0, y0 - 14, x1, y0 + 14), fill=frame)
            pen.rectangle((x0 - 5, y0 - 5, x1 + 5, y1 + 5), fill=frame)
            pen.rectangle((x0, y0, x1, y1), fill=glass)
            pen.polygon([(x0, y1), (x1, y0), (x1, y0 + 18), (x0 + 14, y1)], fill=tuple(min(255, c + 45) for c in glass))
            for pane in range(1, panes):
                at = x0 + pane * (x1 - x0) // panes
                pen.rectangle((at - 2, y0, at + 2, y1), fill=frame)
            pen.rectangle((x0, (2 * y0 + y1) // 3 - 2, x1, (2 * y0 + y1) // 3 + 2), fill=frame)
            pen.rectangle((x0 - 9, y1 + 5, x1 + 9, y1 + 11), fill=frame)
            pen.rectangle((x0 - 7, y1 + 12, x1 + 11, y1 + 16), fill=(60, 55, 50))


def _interior(subject: Rng, camera: Rng) -> Image.Image:
    """Draw a room in one-point perspective: tiled floor, coffered ceiling, panelled walls, a bright end wall."""
    image = Image.new("RGB", _frame())
    w, h = image.size
    cx, cy, deep = camera.uniform(0.38, 0.62) * w, camera.uniform(0.4, 0.58) * h, camera.uniform(0.16, 0.26)
    back = [(cx - deep * w, cy - deep * h), (cx + deep * w, cy - deep * h)]
    back += [(cx + deep * w, cy + deep * h), (cx - deep * w, cy + deep * h)]
    tone = _tone(subject, 150, 220)
    end = _image(_plain(subject, 512, 640, tone * 1.05))
    _windows(end, subject, floors=2, bays=4, cell=160)
    floor = _image(_tiles(subject, 960, 960, tile=int(subject.integers(60, 121))))
    ceiling = _image(_coffers(subject, tone))
    sides = [_image(_panels(subject, tone * shade)) for shade in (0.8, 0.65)]
    _project(image, end, back)
    _project(image, ceiling, [(0, 0), (w, 0), back[1], back[0]])
    _project(image, floor, [back[3], back[2], (w, h), (0, h)])
    _project(image, sides[0], [(0, 0), back[0], back[3], (0, h)])
    _project(image, sides[1], [back[1], (w, 0), (w, h), back[2]])
    return image


def _coffers(rng: Rng, tone: Array, *, side: int = 960, cell: int = 120) -> Array:
    y, x = np.mgrid[0:side, 0:side]
    edge = np.minimum.reduce([x % cell, cell - x % cell, y % cell, cell - y % cell])
    depth = np.where(edge > 26, -50, np.where(edge > 20, 25, np.where(edge > 16, -25, 0)))
    lamp = np.hypot(x % cell - cell / 2, y % cell - cell / 2) < 12
    return np.where(lamp[..., None], 250, tone + depth[..., None]) + 3 * _fractal(rng, side, side)[..., None]


def _panels(rng: Rng, tone: Array, *, side: int = 960) -> Array:
    surface = _plain(rng, side, side, tone, rough=4)
    y, x = np.mgrid[0:side, 0:side]
    slats = (x % 40 < 5) & (y > side * 0.55)
    picture_rail = np.abs(y - side * 0.53) < 8
    columns = np.abs(x % 320 - 160) < 26
    fluting = 18 * np.cos((x % 320 - 160) * 0.9)
    surface = np.where(slats[..., None], tone * 0.7, surface)
    surface = np.where(columns[..., None], tone * 1.12 + fluting[..., None], surface)
    return np.where(picture_rail[..., None], tone * 0.6, surface)


def _brickwork(subject: Rng, camera: Rng) -> Image.Image:
    colour = _tone(subject, 95, 150) * [1.2, 0.75, 0.65]
    size = (int(subject.integers(22, 40)), int(subject.integers(70, 110)))
    wall = _image(_courses(subject, 1100, 1500, brick=size, colour=colour, joint=_tone(subject, 140, 200)))
    image = _sky(subject)
    w, h = image.size
    near, far = camera.uniform(0.1, 0.3), camera.uniform(-0.1, 0.05)
    corners = [(-0.05 * w, h * far), (1.05 * w, h * near), (1.05 * w, h * (1 - near * 0.6)), (-0.05 * w, h * (1 - far))]
    paving = _image(_tiles(subject, 900, 900, tile=75))
    _project(image, paving, [(-0.05 * w, h * 0.7), (1.05 * w, h * 0.7), (1.6 * w, h * 1.1), (-0.6 * w, h * 1.1)])
    _project(image, wall, corners)
    return image


def _tiling(subject: Rng, camera: Rng) -> Image.Image:
    """Draw a square with a patterned floor in front of a row of arcades."""
    image = _sky(subject)
    w, h = image.size
    horizon = camera.uniform(0.34, 0.48) * h
    stone = _tone(subject, 130, 205)
    arcade = _image(_courses(subject, 420, 1600, brick=(20, 60), colour=stone, joint=stone * 0.6))
    pen = ImageDraw.Draw(arcade)
    for start in range(20, 1600, 130):
        pen.pieslice((start, 120, start + 90, 210), 180, 360, fill=(35, 32, 36))
        pen.rectangle((start, 164, start + 90, 420), fill=(35, 32, 36))
    shift = camera.uniform(-0.1, 0.1) * h
    _project(image, arcade, [(0, horizon * 0.35 + shift), (w, horizon * 0.35), (w, horizon), (0, horizon)])
    floor = _image(_tiles(subject, 1400, 1400, tile=int(subject.integers(80, 160))))
    spread = camera.uniform(0.6, 1.4) * w
    _project(image, floor, [(0, horizon), (w, horizon), (w + spread, h), (-spread, h)])
    return image


def _floor_plan(rng: Rng) -> Image.Image:
    image = Image.new("RGB", (640, 520), "white")
    pen = ImageDraw.Draw(image)
    xs = [60, *sorted(int(v) for v in rng.integers(160, 480, 2)), 580]
    ys = [50, int(rng.integers(200, 320)), 470]
    for i in range(3):
        for j in range(2):
            box = (xs[i], ys[j], xs[i + 1], ys[j + 1])
            pen.rectangle(box, outline="black", width=7)
            door = (box[0] + box[2]) // 2
            pen.rectangle((door - 18, box[3] - 5, door + 18, box[3] + 5), fill="white")
            pen.arc((door - 36, box[3] - 36, door + 36, box[3] + 36), 180, 270, fill="black", width=2)
            pen.text((box[0] + 24, box[1] + 24), f"Room {i * 2 + j + 1}\n{rng.integers(6, 30)} m2", fill="black")
    return image
