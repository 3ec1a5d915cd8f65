"""Stand-ins for the two random fields of the noise stage, equal in both environments: functions of the shape alone."""

import math

import numpy as np
import torch


def standard_normal(size):
    """Normal numbers that depend on how many there are, so (h, w) and (1, 1, h, w) hold the same ones."""
    count = math.prod(size)
    return torch.from_numpy(np.random.RandomState(count % 2**31).standard_normal(count).astype(np.float32)).view(size)


def shot(mean):
    """Whole numbers around `mean` with its spread: what Poisson numbers are made of, without their chance."""
    return (mean + mean.sqrt() * standard_normal(mean.shape)).round().clamp(min=0)
