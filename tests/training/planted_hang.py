"""Run `archsr/train.py` and hang or kill one rank: python planted_hang.py RANK STEP sleep|kill (and flags)"""

import os
import runpy
import signal
import sys
import time
from pathlib import Path

import archsr
from archsr.training import step as one_step

rank, step, what = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
del sys.argv[1:4]
real, calls = one_step.micro_step, []


def planted(parts, pair, *, share, last):
    calls.append(last)
    first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if first and int(os.environ["RANK"]) == rank and sum(calls) == step:
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            time.sleep(600)  # the planted line
    return real(parts, pair, share=share, last=last)


one_step.micro_step = planted
runpy.run_path(str(Path(archsr.__file__).with_name("train.py")), run_name="__main__")
