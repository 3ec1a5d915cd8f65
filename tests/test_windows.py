"""Windows, as far as Python can pretend it elsewhere (`windows/sitecustomize.py`); nobody ran archsr on it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tomli_w

from archsr.cli.arguments import check_text
from archsr.config import DataConfig
from archsr.data import remote
from archsr.data.prepare.folder import locked
from archsr.data.prepare.survey.chunks import PreparePaths
from archsr.data.versions import UNFINISHED
from archsr.errors import DataError, UserError
from archsr.training import start
from archsr.utils import atomic, locks

HERE = Path(__file__).resolve().parent


@pytest.fixture
def held(monkeypatch):
    """msvcrt's locks by file, and no fcntl."""
    taken = set()

    def locking(handle, mode, count):
        number = os.fstat(handle).st_ino
        if number in taken:
            raise PermissionError(13, "Permission denied")
        taken.add(number)

    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_LOCK=1, LK_NBLCK=2))
    return taken


def test_an_exclusive_lock_excludes(held, tmp_path):
    with (tmp_path / "a").open("w") as file:
        assert locks.lock(file.fileno(), wait=False)
        assert not locks.lock(file.fileno(), wait=False)
        assert locks.lock(file.fileno(), shared=True, wait=False)  # there are none


def test_two_preparations_of_a_folder_exclude_each_other(held, tmp_path):
    place = PreparePaths("photos", tmp_path / "out", tmp_path / "out" / UNFINISHED)
    again = locked(place, shared=False, restart=False)
    with locked(place, shared=False, restart=False), pytest.raises(DataError, match="another archsr prepare"):
        again.__enter__()


def test_a_dataset_at_a_url_is_refused(monkeypatch):
    monkeypatch.setattr(remote, "SHARED_LOCKS", False)
    with pytest.raises(DataError, match="s3://x: datasets at a URL need Linux or macOS; copy it"):
        remote.place_of("s3://x", DataConfig(shards="s3://x"))


def test_a_folder_is_not_flushed(monkeypatch, tmp_path):
    monkeypatch.setattr(atomic, "os", SimpleNamespace(name="nt"))  # opens nothing
    atomic.sync_folder(tmp_path / "absent")


def test_text_must_be_utf8():
    check_text(windows=True, utf8=True)
    check_text(windows=False, utf8=False)
    if sys.version_info < (3, 15):
        with pytest.raises(UserError, match="set PYTHONUTF8=1"):
            check_text(windows=True, utf8=False)


def test_train_waits_for_its_process_and_ends_with_its_code(monkeypatch):
    monkeypatch.setattr(start, "_WINDOWS", True)
    monkeypatch.setattr(start, "command_of", lambda *_, **__: ([sys.executable, "-c", "raise SystemExit(85)"], {}))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        start.start([], processes=1)
    assert ended.value.code == 85
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    signal.signal(signal.SIGINT, before)


def pretended(*words, folder):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{HERE / 'windows'}{os.pathsep}{HERE.parent}",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [sys.executable, *words], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


EVERY = """
import importlib, pathlib, signal
names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in sorted((ROOT / "archsr").rglob("*.py"))]
for name in names:
    if not name.endswith(("__main__", "peers", "train")):
        importlib.import_module(name.removesuffix(".__init__"))
assert importlib.import_module("archsr.utils.locks").fcntl is None and not hasattr(signal, "SIGKILL")
print(len(names))
"""


@pytest.mark.gate
def test_every_module_can_be_imported(tmp_path):
    code = f"import pathlib; ROOT = pathlib.Path({str(HERE.parent)!r}){EVERY}"
    assert int(pretended("-c", code, folder=tmp_path)) > 150


@pytest.mark.slow
def test_photographs_become_a_model_with_spawned_workers(photos, tiny_tables, tmp_path):
    """The demo's commands, small: shards by two workers, two iterations with one, an enlarged photograph."""
    options = ["--set", "val=0.15", "--set", "tile=160", "--set", "min_side=120", "--set", "pair_size=64"]
    pretended("-m", "archsr", "prepare", str(photos), "shards", "--workers", "2", *options, folder=tmp_path)
    tables = tiny_tables | {
        "data": {"shards": "shards", "gt_size": 32, "workers": 1},
        "runs": "runs",
        "training": tiny_tables["training"] | {"stages": [{"iterations": 2, "lr": 1e-3}]},
        "validation": {"every": 2, "samples": 1, "images": 1, "strength": False},
    }
    (tmp_path / "c.toml").write_text(tomli_w.dumps(tables))
    said = pretended("-m", "archsr", "train", "c.toml", "--processes", "1", folder=tmp_path)
    assert "checkpoint step-00000002" in said
    photo = next(photos.rglob("*.jpg"))
    pretended("-m", "archsr", "upscale", str(photo), "large", "--model", "runs/tiny", folder=tmp_path)
    assert len(list((tmp_path / "large").iterdir())) == 1
