"""Progress in a log, by a simulated clock."""

import itertools

import pytest

from archsr.utils import progress as shown


@pytest.mark.parametrize(
    ("total", "lines"),
    [
        (100, ["counting: 3 of 100, 0.2/s, left 06:28", "counting: 6 of 100, 0.2/s, left 06:16"]),
        (None, ["counting: 3, 0.2/s", "counting: 6, 0.2/s"]),
    ],
)
def test_a_log_gets_a_line_every_ten_seconds(total, lines, monkeypatch, capsys):
    clock = itertools.count(0, 4)
    monkeypatch.setattr(shown.time, "monotonic", lambda: next(clock))
    with shown.progress("counting", total) as advance:
        advance(2)
        advance(0)
        for _ in range(5):
            advance(1)
    assert capsys.readouterr().err.splitlines() == lines


def test_long_work_is_told_less_often_but_every_minute(monkeypatch, capsys):
    clock = itertools.count()
    monkeypatch.setattr(shown.time, "monotonic", lambda: next(clock))
    with shown.progress("counting", None) as advance:
        for _ in range(3600):
            advance(1)
    at = [int(line.split(",")[0].split()[1]) for line in capsys.readouterr().err.splitlines()]
    waits = [after - before for before, after in itertools.pairwise([0, *at])]
    assert (min(waits), max(waits), waits[0], waits[-1]) == (10, 60, 10, 60)
    assert len(at) < 100


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
