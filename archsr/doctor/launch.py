"""Checks that need all processes of a launcher: they match, they reach each other, and they train a step together."""

import dataclasses
import hashlib
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

import archsr
from archsr.config import TrainConfig
from archsr.data.stream.loader import batch_at
from archsr.data.stream.plan import Slice
from archsr.doctor.line import Line, ok
from archsr.errors import UserError, first_line
from archsr.training.data import open_on_all_ranks
from archsr.training.logging.log import clock
from archsr.training.memory.auto_batch import attempt
from archsr.training.pairs import options_of, pair_of
from archsr.training.precision import with_precision
from archsr.training.processes import joined
from archsr.training.schedule import total_of
from archsr.training.setup import Run, make_run
from archsr.training.step import train_step
from archsr.utils import console
from archsr.utils.world import World

_SECONDS = 10.0
_SIZE = 4 * 2**20  # numbers that are summed over the processes
_UNEVEN, _TRIFLE = 1.5, 0.1  # a rank is slow if it needs this many times as long as another, and this many seconds more


@dataclass(frozen=True)
class Step:
    """The result of one rank's step: seconds of reading and of computing, the loss, and the weights afterwards.

    `usable` says whether loss and gradients are finite on all ranks.
    """

    read: float
    computed: float
    loss: float
    usable: bool
    weights: str
    memory: int


def launch(config: TrainConfig) -> list[Line]:
    """Sum over all processes for ten seconds and train one step. All ranks call it; only rank 0 returns lines.

    Writes nothing. Raises `UserError` if the number of processes is wrong or they lose each other.
    """
    config = with_precision(config)
    with joined(config) as (accelerator, world):
        lines = [_alike(world.gather(_about(accelerator.device)))]  # all ranks
        if world.size > 1:
            _tell(world, f"summing over {world.size} processes for {_SECONDS:g} s")
            lines.append(_sums(accelerator.device, world))  # all ranks
        _tell(world, "opening data and networks")
        try:
            data = open_on_all_ranks(config, world)  # all ranks
            run = make_run(config, accelerator, world, data)  # all ranks
        except UserError as error:
            lines.append(Line("training step", "wrong", str(error), "the lines above say what is missing"))
        else:
            lines.append(_training(run))  # all ranks
    return lines if world.rank == 0 else []


def _tell(world: World, text: str) -> None:
    if world.rank == 0:
        console.aside(f"doctor: {text}")


# ---------------------------------------------------------------- who is there


def _about(device: torch.device) -> dict[str, str]:
    built = torch.version.cuda or torch.version.hip or "CPU"
    versions = f"archsr {archsr.__version__}, Python {platform.python_version()}, torch {torch.__version__} ({built})"
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    return {"where": f"{platform.node()}:{device}", "versions": versions, "chip": chip}


def _alike(ranks: Sequence[Mapping[str, str]]) -> Line:
    said = f"{len(ranks)}: " + ", ".join(rank["where"] for rank in ranks)
    for what in ("versions", "chip"):
        first = ranks[0][what]
        for rank, other in enumerate(ranks):
            if other[what] != first:
                differ = f"rank 0 has {first}, rank {rank} ({other['where']}) {other[what]}"
                if what == "versions":
                    return Line("processes", "wrong", differ, "install the same versions on all machines")
                return Line("processes", "warning", differ, "the slowest one sets the pace: use equal ones")
    return ok("processes", said)


# ---------------------------------------------------------------- whether they reach each other


def _sums(device: torch.device, world: World) -> Line:
    """Sum over all processes for `_SECONDS` and compare each result with the right one."""
    numbers, going = torch.ones(_SIZE, device=device), torch.ones(1, device=device)
    begun, rounds, right = time.perf_counter(), 0, True
    try:
        while going.item():
            numbers.fill_(1)
            dist.all_reduce(numbers)  # all ranks
            right = right and bool((numbers == world.size).all())
            rounds += 1
            going.fill_(float(time.perf_counter() - begun < _SECONDS))
            dist.all_reduce(going, op=dist.ReduceOp.MIN)  # all ranks: they stop together
    except RuntimeError as error:
        raise UserError(
            f"doctor --launch: rank {world.rank} lost the others ({first_line(error)}); start again with "
            "NCCL_DEBUG=INFO, and name the network between the machines in NCCL_SOCKET_IFNAME (or GLOO_SOCKET_IFNAME)"
        ) from None
    if not all(world.gather(right)):  # all ranks
        what = f"the sum of ones over {world.size} processes is not {world.size}"
        return Line("sums", "wrong", what, "NCCL_P2P_DISABLE=1, or another driver: the connection corrupts data")
    speed = rounds * _SIZE * 4 / (time.perf_counter() - begun) / 1e6
    size = _SIZE * 4 // 2**20
    return ok("sums", f"{rounds} of {size} MiB in {_SECONDS:g} s by {dist.get_backend()}: {speed:.0f} MB/s")


