"""The notebook: four cells without outputs, run as they are on drawn photographs but for the settings at its top."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from archsr.config.config_file import with_overrides
from archsr.data.drawn_photos import draw_photos

nbformat = pytest.importorskip("nbformat")
ROOT = Path(__file__).resolve().parent.parent
SMALL = (
    "name=tried model.features=8 model.growth=4 model.blocks=2 model.weights=scratch losses.perceptual.weight=0 "
    "losses.gan.weight=0 data.gt_size=64 data.workers=0 training.global_batch=2 degrade.pool_batches=2 "
    "validation.samples=2 training.stages=[{iterations=4,lr=1e-3}]"
)


def notebook():
    return nbformat.read(ROOT / "launch" / "colab.ipynb", as_version=4)


def test_it_is_valid_and_has_four_cells_without_outputs():
    book = notebook()
    nbformat.validate(book)
    assert [cell.cell_type for cell in book.cells] == ["code"] * 4
    assert not any(cell.outputs or cell.execution_count for cell in book.cells)


def test_a_notebooks_matplotlib_is_not_asked_of_the_commands():
    code = "from archsr.cli import main; main(['completion', 'bash']); import matplotlib.figure"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MPLBACKEND": "module://nowhere.backend_inline"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def with_settings(source, **settings):
    for name, value in settings.items():
        source, count = re.subn(rf"(?m)^{name} = .*$", lambda _, n=name, v=value: f"{n} = {v!r}", source)
        assert count == 1, name
    return source


def executed(book, folder, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    client = nbclient.NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}})
    try:
        return client.execute()
    finally:
        print("\n".join(o.get("text", "") for c in book.cells for o in c.outputs))


def kinds(cell):
    return [kind for output in cell.outputs for kind in output.get("data", {})]


@pytest.mark.slow
def test_it_runs_from_photographs_to_a_report_and_goes_on(tmp_path, monkeypatch):
    draw_photos(tmp_path / "photos", projects=8, views=1, plans=0)
    more = with_overrides({}, SMALL.split())
    settings = {"PHOTOS": str(tmp_path / "photos"), "WORK": str(tmp_path / "the work"), "PRECISION": "fp32"}
    longer = with_overrides(more, ["training.stages=[{iterations=6,lr=1e-3}]"])
    for more_of_it in (more, longer):
        book = notebook()
        book.cells[0].source = with_settings(book.cells[0].source, **settings, MORE=more_of_it)
        executed(book, str(tmp_path), monkeypatch)
        assert "image/png" in kinds(book.cells[1])
        assert "text/html" in kinds(book.cells[2])
        assert "text/html" in kinds(book.cells[3])
    assert "resumed at step 4" in "".join(o.get("text", "") for o in book.cells[2].outputs)
    assert (tmp_path / "the work" / "tried.pth").stat().st_size > 1000
    assert (tmp_path / "the work" / "runs" / "tried" / "evaluation" / "test" / "report.html").is_file()


@pytest.mark.slow
def test_a_mistake_stops_it(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    book = notebook()
    book.cells[0].source = with_settings(book.cells[0].source, PHOTOS="nowhere", WORK=str(tmp_path), PRECISION="fp32")
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="DataError: nowhere: no such folder"):
        executed(book, str(tmp_path), monkeypatch)
