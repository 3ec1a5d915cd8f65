"""A layer study: stop and continue, its report, and equal budgets."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tomli
import tomli_w

from archsr.config import TrainConfig, configs_folder
from archsr.config.config_file import check, load
from archsr.config.study import StudyConfig
from archsr.errors import UserError
from archsr.evaluation.metrics import standard
from archsr.evaluation.statistics.bootstrap import Pooled
from archsr.evaluation.suite import ImageScores, Scores
from archsr.study import results
from archsr.study.jobs import events, jobs_of, study_folder, train
from archsr.study.main import study
from archsr.study.report import answer, draw, markdown
from archsr.study.results import CandidateResult, Findings
from archsr.training.memory.plan import option
from archsr.utils.stopping import Stopped

CANDIDATES = [{"name": "last", "layers": ["conv_last"]}, {"name": "all", "layers": ["all"]}]


@pytest.fixture
def tables(tiny_tables, tmp_path):
    train = {k: v for k, v in tiny_tables.items() if k != "runs"}
    train["losses"] = {"perceptual": {"weight": 0.0}, "gan": {"weight": 0.0}}
    return {"name": "study", "runs": str(tmp_path / "runs"), "seeds": [0, 1], "limit": 4,
            "candidates": CANDIDATES, "train": train}  # fmt: skip


def config(tables, **changes):
    return check(StudyConfig, {**tables, **changes}, where="study")


def run(path, **changes):
    return study(path, **{"overrides": [], "task": None, "join": False, "launch": "", "dry": False, **changes})


def test_a_job_is_told_at_which_step_of_which_run_a_study_stopped(tables, tmp_path, monkeypatch):
    """The step alone is not enough, because the next run may stop at the same step."""
    job = jobs_of(config(tables))[0][0]
    told = tmp_path / "told"
    monkeypatch.setenv("ARCHSR_EXIT_FILE", str(told))
    child = [sys.executable, "-c", "import os; assert 'ARCHSR_EXIT_FILE' not in os.environ; os._exit(85)"]
    with pytest.raises(Stopped):
        train(job, launch=child)
    assert told.read_text() == "85 last-seed0:-\n"
    job.folder.mkdir(parents=True)
    (job.folder / "log.jsonl").write_text("".join(f'{{"event": "stop", "step": {n}}}\n' for n in (3, 7)))
    with pytest.raises(Stopped):
        train(job, launch=child)
    assert told.read_text() == "85 last-seed0:7\n"


def test_a_run_that_was_killed_and_went_on_is_done(tmp_path):
    assert events(tmp_path, "end") == []
    lines = ('{"event": "train", "step": 1}', '{"event": "tr', '{"event": "end", "step": 2}', '{"event": "e')
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    assert [e["step"] for e in events(tmp_path, "end")] == [2]


@pytest.mark.slow
def test_stopped_in_the_middle_it_goes_on_and_answers(tables, tmp_path):
    tables["train"]["training"] = {**tables["train"]["training"], "stages": [{"iterations": 40, "lr": 1e-3}]}
    path = tmp_path / "study.toml"
    path.write_text(tomli_w.dumps(tables))
    words = [sys.executable, "-m", "archsr", "study", str(path)]
    begun = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    first = tmp_path / "runs" / "study" / "last-seed0"
    deadline = time.time() + 120
    while not events(first, "train"):
        assert time.time() < deadline
        assert begun.poll() is None
        time.sleep(0.02)
    begun.send_signal(signal.SIGTERM)
    assert begun.wait(timeout=60) == 85
    assert not events(first, "end")
    assert list((first / "checkpoints").iterdir())
    assert run(path, task=(1, 2)) is None  # the first and the third run
    with pytest.raises(UserError, match="not trained to the end: last-seed1, all-seed1"):
        run(path, join=True)
    folder = run(path)
    steps = [e["step"] for e in events(first, "train")]
    assert steps == list(range(1, 41))
    found = json.loads((folder / "study.json").read_text())
    assert {c["name"] for c in found["candidates"]} == {"last", "all"}
    assert found["candidates"][0]["val"] >= found["candidates"][1]["val"]
    assert all(len(c["test"]["of_seeds"]) == 2 for c in found["candidates"])
    assert "| last |" in (folder / "study.md").read_text()
    for ending in ("png", "pdf", "svg"):
        assert (folder / f"study.{ending}").stat().st_size > 5000
    winner = load(TrainConfig, folder / "winner.toml")
    assert winner.training.layers == ("conv_last",) if found["winner"] == "last" else ("all",)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.safetensors")}
    run(path)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.safetensors")} == before


def test_every_candidate_gets_every_seed_and_differs_in_nothing_else(tables):
    jobs, left_out = jobs_of(config(tables))
    assert left_out == {}
    assert [(j.candidate, j.seed) for j in jobs] == [("last", 0), ("last", 1), ("all", 0), ("all", 1)]
    plain = [j.config.model_dump() for j in jobs]
    for one in plain:
        one.pop("name")
        one.pop("seed")
        one["training"].pop("layers")
    assert all(one == plain[0] for one in plain)


def test_a_learning_rate_of_its_own(tables):
    candidates = [CANDIDATES[0], {**CANDIDATES[1], "lr_scale": 0.1}]
    jobs, _ = jobs_of(config(tables, candidates=candidates))
    assert [j.config.training.stages[0].lr for j in jobs[::2]] == pytest.approx([1e-3, 1e-4])


def test_equal_time_gives_more_iterations_to_the_faster(tables):
    made = config(tables, budget={"equal": "time", "minutes": 1.0})
    for name, seconds in (("last", 0.1), ("all", 0.4)):
        path = study_folder(made) / "seconds" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(seconds))
    jobs, _ = jobs_of(made)
    assert [sum(s.iterations for s in j.config.training.stages) for j in jobs[::2]] == [600, 150]


def test_equal_memory_fits_and_leaves_out_what_cannot():
    train = tomli.loads((configs_folder() / "last_layer.toml").read_text())
    train["losses"] = {"perceptual": {"weight": 0.0}, "gan": {"weight": 0.0}}
    train["model"] = {"arch": "rrdbnet", "blocks": 3, "weights": "scratch"}
    base = {"name": "study", "seeds": [0], "candidates": CANDIDATES, "train": train}
    made = check(StudyConfig, {**base, "budget": {"equal": "memory", "gigabytes": 1.45}}, where="study")
    jobs, left_out = jobs_of(made)
    assert left_out == {}
    assert all(option(j.config).memory <= 1.45e9 for j in jobs)
    assert {j.config.training.global_batch for j in jobs} == {12}
    none = check(StudyConfig, {**base, "budget": {"equal": "memory", "gigabytes": 1.08}}, where="study")
    assert "all" in jobs_of(none)[1]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"budget": {"equal": "time"}}, "set minutes if"),
        ({"budget": {"gigabytes": 3.0}}, "set gigabytes if"),
        ({"candidates": [CANDIDATES[0], CANDIDATES[0]]}, "two have the name 'last'"),
        ({"seeds": [1, 1]}, "each once"),
    ],
)
def test_studies_that_make_no_sense(tables, changes, word):
    with pytest.raises(UserError, match=word):
        config(tables, **changes)


def test_figures_of_other_weights_or_of_more_images_are_taken_anew(tables, monkeypatch):
    """Stored metrics depend on the weights' digest and the limit, so a retrained run gets new ones."""
    taken = []
    row = ImageScores(0, "a", "scene", {})
    monkeypatch.setattr(results, "open_model", lambda weights: (None, None))
    monkeypatch.setattr(results, "Upscaler", lambda net, tile: SimpleNamespace(restore=None))
    monkeypatch.setattr(results, "open_pairs", lambda *_, limit, **__: taken.append(limit))
    monkeypatch.setattr(
        results, "evaluate", lambda _, who, __: Scores([replace(row, values={who[0].name: {"psnr": 1.0}})], [], [], "")
    )
    made, [metric, *_] = config(tables), standard(4)
    job = jobs_of(made)[0][0]
    best = job.folder / "snapshots" / "best.safetensors"
    best.parent.mkdir(parents=True)

    def measured_with(limit, weights):
        best.write_bytes(weights)
        results.measured(made.model_copy(update={"limit": limit}), job, "test", metric, which="best")

    for limit, weights in ((4, b"1"), (4, b"1"), (0, b"1"), (4, b"2"), (4, b"1")):
        measured_with(limit, weights)
    assert taken == [4, None, 4]


def outcome(name, val, low, high, memory):
    test = Pooled((low + high) / 2, low, high, ((low + high) / 2,) * 2, 8)
    return CandidateResult(name, 1000, 100, 0.1, memory, val, test)


def test_the_answer_names_what_cannot_be_told_apart_and_the_cheapest(tables):
    outcomes = [
        outcome("all", 0.5, 0.2, 0.6, 900),
        outcome("last", 0.4, 0.1, 0.5, 100),
        outcome("mid", 0.1, 0, 0.1, 50),
    ]
    against = {"last": Pooled(-0.1, -0.3, 0.1, (-0.1,), 8), "mid": Pooled(-0.3, -0.5, -0.1, (-0.3,), 8)}
    found = Findings(standard(4)[0], outcomes, against, {"val": 5, "test": 9})
    assert "are **inconclusive** between it and last. The cheapest of these to train is **last**" in answer(found)
    text = markdown(config(tables), found, {"huge": "too large"})
    assert "-0.3000 (-0.5000 to -0.1000): worse" in text
    assert "huge was left out: too large" in text
    assert len(draw(found).axes) == 3
    clear = Findings(standard(4)[0], outcomes[::2], against, {"val": 5, "test": 9})
    assert "better than every other candidate" in answer(clear)
