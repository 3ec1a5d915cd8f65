"""What the live page makes of a run's log."""

import pandas as pd
import pytest

from archsr.app.watch import CURVES, curve


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