# ---------------------------------------------------------------- whether they train


def _training(run: Run) -> Line:
    """Train a step on each process alone, then on all together. A rank that runs out of memory alone blocks nobody."""
    micro = run.config.training.micro_batch
    try:
        _tell(run.world, f"training a micro-batch of {micro} on each process alone, twice")
        alone = run.world.gather(_alone(run))  # all ranks
        failed = [f"rank {rank}: {text}" for rank, text in enumerate(alone) if isinstance(text, str)]
        if failed:
            return Line("training step", "wrong", "; ".join(failed), "archsr plan CONFIG shows what fits into memory")
        took = [seconds for seconds in alone if not isinstance(seconds, str)]
        whole = max(took) * run.accumulation * total_of(run.config.training.stages, {})
        _tell(run.world, f"training a whole iteration, {run.accumulation} × {micro} crops on each process")
        return _agreed(run.world.gather(_step(run)), took, whole)  # all ranks
    finally:
        run.saver.close()


def _alone(run: Run) -> float | str:
    """Return the seconds of a micro-batch without the other processes, or the error message."""
    parts = dataclasses.replace(run.parts, net_g=run.raw_g, net_d=run.parts.raw_d if run.parts.net_d else None)
    size, device = int(run.config.training.micro_batch), run.accelerator.device
    begun = 0.0
    try:
        for _ in range(2):  # the first one warms up and is not timed
            begun = time.perf_counter()
            attempt(run.config, parts, run.world, size)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
    except RuntimeError as error:  # includes CUDA's out of memory
        return first_line(error)
    return time.perf_counter() - begun


def _step(run: Run) -> Step:
    """Train a step on the run's first micro-batch, as in the first iteration in which both networks learn."""
    config, world, device = run.config, run.world, run.accelerator.device
    micro, subset = int(config.training.micro_batch), config.training.stages[0].subset
    begun = time.perf_counter()
    part = Slice(0, micro, run.accumulation, world.rank, world.size)
    batch = batch_at(options_of(config, run.data, subset), part.positions(0))
    read = time.perf_counter() - begun
    pair, _ = pair_of(config, batch, subset, device=device)
    done = train_step(run, iter([pair]), step=config.discriminator.warmup, count=1)  # all ranks
    first = done.terms[0]
    loss = float(first.values[first.names.index("total")])  # waits for the device
    most = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return Step(read, time.perf_counter() - begun - read, loss, done.verdict.read()[0], _digest(run), most)


def _digest(run: Run) -> str:
    """Return a digest of all trained weights. Gradients are averaged over the processes, so all ranks must agree."""
    found = hashlib.sha256()
    for group in run.groups:
        for parameter in group.parameters.values():
            value: Tensor = parameter.detach().float().cpu().contiguous()
            found.update(value.numpy().tobytes())
    return found.hexdigest()


def _agreed(steps: Sequence[Step], alone: Sequence[float], whole: float = 0.0) -> Line:
    """Compare a step on all ranks. `alone` holds the seconds of each rank without the others.

    `whole` is how many seconds all iterations of the run would take at this speed.
    """
    bad = [str(n) for n, step in enumerate(steps) if not math.isfinite(step.loss)]
    if bad or not steps[0].usable:
        what = f"the loss is no number on rank {', '.join(bad)}" if bad else "a loss term or a gradient is no number"
        return Line("training step", "wrong", what, "--set training.precision=fp32, and look at archsr preview CONFIG")
    if len({step.weights for step in steps}) > 1:
        what = "the processes have different weights after one step"
        return Line("training step", "wrong", what, "install the same torch and drivers on all machines")
    read, computed = max(s.read for s in steps), max(s.computed for s in steps)
    memory = max(s.memory for s in steps) / 2**30
    said = f"read in {read:.2f} s, trained in {computed:.2f} s" + (f", {memory:.1f} GiB at most" if memory else "")
    said += f"; the whole run about {clock(whole)}, and its validations" if whole else ""
    for each, doing in ((alone, "trains"), ([s.read for s in steps], "reads")):
        slow = max(range(len(each)), key=each.__getitem__)
        if each[slow] > _UNEVEN * min(each) + _TRIFLE:
            what = f"{said}; rank {slow} {doing} in {each[slow]:.2f} s, the fastest in {min(each):.2f}"
            mend = "is something else on its device?" if doing == "trains" else "is its disk slower, or busy?"
            return Line("training step", "warning", what, f"the slowest sets the pace: {mend}")
    return ok("training step", said + ("; the same weights on all" if len(steps) > 1 else ""))
