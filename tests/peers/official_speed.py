"""Runs inside the peers' environment: the processor time of realesrgan's own `feed_data`, one number per feed.

python official_speed.py SIDE FEEDS dense|separable SEED  (milliseconds as JSON; the first feed is not counted)
python official_speed.py SIDE REPEATS operations 0        (milliseconds of each operation)
"""

import json
import random
import sys
import time

import numpy as np
import official
import torch
import torch.nn.functional as F


def main(side, feeds, usm, first):
    official.pad_contiguous()
    if usm == "separable":
        official.separable_sharpening()
    kernels, model = official.dataset(), official.model()
    del model._dequeue_and_enqueue  # the pool counts
    model.queue_size = official.FEED["queue_size"]
    torch.Tensor.cuda = lambda self, *_: self
    made, drawn, batches = [], [], []
    seeds = range(int(first), int(first) + int(feeds) + 1)
    for seed in seeds:  # all kernels first, as a loader's process draws them in a row
        random.seed(seed)
        np.random.seed(seed)
        started = time.process_time()
        samples = [kernels[0] for _ in range(12)]
        drawn.append(time.process_time() - started)
        names = ("kernel1", "kernel2", "sinc_kernel")
        batches.append({name: torch.stack([s[name] for s in samples]) for name in names})
    gt = torch.from_numpy(image(int(side)))
    for seed, batch in zip(seeds, batches, strict=True):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        started = time.process_time()
        model.feed_data({"gt": gt, **batch})
        made.append(time.process_time() - started)
    print(json.dumps({"feeds": [1000 * t for t in made[1:]], "kernels": [1000 * t for t in drawn[1:]]}))


def operations(side, repeats):
    """Each operation on twelve images, as `feed_data` calls it."""
    official.pad_contiguous()
    gt = torch.from_numpy(image(int(side)))
    made = official.model()
    rng = np.random.default_rng(0)
    filters = torch.from_numpy(rng.random((12, 21, 21), np.float32))
    filters /= filters.sum((1, 2), keepdim=True)
    noise, quality = official.degradations, torch.full((12,), 60.0)
    size = round(int(side) * 0.6)

    def shot(grey):
        return noise.random_add_poisson_noise_pt(gt, scale_range=(1, 1), gray_prob=grey, clip=True, rounds=False)

    def normal(grey):
        return noise.random_add_gaussian_noise_pt(gt, sigma_range=(15, 15), gray_prob=grey, clip=True, rounds=False)

    found = {
        "sharpening, dense": timed(lambda: made.usm_sharpener(gt), 1),
        "blur, 21 taps": timed(lambda: official.img_process.filter2D(gt, filters), repeats),
        **{f"resize × 0.6, {m}": timed(lambda m=m: F.interpolate(gt, size=(size, size), mode=m), repeats)
           for m in ("area", "bilinear", "bicubic")},
        **{f"Gaussian noise, {n}": timed(lambda g=g: normal(g), repeats) for n, g in (("colour", 0), ("grey", 1))},
        **{f"Poisson noise, {n}": timed(lambda g=g: shot(g), repeats) for n, g in (("colour", 0), ("grey", 1))},
        "JPEG": timed(lambda: made.jpeger(gt, quality=quality), repeats),
        "pair pool of 180": pool_time(repeats),
    }  # fmt: skip
    official.separable_sharpening()
    found["sharpening, made separable"] = timed(lambda: made.usm_sharpener(gt), repeats)
    print(json.dumps(found))


def pool_time(repeats):
    made = official.model()
    del made._dequeue_and_enqueue
    torch.Tensor.cuda = lambda self, *_: self
    made.queue_size = official.FEED["queue_size"]
    made.lq, made.gt = torch.rand(12, 3, 64, 64), torch.rand(12, 3, 256, 256)
    for _ in range(15):
        made._dequeue_and_enqueue()
    return timed(made._dequeue_and_enqueue, repeats)


def timed(work, repeats):
    """The median of the processor times, in milliseconds."""
    times = []
    for _ in range(int(repeats)):
        started = time.process_time()
        work()
        times.append(1000 * (time.process_time() - started))
    return float(np.median(times))


def image(side, batch=12):
    """Smooth shapes with fine noise, the same for everybody."""
    rng = np.random.default_rng(side)
    coarse = torch.from_numpy(rng.random((batch, 3, side // 8, side // 8), np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    return (smooth.numpy() + 0.05 * rng.random((batch, 3, side, side), np.float32)).clip(0, 1).astype(np.float32)


if __name__ == "__main__":
    operations(*sys.argv[1:3]) if sys.argv[3] == "operations" else main(*sys.argv[1:])
