"""Reading a run's log.jsonl; no torch, so that a look at many runs is quick."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Events = list[dict[str, Any]]


def read_lines(run: Path) -> Events:
    """Every event of a run in the order of writing; none of one that has no log yet.

    A line that a killed run left torn is left out: the last one, and after a resume one in the middle.
    """
    events: Events = []
    path = run / "log.jsonl"
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):
            events.append(json.loads(line))
    return events


def as_it_went(lines: Sequence[dict[str, Any]]) -> Events:
    """The events of a run as it finally went: what a resume went back behind is left out."""
    events: Events = []
    for event in lines:
        if event["event"] == "resume":
            events = [e for e in events if e["step"] <= event["step"]]
        events.append(event)
    return events


def read_log(run: Path) -> Events:
    """The events of a run as it finally went; none of one that has no log yet."""
    return as_it_went(read_lines(run))
