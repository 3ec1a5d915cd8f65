"""`archsr/train.py` on whose rank RANK trials of more than SIZE samples run out of memory: RANK SIZE (and flags)"""

import os
import sys

import torch

from archsr import train
from archsr.training import fit

rank, most = int(sys.argv[1]), int(sys.argv[2])
del sys.argv[1:3]
real = fit.accumulate


def planted(parts, pairs, *, count):
    pair = next(pairs)
    if int(os.environ.get("RANK", "0")) == rank and len(pair.lq) > most:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return real(parts, iter([pair]), count=count)


fit.accumulate = planted
sys.exit(train.main())
