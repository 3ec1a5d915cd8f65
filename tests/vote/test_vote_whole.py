"""From two networks to a report: restore once, continue, the command, and the score card that quotes the vote."""

import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
import safetensors.torch
import torch
from asking import Visitor
from PIL import Image
from ranks import free_port

from archsr.checkpoint import start_run
from archsr.cli import main
from archsr.config import DataConfig, RRDBNetConfig, config_file
from archsr.errors import UserError
from archsr.evaluation.card import EvaluationRequest as Card
from archsr.evaluation.card import evaluate_models
from archsr.evaluation.compared_models import Options, bicubic, open_models
from archsr.evaluation.pairs import TestPair, open_pairs
from archsr.evaluation.people import vote_sentences
from archsr.images.pixels import tensor_to_pixels, to_float
from archsr.models.build import build
from archsr.upscaling.upscaler import Upscaler, open_model
from archsr.utils.atomic import sha256
from archsr.vote import votes as vt
from archsr.vote.main import VoteRequest, prepare_vote, report_result
from archsr.vote.models import models_of
from archsr.vote.restoring import crops_of
from archsr.vote.study import image_file


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Write three files of random weights that run in milliseconds."""
    folder = tmp_path_factory.mktemp("networks")
    for seed, name in enumerate(("old", "new", "later")):
        net = build(RRDBNetConfig(arch="rrdbnet", features=8, blocks=1, growth=4), seed=seed)
        safetensors.torch.save_file(net.state_dict(), folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def town(tmp_path):
    """Write small images in a folder for each of six houses."""
    rng = np.random.default_rng(0)
    for house in range(6):
        (tmp_path / "town" / f"house{house}").mkdir(parents=True)
        pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "town" / f"house{house}" / "one.png")
    return tmp_path / "town"


def question(networks, shards, **more):
    return VoteRequest(str(networks / "old.safetensors"), str(networks / "new.safetensors"), on=str(shards),
                    **{"split": "val", "device": "cpu", "limit": 3, **more})  # fmt: skip


def test_what_is_shown_is_what_each_model_makes(networks, shards, tmp_path):
    folder, study = prepare_vote(question(networks, shards), tmp_path / "vote")
    pairs = open_pairs(str(shards), DataConfig(), split="val", scale=4, limit=3)
    assert [one.number for one in study.images] == pairs.numbers()
    for pair in pairs.read(pairs.numbers()):
        shown = {k: np.asarray(Image.open(image_file(folder, study.token(pair.number, k))))
                 for k in ("A", "B", "input", "photograph")}  # fmt: skip
        assert np.array_equal(shown["photograph"], pair.gt.permute(1, 2, 0).numpy())
        assert np.array_equal(shown["input"], pair.lq.permute(1, 2, 0).numpy())
        for letter, name in (("A", "old"), ("B", "new")):
            net, _ = open_model(str(networks / f"{name}.safetensors"))
            made = tensor_to_pixels(Upscaler(net, device=torch.device("cpu")).restore(to_float(pair.lq)[None]))
            assert np.array_equal(shown[letter], made)
        assert not np.array_equal(shown["A"], shown["B"])


def test_nothing_is_restored_twice(networks, shards, tmp_path, monkeypatch):
    folder, study = prepare_vote(question(networks, shards), tmp_path / "vote")
    files = sorted((folder / "images").iterdir())
    assert len(files) == 12
    times = {f: f.stat().st_mtime_ns for f in files}
    gone = image_file(folder, study.token(study.images[1].number, "B"))
    content = gone.read_bytes()
    gone.unlink()
    assert prepare_vote(question(networks, shards), folder)[1] == study
    assert gone.read_bytes() == content
    own = {image_file(folder, study.token(study.images[1].number, k)) for k in ("A", "B", "input", "photograph")}
    assert {f for f in files if f.stat().st_mtime_ns != times[f]} == own
    monkeypatch.setattr("archsr.vote.models.open_model", None)  # all there: no network is even opened
    assert prepare_vote(question(networks, shards), folder)[1] == study


def test_a_folder_has_one_question(networks, shards, tmp_path):
    folder, _ = prepare_vote(question(networks, shards), tmp_path / "vote")
    for other in ({"limit": 2}, {"crop": 32}, {"split": "test", "limit": 3}):
        with pytest.raises(UserError, match="holds another vote.*--out"):
            prepare_vote(question(networks, shards, **other), folder)
    with pytest.raises(UserError, match="old against new.*--out"):
        prepare_vote(
            VoteRequest(str(networks / "old.safetensors"), "bicubic", str(shards), "val", 3, device="cpu"), folder
        )
    (folder / "study.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        prepare_vote(question(networks, shards), folder)


@pytest.mark.parametrize(("a", "b", "on", "said"), [
    ("OLD", "OLD", "SHARDS", "are the same weights"),
    ("original", "OLD", "SHARDS", "original: .* is not a run"),
    ("OLD", "NEW", "", "give --on SHARDS or --on FOLDER"),
    ("OLD", "nobody.pth", "SHARDS", "no such weights file"),
    ("OLD", "NEW", "nowhere", "no such folder"),
])  # fmt: skip
def test_questions_that_cannot_be_asked(networks, shards, tmp_path, a, b, on, said):
    files = {"OLD": str(networks / "old.safetensors"), "NEW": str(networks / "new.safetensors"), "SHARDS": str(shards)}
    with pytest.raises(UserError, match=said.replace("|", r"\|")):
        prepare_vote(VoteRequest(files.get(a, a), files.get(b, b), files.get(on, on)), tmp_path / "vote")


def test_a_crop_is_the_middle_of_the_whole_result():
    rng = np.random.default_rng(0)
    gt = torch.from_numpy(rng.integers(0, 256, (3, 400, 328), dtype=np.uint8))
    lq = torch.from_numpy(rng.integers(0, 256, (3, 100, 82), dtype=np.uint8))
    pair = TestPair(0, "k", "s", (), lq, gt)
    found = crops_of(pair, {"A": bicubic(4).restore}, scale=4, crop=130)  # 32 pixels of the input
    whole = bicubic(4).restore(to_float(lq)[None])
    assert torch.equal(found["A"], whole[:, :, 136:264, 100:228])
    assert torch.equal(found["photograph"], to_float(gt)[None, :, 136:264, 100:228])
    assert torch.equal(found["input"], to_float(lq)[None, :, 34:66, 25:57])
    assert torch.equal(crops_of(pair, {}, scale=4, crop=1000)["photograph"], to_float(gt)[None])


def everybody_votes(page, failed):
    """In a thread: when the page answers, two voters vote on everything; then Ctrl-C."""
    try:
        end = time.monotonic() + 60
        while True:
            try:
                page.state("Anna")
                break
            except OSError:
                assert time.monotonic() < end, "no answer"
                time.sleep(0.02)
        for voter in ("Anna", "Ben"):
            while page.state(voter)["next"] is not None:
                page.vote(voter, "none")
    except Exception as error:
        failed.append(error)
    os.kill(os.getpid(), signal.SIGINT)


def test_the_command_from_start_to_result(networks, town, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    port, failed = free_port(), []
    visitors = threading.Thread(target=everybody_votes, args=(Visitor(f"http://127.0.0.1:{port}"), failed))
    visitors.start()
    models = [str(networks / "old.safetensors"), "bicubic"]
    try:
        assert main(["vote", *models, "--on", str(town), "--port", str(port), "--device", "cpu"]) == 0
    finally:
        visitors.join()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert failed == []
    plain = json.loads((tmp_path / "vote" / "old-bicubic" / "result.json").read_text())
    assert (plain["share"], plain["low"], plain["high"]) == (0.5, 0.5, 0.5)
    assert (plain["voters"], plain["scenes"], plain["votes"]) == (2, 6, 12)
    said = capsys.readouterr()
    assert f"http://127.0.0.1:{port} (6 images; Ctrl-C stops it" in said.out
    assert plain["sentence"] in said.out
    assert "making the images of" in said.err


def test_a_result_without_serving_and_words_that_are_missing(tmp_path, capsys):
    assert main(["vote", "--result", str(tmp_path)]) == 2
    assert f"\narchsr: {tmp_path}: not a vote's folder" in capsys.readouterr().err
    assert main(["vote", "bicubic"]) == 2
    assert "needs two models" in capsys.readouterr().err


def judged(networks, on, folder, **more):
    """Write a vote in which a voter always prefers the new model."""
    folder, study = prepare_vote(question(networks, on, **more), folder)
    for one in study.images:
        vt.append(folder, vt.Vote("Anna", one.key, one.scene, "B", "left", 1.0, ""))
    report_result(folder)


def test_the_score_card_repeats_what_people_said(networks, shards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("archsr.evaluation.card.architecture", list)  # quicker
    monkeypatch.setattr("archsr.evaluation.card.write_figures", lambda folder, shown: [])
    judged(networks, shards, tmp_path / "vote" / "any")
    models = tuple(str(networks / f"{name}.safetensors") for name in ("old", "new"))
    folder = evaluate_models(Card(models, on=str(shards), split="val", limit=2)).folder
    said = "Asked people: new got 100% of 3 votes against old (a tie is half a vote for each), by 1 voter on 3 images"
    assert said in (folder / "report.md").read_text()
    assert said in (folder / "report.html").read_text()


def test_only_what_was_asked_of_these_models_and_images_is_repeated(networks, shards, town, tmp_path, capsys):
    judged(networks, shards, tmp_path / "run" / "votes")
    judged(networks, town, tmp_path / "vote" / "town", crop=32)
    folders = [tmp_path / "run" / "votes", tmp_path / "vote"]

    def said(on, *, split="val", limit=None, second="new.safetensors"):
        models = [str(networks / "old.safetensors"), str(networks / second)]
        pairs = open_pairs(str(on), DataConfig(), split=split, scale=4, limit=limit)
        return vote_sentences(folders, open_models(models, 4, Options()), pairs)

    [of_shards], [of_town] = said(shards, limit=1), said(town)
    assert "by 1 voter on 3 images of" in of_shards
    assert "on 3 images of 3 scenes" in of_town
    assert said(shards, split="test") == [], "another side of the split"
    assert said(shards, second="later.safetensors") == [], "other weights"
    Image.new("RGB", (64, 48), "red").save(town / "house0" / "one.png")
    assert said(town) == [], "another image in the folder"
    (tmp_path / "run" / "votes" / "result.json").write_text('{"a": 1}')
    capsys.readouterr()
    assert said(shards) == []
    assert "ignored in the report: damaged" in capsys.readouterr().err


def test_original_is_what_the_other_one_began_with(networks, tiny, tmp_path):
    run = tmp_path / "runs" / "tiny"
    start_run(run, config_file.dump(tiny), ident="0000abcd")
    for name, which in (("old", "initial"), ("new", "best"), ("later", "last")):
        shutil.copy(networks / f"{name}.safetensors", run / "snapshots" / f"{which}.safetensors")
    a, b = models_of("original", str(run))
    assert (a.name, b.name) == ("original", "tiny")
    assert (a.identity, b.identity) == tuple(sha256(networks / f"{name}.safetensors") for name in ("old", "new"))
    assert models_of(str(run), "original") == (b, a)
    _, study = prepare_vote(VoteRequest("original", str(run), split="val", limit=1, device="cpu"), tmp_path / "vote")
    assert study.asking.about == f"the fixed val pairs of {tiny.data.shards}", "the run's own dataset"
