"""`archsr fit-degradation`: its files, its errors, and that the table is accepted and the same again."""

import shutil

import numpy as np
import pytest
from PIL import Image

import archsr
from archsr.cli import main
from archsr.config import DegradeConfig, PrepareConfig, config_file
from archsr.data.drawn_photos import draw_photos


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Eight drawn photographs."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_photos(folder, projects=4, views=2, plans=0)
    return folder


@pytest.fixture
def clients(tmp_path, drawn):
    """Eight small JPEGs, one PNG, a broken file and a thumbnail."""
    folder = tmp_path / "clients"
    folder.mkdir()
    for number, path in enumerate(sorted(drawn.rglob("*.jpg"))):
        image = Image.open(path).resize((256, 192), Image.Resampling.LANCZOS)
        image.save(folder / f"{number}.jpg", quality=60 + 4 * number)
    Image.open(folder / "0.jpg").save(folder / "as.png")
    (folder / "broken.jpg").write_bytes((folder / "1.jpg").read_bytes()[:900])
    Image.new("RGB", (40, 40)).save(folder / "thumb.png")
    return folder


@pytest.fixture
def quick(monkeypatch, drawn):
    """Drawn photographs again instead of new ones, one preset, few simulations: the ranges are rough."""
    for name, value in (("SIMULATIONS", 15), ("_DRAWS", 3)):
        monkeypatch.setattr(f"archsr.degradation.fitting.matching.{name}", value)
    monkeypatch.setattr("archsr.api.fitting.SIMULATIONS", 15)
    monkeypatch.setattr("archsr.api.fitting.COMPARED", ("realesrgan",))

    def copied(folder, **_):
        for number in range(6):
            shutil.copytree(drawn, folder / str(number))

    monkeypatch.setattr("archsr.api.fitting.draw_photos", copied)


def test_it_writes_a_table_and_a_report_and_says_what_is_uncertain(clients, quick, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["fit-degradation", str(clients), "--out", str(out), "--scale", "2"]) == 0
    said = capsys.readouterr().out
    assert "fitted to 9 images" in said
    assert "1 files could not be read" in said
    table = config_file.check(DegradeConfig, config_file.read(out / "degrade.toml")["degrade"], where="degrade.toml")
    assert table.second.jpeg.probability == 1
    assert table.second.jpeg.low >= 60
    assert table.second.jpeg.high <= 88
    assert table.second.jpeg.sampling.yuv420 == 1
    assert config_file.check(PrepareConfig, config_file.read(out / "degrade.toml"), where="as preview reads it")
    page = (out / "report.html").read_text()
    assert page.count("<img") >= 9
    assert "What it could not tell" in page
    assert "src='http" not in page
    assert "broken.jpg" in page
    first = [(out / name).read_bytes() for name in ("degrade.toml", "report.html")]
    again = archsr.fit_degradation(clients, out, scale=2)
    assert [again.table.read_bytes(), again.report.read_bytes()] == first
    small = archsr.degrade(np.zeros((64, 64, 3), np.uint8), str(again.table))
    assert small.shape == (16, 16, 3)


@pytest.mark.parametrize(("made", "said"), [(False, "no such folder"), (True, "no images there")])
def test_a_folder_without_images_is_one_line(tmp_path, capsys, made, said):
    folder = tmp_path / "empty"
    if made:
        folder.mkdir()
    assert main(["fit-degradation", str(folder)]) == 2
    assert said in capsys.readouterr().err


def test_images_that_are_all_too_small_are_counted(tmp_path, capsys, quick):
    Image.new("RGB", (60, 60)).save(tmp_path / "a.png")
    assert main(["fit-degradation", str(tmp_path)]) == 2
    assert "1 have a side below 128 pixels" in capsys.readouterr().err


def test_photographs_that_are_too_small_say_how_large_they_must_be(clients, tmp_path, capsys):
    assert main(["fit-degradation", str(clients), "--photos", str(clients)]) == 2
    assert "512 pixels" in capsys.readouterr().err
