"""`archsr` whose doctor sums for half a second; with `full-on-rank-1` before its words, rank 1's memory is full."""

import os
import sys

import torch

from archsr import cli
from archsr.doctor import launch


def full(*_args, **_kwargs):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


launch._SECONDS = 0.5
if sys.argv[1] == "full-on-rank-1":
    del sys.argv[1]
    if os.environ["RANK"] == "1":
        launch.attempt = full
sys.exit(cli.main())
