"""Runs inside the peers' environment: what the reference draws, thousands of times.

python official_samples.py INPUTS.npz OUTPUTS.npz
"""

import random
import sys

import numpy as np
import official
import torch
from official import dataset_module, degradations, model_module

MODES = ["area", "bilinear", "bicubic"]


def kernels(count):
    """`count` calls of the dataset's `__getitem__`: its three kernels and the parameters they were made with.

    Parameters (count, 3, 7): kind, taps, σx, σy, θ, β, cut-off; nan where the kind has none.
    """
    seen = []
    for kind, name in enumerate(("bivariate_Gaussian", "bivariate_generalized_Gaussian", "bivariate_plateau")):
        _record_family(seen, kind, name)
    lowpass = dataset_module.circular_lowpass_kernel

    def recorded(cutoff, taps, **rest):
        seen.append([3, taps, *[np.nan] * 4, cutoff])
        return lowpass(cutoff, taps, **rest)

    dataset_module.circular_lowpass_kernel = recorded
    source, rendered, parameters = official.dataset(), [], []
    for _ in range(count):
        seen.clear()
        item = source[0]
        rendered.append(torch.stack([item["kernel1"], item["kernel2"], item["sinc_kernel"]]).numpy())
        parameters.append(seen[:3] if len(seen) == 3 else [*seen, [4, *[np.nan] * 6]])
    return np.stack(rendered), np.array(parameters)


def _record_family(seen, kind, name):
    make = getattr(degradations, name)

    def recorded(taps, sx, sy, theta, beta=np.nan, *, isotropic):
        seen.append([kind, taps, sx, sx if isotropic else sy, 0 if isotropic else theta, beta, np.nan])
        return make(taps, sx, sy, theta, *([] if kind == 0 else [beta]), isotropic=isotropic)

    setattr(degradations, name, recorded)


class Tap:
    """Replaces the operations of feed_data by ones that only write down what they were asked for.

    The random draws, their order and their use stay the reference's own. The images keep their size.
    """

    def __init__(self, image, *, noise):
        self.image, self.events, self.before_jpeg = image, [], []
        model_module.filter2D = self.filter2d
        model_module.F = self
        self.made = official.model()
        self.made.usm_sharpener = lambda x: x
        self.made.jpeger = self.jpeg
        model_module.paired_random_crop = self.crop
        if not noise:
            degradations.generate_gaussian_noise_pt = lambda x, sigma, grey: self.noise(0, sigma / 255, grey)
            degradations.generate_poisson_noise_pt = lambda x, scale, grey: self.noise(1, scale, grey)

    def filter2d(self, img, kernel):
        self.events.append(("filter", float(kernel.flatten()[0])))
        return img

    def interpolate(self, img, *, scale_factor=None, size=None, mode):
        self.events.append(("resize", scale_factor if size is None else list(size), MODES.index(mode)))
        return img

    def jpeg(self, img, *, quality):
        self.events.append(("jpeg", quality.tolist()))
        self.before_jpeg.append(img.clone())
        return img

    def noise(self, poisson, strength, grey):
        self.events.append(("noise", poisson, strength.tolist(), grey.tolist()))
        return torch.zeros(1)

    def crop(self, gts, lq, size, scale):
        self.events.append(("crop", random.randint(0, 36), random.randint(0, 36)))
        return gts, lq

    def feed(self):
        self.events.clear()
        self.before_jpeg.clear()
        marks = [torch.full((len(self.image), 1, 1), v) for v in (1.0, 2.0, 3.0)]
        self.made.feed_data({"gt": self.image, **dict(zip(("kernel1", "kernel2", "sinc_kernel"), marks, strict=True))})
        return list(self.events)


def scalars(count):
    """What `count` feeds of two images used: one array per quantity, the second axis the sample in the batch."""
    tap = Tap(torch.zeros(2, 1, 400, 400), noise=False)
    rows = [_row_of(tap.feed()) for _ in range(count)]
    return {name: np.array([r[name] for r in rows]) for name in rows[0]}


def _row_of(events):
    """Events of one feed to quantities. Which filter ran is known by the kernels' marks 1, 2, 3."""
    resizes, noises, jpegs = ([e for e in events if e[0] == kind] for kind in ("resize", "noise", "jpeg"))
    order = [e[0] for e in events]
    row = {"blurred second": any(e == ("filter", 2.0) for e in events)}
    row["sinc last"] = order.index("crop") - 1 != max(i for i, o in enumerate(order) if o == "jpeg")
    row["first factor"], row["second height"], row["second width"] = resizes[0][1], *resizes[1][1]
    assert resizes[2][1] == [100, 100]
    for name, event in zip(("first", "second", "final"), resizes, strict=True):
        row[f"{name} mode"] = event[2]
    for name, (_, poisson, strength, grey) in zip(("first", "second"), noises, strict=True):
        row[f"{name} poisson"], row[f"{name} strength"], row[f"{name} grey"] = poisson, strength, grey
    row["first quality"], row["second quality"] = (e[1] for e in jpegs)
    row["crop y"], row["crop x"] = events[-1][1:]
    return row


def noise_stage(image, count):
    """(count, 3, h, w): the image (1, 3, h, w) after the first noise."""
    tap, found = Tap(torch.from_numpy(image), noise=True), []
    for _ in range(count):
        tap.feed()
        found.append(tap.before_jpeg[0][0].numpy())
    return np.stack(found)


def ends(given):
    """lq of `count` independent feeds of each image, with kernels of the dataset's own."""
    official.pad_contiguous()
    official.separable_sharpening()
    source, size = official.dataset(), int(given["gt_size"])
    made = official.model(gt_size=size)
    found = []
    for image in given["images"]:
        for _ in range(int(given["ends"])):
            item = source[0]
            names = ("kernel1", "kernel2", "sinc_kernel")
            made.feed_data({"gt": torch.from_numpy(image[None]), **{n: item[n][None] for n in names}})
            found.append((made.lq[0] * 255).round().byte().numpy())
    return np.stack(found)


@torch.no_grad()
def main(inputs, outputs):
    given, found = np.load(inputs), {}
    for module in (random, np.random):
        module.seed(int(given["seed"]))
    torch.manual_seed(int(given["seed"]))
    found["lq"] = ends(given)  # first: the others replace operations
    found["kernels"], found["parameters"] = kernels(int(given["kernels"]))
    found |= {f"scalar {k}": v for k, v in scalars(int(given["scalars"])).items()}
    _restore_noise()
    found |= {f"noise {k}": noise_stage(given[f"noise {k}"], int(given["noises"])) for k in ("flat", "ramp")}
    np.savez(outputs, **found)


NOISE = degradations.generate_gaussian_noise_pt, degradations.generate_poisson_noise_pt


def _restore_noise():
    degradations.generate_gaussian_noise_pt, degradations.generate_poisson_noise_pt = NOISE


if __name__ == "__main__":
    main(*sys.argv[1:])
