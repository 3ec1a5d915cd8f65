"""Logging of a run: console lines, JSON lines in the run folder, trackers."""

import json
import math
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from archsr.errors import UserError
from archsr.images.pixels import Pixels, write_image
from archsr.runs.records import read_log as read_log
from archsr.training.logging.trackers import Trackers
from archsr.utils import console
from archsr.utils.atomic import write_bytes

try:
    import resource
except ImportError:  # Windows
    resource = None


class SampleKeysFile:
    """Write `RUN/keys/rank-00000.jsonl`: {"step", "keys"}. If not `active`, it does nothing."""

    def __init__(self, run: Path, *, rank: int, active: bool) -> None:
        self.path = run / "keys" / f"rank-{rank:05d}.jsonl"
        self._out = None
        if active:
            self.path.parent.mkdir(exist_ok=True)
            self._out = self.path.open("a", encoding="utf-8")

    def add(self, step: int, keys: list[str]) -> None:
        """Write the keys of this rank at a step. Raises `UserError` if that fails, as the record must be complete."""
        if self._out is None:
            return
        try:
            self._out.write(json.dumps({"step": step, "keys": keys}) + "\n")
            self._out.flush()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}; set log.keys = false") from None

    def close(self) -> None:
        """Close the file."""
        if self._out is not None:
            self._out.close()


def cut_keys(run: Path, step: int) -> None:
    """Remove the keys recorded after `step`, for all ranks of earlier starts: these steps will be trained again."""
    for path in sorted((run / "keys").glob("rank-*.jsonl")):
        kept = [line for line in path.read_bytes().splitlines(keepends=True) if _whole_until(line, step)]
        write_bytes(path, b"".join(kept))


def _whole_until(line: bytes, step: int) -> bool:
    """Return whether a line is complete (a killed run leaves half a line) and not after `step`."""
    return line.endswith(b"\n") and json.loads(line)["step"] <= step


def _whole_lines(path: Path) -> Path:
    """End the incomplete last line that a killed run left, so that the next line starts on its own."""
    if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        with path.open("ab") as out:
            out.write(b"\n")
    return path


def sample_of(run: Path, step: int) -> Path:
    """Return the path of a step's sheet of validation images."""
    return run / "samples" / f"step-{step:08d}.png"


class RunLog:
    """Write the log on rank 0. On other ranks every method does nothing. `close` also closes the trackers."""

    def __init__(self, run: Path, *, active: bool, trackers: Trackers | None = None) -> None:
        self.run = run
        self.active = active
        self._told: set[str] = set()
        self._lines = _whole_lines(run / "log.jsonl").open("a", encoding="utf-8") if active else None
        self._trackers = trackers

    def say(self, text: str) -> None:
        """Print a line."""
        if self.active:
            console.say(text)

    def warn(self, step: int, text: str) -> None:
        """Print a warning and log it."""
        self.say(f"WARNING at {step}: {text}")
        self.event("warning", step, {"text": text})

    def event(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one JSON line to the file at once: {"event", "step", "time", ...}."""
        if self._lines is None:
            return
        plain = {k: round(v, 6) if isinstance(v, float) and math.isfinite(v) else v for k, v in values.items()}
        line = {"event": kind, "step": step, "time": round(time.time(), 3), **plain}
        with self.forgiving("log.jsonl"):
            self._lines.write(json.dumps(line) + "\n")
            self._lines.flush()
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        if self._trackers is not None and numbers:
            self._trackers.scalars({f"{kind}/{k}": v for k, v in numbers.items()}, step)

    def image(self, step: int, pixels: Pixels) -> None:
        """Save a sheet of validation images and send it to the trackers."""
        if not self.active:
            return
        with self.forgiving("samples/"):
            write_image(sample_of(self.run, step), pixels)
        if self._trackers is not None:
            self._trackers.image("validation", pixels, step)

    def degradation(self, pixels: Pixels) -> None:
        """Save the sheet of the first batch's degraded images and send it to the trackers."""
        with self.forgiving("degradation.png"):
            write_image(self.run / "degradation.png", pixels)
        if self._trackers is not None:
            self._trackers.image("degradation", pixels, 0)

    @contextmanager
    def forgiving(self, what: str) -> Generator[None]:
        """Report a record that cannot be written, once for each kind, and let training continue."""
        try:
            yield
        except OSError as error:
            if what not in self._told:
                console.warn(f"{self.run / what} cannot be written: {error}; training continues")
            self._told.add(what)

    def close(self) -> None:
        """Flush and close the files."""
        with self.forgiving("log.jsonl"):
            if self._lines is not None:
                self._lines.close()
        if self._trackers is not None:
            self._trackers.close()


class Meter:
    """Sum loss terms on the device between two log lines, so that no step waits for the device.

    `norms` holds the gradient norms of the latest iteration.
    """

    def __init__(self) -> None:
        self.sums: dict[tuple[str, ...], Tensor] = {}
        self.counts: dict[tuple[str, ...], int] = {}
        self.norms: dict[str, Tensor] = {}
        self.steps = 0
        self.samples = 0
        self.waited = 0.0
        self.seconds = 0.0

    @contextmanager
    def timed(self) -> Generator[None]:
        """Measure the time of an iteration. Time between iterations does not count as training."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started

    @contextmanager
    def paused(self) -> Generator[None]:
        """Exclude time inside `timed`."""
        started = time.perf_counter()
        yield
        self.seconds -= time.perf_counter() - started

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Measure the time spent waiting for data."""
        started = time.perf_counter()
        yield
        self.waited += time.perf_counter() - started

    def add(self, names: tuple[str, ...], values: Tensor) -> None:
        """Add the loss terms of a micro-batch: one value (n,) of each name."""
        known = self.sums.get(names)
        self.sums[names] = values if known is None else known + values
        self.counts[names] = self.counts.get(names, 0) + 1

    def means(self) -> dict[str, float]:
        """Return the mean of each term over the micro-batches that had it. Waits for the device."""
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        for names, values in self.sums.items():
            for name, value in zip(names, values.tolist(), strict=True):
                sums[name] = sums.get(name, 0.0) + value
                counts[name] = counts.get(name, 0) + self.counts[names]
        return {name: value / counts[name] for name, value in sums.items()}

    def speed(self) -> dict[str, float]:
        """Return the samples per second of this process and the share of time spent waiting for data."""
        return {
            "images_per_second": self.samples / max(self.seconds, 1e-9),
            "data_wait": self.waited / max(self.seconds, 1e-9),
        }


def peak_memory() -> int:
    """Return the peak memory in bytes, of the GPU if there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if resource is None:
        return getattr(psutil.Process().memory_info(), "peak_wset")  # noqa: B009 - typed as elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux reports kilobytes


def clock(seconds: float) -> str:
    """Format seconds: 3723 as 1:02:03."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
