"""What the live page makes of a run's log."""

import pandas as pd
import pytest

from archsr.app.runs.run_watcher import CURVES, RunState, curve, has_line, status_markdown
from archsr.app.style import CSS
from archsr.runs.summary import RunSummary


@pytest.mark.parametrize("title", CURVES)
def test_a_curve_has_axes_of_numbers_before_its_first_point(title):
    """A column without values would make the page's axis one of words, for good."""
    found = curve([], title)
    assert list(found.columns) == ["iteration", "value", "series"]
    assert pd.api.types.is_numeric_dtype(found["iteration"])
    assert pd.api.types.is_numeric_dtype(found["value"])


def test_a_curve_has_every_series_and_leaves_out_what_is_no_number():
    events = [{"event": "train", "step": n, "total": 1 / n, "pixel": float("nan")} for n in (1, 2)]
    found = curve([*events, {"event": "validation", "step": 2, "psnr": 20.0}], "training loss")
    assert found.values.tolist() == [[1, 1.0, "total"], [2, 0.5, "total"]]


def test_a_point_alone_is_no_line():
    events = [{"event": "train", "step": n, "total": 1.0, "pixel": 1.0} for n in (1, 2)]
    assert [has_line(curve(events[:n], "training loss")) for n in (0, 1, 2)] == [False, False, True]


# ---------------------------------------------------------------- what is said of a run


@pytest.mark.parametrize("state", ["running", "finished", "stopped", "failed", "died", "unreadable"])
def test_every_state_is_said_and_has_a_colour_of_its_class(state):
    assert status_markdown(RunState(RunSummary("a", state), [])).startswith(
        f'<span class="state {state}">{state}</span>'
    )
    assert f".{state}" in CSS


@pytest.mark.parametrize("state", ["failed", "died", "unreadable"])
def test_what_went_wrong_is_said_with_its_reason_and_never_sounds_well(state):
    said = status_markdown(
        RunState(RunSummary("a", state, "RuntimeError: out <b>of</b>\nmemory_of *the* device", 3, 9), [])
    )
    assert "No warnings" not in said
    _, reason = said.split('<span class="bad">')
    assert "RuntimeError: out " in reason
    assert "memory\\_of \\*the\\* device" in reason, "in one line and as it is"
    assert "<b>" not in reason
    assert "iteration **3** of 9" in said


def test_a_run_without_trouble_says_so_and_warnings_are_counted():
    assert "No warnings." in status_markdown(RunState(RunSummary("a", "running"), []))
    events = [{"event": "warning", "step": n, "text": f"w{n}"} for n in range(7)]
    said = status_markdown(RunState(RunSummary("a", "failed", "why"), events))
    assert "**7 warnings**" in said
    assert "and 2 earlier" in said
    assert "iteration 6: w6" in said
