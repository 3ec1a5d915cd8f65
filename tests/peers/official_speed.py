"""Runs inside the peers' environment: the processor time of realesrgan's own `feed_data`, one number per feed.

python official_speed.py SIDE FEEDS dense|separable SEED  (milliseconds as JSON; the first feed is not counted)
"""

import json
import random
import sys
import time

import numpy as np
import official
import torch


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
    gt = torch.from_numpy(picture(int(side)))
    for seed, batch in zip(seeds, batches, strict=True):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        started = time.process_time()
        model.feed_data({"gt": gt, **batch})
        made.append(time.process_time() - started)
    print(json.dumps({"feeds": [1000 * t for t in made[1:]], "kernels": [1000 * t for t in drawn[1:]]}))


def picture(side, batch=12):
    """Smooth shapes with fine noise, the same for everybody."""
    rng = np.random.default_rng(side)
    coarse = torch.from_numpy(rng.random((batch, 3, side // 8, side // 8), np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    return (smooth.numpy() + 0.05 * rng.random((batch, 3, side, side), np.float32)).clip(0, 1).astype(np.float32)


if __name__ == "__main__":
    main(*sys.argv[1:])
