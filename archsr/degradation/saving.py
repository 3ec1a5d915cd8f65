"""What saving does, as drawn numbers, and the steps on the device: generations of JPEG, and few levels.

The encoders of the step "codec" are in `codecs.py`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from archsr.config import MOST_SAVES, Codec, DegradeConfig, Levels, Saves
from archsr.degradation.canvas import Canvas
from archsr.degradation.codecs import CODECS, require
from archsr.degradation.jpeg import SAMPLINGS, jpeg
from archsr.degradation.order_params import choose, rand, uniform
from archsr.degradation.resize import BICUBIC, BILINEAR, LANCZOS, resize
from archsr.utils.seeds import generator

_SAMPLING = SAMPLINGS.index("4:2:0 interpolated")  # what portals write and browsers open
_GRID = 8


@dataclass(frozen=True)
class Saving:
    """Each field is (b,), or (b, 6) with a column for each generation of JPEG; the last column is the last generation.

    `codec`: 0 for none, otherwise a place in CODECS; `codec_quality`: in the encoder's own units. `saves`: the number
    of generations, 0 for none; one that does not happen has `save_factor` 1. `save_factor` float64: its size, as a
    factor of the size before the step. `save_mode`: of the resize to it. `save_quality`, `save_y`, `save_x`: of the
    JPEG, and how far its 8×8 grid is moved. `save_table`: its quantisation table, a place in jpeg.TABLES. `levels`:
    per channel, 0 for no change; `dithered`: whether they are dithered.
    """

    codec: Tensor
    codec_quality: Tensor
    saves: Tensor
    save_factor: Tensor
    save_mode: Tensor
    save_quality: Tensor
    save_y: Tensor
    save_x: Tensor
    save_table: Tensor
    levels: Tensor
    dithered: Tensor

    def generation(self, number: int) -> Tensor:
        """Return bool (b,): which samples have the generation of this column."""
        return self.saves >= MOST_SAVES - number


def not_saved(batch: int) -> Saving:
    """Return the values that change no image."""
    none, many = torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, MOST_SAVES, dtype=torch.int64)
    return Saving(
        codec=none,
        codec_quality=torch.zeros(batch),
        saves=none,
        save_factor=torch.ones(batch, MOST_SAVES, dtype=torch.float64),
        save_mode=many + LANCZOS,
        save_quality=torch.full((batch, MOST_SAVES), 75.0),
        save_y=many,
        save_x=many,
        save_table=many,
        levels=none,
        dithered=torch.zeros(batch, dtype=torch.bool),
    )


def draw_saving(config: DegradeConfig, seed: int, batch: int) -> Saving:
    """Draw what the steps use. The generators come from `seed`, so no other draw depends on this one.

    Raises `UserError` if the package of an encoder is not installed.
    """
    parts: dict[str, Tensor] = {}
    if "codec" in config.steps:
        require(config.codec)
        parts |= _codec(config.codec, generator(seed, "codec"), batch)
    if "saves" in config.steps:
        parts |= _saves(config.saves, generator(seed, "saves"), batch)
    if "levels" in config.steps:
        parts |= _levels(config.levels, generator(seed, "levels"), batch)
    return Saving(**{**vars(not_saved(batch)), **parts})


def _codec(config: Codec, rng: torch.Generator, batch: int) -> dict[str, Tensor]:
    saved = rand(rng, batch) < config.probability
    shares = torch.tensor(list(config.formats.model_dump().values()))
    which = torch.multinomial(shares, batch, True, generator=rng)
    spans = [getattr(config, name) for name in CODECS[1:]]
    low, high = (torch.tensor([getattr(span, end) for span in spans])[which] for end in ("low", "high"))
    quality = (low + rand(rng, batch) * (high - low)).round()  # the encoders take whole numbers
    return {"codec": torch.where(saved, which + 1, 0), "codec_quality": torch.where(saved, quality, 0.0)}


def _saves(config: Saves, rng: torch.Generator, batch: int) -> dict[str, Tensor]:
    saved = rand(rng, batch) < config.probability
    count = torch.randint(config.low, config.high + 1, (batch,), generator=rng)
    saves = torch.where(saved, count, 0)
    many = batch * MOST_SAVES
    factor = uniform(rng, many, config.factor.low, config.factor.high, dtype=torch.float64).view(batch, MOST_SAVES)
    column = torch.arange(MOST_SAVES)
    resized = (column >= MOST_SAVES - saves[:, None]) & (column < MOST_SAVES - 1)
    shares = torch.tensor(list(config.tables.model_dump().values()))
    drawn = {
        "save_mode": choose(rng, many, (BILINEAR, BICUBIC, LANCZOS)),
        "save_quality": uniform(rng, many, config.quality.low, config.quality.high),
        "save_y": choose(rng, many, tuple(range(_GRID))),
        "save_x": choose(rng, many, tuple(range(_GRID))),
        "save_table": torch.multinomial(shares, many, True, generator=rng),
    }
    by_column = {name: values.view(batch, MOST_SAVES) for name, values in drawn.items()}
    return {"saves": saves, "save_factor": torch.where(resized, factor, 1.0), **by_column}


def _levels(config: Levels, rng: torch.Generator, batch: int) -> dict[str, Tensor]:
    few = rand(rng, batch) < config.probability
    count = torch.randint(config.low, config.high + 1, (batch,), generator=rng)
    return {"levels": torch.where(few, count, 0), "dithered": few & (rand(rng, batch) < config.dithered)}


# ---------------------------------------------------------------- on the device


def save_often(canvas: Canvas, here: Saving, there: Saving) -> Canvas:
    """Save each sample as JPEG as often as drawn, resized between; the result has the canvas's sizes.

    `here` is on the CPU, `there` on the canvas's device. Each generation is rounded to 8 bits, as a file is.
    """
    sides, size = (canvas.height, canvas.width), canvas.pixels.shape[2:]
    for number in range(MOST_SAVES - int(here.saves.max()), MOST_SAVES):
        factor, factor_here = there.save_factor[:, number], here.save_factor[:, number]
        height, width = (_scaled(side, factor) for side in sides)
        largest = _largest(size, factor_here)
        canvas = resize(canvas, height, width, here.save_mode[:, number], total=largest)
        saved = _saved(canvas, here, there, number)
        canvas = canvas.with_pixels(torch.where(there.generation(number)[:, None, None, None], saved, canvas.pixels))
    return canvas


def _scaled(side: Tensor, factor: Tensor) -> Tensor:
    return (side * factor).round().clamp(min=1).long()


def _largest(size: tuple[int, ...], factor: Tensor) -> tuple[int, int]:
    height, width = (int(_scaled(torch.tensor(side), factor).max()) for side in size)
    return height, width


def _saved(canvas: Canvas, here: Saving, there: Saving, number: int) -> Tensor:
    """Return the pixels of a JPEG whose grid begins `save_y`, `save_x` pixels before the image."""
    rows, columns = canvas.pixels.shape[2:]
    y, x = there.save_y[:, number, None], there.save_x[:, number, None]
    down = (torch.arange(rows + _GRID - 1, device=y.device) - y).clamp(min=0).minimum(canvas.height[:, None] - 1)
    across = (torch.arange(columns + _GRID - 1, device=x.device) - x).clamp(min=0).minimum(canvas.width[:, None] - 1)
    moved = _taken(canvas.pixels, down, across)
    tables = set(here.save_table[here.generation(number), number].tolist())
    compressed = jpeg(
        Canvas(moved, canvas.height + y[:, 0], canvas.width + x[:, 0]),
        there.save_quality[:, number],
        present=(_SAMPLING,),
        table=there.save_table[:, number] if tables != {0} else None,
    )
    eight = (compressed * 255).round() / 255
    back = (torch.arange(rows, device=y.device) + y, torch.arange(columns, device=x.device) + x)
    return _taken(eight, *back)


def _taken(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return (b, c, n, m): of each sample its own rows (b, n) and columns (b, m)."""
    return pixels.take_along_dim(rows[:, None, :, None], 2).take_along_dim(columns[:, None, None, :], 3)


