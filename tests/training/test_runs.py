"""Whole runs in one process: a resumed run equals an unbroken one, bad input is reported, and all files are written."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import tomli
import torch

from archsr.checkpoint import about_snapshot
from archsr.config import TrainConfig
from archsr.config.config_file import check, load, with_overrides
from archsr.data import manifest as mf
from archsr.data.versions import make_current
from archsr.errors import UserError
from archsr.training import launch
from archsr.training import step as one_step
from archsr.training.logging.log import read_log
from archsr.training.precision import with_precision
from archsr.training.setup import with_micro_batch
from archsr.utils.world import World

torch.set_num_threads(1)


def config(tables, *overrides):
    return check(TrainConfig, with_overrides(tables, list(overrides)), where="test")


def weights(folder, step=6):
    path = folder / "checkpoints" / f"step-{step:08d}"
    return {
        name: safetensors.torch.load_file(path / name) for name in sorted(p.name for p in path.glob("*.safetensors"))
    }


def equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].keys() == b[name].keys()
        for key in a[name]:
            assert torch.equal(a[name][key], b[name][key]), f"{name} {key}"


def keys(folder, rank=0):
    lines = (folder / "keys" / f"rank-{rank:05d}.jsonl").read_text().splitlines()
    return {e["step"]: e["keys"] for e in map(json.loads, lines)}  # a step trained again replaces the lost one


def test_a_run_writes_what_it_promises(curves, tiny_tables):
    launch.run(config(tiny_tables), resume=False)
    unbroken = Path(tiny_tables["runs"]) / "tiny"
    assert {p.name for p in (unbroken / "checkpoints").iterdir()} == {"step-00000004", "step-00000006"}
    snapshots = {p.stem for p in (unbroken / "snapshots").iterdir()}
    assert {"initial", "last", "last_raw"} <= snapshots
    assert about_snapshot(unbroken / "snapshots" / "last.safetensors")["step"] == 6
    assert (unbroken / "curves.png").stat().st_size > 1000
    assert {p.name for p in (unbroken / "samples").iterdir()} == {f"step-0000000{s}.png" for s in (0, 3, 6)}
    events = read_log(unbroken)
    assert [e["step"] for e in events if e["event"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert [e["step"] for e in events if e["event"] == "validation"] == [0, 3, 6]
    first = next(e for e in events if e["event"] == "train")
    assert {"pixel", "gan", "d_real", "d_fake", "lr", "images_per_second", "data_wait", "peak_memory"} <= set(first)
    warned = next(e["text"] for e in events if e["event"] == "warning")
    assert "8 pairs of 2 scenes are few for choosing weights" in warned


def test_a_resumed_run_says_what_changed_since_its_start(tiny_tables, capsys):
    """Also what an earlier resume changed, and nothing of what is as it was."""
    head = "config keys changed since the run started:\n"

    def said(*overrides, resume=True):
        launch.run(config(tiny_tables, *overrides), resume=resume)
        out = capsys.readouterr().out
        assert ("resumed at step" in out) == resume
        return out.split(head)[1].split("\nstep ")[0].splitlines() if head in out else []

    assert said("training.stages.0.iterations=2", resume=False) == []
    assert said("training.stages.0.iterations=2") == []
    longer = "  training.stages.0.iterations: 2 -> 3"
    assert sorted(said("training.stages.0.iterations=3", "checkpoint.keep=7")) == ["  checkpoint.keep: 2 -> 7", longer]
    assert said("training.stages.0.iterations=4") == ["  training.stages.0.iterations: 2 -> 4"]
    events = [e for e in read_log(Path(tiny_tables["runs"]) / "tiny") if e["event"] == "resume"]
    assert events[-1]["changed"] == {"training.stages.0.iterations": [2, 4]}


def test_tags_choose_what_is_trained_on(tiny_tables, capsys):
    folder = Path(tiny_tables["data"]["shards"])
    samples = [s for shard in mf.load(folder).splits["train"].shards for s in mf.read_index(folder, shard)]
    facades = {s.key for s in samples if "facade" in s.tags}
    assert 0 < len(facades) < len(samples)
    launch.run(config(tiny_tables, "data.tags.only=['facade']"), resume=False)
    assert f"{len(facades)} samples" in capsys.readouterr().out
    seen = [key for step in keys(Path(tiny_tables["runs"]) / "tiny").values() for key in step]
    assert set(seen) <= facades
    with pytest.raises(UserError, match=r"config differs from the checkpoint's: data\.tags"):
        launch.run(config(tiny_tables, "data.tags.without=['facade']"), resume=True)


@pytest.mark.slow
def test_training_learns(tiny_tables):
    tables = with_overrides(
        tiny_tables, ["training.stages.0.iterations=60", "losses.gan.weight=0.0", "losses.pixel.sharpened=false",
                      "training.ema.decay=0.5", "log.every=20", "validation.every=60", "checkpoint.every=60"]
    )  # fmt: skip
    launch.run(config(tables), resume=False)
    validated = [e for e in read_log(Path(tables["runs"]) / "tiny") if e["event"] == "validation"]
    assert validated[-1]["psnr"] > validated[0]["psnr"] + 1


@pytest.mark.parametrize("stop", [2, 4])
def test_stopped_and_resumed_is_the_same_as_unbroken(unbroken, tiny_tables, stop):
    tables = {**tiny_tables, "name": "resumed"}
    launch.run(config(tables, f"training.stages.0.iterations={stop}"), resume=False)
    launch.run(config(tables), resume=True)
    resumed = unbroken.with_name("resumed")
    equal(weights(unbroken), weights(resumed))
    assert keys(unbroken) == keys(resumed)
    metrics = [[e for e in read_log(f) if e["event"] == "validation"][-1] for f in (unbroken, resumed)]
    assert metrics[0]["psnr"] == metrics[1]["psnr"]


def test_a_crash_between_checkpoints_loses_nothing(unbroken, tiny_tables, monkeypatch):
    tables = {**tiny_tables, "name": "crashed"}
    real, calls = one_step.micro_step, []

    def fragile(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2 * 4 + 1 + 1:  # in the middle of iteration 5: two micro-batches each
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(one_step, "micro_step", fragile)
    with pytest.raises(KeyboardInterrupt):
        launch.run(config(tables), resume=False)
    monkeypatch.undo()
    launch.run(config(tables), resume=True)
    crashed = unbroken.with_name("crashed")
    equal(weights(unbroken), weights(crashed))
    assert keys(unbroken) == keys(crashed)
    assert [e["step"] for e in read_log(crashed) if e["event"] == "train"] == [1, 2, 3, 4, 5, 6]


def test_another_micro_batch_sees_the_same_samples(unbroken, tiny_tables):
    tables = {**tiny_tables, "name": "other"}
    launch.run(config(tables, "training.stages.0.iterations=4"), resume=False)
    launch.run(config(tables, "training.micro_batch=4"), resume=True)
    other = keys(unbroken.with_name("other"))
    assert {s: sorted(k) for s, k in keys(unbroken).items()} == {s: sorted(k) for s, k in other.items()}


def test_every_sample_once_an_epoch(tiny_tables, shards):
    total = mf.load(shards).splits["train"].samples
    steps = total  # four epochs, as a step takes four samples
    tables = with_overrides(
        tiny_tables, [f"training.stages.0.iterations={steps}", "losses.gan.weight=0.0", "validation.every=1000",
                      "checkpoint.every=1000", "log.every=1000"]
    )  # fmt: skip
    launch.run(config(tables), resume=False)
    by_step = keys(Path(tables["runs"]) / "tiny")
    seen = [key for step in sorted(by_step) for key in by_step[step]]
    for epoch in range(4):
        assert len(set(seen[epoch * total : (epoch + 1) * total])) == total


def test_stages_on_a_subset_and_then_on_all(tiny_tables, shards):
    stages = "training.stages=[{iterations=2, lr=1e-3, subset=0.2}, {iterations=2, lr=1e-4}, {iterations=2, lr=1e-5}]"
    tables = with_overrides(tiny_tables, [stages])
    launch.run(config(tables), resume=False)
    folder = Path(tables["runs"]) / "tiny"
    events = [e for e in read_log(folder) if e["event"] == "train"]
    assert [e["lr"] for e in events] == [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
    state = json.loads((folder / "checkpoints" / "step-00000006" / "state.json").read_text())
    assert state["progress"]["taken"] == {"0.2": 8, "1": 16}
    first = {s.key for sh in mf.load(shards).splits["train"].shards for s in mf.read_index(shards, sh)[:4]}
    assert set(keys(folder)[1] + keys(folder)[2]) <= first


@pytest.mark.parametrize("layers", [["conv_last"], ["body.0.rdb2.conv3"]])
def test_only_the_chosen_layers_change(tiny_tables, layers):
    tables = with_overrides(tiny_tables, [f"training.layers={layers}"])
    launch.run(config(tables), resume=False)
    folder = Path(tables["runs"]) / "tiny" / "snapshots"
    before, after = (safetensors.torch.load_file(folder / f"{n}.safetensors") for n in ("initial", "last"))
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed == {f"{layers[0]}.weight", f"{layers[0]}.bias"}


def test_bfloat16_trains_both_networks(tiny_tables):
    tables = {**tiny_tables, "losses": {"perceptual": {"weights": "scratch", "layers": {"conv1_2": 1.0}}}}
    launch.run(config(tables, "training.precision=bf16", "training.stages.0.iterations=2"), resume=False)
    events = [e for e in read_log(Path(tables["runs"]) / "tiny") if e["event"] == "train"]
    assert all(0 < e[k] < 10 for e in events for k in ("perceptual", "gan", "d_real", "d_fake"))


def test_what_an_attempt_without_a_checkpoint_left_is_not_taken_for_the_next_runs(tiny_tables, monkeypatch, capsys):
    folder = Path(tiny_tables["runs"]) / "tiny"
    real, calls = one_step.micro_step, []

    def fragile(*args, **kwargs):
        calls.append(1)
        if len(calls) == 9:  # after the validation at step 3, before any checkpoint
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(one_step, "micro_step", fragile)
    with pytest.raises(KeyboardInterrupt):
        launch.run(config(tiny_tables, "checkpoint.every=100"), resume=False)
    monkeypatch.undo()
    left = {p.name for p in (folder / "snapshots").iterdir()}
    assert left
    launch.run(config(tiny_tables, "training.stages.0.lr=1e-9"), resume=False)
    assert "moved the files of an attempt" in capsys.readouterr().out
    assert {p.name for p in (folder / "attempt-1" / "snapshots").iterdir()} == left
    assert [e["step"] for e in read_log(folder) if e["event"] == "validation"] == [0, 3, 6]
    about = [about_snapshot(p) for p in (folder / "snapshots").glob("best*.safetensors")]
    assert all(a["psnr"] != b["psnr"] for a in about for b in [about_snapshot(next(folder.glob("attempt-1/*/best.*")))])


def test_weights_that_are_no_numbers_are_not_saved_over_good_ones(tiny_tables):
    folder = Path(tiny_tables["runs"]) / "tiny"
    refused(tiny_tables, "training.stages=[{iterations=4, lr=1e-3}, {iterations=9, lr=1e30}]", "log.every=100",
            "validation.every=100", match="contain NaN or Inf at step")  # fmt: skip
    assert all(t.isfinite().all() for files in weights(folder, 4).values() for t in files.values())
    stages = "training.stages=[{iterations=4, lr=1e-3}, {iterations=2, lr=1e-4}]"
    launch.run(config(tiny_tables, stages), resume=True)
    assert read_log(folder)[-1]["event"] == "end"


def test_a_torn_line_of_the_log_swallows_nothing(tiny_tables):
    folder = Path(tiny_tables["runs"]) / "tiny"
    launch.run(config(tiny_tables, "training.stages.0.iterations=4"), resume=False)
    for name in ("log.jsonl", "keys/rank-00000.jsonl"):
        with (folder / name).open("a") as out:
            out.write('{"event": "train", "st')
    shutil.copy(folder / "keys" / "rank-00000.jsonl", folder / "keys" / "rank-00001.jsonl")
    launch.run(config(tiny_tables), resume=True)
    assert [e["step"] for e in read_log(folder) if e["event"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert sorted(keys(folder)) == [1, 2, 3, 4, 5, 6]
    assert sorted(keys(folder, rank=1)) == [1, 2, 3, 4]


def test_records_that_cannot_be_written_do_not_end_the_training(tiny_tables, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("archsr.training.logging.log.write_image", full)
    monkeypatch.setattr("archsr.training.hooks.draw_curves", full)
    launch.run(config(tiny_tables), resume=False)
    told = capsys.readouterr().err
    assert told.count("samples cannot be written") == told.count("curves.png cannot be written") == 1
    assert len(weights(Path(tiny_tables["runs"]) / "tiny"))


def test_only_damaged_checkpoints_do_not_start_over_in_silence(unbroken, tiny_tables):
    for path in unbroken.glob("checkpoints/*/generator.safetensors"):
        path.write_bytes(b"damaged")
    refused(tiny_tables, resume=True, match="all of its checkpoints are damaged")


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "configs").glob("*.toml")), ids=lambda p: p.stem)
@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_the_shipped_configs_run_on_usual_numbers_of_processes(path, world):
    if "prepare" in path.stem or "study" in path.stem:
        return
    loaded = load(TrainConfig, path)
    small = loaded.training.global_batch % world
    if small:
        with pytest.raises(UserError, match=f"global_batch={loaded.training.global_batch - small + world}"):
            with_micro_batch(loaded, World(0, world))
        assert world == 8 or loaded.name == "demo", "12 goes to 1, 2, 4; 48 to 8 as well"
        return
    training = with_micro_batch(loaded, World(0, world)).training
    assert training.global_batch % (training.micro_batch * world) == 0
    assert training.micro_batch <= loaded.training.micro_batch


def test_bfloat16_and_a_frozen_discriminator(tiny_tables):
    launch.run(config(tiny_tables, "training.precision=bf16", "discriminator.train=false"), resume=False)
    folder = Path(tiny_tables["runs"]) / "tiny"
    assert "optimizer_d.safetensors" not in {p.name for p in (folder / "checkpoints" / "step-00000006").iterdir()}


# ---------------------------------------------------------------- what is refused


def refused(tables, *overrides, resume=False, match):
    with pytest.raises(UserError, match=match) as error:
        launch.run(config(tables, *overrides), resume=resume)
    assert "\n" not in str(error.value)


def test_a_run_is_not_overwritten_by_accident(unbroken, tiny_tables):
    refused(tiny_tables, match=r"already holds a run \(step 6\); continue it with --resume")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("degrade.fidelity=faithful", "degrade.fidelity"),
        ("training.stages.0.lr=0.5", "training.stages"),
        ("training.layers=['conv_last']", "training.layers"),
        ("seed=5", "seed"),
        ("model.blocks=3", "model.blocks"),
    ],
)
def test_a_checkpoint_of_another_config_names_the_key(unbroken, tiny_tables, override, key):
    refused(tiny_tables, override, resume=True, match=f"config differs from the checkpoint's: {key}")


def test_log_intervals_and_later_stages_may_change(unbroken, tiny_tables):
    launch.run(
        config(tiny_tables, "log.every=2", "training.stages=[{iterations=6, lr=1e-3}, {iterations=2, lr=1e-5}]"),
        resume=True,
    )
    assert read_log(unbroken)[-1]["step"] == 8


def test_other_samples_are_refused(unbroken, tiny_tables, shards, tmp_path):
    copy = tmp_path / "changed"
    shutil.copytree(shards, copy)
    plain = json.loads((copy / mf.NAME).read_text())
    plain["fingerprint"] = "0" * 64
    (copy / mf.NAME).write_text(json.dumps(plain))
    refused(tiny_tables, f"data.shards={copy}", "training.stages.0.iterations=8", resume=True, match="not the dataset")


def test_a_run_goes_on_with_the_version_that_it_began_on(unbroken, tiny_tables, shards, tmp_path, capsys):
    """Photographs were added in between, but it trains on the same samples as the unbroken run."""
    dataset = tmp_path / "dataset"
    shutil.copytree(shards, dataset / "v1")
    make_current(dataset / "v1")
    tables = {**tiny_tables, "name": "resumed", "data": {**tiny_tables["data"], "shards": str(dataset)}}
    launch.run(config(tables, "training.stages.0.iterations=4"), resume=False)
    shutil.copytree(shards, dataset / "v2")
    plain = json.loads((dataset / "v2" / mf.NAME).read_text())
    (dataset / "v2" / mf.NAME).write_text(json.dumps({**plain, "fingerprint": "0" * 64}))
    make_current(dataset / "v2")
    launch.run(config(tables), resume=True)
    assert f"{dataset / 'v1'}: the run uses this version" in capsys.readouterr().out
    equal(weights(unbroken), weights(unbroken.with_name("resumed")))
    assert keys(unbroken) == keys(unbroken.with_name("resumed"))
    shutil.rmtree(dataset / "v1")
    refused(tables, "training.stages.0.iterations=8", resume=True, match="not the dataset")


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["data.shards=/nowhere"], "archsr prepare PHOTOS"),
        (["training.global_batch=4000", "training.micro_batch=4000"], "fewer than one global batch"),
        (["training.stages.0.subset=0.01", "training.global_batch=4"], "subset 0.01"),
        (["model.scale=2"], "pairs of scale 4, but model.scale is 2"),
        (["training.layers=['conv_lst']"], "no layer 'conv_lst'"),
        (["model.weights=missing.pth"], "no such weights file"),
        (["training.optimizer.name=adamm"], "no optimiser 'adamm'"),
    ],
)
def test_what_cannot_work_stops_before_training(tiny_tables, overrides, match):
    refused(tiny_tables, *overrides, match=match)


def test_weights_of_another_network_stop_before_training(unbroken, tiny_tables):
    snapshot = unbroken / "snapshots" / "last.safetensors"
    refused(tiny_tables, "name=next", f"model.weights={snapshot}", "model.blocks=3", match=r"body\.2\.rdb1\.conv1")


def test_weights_that_are_no_numbers_end_the_run(tiny_tables):
    refused(tiny_tables, "training.stages.0.lr=1e30", "training.ema.warmup=false", match="contain NaN or Inf")


def test_a_truncated_tar_stops_before_training(tiny_tables, shards, tmp_path):
    copy = tmp_path / "cut"
    shutil.copytree(shards, copy)
    tar = next(copy.glob("train-*.tar"))
    tar.write_bytes(tar.read_bytes()[:5000])
    refused(tiny_tables, f"data.shards={copy}", match=r"train-00000\.tar: truncated")


def test_a_full_disk_while_saving_is_one_line(tiny_tables, monkeypatch):
    from types import SimpleNamespace

    from archsr.checkpoint import writing

    launch.run(config(tiny_tables, "training.stages.0.iterations=4"), resume=False)
    folder = Path(tiny_tables["runs"]) / "tiny"
    before = weights(folder, 4)
    with monkeypatch.context() as patch:
        patch.setattr(writing.shutil, "disk_usage", lambda p: SimpleNamespace(free=1 << 20))
        refused(tiny_tables, resume=True, match="disk full")
    equal(before, weights(folder, 4))
    launch.run(config(tiny_tables), resume=True)
    assert read_log(folder)[-1]["event"] == "end"


@pytest.mark.parametrize("scale", [1, 2])
def test_networks_that_fold_pixels_validate_on_images_of_any_size(tiny_tables, tmp_path, scale):
    from PIL import Image

    from archsr.config import PrepareConfig
    from archsr.data.prepare.pipeline import prepare

    for n in range(8):
        (tmp_path / "odd" / f"p{n}").mkdir(parents=True)
        pixels = torch.randint(0, 256, (125, 131, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
        Image.fromarray(pixels.numpy()).save(tmp_path / "odd" / f"p{n}" / "a.png")
    settings = PrepareConfig(scale=scale, val=0.2, test=0.2, tile=120, min_side=96, pair_size=92, seed=2)
    prepare(tmp_path / "odd", tmp_path / "shards", settings)
    launch.run(
        config(tiny_tables, f"model.scale={scale}", f"data.shards={tmp_path / 'shards'}", "training.global_batch=2",
               "training.stages.0.iterations=2"), resume=False,
    )  # fmt: skip
    validated = [e for e in read_log(Path(tiny_tables["runs"]) / "tiny") if e["event"] == "validation"]
    assert validated[-1]["images"] > 0


def test_fewer_iterations_than_done_are_refused(unbroken, tiny_tables):
    before = (unbroken / "config.toml").read_bytes()
    refused(
        tiny_tables, "training.stages.0.iterations=4", resume=True, match="is at step 6, but training.stages end at 4"
    )
    assert (unbroken / "config.toml").read_bytes() == before


def test_a_dry_run_says_what_is_at_hand_and_what_is_not(unbroken, tiny_tables, capsys):
    assert launch.dry_run(config(tiny_tables), resume=True)
    said = capsys.readouterr().out
    assert "would continue at step 6" in said
    before = said.split("the whole config:\n")[0]
    assert "train" in before.split("shards")[-1]
    assert "random weights" in before
    assert before.index("inputs:") < before.index("trained") < before.index("memory forecast")
    whole = said.removeprefix(before).removeprefix("the whole config:\n")
    assert check(TrainConfig, tomli.loads(whole), where="printed") == with_precision(config(tiny_tables), resume=True)
    assert not launch.dry_run(
        config(tiny_tables, "data.shards=nowhere", "model.weights=gone.pth", "data.hflip=false"), resume=True
    )
    said = capsys.readouterr().out
    assert "NOT READY: nowhere" in said
    assert "gone.pth: NOT THERE" in said
    assert "NOT READY" in said.split("run folder")[-1]


def test_sharpened_targets_of_inputs_that_are_not_start_no_run_but_end_an_older_one(tiny_tables, monkeypatch, capsys):
    sharpener = config(tiny_tables, "degrade.sharpen_gt=false", "losses.pixel.sharpened=true")
    shorter = config(
        tiny_tables, "degrade.sharpen_gt=false", "losses.pixel.sharpened=true", "training.stages.0.iterations=4"
    )
    for one in (sharpener, shorter):
        with pytest.raises(UserError, match=r"losses\.pixel\.sharpened = true, but degrade\.sharpen_gt = false"):
            launch.run(one, resume=False)
    assert not launch.dry_run(sharpener, resume=False)
    assert "NOT READY: losses.pixel.sharpened = true" in capsys.readouterr().out
    with monkeypatch.context() as before:
        before.setattr(TrainConfig, "problem_with_targets", None)
        launch.run(shorter, resume=False)
    silent = config(tiny_tables, "degrade.sharpen_gt=false")
    with pytest.raises(
        UserError, match=r"config differs from the checkpoint's: losses\.pixel\.sharpened: true there, false"
    ):
        launch.run(silent, resume=True)
    launch.run(sharpener, resume=True)
    stored = load(TrainConfig, Path(tiny_tables["runs"]) / "tiny" / "config.toml")
    assert stored.losses.pixel.sharpened is True
    assert about_snapshot(Path(tiny_tables["runs"]) / "tiny" / "snapshots" / "last.safetensors")["step"] == 6
