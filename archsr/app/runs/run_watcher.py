"""What a run's files say, read at most every few seconds whoever asks; nothing is ever written into a run."""

import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from archsr.app.file_copies import plain
from archsr.app.security.uvicorn_limits import shortened
from archsr.evaluation.selection import PERCEPTUAL
from archsr.runs.folders import runs_in as runs_of
from archsr.runs.summary import RunSummary, duration, read_log, row_of

_FRESH = 3.0  # seconds for which an answer serves everybody
_POINTS = 400  # of a curve
_LONGEST = 800  # characters of a reason
BAD = {"failed": "failed", "died": "ended", "unreadable": "cannot be read"}  # the states of what went wrong
_LOSSES = ("total", "pixel", "perceptual", "gan", "d_real", "d_fake")
CURVES: Mapping[str, tuple[str, Sequence[str]]] = {
    "training loss": ("train", _LOSSES),
    "validation PSNR, dB": ("validation", ("psnr",)),
    "perceptual distance": ("validation", PERCEPTUAL),
    "gradient norm": ("train", ("grad_norm/",)),
}


@dataclass(frozen=True)
class Look:
    """A run at a moment: its row in the table of runs and its events."""

    row: RunSummary
    events: list[dict[str, Any]]


class RunWatcher:
    """Looks at runs for all visitors."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Path, tuple[float, Look]] = {}

    def look(self, run: Path) -> Look:
        """A look that is no older than some seconds."""
        with self._lock:
            at, held = self._held.get(run, (-math.inf, None))
            if held is None or time.monotonic() - at > _FRESH:
                held = Look(row_of(run), read_log(run))
                self._held = {run: (time.monotonic(), held)}  # logs may be long: one is enough
            return held


def runs_in(folder: Path, others: Iterable[Path] = ()) -> dict[str, Path]:
    """The runs of a folder and of the studies in it, and `others`, by name; the newest first."""
    found = {run.resolve(): run for place in (folder, *sorted(folder.glob("*/"))) for run in runs_of(place)}
    names = {str(p.relative_to(folder)): run for run, p in found.items()}
    names |= {run.resolve().name: run.resolve() for run in others if run.resolve() not in found}
    return dict(sorted(names.items(), key=lambda item: -_changed(item[1])))


def _changed(run: Path) -> float:
    try:
        return (run / "log.jsonl").stat().st_mtime
    except OSError:
        return 0.0


def words(look: Look) -> str:
    """State, place, speed, time left, memory, newest checkpoint and best score, as Markdown."""
    row = look.row
    parts = [f'<span class="state {row.state}">{row.state}</span>']
    if row.total:
        parts.append(f"iteration **{row.step:,}** of {row.total:,}")
    if row.left is not None:
        parts.append(f"{'at most ' if row.at_most else ''}**{duration(row.left)} left**")
    if row.images_per_second is not None:
        parts.append(f"{row.images_per_second:.3g} images a second")
    if (peak := _last(look.events, "peak_memory")) is not None:
        parts.append(f"at most {peak / 2**30:.2f} GiB of memory")
    if row.checkpoint is not None and row.age is not None:
        parts.append(f"checkpoint of iteration {row.checkpoint:,}, {duration(row.age)} ago")
    if row.best is not None and row.first is not None:
        parts.append(f"best {row.metric} {row.best:.4g} ({row.best - row.first:+.3g} since the beginning)")
    return "\n\n".join(part for part in (" · ".join(parts), _why(row), _warnings(look)) if part)


def _why(row: RunSummary) -> str:
    """Why a run is in its state; of one that went wrong, so that nobody overlooks it."""
    if not row.why or row.state not in BAD:
        return f"{'Reason: ' if row.why and row.state == 'stopped' else ''}{plain(row.why)}"
    return f'<span class="bad">**Why it {BAD[row.state]}:** {plain(shortened(row.why, _LONGEST))}</span>'


def _warnings(look: Look, *, shown: int = 5) -> str:
    found = [(int(e["step"]), _trouble(e)) for e in look.events if e["event"] in ("warning", "skip")]
    lines = [f"- iteration {step:,}: {plain(text)}" for step, text in found[-shown:]]
    more = f"\n- and {len(found) - shown} earlier" if len(found) > shown else ""
    count = "1 warning" if len(found) == 1 else f"{len(found)} warnings"
    if not found:  # of one that went wrong, this would sound as if nothing had
        return "" if look.row.state in BAD else "No warnings."
    return f"**{count}**\n\n" + "\n".join(lines) + more


def _trouble(event: Mapping[str, Any]) -> str:
    return str(event["text"]) if event["event"] == "warning" else "skipped, the loss was no number"


def _last(events: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return next((float(e[name]) for e in reversed(events) if name in e), None)


def curve(events: Sequence[Mapping[str, Any]], title: str) -> pd.DataFrame:
    """Columns iteration, value, series of a curve in `CURVES`, thinned to some hundred points."""
    kind, names = CURVES[title]
    rows: list[tuple[int, float, str]] = []
    for name in _series(events, kind, names):
        points = [(int(e["step"]), float(e[name])) for e in events if e["event"] == kind and _is_number(e.get(name))]
        step = -(-len(points) // _POINTS) or 1
        kept = points[::-1][::step][::-1]  # the last is always there
        rows += [(at, value, name.removeprefix("grad_norm/")) for at, value in kept]
    # an empty column would be taken for words, and the axis stays one of words when numbers come
    return pd.DataFrame(rows, columns=["iteration", "value", "series"]).astype({"iteration": int, "value": float})


def is_line(found: pd.DataFrame) -> bool:
    """Whether a curve can be seen: a point alone cannot."""
    return len(set(found["iteration"])) > 1


def _series(events: Sequence[Mapping[str, Any]], kind: str, names: Sequence[str]) -> list[str]:
    known = sorted({key for e in events if e["event"] == kind for key in e})
    found = [key for key in known if key in names or any(n.endswith("/") and key.startswith(n) for n in names)]
    return sorted(found, key=lambda key: names.index(key) if key in names else len(names))  # one colour in all curves


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def samples_of(run: Path, *, newest: int = 4) -> list[Path]:
    """The newest sheets of validation images, the newest first."""
    return sorted((run / "samples").glob("step-*.png"), reverse=True)[:newest]
