"""Rows of a benchmark, and how they are timed."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Row:
    """One figure. `value` in `unit` is the median of `rounds`; `share` of the limit named `limit`; `memory` bytes."""

    stage: str
    case: str
    value: float
    unit: str
    rounds: list[float] = field(default_factory=list[float])
    memory: int = 0
    limit: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Clock:
    """How long each figure is measured, seconds, and on what device."""

    seconds: float
    device: torch.device

    def rounds(self, work: Callable[[], object]) -> tuple[list[float], int]:
        """Seconds of each call of `work` after a first one, at least three, and the memory it took at its highest.

        Memory is the GPU's, or the whole process's on a CPU.
        """
        work()
        self._wait()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        times: list[float] = []
        begun = time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begun < self.seconds:
            started = time.perf_counter()
            work()
            self._wait()
            times.append(time.perf_counter() - started)
        return times, self._memory()

    def rate(
        self, stage: str, case: str, work: Callable[[], object], *, amount: float, unit: str,
        limit: str = "", of: float | None = None, arithmetic: float | None = None,
    ) -> Row:  # fmt: skip
        """A row of `amount` units in each call of `work`.

        `of` is the limit that its share is of: units per second, or FLOP/s where `arithmetic` is FLOPs of a call.
        """
        times, memory = self.rounds(work)
        values = [amount / t for t in times]
        value = statistics.median(values)
        reached = value if arithmetic is None else arithmetic / statistics.median(times)
        return Row(stage, case, value, unit, values, memory, limit, reached / of if of else None)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _memory(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size if sys.platform == "darwin" else 1024 * size
