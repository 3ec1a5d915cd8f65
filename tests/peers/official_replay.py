"""Runs inside the peers' environment: the reference's operations on given parameters.

python official_replay.py INPUTS.npz OUTPUTS.npz
"""

import json
import random
import sys
from collections import deque

import numpy as np
import official
import torch
import torch.nn.functional as F
from fields import shot, standard_normal
from official import degradations, img_process

KINDS = ["bivariate_Gaussian", "bivariate_generalized_Gaussian", "bivariate_plateau"]


def kernel(spec):
    """The reference's kernel on the canvas of 21: kind, taps, σx, σy, θ, β, cut-off; 3 is the sinc, 4 the identity."""
    kind, taps, sx, sy, theta, beta, cutoff = spec
    kind, taps = int(kind), int(taps)
    if kind == 4:
        made = np.zeros((taps, taps))
        made[taps // 2, taps // 2] = 1
    elif kind == 3:
        made = degradations.circular_lowpass_kernel(cutoff, taps)
    else:
        extra = {} if kind == 0 else {"beta": beta}
        isotropic = sx == sy and theta == 0
        made = getattr(degradations, KINDS[kind])(taps, sx, sy, theta, isotropic=isotropic, **extra)
    return torch.FloatTensor(np.pad(made, (21 - taps) // 2))


def operations(given):
    found = {"kernels": np.stack([kernel(k) for k in given["kernels"]])}
    image = torch.from_numpy(given["image"])
    found["filter2D"] = img_process.filter2D(image, torch.stack([kernel(k) for k in given["filters"]])).numpy()
    found["usm"] = official.model().usm_sharpener(image).numpy()
    for mode in ("area", "bilinear", "bicubic"):
        for factor in given["factors"]:
            found[f"{mode} factor {factor}"] = F.interpolate(image, scale_factor=float(factor), mode=mode).numpy()
        for h, w in given["sizes"]:
            found[f"{mode} size {h} {w}"] = F.interpolate(image, size=(int(h), int(w)), mode=mode).numpy()
    torch.manual_seed(0)
    for name, make in (
        ("gaussian", degradations.add_gaussian_noise_pt),
        ("poisson", degradations.add_poisson_noise_pt),
    ):
        for grey in (0.0, 1.0):
            images, strength = torch.from_numpy(given[f"{name} images"]), float(given[f"{name} strength"])
            # one by one: the reference shares one grey field among all images of a call
            each = [make(p[None], strength, clip=False, rounds=False, gray_noise=torch.tensor([grey])) for p in images]
            found[f"{name} {grey:g}"] = torch.cat(each).numpy()
    jpeger = official.model().jpeger
    for size in given["jpeg sizes"]:
        for quality in given["qualities"]:
            part = image[:1, :, : size[0], : size[1]].contiguous()
            found[f"jpeg {quality:g} {size[0]} {size[1]}"] = jpeger(
                part, quality=torch.tensor([quality]).float()
            ).numpy()
    return found


class Script:
    """Stands in for every random source that feed_data uses: hands out given values, each only to the caller it is for.

    A line is (source, value, arguments expected); a call out of order or with other arguments is an error.
    """

    def __init__(self, lines):
        self.lines = deque(lines)

    def take(self, source, *arguments):
        name, value, expected = self.lines.popleft()
        assert (name, list(expected)) == (source, list(arguments)), (name, expected, source, arguments)
        return value

    def install(self):
        random.choices = lambda names, weights: [self.take("choices", *weights)]
        random.choice = lambda names: self.take("choice", *names)
        random.randint = lambda low, high: self.take("randint", low, high)
        np.random.uniform = lambda *span: self.take("uniform", *span)
        torch.rand = lambda count, **_: torch.tensor(self.take("rand", count)).float()
        torch.Tensor.uniform_ = lambda t, *span: t.copy_(torch.tensor(self.take("uniform_", *span)).float())
        torch.randn = lambda *size, **_: standard_normal(size)
        torch.poisson = lambda mean: shot(mean)


def chains(given):
    """feed_data under a script, for each of the given recipes."""
    found = {}
    official.pad_contiguous()
    for i, case in enumerate(json.loads(str(given["chains"]))):
        if i == 1:  # the first one runs with the reference's dense filter
            official.separable_sharpening()
        script = Script(case["lines"])
        script.install()
        made = official.model(**case["options"])
        kernels = {n: torch.stack([kernel(k) for k in case[n]]) for n in ("kernel1", "kernel2", "sinc_kernel")}
        made.feed_data({"gt": torch.from_numpy(given[f"gt{i % 3}"]), **kernels})
        assert not script.lines, script.lines
        found[f"lq{i}"], found[f"gt{i}"] = made.lq.numpy(), made.gt.numpy()
    return found


@torch.no_grad()
def main(inputs, outputs):
    given = np.load(inputs)
    np.savez(outputs, **operations(given), **chains(given))


if __name__ == "__main__":
    main(*sys.argv[1:])
