"""Run `archsr/train.py` so that more than SIZE samples run out of memory on rank RANK: RANK SIZE (and flags)"""

import os
import runpy
import sys
from pathlib import Path

import torch

import archsr
from archsr.training.memory import auto_batch

rank, most = int(sys.argv[1]), int(sys.argv[2])
del sys.argv[1:3]
real = auto_batch.accumulate


def planted(parts, pairs, *, count):
    pair = next(pairs)
    if int(os.environ.get("RANK", "0")) == rank and len(pair.lq) > most:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return real(parts, iter([pair]), count=count)


auto_batch.accumulate = planted
runpy.run_path(str(Path(archsr.__file__).with_name("train.py")), run_name="__main__")
