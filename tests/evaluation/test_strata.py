"""Strength depends only on the recipe, difficulty only on the photograph."""

import json
import tarfile
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from archsr.config import DataConfig, DegradeConfig
from archsr.data import manifest as mf
from archsr.degradation.recipe import draw, to_json
from archsr.evaluation.compared_models import bicubic
from archsr.evaluation.pairs import open_pairs
from archsr.evaluation.statistics.strata import DIFFICULTY, STRENGTH, difficulty_of, strength_of, thirds
from archsr.evaluation.suite import measure_pair
from archsr.utils.seeds import generator


def recipe(number=0, **changes):
    drawn = draw(DegradeConfig(preset="camera"), generator(number, "t"), 1, scale=4, gt_size=64)
    return to_json(replace(drawn, **changes))


def test_more_noise_is_stronger():
    drawn = draw(DegradeConfig(preset="camera"), generator(0, "t"), 1, scale=4, gt_size=64)
    noisy = [replace(drawn.first, strength=torch.tensor([s]), poisson=torch.tensor([False])) for s in (0.0, 0.05, 0.2)]
    found = [strength_of(to_json(replace(drawn, first=first))) for first in noisy]
    assert all(a < b for a, b in pairwise(found)), found


def test_the_crop_and_the_size_of_the_pair_have_no_part_in_it():
    """The place in the batch does not count either, only what is done to pixels."""
    assert strength_of(recipe()) == strength_of(recipe(crop_x=torch.tensor([0.9]), gt_size=32))
    assert strength_of(recipe(0)) != strength_of(recipe(1))


@pytest.mark.parametrize("scale", [1, 2, 3, 7])
def test_any_scale_has_a_strength(scale):
    drawn = draw(DegradeConfig(), generator(3, "t"), 1, scale=scale, gt_size=42)
    assert 0 < strength_of(to_json(drawn)) < 255


def test_pairs_of_a_dataset_have_their_stored_recipe(shards):
    """The strength comes from the recipe in the tar, whatever the images are."""
    pairs = open_pairs(str(shards), DataConfig(), split="test", scale=mf.load(shards).scale)
    pair = next(pairs.read(pairs.numbers()[:1]))
    with tarfile.open(shards / mf.load(shards).splits["test"].shards[0].file) as archive:
        stored = json.load(archive.extractfile(f"{pair.key}.json"))
    assert pair.recipe == stored["recipe"]
    other = replace(pair, gt=255 - pair.gt, lq=torch.zeros_like(pair.lq))
    rows = [measure_pair(p, [bicubic(pairs.scale)], [], scale=pairs.scale) for p in (pair, other)]
    assert rows[0].strength == rows[1].strength == strength_of(stored["recipe"])
    assert measure_pair(replace(pair, recipe=None), [], [], scale=pairs.scale).strength != rows[0].strength  # NaN


def test_fine_detail_is_hard_and_degradation_has_no_part_in_it():
    y, x = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    smooth, coarse, fine = (((x + y) % n * 255 // (n - 1)).to(torch.uint8).expand(3, 48, 48) for n in (96, 24, 3))
    found = [difficulty_of(image, 4) for image in (smooth, coarse, fine)]
    assert all(a > b for a, b in pairwise(found)), found
    assert difficulty_of(torch.full((3, 48, 48), 90, dtype=torch.uint8), 4) == 100


def test_thirds_are_named_from_the_lowest():
    values = [30.0 + (5 * n) % 8 for n in range(8)]
    for strata, names in ((STRENGTH, ["mild", "middle", "strong"]), (DIFFICULTY, ["hard", "middle", "easy"])):
        groups = list(thirds(values, lambda v: v, strata).items())
        assert [name.split(" ")[0] for name, _ in groups] == names
        assert [sorted(v - 30 for v in some) for _, some in groups] == [[0, 1], [2, 3, 4], [5, 6, 7]]


def test_without_recipes_there_are_no_thirds():
    assert thirds([float("nan")] * 12, lambda v: v, STRENGTH) == {}
    assert sum(map(len, thirds([float("nan"), *map(float, range(9))], lambda v: v, STRENGTH).values())) == 9
