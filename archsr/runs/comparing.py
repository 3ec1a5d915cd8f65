"""`archsr runs A --compare B`: how runs differ in config, origin and validation, from their files alone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archsr.config import config_file
from archsr.errors import UserError
from archsr.runs.folders import NO_RUN, is_run, run_config
from archsr.runs.records import read_log
from archsr.runs.summary import row_of

_OWN = ("name", "runs")  # keys that differ between any two runs
_NO_METRIC = {"event", "step", "time", "chosen", "leading", "seconds", "images"}


def compare(runs: Sequence[Path]) -> str:
    """Return a table of the runs' states and chosen validation metrics, then the config keys that differ.

    Differences are from the first run. Raises `UserError` if a folder is no run or its config cannot be read.
    """
    for run in runs:
        if not is_run(run):
            raise UserError(f"{run}: {NO_RUN}; `archsr runs` lists the runs")
    return "\n".join([*_table(runs), *(line for run in runs[1:] for line in _differences(runs[0], run))])


def _table(runs: Sequence[Path]) -> list[str]:
    columns = [_column(run) for run in runs]
    keys = list(dict.fromkeys(key for column in columns for key in column))
    rows = [["", *_labels(runs)], *([key, *(column.get(key, "–") for column in columns)] for key in keys)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _labels(runs: Sequence[Path]) -> list[str]:
    """Return the folders' names, with their parents' where names are alike."""
    names = [run.resolve().name for run in runs]
    return [str(run) if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]


def _column(run: Path) -> dict[str, str]:
    row = row_of(run)
    chosen = [e for e in read_log(run) if e["event"] == "validation" and e.get("chosen", True)]
    last: dict[str, Any] = chosen[-1] if chosen else {}
    metrics = {k: f"{v:.4g}" for k, v in last.items() if k not in _NO_METRIC and isinstance(v, float)}
    origin = {"continues from": ", ".join(a["run"] for a in _ancestors(run))} if _ancestors(run) else {}
    at = {"chosen at iteration": str(last["step"])} if last else {}
    return {"state": row.state, "iterations": f"{row.step} of {row.total}", **origin, **at, **metrics}


def _ancestors(run: Path) -> list[dict[str, Any]]:
    try:
        return json.loads((run / "run.json").read_bytes()).get("ancestors", [])
    except (OSError, ValueError):
        return []


def _differences(first: Path, other: Path) -> list[str]:
    found = config_file.changes(run_config(first), run_config(other))
    found = {key: values for key, values in found.items() if key not in _OWN}
    if not found:
        return ["", f"{first} and {other} have the same config."]
    return ["", f"config keys that differ, {first} -> {other}:", *(f"  {s}" for s in config_file.in_words(found))]
