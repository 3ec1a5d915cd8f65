"""Reads runs for the page, at most every few seconds for all visitors, and never writes into them."""

import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from archsr.app.security.uvicorn_limits import truncate_middle
from archsr.app.style import escape_markdown
from archsr.evaluation.selection import PERCEPTUAL
from archsr.runs.folders import runs_in as runs_of
from archsr.runs.summary import RunSummary, duration, read_log, row_of

_CACHE_SECONDS = 3.0
_MAX_POINTS = 400  # of a curve
_MAX_WARNINGS = 5
_MAX_REASON = 800  # characters
_BAD_STATES = {"failed": "failed", "died": "ended", "unreadable": "cannot be read"}
_LOSSES = ("total", "pixel", "perceptual", "gan", "d_real", "d_fake")
CURVES: Mapping[str, tuple[str, Sequence[str]]] = {
    "training loss": ("train", _LOSSES),
    "validation PSNR, dB": ("validation", ("psnr",)),
    "perceptual distance": ("validation", PERCEPTUAL),
    "gradient norm": ("train", ("grad_norm/",)),
}


@dataclass(frozen=True)
class RunState:
    """What a run's files say: its row in the table of runs and its events."""

    row: RunSummary
    events: list[dict[str, Any]]


class RunWatcher:
    """Reads runs and caches the last one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cache: dict[Path, tuple[float, RunState]] = {}

    def read(self, run: Path) -> RunState:
        """Return the state of a run, which may be a few seconds old."""
        with self._lock:
            at, state = self._cache.get(run, (-math.inf, None))
            if state is None or time.monotonic() - at > _CACHE_SECONDS:
                state = RunState(row_of(run), read_log(run))
                self._cache = {run: (time.monotonic(), state)}  # only one, since a log may be large
            return state


def runs_in(folder: Path, others: Iterable[Path] = ()) -> dict[str, Path]:
    """Return the runs of a folder and of the studies in it, and `others`, by name; the newest first."""
    found = {run.resolve(): run for place in (folder, *sorted(folder.glob("*/"))) for run in runs_of(place)}
    names = {str(p.relative_to(folder)): run for run, p in found.items()}
    names |= {run.resolve().name: run.resolve() for run in others if run.resolve() not in found}
    return dict(sorted(names.items(), key=lambda item: -_modified(item[1])))


def _modified(run: Path) -> float:
    try:
        return (run / "log.jsonl").stat().st_mtime
    except OSError:
        return 0.0


def status_markdown(state: RunState) -> str:
    """Return state, iteration, time left, speed, memory, newest checkpoint, best score and warnings as Markdown."""
    row = state.row
    parts = [f'<span class="state {row.state}">{row.state}</span>']
    if row.total:
        parts.append(f"iteration **{row.step:,}** of {row.total:,}")
    if row.left is not None:
        parts.append(f"{'at most ' if row.at_most else ''}**{duration(row.left)} left**")
    if row.images_per_second is not None:
        parts.append(f"{row.images_per_second:.3g} images a second")
    if (peak := _last(state.events, "peak_memory")) is not None:
        parts.append(f"at most {peak / 2**30:.2f} GiB of memory")
    if row.checkpoint is not None and row.age is not None:
        parts.append(f"checkpoint of iteration {row.checkpoint:,}, {duration(row.age)} ago")
    if row.best is not None and row.first is not None:
        parts.append(f"best {row.metric} {row.best:.4g} ({row.best - row.first:+.3g} since the start)")
    return "\n\n".join(part for part in (" · ".join(parts), _reason(row), _warnings(state)) if part)


def _reason(row: RunSummary) -> str:
    if not row.why or row.state not in _BAD_STATES:
        return f"{'Reason: ' if row.why and row.state == 'stopped' else ''}{escape_markdown(row.why)}"
    reason = escape_markdown(truncate_middle(row.why, _MAX_REASON))
    return f'<span class="bad">**Why it {_BAD_STATES[row.state]}:** {reason}</span>'


def _warnings(state: RunState) -> str:
    warnings = [(int(e["step"]), _warning(e)) for e in state.events if e["event"] in ("warning", "skip")]
    lines = [f"- iteration {step:,}: {escape_markdown(text)}" for step, text in warnings[-_MAX_WARNINGS:]]
    more = f"\n- and {len(warnings) - _MAX_WARNINGS} earlier" if len(warnings) > _MAX_WARNINGS else ""
    count = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    if not warnings:  # beside a failure, "No warnings." would sound as if all were well
        return "" if state.row.state in _BAD_STATES else "No warnings."
    return f"**{count}**\n\n" + "\n".join(lines) + more


def _warning(event: Mapping[str, Any]) -> str:
    return str(event["text"]) if event["event"] == "warning" else "skipped: the loss was NaN or Inf"


def _last(events: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return next((float(e[name]) for e in reversed(events) if name in e), None)


def curve(events: Sequence[Mapping[str, Any]], title: str) -> pd.DataFrame:
    """Return the columns iteration, value and series of a curve in `CURVES`, thinned to some hundred points."""
    kind, names = CURVES[title]
    rows: list[tuple[int, float, str]] = []
    for name in _series(events, kind, names):
        points = [(int(e["step"]), float(e[name])) for e in events if e["event"] == kind and _is_finite(e.get(name))]
        step = -(-len(points) // _MAX_POINTS) or 1
        kept = points[::-1][::step][::-1]  # keeps the last
        rows += [(at, value, name.removeprefix("grad_norm/")) for at, value in kept]
    # gradio would draw an empty column without a dtype as text, and would keep that axis when numbers come
    return pd.DataFrame(rows, columns=["iteration", "value", "series"]).astype({"iteration": int, "value": float})


def has_line(points: pd.DataFrame) -> bool:
    """Return whether there is a line to draw, which takes two points."""
    return len(set(points["iteration"])) > 1


def _series(events: Sequence[Mapping[str, Any]], kind: str, names: Sequence[str]) -> list[str]:
    known = sorted({key for e in events if e["event"] == kind for key in e})
    found = [key for key in known if key in names or any(n.endswith("/") and key.startswith(n) for n in names)]
    return sorted(
        found, key=lambda key: names.index(key) if key in names else len(names)
    )  # keeps the colours of the series


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def sample_sheets(run: Path) -> list[Path]:
    """Return the four newest sheets of validation images, the newest first."""
    return sorted((run / "samples").glob("step-*.png"), reverse=True)[:4]
