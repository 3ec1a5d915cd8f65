"""Read a run's log.jsonl. Without torch, so that listing many runs is fast."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Events = list[dict[str, Any]]


def read_lines(run: Path) -> Events:
    """Return every event of a run in the order of writing, or none if there is no log yet.

    Incomplete lines, which a killed run leaves at the end (after a resume in the middle), are left out.
    """
    events: Events = []
    path = run / "log.jsonl"
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):
            events.append(json.loads(line))
    return events


def without_undone(lines: Sequence[dict[str, Any]]) -> Events:
    """Return the events without those that a resume discarded by going back to an earlier step."""
    events: Events = []
    for event in lines:
        if event["event"] == "resume":
            events = [e for e in events if e["step"] <= event["step"]]
        events.append(event)
    return events


def read_log(run: Path) -> Events:
    """Return the events of a run without discarded ones, or none if there is no log yet."""
    return without_undone(read_lines(run))
