"""`archsr runs`: the state of every run in a folder, from its files alone."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archsr.config import TrainConfig, config_file
from archsr.errors import UserError, print_error
from archsr.runs import folders, run_lock
from archsr.runs.folders import CONFIG, checkpoints_folder, is_run, numbered, run_config, runs_in
from archsr.runs.records import read_lines, without_undone
from archsr.runs.records import read_log as read_log  # re-exported for callers that use this module
from archsr.training.schedule import open_end, total_of

WIDTH = 120


@dataclass(frozen=True)
class RunSummary:
    """The state of one run: running, finished, stopped, failed, died or unreadable; `why` is the reason or error.

    `left`: seconds, for a running run; with `at_most` a plateau may end it earlier. `checkpoint`: the newest step whose
    files all have their sizes, `age` in seconds. `best` and `first`: values of the metric.
    """

    name: str
    state: str
    why: str = ""
    step: int = 0
    total: int = 0
    images_per_second: float | None = None
    left: float | None = None
    at_most: bool = False
    checkpoint: int | None = None
    age: float | None = None
    metric: str = ""
    best: float | None = None
    first: float | None = None


def survey(folder: Path) -> list[RunSummary]:
    """Return a row for every run in `folder`, or for `folder` itself if it is a run. Raises `UserError` if none is."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of the runs: archsr runs FOLDER")
    if is_run(folder):
        return [row_of(folder)]
    runs = runs_in(folder)
    if not runs:
        raise UserError(f"{folder}: contains no run; expected subfolders with a {CONFIG}, as training creates")
    return [row_of(run) for run in runs]


def folder_of(words: Sequence[str]) -> Path:
    """Return the run folder of a config file and `--set KEY=VALUE` words, for scripts. Exits with 2 on errors."""
    try:
        config = config_file.load(TrainConfig, Path(words[0]), overrides=[w for w in words[1:] if w != "--set"])
    except UserError as error:
        print_error(error)
        raise SystemExit(2) from None
    return folders.folder_of(config)


def row_of(run: Path) -> RunSummary:
    """Summarise the files of a run folder."""
    try:
        config = run_config(run)
    except UserError as error:
        return RunSummary(run.name, "unreadable", str(error))
    lines = read_lines(run)
    events = without_undone(lines)
    state, why = state_of(lines, holder=run_lock.read(run), silent=run_lock.silence(run))
    ends = {str(e["stage"]): int(e["step"]) for e in events if e["event"] == "plateau"}
    total = total_of(config.training.stages, ends)
    step = max((int(e["step"]) for e in events), default=0)
    speed = next((float(e["images_per_second"]) for e in reversed(events) if e["event"] == "train"), None)
    left = _left(events) if state == "running" else None
    at_step, saved = _newest_checkpoint(run)
    metric, scores = _chosen(config, [e for e in events if e["event"] == "validation"])
    return RunSummary(
        name=run.name,
        state=state,
        why=why,
        step=step,
        total=total,
        images_per_second=speed,
        left=left,
        at_most=open_end(config.training.stages, ends),
        checkpoint=at_step,
        age=None if saved is None else time.time() - saved,
        metric=metric,
        best=scores[-1] if scores else None,
        first=scores[0] if scores else None,
    )


def _chosen(config: TrainConfig, validations: Sequence[dict[str, Any]]) -> tuple[str, list[float]]:
    """Return the metric that decided, and its values whenever weights were chosen, the initial ones first."""
    metric = str(validations[0].get("leading", "psnr")) if validations else config.best
    chosen = [e for e in validations if e.get("chosen", True)]
    return metric, [float(e[metric]) for e in chosen if metric in e]


def _left(events: Sequence[dict[str, Any]]) -> float | None:
    """Return the run's last estimate of the seconds left, minus the time since."""
    said = next((e for e in reversed(events) if e["event"] == "train" and "seconds_left" in e), None)
    return None if said is None else max(0.0, said["seconds_left"] - (time.time() - said["time"]))


def state_of(
    lines: Sequence[dict[str, Any]], *, holder: run_lock.Holder | None, silent: float | None
) -> tuple[str, str]:
    """Return the state and its reason. A live lock means running, unless the log has ended since.

    Without an end in the log and a live lock, the process was killed.
    """
    last = lines[-1] if lines else None
    said = last if last is not None and last["event"] in ("end", "stop") else None
    alive = silent is not None and not run_lock.why_dead(holder, silent, run_lock.Holder())
    if alive and (said is None or holder is None or said["time"] < holder.since):
        return "running", holder.words() if holder else ""
    if said is None:
        return "died", "killed, or its machine failed; --resume continues it"
    if said["event"] == "end":
        return "finished", ""
    if "error" in said:
        return "failed", said["error"]
    return "stopped", said["reason"]


def _newest_checkpoint(run: Path) -> tuple[int | None, float | None]:
    """Return its step and time. Only sizes are compared; `--resume` checks the hashes."""
    for folder in numbered(checkpoints_folder(run)):
        try:
            manifest = json.loads((folder / "MANIFEST.json").read_bytes())
            if all((folder / n).stat().st_size == f["bytes"] for n, f in manifest["files"].items()):
                return int(manifest["step"]), float(manifest["saved"])
        except (OSError, ValueError, KeyError):
            continue
    return None, None


def table(rows: Sequence[RunSummary]) -> str:
    """Format the rows in at most `WIDTH` columns. Reasons and names are truncated, numbers never."""
    head = ("run", "step", "img/s", "left", "checkpoint", "best", "state")
    cells = [head, *((r.name, *_numbers(r), f"{r.state}: {r.why}" if r.why else r.state) for r in rows)]
    cells = [tuple(" ".join(c.split()) for c in line) for line in cells]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    widths[0] = min(widths[0], 28)
    widths[-1] = max(12, WIDTH - sum(widths[:-1]) - 2 * (len(head) - 1))
    cut = [[_cut(c, w).ljust(w) for c, w in zip(line, widths, strict=True)] for line in cells]
    return "\n".join("  ".join(line).rstrip() for line in cut)


def _numbers(row: RunSummary) -> tuple[str, str, str, str, str]:
    left = "" if row.left is None else ("≤ " if row.at_most else "") + duration(row.left)
    saved = "none" if row.checkpoint is None or row.age is None else f"{row.checkpoint}, {duration(row.age)} ago"
    best = ""
    if row.best is not None and row.first is not None:
        unit = " dB" if row.metric == "psnr" else ""
        best = f"{row.best:.4g} ({row.best - row.first:+.3f}){unit}"
    speed = "" if row.images_per_second is None else f"{row.images_per_second:.3g}"
    return f"{row.step}/{row.total}", speed, left, saved, best


def duration(seconds: float) -> str:
    """Format seconds with at most two units: 45 s, 3 min, 2 h 05, 4 d 03 h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole // 60 % 60:02d}"
    return f"{whole // 86400} d {whole // 3600 % 24:02d} h"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
