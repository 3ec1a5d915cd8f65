"""Run `archsr/train.py` with a NaN loss on one rank: python planted_train.py RANK STEP,STEP (and flags)"""

import math
import os
import runpy
import sys
from pathlib import Path

import archsr
from archsr.training import step as one_step

rank, steps = int(sys.argv[1]), [int(s) for s in sys.argv[2].split(",")]
del sys.argv[1:3]
real, calls = one_step.micro_step, []


def planted(parts, pair, *, share, last):
    terms = real(parts, pair, share=share, last=last)
    calls.append(last)
    here = sum(calls) if last else sum(calls) + 1
    if here in steps and int(os.environ.get("RANK", "0")) == rank:
        for p in parts.net_g.parameters():  # what such a loss does to gradients, too
            if p.grad is not None:
                p.grad.fill_(math.nan)
        return {**terms, "pixel": terms["pixel"] * math.nan}
    return terms


one_step.micro_step = planted
runpy.run_path(str(Path(archsr.__file__).with_name("train.py")), run_name="__main__")
