"""Fits the weights of archsr/data/prepare/survey/floorplans.py and prints them, and what those in the file get wrong.

    python tests/measure/fit_drawings.py [FOLDER ...]

The data: 100 seeds from 10000 of each kind of drawn_kinds.py and hard_photos.py (10 of the demo's photographs), 30
images of white noise, and from each FOLDER one half of the photographs: `building-NNN_*` of even number, `img_NNN` of
even tens (neighbouring numbers show one building). `WEIGHTS` are fitted to the buildings, each as it is, grey,
brightened by 1.15 and 1.3, darkened, washed out, smaller, at JPEG quality 40 and as three crops. Kinds weigh the same,
photographs six kinds; all that should stay in weighs four times the drawings.

`SECOND` is fitted to what `WEIGHTS` do not clearly call a photograph, among all of these and their bleached variants
(bleached.py): drawings also brightened; hard photographs unless more than two fifths of them burn out.

The other half, files of other names and the floor plans among them are only reported. So are the seeds 0 to 49 of the
kinds (12 of the demo's). The reports at the end are of the weights in the file.
"""

import re
import sys
from pathlib import Path

import beside  # noqa: F401
import bleached
import drawn_kinds
import hard_photos
import numpy as np
from PIL import Image
from scipy.optimize import minimize

from archsr.data.prepare.survey.floorplans import SECOND, WEIGHTS, features, reduced, relative_features
from archsr.images.pixels import read_photo

SEEDS, FIRST, RIDGE = 100, 10000, 3e-5
UNSURE, SECOND_RIDGE = -2.0, 1e-4  # the logit from which a second look is fitted
BOLD, TRUST = 0.3, 1.5  # added to the biases: each model alone may be wrong about a photograph, as both have to agree
BURNT = 0.4  # hard photographs whiter than that are neither fitted nor counted
TESTED = range(50)


def variants(image, rng):
    """The image in the conditions in which it may be found."""
    pixels = np.asarray(image, dtype=np.float32)
    yield image
    yield image.convert("L")
    for scale, shift in ((1.15, 0), (1.3, 0), (0.5, 0), (0.45, 120)):
        yield Image.fromarray(np.clip(pixels * scale + shift, 0, 255).astype(np.uint8))
    yield image.resize((int(image.width * 0.4), int(image.height * 0.4)), Image.Resampling.BICUBIC)
    yield drawn_kinds.compress(image, 40)
    for _ in range(3):
        share = rng.uniform(0.4, 0.7)
        left, top = (int(v) for v in rng.uniform(0, 1 - share, 2) * image.size)
        yield image.crop((left, top, left + int(share * image.width), top + int(share * image.height)))


def both(image):
    small = reduced(image)
    seen = features(small)
    return np.concatenate([seen, relative_features(small, seen)])


def drawn(seeds, demo, held=""):
    """(group, condition, numbers) of the seeded images."""
    for kind in drawn_kinds.KINDS:
        for seed in seeds:
            image = drawn_kinds.drawing(kind, seed)
            yield f"drawing {kind}{held}", "plain", both(image)
            yield f"drawing {kind}{held}", "brightened", both(bleached.sunny(image, 1.2))
    for kind in hard_photos.KINDS:
        for seed in seeds[:demo] if kind == "demo" else seeds:
            image = hard_photos.photo_like(kind, seed)
            yield f"like {kind}{held}", "plain", both(image)
            for name, seen in bleached.bleached(image):
                if bleached.burnt(seen) <= BURNT:
                    yield f"like {kind}{held}", name, both(seen)


def noise():
    rng = np.random.default_rng(1)
    for _ in range(30):
        pixels = rng.normal(128, rng.uniform(10, 120), (*rng.integers(60, 257, 2), 3)).clip(0, 255).astype(np.uint8)
        yield "like noise", "plain", both(Image.fromarray(pixels))


def group_of(path):
    """Which half a real file belongs to."""
    if "plan" in path.name:
        return "plan held out"
    building, shot = re.match(r"building-(\d+)", path.name), re.match(r"img_(\d+)", path.name)
    if building and int(building[1]) % 2 == 0:
        return "photo fitted"
    return "facade fitted" if shot and int(shot[1]) // 10 % 2 == 0 else "facade held out" if shot else "photo held out"


def photographed(folder):
    rng = np.random.default_rng(0)
    for path in sorted(folder.rglob("*.jpg")):
        image, group = Image.fromarray(read_photo(path).pixels), group_of(path)
        shapes = list(variants(image, rng))
        for shape in shapes[:8] if "plan" in path.name else shapes:
            yield group, "plain", both(shape)
        for name, seen in bleached.bleached(image) if "plan" not in path.name else ():
            yield group, name, both(seen)


