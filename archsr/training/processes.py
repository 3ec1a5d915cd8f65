"""Start the processes of a run: device, precision, threads, and a check of the number of processes."""

import ctypes
import datetime
import os
import signal
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from archsr.config import TrainConfig
from archsr.errors import UserError
from archsr.utils.devices import best_device, check_training_precision
from archsr.utils.stopping import Stopped
from archsr.utils.world import TWO_ON_CPU, World, connect, cores, refuse_lost_processes

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def begin(config: TrainConfig) -> tuple[Accelerator, World]:
    """Join the launcher's process group. The config's precision must be final.

    Raises `UserError` if fewer processes joined than were launched.
    """
    refuse_lost_processes()
    _end_with_launcher()
    precision = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}[config.training.precision]
    forced = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    device = torch.device("cpu") if forced else best_device()
    check_training_precision(config.training.precision, device)
    # deprecated, but its successor is missing in older torch and in accelerate's arguments
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
    timeout = datetime.timedelta(minutes=config.training.collective_timeout)
    _meet_afresh("nccl" if device.type == "cuda" else "gloo", timeout)
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=device.type == "cpu",
        # spectral-norm vectors change in every forward and are equal on all ranks, so nothing needs broadcasting
        kwargs_handlers=[
            DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
            InitProcessGroupKwargs(timeout=timeout),
        ],
    )
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != asked:
        raise UserError(
            f"{asked} processes were launched, but this one is alone (world size {accelerator.num_processes}). Without "
            f"GPUs, start them with: {TWO_ON_CPU.replace('N', str(asked))} archsr/train.py ..."
        )
    if accelerator.device.type == "cpu":
        share = max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        torch.set_num_threads(int(os.environ.get("ARCHSR_THREADS", share)))
    return accelerator, connect(rank=accelerator.process_index, size=accelerator.num_processes, timeout=timeout)


@contextmanager
def joined(config: TrainConfig) -> Generator[tuple[Accelerator, World]]:
    """Join the launcher's process group as `begin` does, and leave it after success.

    A rank that failed leaves it to the launcher to end the others: under NCCL `destroy_process_group` would wait for
    them, before the user sees the error.
    """
    made = begin(config)
    try:
        yield made
    except Stopped:  # on all ranks
        end()
        raise
    except BaseException:
        _forget()
        raise
    end()


def end() -> None:
    """Leave the process group, if there is one, and let a later run in this process choose its own precision."""
    _forget()
    if dist.is_initialized():
        dist.destroy_process_group()


def _forget() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # pyright: ignore[reportPrivateUsage]


def _meet_afresh(backend: str, timeout: datetime.timedelta) -> None:
    """Create the process group of processes that a launcher restarted. A collective.

    With the static rendezvous, accelerate's default, the launcher's store survives its processes and would still hold
    the addresses of the dead ones.
    """
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if start != "0" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        size = int(os.environ["WORLD_SIZE"])
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(address, port, size, is_master=False, timeout=timeout)  # pyright: ignore[reportPrivateImportUsage]
        own = dist.PrefixStore(f"start-{start}", store)  # pyright: ignore[reportPrivateImportUsage]
        rank = int(os.environ["RANK"])
        dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=timeout)  # all ranks


def _end_with_launcher() -> None:
    """Have the kernel send SIGTERM when the launcher dies, so that no orphan continues in the run folder."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        launcher = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != launcher:  # the launcher died in between
            os.kill(os.getpid(), signal.SIGTERM)
