"""Run `archsr/train.py` and run out of memory on one rank in one iteration: RANK STEP (and flags)"""

import os
import runpy
import sys
from pathlib import Path

import torch

import archsr
from archsr.training import step as one_step

rank, step = int(sys.argv[1]), int(sys.argv[2])
del sys.argv[1:3]
real, calls = one_step.micro_step, []


def planted(parts, pair, *, share, last):
    calls.append(last)
    if sum(calls) == step and int(os.environ.get("RANK", "0")) == rank:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return real(parts, pair, share=share, last=last)


one_step.micro_step = planted
runpy.run_path(str(Path(archsr.__file__).with_name("train.py")), run_name="__main__")
