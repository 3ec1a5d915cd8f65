"""Start training on this machine: `archsr/train.py` directly, or with accelerate's launcher on several GPUs."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import torch

from archsr.errors import UserError

_TRAIN = str(Path(__file__).parents[1] / "train.py")
_WINDOWS = os.name == "nt"


def start(words: list[str], *, processes: int | None = None) -> NoReturn:
    """Replace this process by `train.py` with these arguments: one process per GPU, or `processes`.

    A single process runs without a launcher, because the launcher prints a traceback on Ctrl-C while the run is saving.
    Raises `UserError`.
    """
    if "RANK" in os.environ:
        raise UserError(
            "archsr train starts processes itself: archsr train ..., or accelerate launch archsr/train.py ..."
        )
    gpus = torch.cuda.device_count()
    wanted = processes or max(1, gpus)
    if gpus and wanted > gpus:
        raise UserError(f"--processes {wanted}: this machine has {gpus} GPUs, and each process needs one")
    command, more = command_of(words, wanted, gpus=gpus)
    sys.stdout.flush()
    environment = {**os.environ, **more}
    if _WINDOWS:  # which cannot replace a process
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other one gets Ctrl-C too, and saves
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)
    os.execve(command[0], command, environment)


def command_of(words: list[str], processes: int, *, gpus: int) -> tuple[list[str], dict[str, str]]:
    """Return the command and the changes to its environment."""
    if processes == 1:
        return [sys.executable, _TRAIN, *words], {}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    more = {} if gpus else {"ACCELERATE_USE_CPU": "true"}  # accelerate needs it for --multi_gpu
    return [*launch, _TRAIN, *words], {"PET_SHUTDOWN_TIMEOUT": "600", **more}  # seconds for saving after Ctrl-C
