"""The benchmark works and computes correctly. Speed is not tested."""

import json
from pathlib import Path

import pytest
import torch

from archsr.bench import report, timing
from archsr.bench.limits import Traffic
from archsr.bench.peer import _in_turns, _script
from archsr.bench.timing import Clock, Timing
from archsr.cli import main
from archsr.utils.allocation import reuse_large_blocks

ALL = ["decode", "stream", "degrade", "train", "upscale"]


@pytest.mark.parametrize(
    "stages", [pytest.param(["upscale"], marks=pytest.mark.slow), pytest.param(ALL, marks=pytest.mark.slow)], ids=len
)
def test_stages_on_tiny_networks_as_table_and_json(tmp_path, capsys, stages):
    asked = [] if stages == ALL else stages
    assert main(["bench", *asked, "--small", "--seconds", "0.01", "--json", str(tmp_path / "b.json")]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["schema"] == "archsr.bench/2"
    assert {r["stage"] for r in found["rows"]} == {"limit", *stages}
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
    now = [0.0]
    calls = iter([100, 0.5, 0.5, 0.5, 0.5, 1, 1, 2, 2])  # a first one; as many as fill 0.7 s; three rounds of as many

    def work():
        now[0] += next(calls)

    monkeypatch.setattr("archsr.bench.timing.time.perf_counter", lambda: now[0])
    clock = Clock(7.0, torch.device("cpu"))
    rounds, memory = clock.rounds(work)
    assert rounds == [0.5, 1.0, 2.0]
    assert not list(calls)
    assert memory > 2**20
    monkeypatch.setattr(Clock, "rounds", lambda self, work: ([1.0, 2.0, 4.0], 7))
    row = clock.rate("s", "c", lambda: None, amount=12, unit="x", of=100, arithmetic=100)
    assert (row.value, row.share, row.memory) == (6.0, 0.5, 7)
    assert clock.rate("s", "c", lambda: None, amount=12, unit="x", of=12).share == 0.5


def test_a_limit_is_the_best_of_its_rounds(monkeypatch):
    monkeypatch.setattr(Clock, "rounds", lambda self, work: ([1.0, 2.0, 4.0], 7))
    row = Clock(1.0, torch.device("cpu")).best("c", lambda: None, amount=12, unit="x")
    assert (row.stage, row.value, row.rounds) == ("limit", 12.0, [12.0, 6.0, 3.0])


def test_traffic_is_what_operations_read_and_write():
    a, b = torch.ones(10), torch.ones(10, dtype=torch.float64)
    with Traffic() as traffic:
        a.view(2, 5).t()
    assert traffic.bytes == 0
    with Traffic() as traffic:
        a + a
        b.mul_(2)
    assert traffic.bytes == 3 * 40 + 2 * 80
    chosen = torch.tensor([3, 4])
    with Traffic() as traffic:
        torch.empty(1000)
        b[chosen]
    assert traffic.bytes == 2 * 16 + 16


def test_memory_is_that_of_the_rounds_and_not_of_what_was_before():
    reuse_large_blocks()
    clock = Clock(0.0, torch.device("cpu"))
    _, large = clock.rounds(lambda: torch.ones(2**26).sum())
    _, small = clock.rounds(lambda: None)
    assert 0 in (large, small) or large - small > 2**27


def test_memory_that_does_not_begin_anew_is_not_stated(tmp_path, monkeypatch):
    status = tmp_path / "status"
    status.write_text("VmHWM:\t 9000000 kB\nVmRSS:\t  100000 kB\n")
    monkeypatch.setattr(timing, "_CLEAR", tmp_path / "clear_refs")
    monkeypatch.setattr(timing, "_STATUS", status)
    clock = Clock(0.0, torch.device("cpu"))
    assert clock.rounds(lambda: None)[1] == 0
    (tmp_path / "clear_refs").touch()
    assert clock.rounds(lambda: None)[1] == 0
    status.write_text("VmHWM:\t 100000 kB\nVmRSS:\t  100000 kB\n")
    assert clock.rounds(lambda: None)[1] == 102400000


@pytest.mark.parametrize(("value", "said"), [(1040.4, "1,040"), (0.0041739, "0.00417"), (25550, "25,600"), (2.0, "2")])
def test_figures_have_three_digits_and_no_exponent(value, said):
    assert report.figure(value) == said


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


def test_a_ratio_is_to_the_peer_in_the_same_precision_where_it_has_it():
    seconds = {("realesrgan", "w"): 8.0, ("realesrgan", "w, fp16"): 4.0, ("archsr", "w"): 4.0,
               ("archsr", "w, fp16"): 1.0, ("archsr", "w, bf16"): 2.0}  # fmt: skip
    rows = _in_turns({key: lambda s=s: s for key, s in seconds.items()}, 1)
    assert [r.share for r in rows] == [1, 1, 2, 4, 4]


@pytest.mark.parametrize("script", ["official.py", "official_iteration.py", "official_upscale.py"])
def test_the_peers_scripts_are_found(script):
    assert _script(script).endswith(script)
    assert "peers' environment" in Path(_script(script)).read_text()


def test_files_that_are_no_benchmarks(tmp_path, capsys):
    (tmp_path / "a.json").write_text("{}")
    assert main(["bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    assert "not a benchmark of archsr" in capsys.readouterr().err
    assert report.table([Timing("s", "c", 1.5, "x", share=0.25, limit="y")]).endswith(
        "| s | c | 1.5 x |  | 0.25 of y |"
    )
