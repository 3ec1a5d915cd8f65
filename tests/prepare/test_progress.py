"""Progress in a log, by a simulated clock."""

import itertools

import pytest

from archsr.data.prepare import worker_pool


@pytest.mark.parametrize(
    ("total", "lines"),
    [
        (100, ["counting: 3 of 100, 0.1/s, left 16:10", "counting: 6 of 100, 0.1/s, left 15:40"]),
        (None, ["counting: 3, 0.1/s", "counting: 6, 0.1/s"]),
    ],
)
def test_a_log_gets_a_line_every_half_minute(total, lines, monkeypatch, capsys):
    clock = itertools.count(0, 10)
    monkeypatch.setattr(worker_pool.time, "monotonic", lambda: next(clock))
    with worker_pool.progress("counting", total) as advance:
        advance(2)
        advance(0)
        for _ in range(5):
            advance(1)
    assert capsys.readouterr().err.splitlines() == lines
