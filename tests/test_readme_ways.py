"""README's commands run as they stand, in their order, on drawn photographs: what a reader does, and what comes out."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w
from PIL import Image
from test_readme import ROOT, TEXTS, all_commands, blocks, commands_of, spans

from archsr import cli
from archsr.data.drawn_photos import draw_photos

QUICK = [w for page, w in all_commands() if page == "configs/README.md" and w[0] == "archsr" and w[1:2] == ["plan"]]


@pytest.mark.slow
@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_quick_commands_run(words, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert cli.main(words[1:]) == 0
    assert capsys.readouterr().out


@pytest.fixture
def house(tmp_path, monkeypatch):
    """What a reader has: the project, and photographs."""
    for name in ("archsr", "configs", "launch"):
        (tmp_path / name).symlink_to(ROOT / name)
    draw_photos(tmp_path / "photos", projects=24, views=1, plans=1)
    images = sorted((tmp_path / "photos").rglob("*.jpg"))
    (tmp_path / "client_photos").mkdir()
    shutil.copy(images[0], tmp_path / "client_photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def went(house, way, more):
    """Run a block's commands as they stand; `more` goes to those that train or preview. Returns what they print."""
    said = ""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for words in commands_of(way):
        if words[0] == ".":
            continue
        configured = any(w.endswith("train.py") for w in words) or words[1] in ("train", "preview", "submit")
        command = [*words, *(more if configured else []), *(["--offline"] if words[1] == "evaluate" else [])]
        done = subprocess.run(command, env=environment, cwd=house, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        said += done.stdout
    return said


@pytest.mark.slow
def test_the_shortest_way_of_ones_own_photographs(house):
    """Two iterations in place of the hundreds that init chooses, then resumed with more in the last stage."""
    way, resumed = blocks(TEXTS["README.md"].split("## Your own photographs")[1], "sh")[:2]
    went(house, way, ["--set", "training.stages=[{iterations=2,lr=1e-4}]"])
    went(house, resumed, ["--set", "training.stages=[{iterations=2,lr=1e-4},{iterations=1,lr=1e-5}]"])
    more = ["--set", "training.stages=[{iterations=2,lr=1e-4},{iterations=2,lr=1e-5}]"]
    assert "step 4/4" in went(house, resumed, more)
    for name in ("shards/photos/v1/report.html", "runs/archsr/evaluation/test/report.html", "runs/archsr/exporting"):
        assert (house / name).exists()
    assert len(list((house / "enlarged").iterdir())) == 1


@pytest.mark.slow
def test_the_way_of_ones_own_photographs(house):
    """Its commands as they stand, the config offline and small as the text after them says, two iterations long."""
    text = TEXTS["README.md"].split("## Your own photographs")[1]
    way, offline = blocks(text, "sh")[2:4]
    small = next(s for s in spans(text) if s.startswith("--set data.gt_size"))
    [without_internet] = commands_of(offline)
    went(house, way, [*without_internet[without_internet.index("--set") :], *shlex.split(small.replace("=200", "=2"))])
    for name in ("shards/photos/v1/report.html", "preview/sheet.png", "runs/last_layer/evaluation/test/report.html"):
        assert (house / name).is_file()
    assert len(list((house / "enlarged").iterdir())) == 1


def used(house, tables):
    """A small trained run under the name that the page uses, and photographs that are enlarged in moments."""
    (house / "small.toml").write_text(tomli_w.dumps({**tables, "name": "tail", "runs": str(house / "runs")}))
    went(house, "accelerate launch archsr/train.py --config small.toml", [])
    shutil.rmtree(house / "photos")
    shutil.copytree(house / "client_photos", house / "photos" / "one project")
    for path in (house / "photos").rglob("*.jpg"):
        with Image.open(path) as image:
            image.resize((96, 64)).save(path)


@pytest.mark.slow
def test_the_ways_of_using_a_result(house, tiny_tables):
    used(house, tiny_tables)
    block = blocks(TEXTS["README.md"].split("## Using the result")[1], "sh")[0]
    went(house, "\n".join(line for line in block.splitlines() if not line.startswith("pip")), [])
    [large] = (house / "large").rglob("*.jpg")
    assert Image.open(large).size == (288, 192)
    assert {p.suffix for p in (house / "runs" / "tail" / "export").iterdir()} >= {".pth", ".onnx", ".param", ".bin"}


AS_THEY_STAND = (
    "archsr init photos", "archsr plan configs/full.toml --memory 16GB", "archsr weights", "archsr app --help",
    "archsr submit configs/full.toml --nodes 2 --gpus 4 --time 4:00:00", 'eval "$(archsr completion bash)"',
    "python archsr/train.py --config configs/last_layer.toml --debug",
)  # fmt: skip


@pytest.mark.slow
def test_the_recipes(house):
    text = TEXTS["README.md"]
    for command in AS_THEY_STAND:
        assert command in text
        words = shlex.split(command.removeprefix('eval "$(').removesuffix(')"'))
        said = went(house, shlex.join(words), ["--dry-run"] if "submit" in words else [])
        assert said.strip()
