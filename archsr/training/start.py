"""Starting a training on this machine: `archsr/train.py` by itself, or under accelerate's launcher on several GPUs."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import torch

from archsr.errors import UserError

_TRAIN = str(Path(__file__).parents[1] / "train.py")


def start(words: list[str], *, processes: int | None = None) -> NoReturn:
    """Become `train.py` with these words, in one process for each GPU or in so many. Raises `UserError`.

    A single process needs no launcher, which would answer Ctrl-C with a traceback while the run is still being saved.
    """
    if "RANK" in os.environ:
        raise UserError(
            "archsr train starts processes itself: archsr train ..., or accelerate launch archsr/train.py ..."
        )
    gpus = torch.cuda.device_count()
    wanted = processes or max(1, gpus)
    if gpus and wanted > gpus:
        raise UserError(f"--processes {wanted}: there are {gpus} GPUs here, and a process needs one of its own")
    command, more = command_of(words, wanted, gpus=gpus)
    sys.stdout.flush()
    os.execve(command[0], command, {**os.environ, **more})


def command_of(words: list[str], processes: int, *, gpus: int) -> tuple[list[str], dict[str, str]]:
    """The command, and what is set in its environment."""
    if processes == 1:
        return [sys.executable, _TRAIN, *words], {}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    more = {} if gpus else {"ACCELERATE_USE_CPU": "true"}  # without it accelerate refuses --multi_gpu
    return [*launch, _TRAIN, *words], {"PET_SHUTDOWN_TIMEOUT": "600", **more}  # seconds to save in after Ctrl-C
