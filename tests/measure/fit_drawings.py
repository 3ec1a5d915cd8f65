"""Fits the weights of archsr/prepare/floorplans.py and prints them: `python tests/measure/fit_drawings.py [PHOTOS]`.

The data: 100 seeds from 10000 of each kind of drawn_kinds.py and hard_photos.py (10 of the demo's photographs), 30
pictures of white noise, and from PHOTOS the files `building-NNN_*` of even number, each as it is, grey, brightened by
1.15 and 1.3, darkened, washed out, smaller, at JPEG quality 40 and as three crops. Odd numbers, other names and
the floor plans among them are only reported. Kinds weigh the same, photographs six kinds; all that should stay in
weighs four times the drawings.
"""

import re
import sys
from pathlib import Path

import beside  # noqa: F401
import drawn_kinds
import hard_photos
import numpy as np
from PIL import Image
from scipy.optimize import minimize

from archsr.images import read_photo
from archsr.prepare.floorplans import WEIGHTS, features, reduced

SEEDS, FIRST, RIDGE = 100, 10000, 3e-5
CAUTION = 0.7  # taken off the bias: a drawing among the photographs does less harm than a photograph left out


def variants(image, rng):
    """The picture in the conditions in which it may be found."""
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


def drawn():
    """(group, features) of the seeded pictures."""
    for kind in drawn_kinds.KINDS:
        for seed in range(FIRST, FIRST + SEEDS):
            yield f"drawing {kind}", features(reduced(drawn_kinds.drawing(kind, seed)))
    for kind in hard_photos.KINDS:
        for seed in range(FIRST, FIRST + (10 if kind == "demo" else SEEDS)):
            yield f"like {kind}", features(reduced(hard_photos.photo_like(kind, seed)))

    rng = np.random.default_rng(1)
    for _ in range(30):
        noise = rng.normal(128, rng.uniform(10, 120), (*rng.integers(60, 257, 2), 3)).clip(0, 255).astype(np.uint8)
        yield "like noise", features(noise)


def photographed(folder):
    rng = np.random.default_rng(0)
    for path in sorted(folder.rglob("*.jpg")):
        number = re.match(r"building-(\d+)", path.name)
        group = "photo fitted" if number and int(number[1]) % 2 == 0 else "photo held out"
        shapes = list(variants(Image.fromarray(read_photo(path).pixels), rng))
        for image in shapes[:8] if "plan" in path.name else shapes:
            yield ("plan held out" if "plan" in path.name else group), features(reduced(image))


def fit(values, drawn_ones, weights):
    """Logistic regression with a ridge on standardised features; returns raw weights, the bias first."""
    mean, spread = values[:, 1:].mean(0), values[:, 1:].std(0)
    scaled, sign = (values[:, 1:] - mean) / spread, np.where(drawn_ones, 1, -1)

    def loss(theta):
        margin = sign * (scaled @ theta[1:] + theta[0])
        pull = -weights * sign / (1 + np.exp(np.clip(margin, -500, 500)))
        gradient = np.concatenate([[pull.sum()], scaled.T @ pull + 2 * RIDGE * theta[1:]])
        return (weights * np.logaddexp(0, -margin)).sum() + RIDGE * (theta[1:] ** 2).sum(), gradient

    theta = minimize(loss, np.zeros(values.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 5000}).x
    return np.concatenate([[theta[0] - (theta[1:] * mean / spread).sum()], theta[1:] / spread])


def main():
    rows = [*drawn(), *(photographed(Path(sys.argv[1])) if len(sys.argv) > 1 else ())]
    groups, values = np.array([name for name, _ in rows]), np.stack([v for _, v in rows])
    drawn_ones = np.array([name.startswith(("drawing", "plan")) for name in groups])
    fitted = np.array(["held out" not in name for name in groups])
    weights = np.zeros(len(rows))
    for name in set(groups[fitted]):
        weights[groups == name] = (6 if name == "photo fitted" else 1) / (groups == name).sum()
    weights[drawn_ones] /= weights[drawn_ones].sum()
    weights[~drawn_ones] *= 4 / weights[~drawn_ones].sum()
    theta = fit(values[fitted], drawn_ones[fitted], weights[fitted])
    theta[0] -= CAUTION
    logits = values @ theta.round(3)
    print(f"{'logits':24} wrong of          0%    5%   50%   95%  100%")
    for name in sorted(set(groups)):
        of = logits[groups == name]
        wrong = ((of > 0) != drawn_ones[groups == name]).sum()
        print(f"{name:24} {wrong:5} {len(of):4}   ", *(f"{v:5.1f}" for v in np.percentile(of, [0, 5, 50, 95, 100])))
    for (name, _), weight in zip(WEIGHTS, theta, strict=True):
        print(f'    ("{name}", {weight:.3f}),')


if __name__ == "__main__":
    main()