def few_levels(canvas: Canvas, there: Saving) -> Tensor:
    """Round each channel to `levels` even steps from 0 to 1; where `dithered`, to either neighbour by a pattern.

    The pattern is Bayer's of 8×8 (ordered dithering): over a cell the mean stays within 1/128 of a step.
    """
    pixels = canvas.pixels.clamp(0, 1)
    steps = (there.levels - 1).clamp(min=1)[:, None, None, None]
    rows, columns = (torch.arange(side, device=pixels.device) % _GRID for side in pixels.shape[2:])
    pattern = bayer(pixels.device)[rows][:, columns]
    threshold = torch.where(there.dithered[:, None, None, None], pattern, 0.5)
    quantised = (pixels * steps + threshold).floor().minimum(steps) / steps
    return torch.where((there.levels > 0)[:, None, None, None], quantised, canvas.pixels)


def bayer(device: torch.device) -> Tensor:
    """Return the thresholds (8, 8) of ordered dithering, (i + 1/2) / 64 (Bayer, 1973)."""
    low = torch.arange(_GRID, device=device)
    rows, columns = low[:, None], low[None]
    order = torch.zeros(_GRID, _GRID, dtype=torch.int64, device=device)
    for bit in range(3):
        y, x = (rows >> bit) & 1, (columns >> bit) & 1
        order = order + ((2 * (x ^ y) + y) << (2 * (2 - bit)))
    return (order + 0.5) / _GRID**2
