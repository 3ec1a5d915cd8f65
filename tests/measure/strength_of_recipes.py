"""Whether the strength of recipes on the fixed image ranks them as photographs do. Prints Spearman's ρ by preset.

python tests/measure/strength_of_recipes.py FOLDER [IMAGES]
"""

import sys
from pathlib import Path

import beside  # noqa: F401
import numpy as np
from scipy.stats import spearmanr

from archsr.config import DegradeConfig
from archsr.data.stream.loader import spread
from archsr.degradation.recipe import draw, to_json
from archsr.evaluation.statistics import strata
from archsr.images.pixels import read_photo
from archsr.utils.seeds import generator

RECIPES, SIDE = 40, 240


def middle(path):
    pixels = read_photo(path).pixels
    top, left = (pixels.shape[0] - SIDE) // 2, (pixels.shape[1] - SIDE) // 2
    return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])


def strengths(recipes, image):
    strata.dead_leaves = lambda: image
    return [strata.strength_of(recipe) for recipe in recipes]


fixed = strata.dead_leaves()
files = sorted(p for p in Path(sys.argv[1]).rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
images = [middle(files[n]) for n in spread(len(files), int(sys.argv[2]) if sys.argv[2:] else 10)]
each = np.random.default_rng(0).integers(0, len(images), RECIPES)
for preset in ("camera", "realesrgan", "bsrgan"):
    config = DegradeConfig(preset=preset)
    recipes = [to_json(draw(config, generator(0, "x", n), 1, scale=4, gt_size=128)) for n in range(RECIPES)]
    on_photographs = np.log([strengths(recipes, image) for image in images])
    mean = on_photographs.mean(0)
    ours, own = strengths(recipes, fixed), on_photographs[each, np.arange(RECIPES)]
    print(f"{preset}: the fixed image {spearmanr(ours, mean)[0]:.2f}, a photograph for each recipe "
          f"{spearmanr(own, mean)[0]:.2f}", flush=True)  # fmt: skip
