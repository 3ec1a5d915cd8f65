"""The benchmark does its work and its arithmetic; how fast is for nobody to test."""

import json
from pathlib import Path

import pytest
import torch

from archsr.bench import report
from archsr.bench.peer import _in_turns, _script
from archsr.bench.timing import Clock, Row
from archsr.cli import main


def test_all_stages_on_tiny_networks_as_table_and_json(tmp_path, capsys):
    assert main(["bench", "--small", "--seconds", "0.01", "--json", str(tmp_path / "b.json")]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["schema"] == "archsr.bench/1"
    assert {r["stage"] for r in found["rows"]} == {"limit", "decode", "stream", "degrade", "train", "upscale"}
    for row in found["rows"]:
        assert row["value"] > 0
        assert len(row["rounds"]) >= 3
        assert min(row["rounds"]) <= row["value"] <= max(row["rounds"])
        assert f"| {row['stage']} | {row['case']} |" in said
        if row["stage"] in ("train", "upscale"):
            assert 0 < row["share"] < 5  # of a product of matrices, whose cores others use, too
    again = report.compared(tmp_path / "b.json", tmp_path / "b.json")
    assert again.count("| 1.00 |") == len(found["rows"])


def test_a_rate_is_the_work_of_a_round_by_its_median(monkeypatch):
    times = iter([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 7.0, 7.0, 7.0])  # rounds of 1, 2 and 4 seconds

    def counter():
        return next(times)

    clock = Clock(0.0, torch.device("cpu"))
    monkeypatch.setattr("archsr.bench.timing.time.perf_counter", counter)
    rounds, memory = clock.rounds(lambda: None)
    assert len(rounds) == 3
    assert memory > 2**20
    monkeypatch.setattr(Clock, "rounds", lambda self, work: ([1.0, 2.0, 4.0], 7))
    row = clock.rate("s", "c", lambda: None, amount=12, unit="x", of=100, arithmetic=100)
    assert (row.value, row.share, row.memory) == (6.0, 0.5, 7)
    assert clock.rate("s", "c", lambda: None, amount=12, unit="x", of=12).share == 0.5


def test_both_sides_take_turns_and_the_ratio_is_of_the_medians():
    order = []

    def side(name, seconds):
        return lambda: order.append(name) or seconds

    rows = _in_turns({("realesrgan", "w"): side("a", 6.0), ("archsr", "w"): side("b", 3.0),
                      ("archsr", "w, bf16"): side("c", 2.0)}, 2)  # fmt: skip
    assert order == ["a", "b", "c"] * 2
    assert [(r.case, r.value, r.share) for r in rows] == [
        ("w: realesrgan", 6.0, 1.0), ("w: archsr", 3.0, 2.0), ("w, bf16: archsr", 2.0, 3.0),
    ]  # fmt: skip


@pytest.mark.parametrize("script", ["official.py", "official_iteration.py", "official_upscale.py"])
def test_the_peers_scripts_are_found(script):
    assert _script(script).endswith(script)
    assert "peers' environment" in Path(_script(script)).read_text()


def test_files_that_are_no_benchmarks(tmp_path, capsys):
    (tmp_path / "a.json").write_text("{}")
    assert main(["bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    assert "not a benchmark of archsr" in capsys.readouterr().err
    assert report.table([Row("s", "c", 1.5, "x", share=0.25, limit="y")]).endswith("| s | c | 1.5 x |  | 0.25 of y |")
