"""Stand-ins for the two random fields of the noise stage, equal in both environments: functions of the shape alone."""

import math

import numpy as np
import torch


def standard_normal(size):
    """Normal numbers that depend on the shape of one sample, (h, w) as (1, h, w): all of a batch hold the same ones,
    because archsr goes through it sample by sample on a CPU."""
    single = tuple(size[1:]) if len(size) == 4 else tuple(size)
    count = math.prod(single)
    field = np.random.RandomState(count % 2**31).standard_normal(count).astype(np.float32)
    return torch.from_numpy(field).view(single).expand(size)


def shot(mean):
    """Whole numbers around `mean` with its spread: what Poisson numbers are made of, without their chance."""
    return (mean + mean.sqrt() * standard_normal(mean.shape)).round().clamp(min=0)
