"""`micro_batch = "auto"` finds by trial what fits, the same on all processes, and changes nothing else."""

import copy
import json
from pathlib import Path

import pytest
import safetensors.torch
import tomli_w
import torch
from ranks import Ranks

from archsr.config import TrainConfig
from archsr.config.config_file import check, dump
from archsr.errors import UserError
from archsr.training import launch
from archsr.training.memory import auto_batch, plan
from archsr.training.step import accumulate

PLANTED = Path(__file__).with_name("planted_fit.py")


def full(*_args, **_kwargs):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(("fits", "found"), [(12, 12), (5, 4), (1, 1)])
def test_the_largest_divisor_that_fits(fits, found):
    tried = []

    def attempt(size):
        tried.append(size)
        if size > fits:
            full()

    assert auto_batch.largest(12, 12, attempt) == found
    assert tried == [n for n in (12, 6, 4, 3, 2, 1) if n >= found]


def test_where_nothing_fits_the_user_hears_what_to_do():
    with pytest.raises(UserError, match="not even one sample fits"):
        auto_batch.largest(4, 4, full)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def attempt(_size):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        auto_batch.largest(4, 4, attempt)


@pytest.fixture
def planted(monkeypatch):
    """Make forward passes of more than two samples run out of memory, and return the sizes that were tried."""
    tried = []

    def small_only(parts, pairs, *, count):
        pair = next(pairs)
        tried.append(len(pair.lq))
        if len(pair.lq) > 2:
            full()
        return accumulate(parts, iter([pair]), count=count)

    monkeypatch.setattr(auto_batch, "accumulate", small_only)
    return tried


def run(tables, name, micro, resume=False, iterations=4):
    stages = [{"iterations": iterations, "lr": 1e-3}]
    tables = {**tables, "name": name, "training": {**tables["training"], "micro_batch": micro, "stages": stages}}
    launch.run(check(TrainConfig, tables, where=name), resume=resume)
    return Path(tables["runs"]) / name


def final(folder):
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    files = {p.name: safetensors.torch.load_file(p) for p in sorted(newest.glob("*.safetensors"))}
    return newest, {f"{name}: {k}": v for name, tensors in files.items() for k, v in tensors.items()}


def keys(folder):
    """Return the samples of each step, whatever the micro-batches."""
    lines = (folder / "keys" / "rank-00000.jsonl").read_text().splitlines()
    return [json.loads(line)["keys"] for line in lines]


def test_a_run_finds_what_fits_and_trains_as_if_it_had_been_told(tiny_tables, planted):
    """The discriminator's power iterations also equal those of a run without a trial."""
    found = run(tiny_tables, "found", "auto")
    assert planted == [4, 2]
    told = run(tiny_tables, "told", 2)
    assert planted == [4, 2]
    (newest, ours), (_, theirs) = final(found), final(told)
    assert json.loads((newest / "state.json").read_text())["micro_batch"] == 2
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert keys(found) == keys(told) == keys(run(tiny_tables, "whole", 4))


def test_it_goes_on_with_the_micro_batch_it_had(tiny_tables, planted, monkeypatch):
    """The resumed run is bit-identical, although more memory is free by then."""
    unbroken = run(tiny_tables, "unbroken", "auto")
    broken = run(tiny_tables, "broken", "auto", iterations=2)
    monkeypatch.setattr(auto_batch, "accumulate", accumulate)
    planted.clear()
    run(tiny_tables, "broken", "auto", resume=True)
    assert planted == []
    (_, ours), (_, theirs) = final(broken), final(unbroken)
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    assert keys(broken) == keys(unbroken)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("most", "code", "words"),
    [(1, 0, "batch 4 = 2 × 1 × 2"), (0, 2, "not even one sample fits")],
)
def test_all_processes_take_what_fits_the_smallest(tiny_tables, tmp_path, most, code, words):
    """Only rank 1 has little memory. If nothing fits there, no other rank waits."""
    training = {**tiny_tables["training"], "micro_batch": "auto"}
    path = tmp_path / "c.toml"
    path.write_text(tomli_w.dumps({**tiny_tables, "training": training}))
    done = Ranks(2, PLANTED, "1", str(most), "--config", path, folder=tmp_path).wait()
    assert done.returncode == code, done.stderr[-3000:]
    assert words in done.stdout + done.stderr


def test_the_forecast_says_where_to_begin(tiny):
    share = tiny.training.global_batch
    needs = [plan.option(plan.changed(tiny, micro_batch=n)).memory for n in (1, 2, share)]
    assert needs == sorted(needs)
    automatic = plan.changed(tiny, micro_batch="auto")
    for memory, size in ((needs[2], share), (needs[2] - 1, 2), (needs[1] - 1, 1), (0, 1)):
        assert auto_batch.expected(automatic, memory).training.micro_batch == size
    assert auto_batch.expected(tiny, 0) is tiny


def test_the_word_is_kept_in_the_stored_config(tiny):
    automatic = plan.changed(tiny, micro_batch="auto")
    assert 'micro_batch = "auto"' in dump(automatic)
    tables = copy.deepcopy(automatic.model_dump(mode="json"))
    for wrong in ("much", 0, -1, True, 1.5):
        tables["training"]["micro_batch"] = wrong
        with pytest.raises(UserError, match=r'training.micro_batch: got .*, expected a number above 0 or "auto"'):
            check(TrainConfig, tables, where="c")
