"""Each command says what it begins before it imports torch, which takes seconds; a mistake in a config comes first."""

import argparse
import json
import subprocess
import sys

import pytest

from archsr.cli import arguments, main, parser

WORDS = {
    "init": ["photos"], "config": ["seed"], "prepare": ["photos", "shards"], "inspect": ["shards"],
    "preview": ["CONFIG"], "doctor": ["CONFIG", "--launch"], "plan": ["CONFIG"], "train": ["CONFIG"], "runs": ["."],
    "fit-degradation": ["images"],
    "submit": ["CONFIG"], "study": ["CONFIG"], "evaluate": ["run"], "vote": ["a", "b"],
    "blend": ["a", "b", "--out", "c.safetensors"], "upscale": ["a.jpg", "b.png", "--model", "run"],
    "export": ["run", "run.pth"], "app": [], "demo": ["demo"], "weights": [], "bench": ["decode"],
    "completion": ["bash"],
}  # fmt: skip
QUICK = {"config", "runs", "completion"}
# runs every command as if torch were not installed, and prints for each whether it wanted torch
SCRIPT = """
import contextlib, io, json, runpy, sys
import archsr
sys.modules["torch"] = None
from archsr.cli import main
for verb, words in json.loads(sys.argv[1]).items():
    said, wanted = io.StringIO(), False
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            if verb == "train.py":
                sys.argv[1:] = words
                runpy.run_path(archsr.__path__[0] + "/train.py", run_name="__main__")
            else:
                main([verb, *words])
        except ImportError:
            wanted = True
        except SystemExit:
            pass
    print(json.dumps([verb, wanted, said.getvalue()]), flush=True)
"""


def verbs():
    return next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)).choices


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each command says, and whether it then imported torch."""
    folder = tmp_path_factory.mktemp("here")
    config = folder / "c.toml"
    config.write_text('name = "c"\n[model]\narch = "rrdbnet"\n[training]\nstages = [{ iterations = 1, lr = 1e-4 }]\n')
    words = {verb: [str(config) if w == "CONFIG" else w for w in given] for verb, given in WORDS.items()}
    words["train.py"] = ["--config", str(config)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(words)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {verb: (wanted, text) for verb, wanted, text in found}


def test_no_verb_is_left_out(said):
    assert WORDS.keys() == verbs().keys()
    assert said.keys() == {*WORDS, "train.py"}


@pytest.mark.parametrize("verb", [*WORDS, "train.py"])
def test_a_line_comes_before_torch(verb, said):
    wanted, text = said[verb]
    assert wanted == (verb not in QUICK), text
    if wanted:
        assert text.startswith("archsr: ")
        assert text.count("\n") == 1


def test_only_rank_0_announces(monkeypatch, capsys):
    for rank in ("0", "1", None):
        monkeypatch.setenv("RANK", rank) if rank else monkeypatch.delenv("RANK")
        arguments.announce(f"rank {rank}")
    assert capsys.readouterr().err == "archsr: rank 0\narchsr: rank None\n"


@pytest.mark.parametrize("verb", ["train", "plan", "doctor", "submit"])
def test_a_mistake_in_a_config_is_the_only_line(verb, tmp_path, capsys):
    path = tmp_path / "c.toml"
    path.write_text("nmae = 1\n")
    assert main([verb, str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"archsr: {path}: name: missing; this key is required")
    assert said.count("\n") == 1
