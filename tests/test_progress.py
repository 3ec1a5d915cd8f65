"""Progress in a log, by a simulated clock."""

import itertools

import pytest

from archsr.utils import progress as shown


@pytest.mark.parametrize(
    ("total", "lines"),
    [
        (100, ["counting: 3 of 100, 0.1/s, left 16:10", "counting: 6 of 100, 0.1/s, left 15:40"]),
        (None, ["counting: 3, 0.1/s", "counting: 6, 0.1/s"]),
    ],
)
def test_a_log_gets_a_line_every_half_minute(total, lines, monkeypatch, capsys):
    clock = itertools.count(0, 10)
    monkeypatch.setattr(shown.time, "monotonic", lambda: next(clock))
    with shown.progress("counting", total) as advance:
        advance(2)
        advance(0)
        for _ in range(5):
            advance(1)
    assert capsys.readouterr().err.splitlines() == lines


def test_a_download_is_told_in_megabytes(monkeypatch, capsys):
    clock = itertools.count(0, 30)
    monkeypatch.setattr(shown.time, "monotonic", lambda: next(clock))
    with shown.progress("weights.pth", 67_000_000, unit="B") as advance:
        advance(0)
        advance(33_500_000)
    told = ["weights.pth: 0 MB of 67 MB, 0.0 MB/s, left ?", "weights.pth: 33.5 MB of 67 MB, 0.6 MB/s, left 01:00"]
    assert capsys.readouterr().err.splitlines() == told


def test_other_ranks_say_nothing(monkeypatch, capsys):
    clock = itertools.count(0, 60)
    monkeypatch.setattr(shown.time, "monotonic", lambda: next(clock))
    with shown.progress("counting", 3, shown=False) as advance:
        advance(1)
    assert list(shown.tracked([1, 2], "reading")) == [1, 2]
    assert capsys.readouterr().err.splitlines() == [
        "reading: 1 of 2, 0.0/s, left 01:00",
        "reading: 2 of 2, 0.0/s, left 00:00",
    ]
