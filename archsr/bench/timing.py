"""Rows of a benchmark, and how they are timed."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from archsr.utils.allocation import give_back

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_NEAR = 2**26  # bytes by which a freshly reset peak may differ from the current memory


@dataclass(frozen=True)
class Timing:
    """One figure. `value` in `unit` is the median of `rounds`, or the best of them for a limit.

    `share` is relative to the limit named `limit`; `memory` is in bytes, 0 if unknown.
    """

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
    """Times each figure for `seconds` on `device`."""

    seconds: float
    device: torch.device

    def rounds(self, work: Callable[[], object]) -> tuple[list[float], int]:
        """Return the seconds per call of `work` in each of at least three rounds, and the peak memory in bytes.

        A round has enough calls to fill a tenth of `seconds`, so that prefetched batches of a stream do not inflate its
        speed. Memory is the GPU's, or the whole process's on a CPU; 0 if the system cannot separate it from earlier
        memory.
        """
        known = self._forget_memory()
        work()
        self._wait()
        calls, begun = 0, time.perf_counter()
        while not calls or time.perf_counter() - begun < self.seconds / 10:
            work()
            self._wait()
            calls += 1
        times: list[float] = []
        begun = time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begun < self.seconds:
            started = time.perf_counter()
            for _ in range(calls):
                work()
            self._wait()
            times.append((time.perf_counter() - started) / calls)
        return times, self._memory() if known else 0

    def rate(
        self, stage: str, case: str, work: Callable[[], object], *, amount: float, unit: str,
        limit: str = "", of: float | None = None, arithmetic: float | None = None,
    ) -> Timing:  # fmt: skip
        """Return a row for `amount` units per call of `work`.

        `of` is the limit for its share: units per second, or FLOP/s (bytes/s) if `arithmetic` is the FLOPs (bytes) of a
        call.
        """
        times, memory = self.rounds(work)
        values = [amount / t for t in times]
        value = statistics.median(values)
        reached = value if arithmetic is None else arithmetic / statistics.median(times)
        return Timing(stage, case, value, unit, values, memory, limit, reached / of if of else None)

    def best(self, case: str, work: Callable[[], object], *, amount: float, unit: str) -> Timing:
        """Return a row of stage "limit": the best round."""
        times, memory = self.rounds(work)
        values = [amount / t for t in times]
        return Timing("limit", case, max(values), unit, values, memory)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _forget_memory(self) -> bool:
        """Reset the peak memory, and return whether the system did."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return True
        if not _CLEAR.exists():
            return False
        give_back()
        _CLEAR.write_text("5")  # proc(5): resets VmHWM; some sandboxes accept it and do nothing
        return _status("VmHWM") < _status("VmRSS") + _NEAR

    def _memory(self) -> int:
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else _status("VmHWM")


def _status(name: str) -> int:
    return 1024 * int(_STATUS.read_text().split(f"{name}:", 1)[1].split()[0])
