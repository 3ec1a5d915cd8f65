"""Reading a run's log.jsonl; no torch, so that a look at many runs is quick."""

import json
from pathlib import Path
from typing import Any


def read_lines(run: Path) -> list[dict[str, Any]]:
    """Every event of a run in the order of writing; a torn line of a run that was killed is left out."""
    events: list[dict[str, Any]] = []
    for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def read_log(run: Path) -> list[dict[str, Any]]:
    """The events of a run as it finally went: what a resume went back behind is left out."""
    events: list[dict[str, Any]] = []
    for event in read_lines(run):
        if event["event"] == "resume":
            events = [e for e in events if e["step"] <= event["step"]]
        events.append(event)
    return events
