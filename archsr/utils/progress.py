"""Progress of long work: a bar on a terminal, or a line now and then in a log."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

from archsr.utils import console

T = TypeVar("T")
_QUIET_SECONDS = 10.0, 60.0  # between lines of progress in a log: a tenth of the time so far, within these limits
_BAR = "{l_bar}{bar}| {n:.2f}/{total} [{elapsed}<{remaining}]"


@contextlib.contextmanager
def progress(
    title: str, total: float | None, *, unit: str = "file", shown: bool = True, in_parts: bool = False
) -> Generator[Callable[[float], None]]:
    """Yield a function that is told how many units of `total` were just done; without `total` no time is left.

    With the unit "B" the log counts in MB. `shown` is false on the ranks that print nothing. `in_parts`: units are
    done part by part.
    """
    if not shown:
        yield lambda _: None
    elif console.is_interactive():
        from tqdm.auto import tqdm  # late: --help and errors need no bar

        form = _BAR if in_parts and total is not None else None
        with tqdm(total=total, desc=title, unit=unit, leave=False, bar_format=form, unit_scale=unit == "B") as bar:

            def step(count: float) -> None:
                bar.update(count)

            yield step
    else:
        yield _lines(title, total, unit)


def tracked(items: Sequence[T], title: str, *, unit: str = "file") -> Iterator[T]:
    """Yield the items with progress."""
    with progress(title, len(items), unit=unit) as advance:
        for item in items:
            yield item
            advance(1)


def _lines(title: str, total: float | None, unit: str) -> Callable[[float], None]:
    """Return a function that counts, and writes a line if the last one is long ago."""
    started = spoken = time.monotonic()
    done = 0.0
    size, name = (1e6, " MB") if unit == "B" else (1.0, "")

    def advance(count: float) -> None:
        nonlocal done, spoken
        done += count
        now = time.monotonic()
        if now - spoken >= min(max(_QUIET_SECONDS[0], (now - started) / 10), _QUIET_SECONDS[1]):
            spoken = now
            whole = None if total is None else total / size
            console.aside(f"{title}: {_so_far(done / size, whole, now - started, name)}")

    return advance


def _so_far(done: float, total: float | None, seconds: float, unit: str) -> str:
    from tqdm import tqdm

    shown = f"{done:.4g}{unit}" if done < 1000 else f"{done:.0f}{unit}"
    speed = f"{done / seconds:.1f}{unit}/s"
    if total is None:
        return f"{shown}, {speed}"
    left = tqdm.format_interval(seconds * (total - done) / done) if done else "?"
    return f"{shown} of {total:.0f}{unit}, {speed}, left {left}"
