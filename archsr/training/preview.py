"""`archsr preview`: show what a config does to images, as a sheet, histograms and JSON; rebuild bad batches."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from archsr.config import DegradeConfig, PrepareConfig, TrainConfig, config_file
from archsr.data.drawn_photos import draw_photos
from archsr.data.manifest import is_dataset
from archsr.data.stream.loader import Batch, batch_at
from archsr.data.stream.reader import crop
from archsr.degradation.apply import Pair, apply
from archsr.degradation.histograms import draw_histograms, parameters
from archsr.degradation.recipe import Recipe, draw, to_json
from archsr.degradation.sheet import Cell, cells, draw_sheet, header_of, psnrs
from archsr.degradation.words import describe
from archsr.errors import UserError
from archsr.images.image_files import READ, is_image
from archsr.images.pixels import (
    BadImageError,
    pixels_to_tensor,
    read_photo,
    tensor_to_pixels,
    to_float,
    to_uint8,
    write_image,
)
from archsr.training.data import open_data
from archsr.training.faults.nonfinite import rebuild
from archsr.training.pairs import options_of, recipe_at
from archsr.utils.atomic import write_bytes
from archsr.utils.seeds import generator

_SHOWN = 12
_DRAWN = 3000  # recipes for the histograms, which are cheap without images


@dataclass(frozen=True)
class _Plan:
    """The parts of a training or preparation config that a preview needs."""

    name: str
    degrade: DegradeConfig
    seed: int
    scale: int
    gt_size: int
    batch: int
    train: TrainConfig | None

    def recipe(self, position: int, size: int) -> Recipe:
        """Return the recipe at a position. For a training config it is the one that the run draws."""
        if self.train is not None:
            return recipe_at(self.train, self.train.training.stages[0].subset, position, size)
        rng = generator(self.seed, "preview", position)
        return draw(self.degrade, rng, size, scale=self.scale, gt_size=self.gt_size)


def preview(config: Path, out: Path, *, overrides: list[str], photos: Path | None = None, samples: int = 48) -> str:
    """Write sheet.png, parameters.png and recipes.json into `out`, and return a description.

    Images come from `photos`, else from the config's shards, else they are synthetic. Raises `UserError`.
    """
    plan = _plan(config, overrides)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as drawn:
        batches, source = _batches(plan, photos, Path(drawn))
        shown, values, stored = _degrade(plan, islice(batches, -(-samples // plan.batch)))
    recipe = plan.recipe(0, plan.batch)
    header = f"{header_of(recipe, plan.name, plan.degrade.preset, overrides=overrides)} Images: {source}."
    write_image(out / "sheet.png", draw_sheet(shown[:_SHOWN], header))
    drawn_recipes = [plan.recipe(n * plan.batch, plan.batch) for n in range(-(-_DRAWN // plan.batch))]
    title = f"{plan.name}, preset {plan.degrade.preset}: PSNR of {len(values)} pairs, {_DRAWN} draws of the rest"
    draw_histograms(out / "parameters.png", parameters(drawn_recipes), values, title=title)
    about = {"config": str(config), "images": source, "degrade": plan.degrade.model_dump(mode="json")}
    write_bytes(out / "recipes.json", (json.dumps({**about, "batches": stored}, indent=1) + "\n").encode())
    mean = sum(values) / len(values)
    return (
        f"{len(values)} pairs from {source}: PSNR of the upscaled inputs {min(values):.1f} to {max(values):.1f} dB, "
        f"mean {mean:.1f}; see {out / 'sheet.png'}, {out / 'parameters.png'}, {out / 'recipes.json'}"
    )


def _plan(path: Path, overrides: list[str]) -> _Plan:
    data = config_file.with_overrides(config_file.read(path), overrides)
    if {"training", "name", "model"} & data.keys():
        train = config_file.check(TrainConfig, data, where=str(path))
        gt_size, batch = train.data.gt_size, train.training.micro_batch
        batch = train.training.global_batch if batch == "auto" else batch
        return _Plan(train.name, train.degrade, train.seed, train.model.scale, gt_size, batch, train)
    prepare = config_file.check(PrepareConfig, data, where=str(path))
    return _Plan(path.stem, prepare.degrade, prepare.seed, prepare.scale, prepare.pair_size, 1, None)


def _degrade(plan: _Plan, batches: Iterable[Batch]) -> tuple[list[Cell], list[float], list[dict[str, Any]]]:
    """Return the first batches' cells, the PSNR of all pairs, and every batch's recipe as JSON."""
    shown: list[Cell] = []
    values: list[float] = []
    stored: list[dict[str, Any]] = []
    for batch in batches:
        recipe = plan.recipe(batch.position, len(batch.keys))
        pair = apply(to_float(batch.gt), recipe)
        psnr = psnrs(pair)
        values += psnr
        if len(shown) < _SHOWN:
            shown += cells(pair, recipe, batch.keys)
        words = [describe(recipe, i) for i in range(len(recipe))]
        facts = {"position": batch.position, "keys": list(batch.keys), "psnr": psnr, "words": words}
        stored.append({**facts, "recipe": to_json(recipe)})
    return shown, values, stored


def _batches(plan: _Plan, photos: Path | None, drawn: Path) -> tuple[Iterator[Batch], str]:
    """Return endless crops and a description of their source."""
    if photos is not None:
        return _from_photos(plan, photos), f"photographs of {photos}"
    if plan.train is not None and ("://" in plan.train.data.shards or is_dataset(plan.train.data.shards)):
        return _from_shards(plan, plan.train), f"the first training samples of {plan.train.data.shards}"
    draw_photos(drawn, projects=12, views=1, plans=0)
    missing = f"{plan.train.data.shards} holds no dataset" if plan.train else "a preparation config names no images"
    return _from_photos(plan, drawn), f"synthetic, as {missing} (use yours with --photos FOLDER)"


def _from_shards(plan: _Plan, train: TrainConfig) -> Iterator[Batch]:
    data = open_data(train)
    if data.manifest.paired:
        raise UserError(f"{data.folder}: has pairs from disk, which are not degraded; use --photos FOLDER")
    options = options_of(train, data, train.training.stages[0].subset)
    position = 0
    while True:
        yield batch_at(options, range(position, position + plan.batch))
        position += plan.batch


def _from_photos(plan: _Plan, folder: Path) -> Iterator[Batch]:
    paths = sorted(p for p in folder.rglob("*") if is_image(p))
    if not paths:
        raise UserError(f"{folder}: no photographs there ({', '.join(READ)})")
    size = plan.gt_size + plan.degrade.margin
    found = _crops(paths, size, plan.seed)
    position = 0
    while True:
        taken = list(islice(found, plan.batch))
        yield Batch(torch.cat([t for t, _ in taken]), tuple(key for _, key in taken), position)
        position += plan.batch


def _crops(paths: list[Path], size: int, seed: int) -> Iterator[tuple[torch.Tensor, str]]:
    """Yield endless uint8 crops (1, 3, size, size) with names, cycling through the photographs in shuffled order."""
    order = torch.randperm(len(paths), generator=generator(seed, "preview photos")).tolist()
    turn, good = 0, True
    while good:
        good = False
        for number in order:
            try:
                pixels = read_photo(paths[number]).pixels
            except BadImageError as error:
                print(f"{paths[number]}: skipped: {error}")
                continue
            good = True
            image = to_uint8(pixels_to_tensor(pixels))[0]
            window = crop(image, size, generator(seed, "preview crop", turn, number), hflip=False)
            yield window[None], paths[number].stem
        turn += 1
    raise UserError(f"{paths[0].parent}: none of {len(paths)} photographs can be read")


def replay(path: Path, out: Path, *, overrides: list[str]) -> str:
    """Rebuild the batch of RUN/bad_batches/STEP.json, and write its sheet and exact lq and gt into `out` as PNG."""
    again = rebuild(path, overrides=overrides)
    out.mkdir(parents=True, exist_ok=True)
    shown: list[Cell] = []
    for number, (key, (recipe, row)) in enumerate(zip(again.keys, again.sources, strict=True)):
        lq, gt = (image[number : number + 1].cpu() for image in (again.pair.lq, again.pair.gt))
        shown += _cell(Pair(lq, gt), recipe, row, key)
        write_image(out / f"{number:02d}-lq.png", tensor_to_pixels(lq))
        write_image(out / f"{number:02d}-gt.png", tensor_to_pixels(gt))
    name, preset = again.config.name, again.config.degrade.preset
    header = f"{header_of(again.sources[0][0], name, preset, overrides=overrides)} {again.about}."
    write_image(out / "sheet.png", draw_sheet(shown, header))
    return f"{again.about}: {len(shown)} pairs in {out / 'sheet.png'}, each by itself in {out}/NN-lq.png and NN-gt.png"


def _cell(pair: Pair, recipe: Recipe, row: int, key: str) -> list[Cell]:
    one = cells(pair, recipe, [key])[0]
    words = tuple(f"{n}. {line}" for n, line in enumerate(describe(recipe, row), 1))
    return [Cell(one.lq, one.gt, one.title, words)]