def fit(values, drawn_ones, weights, ridge):
    """Logistic regression with a ridge on standardised features; returns raw weights, the bias first."""
    mean, spread = values[:, 1:].mean(0), values[:, 1:].std(0)
    scaled, sign = (values[:, 1:] - mean) / spread, np.where(drawn_ones, 1, -1)

    def loss(theta):
        margin = sign * (scaled @ theta[1:] + theta[0])
        pull = -weights * sign / (1 + np.exp(np.clip(margin, -500, 500)))
        gradient = np.concatenate([[pull.sum()], scaled.T @ pull + 2 * ridge * theta[1:]])
        return (weights * np.logaddexp(0, -margin)).sum() + ridge * (theta[1:] ** 2).sum(), gradient

    theta = minimize(loss, np.zeros(values.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 5000}).x
    return np.concatenate([[theta[0] - (theta[1:] * mean / spread).sum()], theta[1:] / spread])


def first(groups, plain, values, drawn_ones):
    """`WEIGHTS`: images as they are, and the buildings."""
    fitted = plain & [not name.startswith("facade") and "held out" not in name for name in groups]
    weights = np.zeros(len(groups))
    for name in set(groups[fitted]):
        weights[fitted & (groups == name)] = (6 if name == "photo fitted" else 1) / (fitted & (groups == name)).sum()
    weights[drawn_ones] /= weights[drawn_ones].sum()
    weights[~drawn_ones] *= 4 / weights[~drawn_ones].sum()
    theta = fit(values[fitted], drawn_ones[fitted], weights[fitted], RIDGE)
    theta[0] += BOLD
    return theta.round(3)


def second(groups, unsure, values, drawn_ones):
    """`SECOND`: whatever `WEIGHTS` are unsure of; real photographs weigh 2, drawings 1, hard photographs 0.3."""
    fitted = unsure & ["held out" not in name for name in groups]
    weights = np.zeros(len(groups))
    for starts, total in (("drawing", 1.0), ("like", 0.3), (("photo", "facade"), 2.0)):
        of = fitted & [name.startswith(starts) for name in groups]
        weights[of] = total / max(1, of.sum())
    theta = fit(values[fitted], drawn_ones[fitted], weights[fitted], SECOND_RIDGE)
    theta[0] += TRUST
    return theta.round(3)


def report(groups, conditions, logits, drawn_ones):
    """Wrong ones and percentiles of the logit by group and condition, and what is wrong in all."""
    print(f"{'logits':52} wrong of          0%    5%   50%   95%  100%")
    for name, condition in sorted(set(zip(groups, conditions, strict=True))):
        which = (groups == name) & (conditions == condition)
        of, wrong = logits[which], ((logits > 0) != drawn_ones)[which].sum()
        spread = " ".join(f"{v:5.1f}" for v in np.percentile(of, [0, 5, 50, 95, 100]))
        print(f"{name + ', ' + condition:52} {wrong:5} {len(of):4}    {spread}")
    print()
    halves = np.array([name.split()[0] + (", held out" if "held out" in name else ", fitted") for name in groups])
    for half in sorted(set(halves)):
        for bleaching in (False, True):
            which = (halves == half) & ((conditions != "plain") == bleaching)
            if which.any():
                wrong = ((logits > 0) != drawn_ones)[which].sum()
                print(f"{half}, {'bleached' if bleaching else 'as they are'}: {wrong} wrong of {which.sum()}")


def main():
    folders = [Path(name) for name in sys.argv[1:]]
    rows = [*drawn(range(FIRST, FIRST + SEEDS), 10), *noise(), *drawn(TESTED, 12, " held out")]
    rows += [row for folder in folders for row in photographed(folder)]
    groups, conditions = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    values = np.stack([row[2] for row in rows])
    drawn_ones = np.array([name.startswith(("drawing", "plan")) for name in groups])
    near, far = values[:, : len(WEIGHTS)], values[:, len(WEIGHTS) :]
    stored, agreeing = (np.array([weight for _, weight in named]) for named in (WEIGHTS, SECOND))
    for title, named, theta in (
        ("WEIGHTS", WEIGHTS, first(groups, conditions == "plain", near, drawn_ones)),
        ("SECOND", SECOND, second(groups, near @ stored > UNSURE, far, drawn_ones)),
    ):
        print(title)
        for (name, _), weight in zip(named, theta, strict=True):
            print(f'    ("{name}", {weight:.3f}),')
    report(groups, conditions, np.minimum(near @ stored, far @ agreeing), drawn_ones)


if __name__ == "__main__":
    main()
