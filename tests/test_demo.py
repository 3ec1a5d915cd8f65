import hashlib
import signal
import subprocess
import sys

import psutil

from archsr.cli import main
from archsr.data.drawn_photos import draw_photos
from archsr.images.pixels import read_photo


def digest(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_drawing_is_seeded(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert draw_photos(tmp_path / name, seed=seed, projects=2, views=1, plans=1) == 3
    a, b, c = (digest(tmp_path / n) for n in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert not set(a.values()) & set(c.values())


def test_views_of_a_project_show_one_subject_from_two_places(tmp_path):
    draw_photos(tmp_path, projects=2, views=2, plans=0)
    for project in sorted(tmp_path.iterdir()):
        pixels = [read_photo(p).pixels.astype(int) for p in sorted(project.iterdir())]
        assert pixels[0].shape == (384, 512, 3)
        assert abs(pixels[0] - pixels[1]).mean() > 3
        assert abs(pixels[0].mean((0, 1)) - pixels[1].mean((0, 1))).max() < 40


def test_the_demo_writes_into_no_folder_of_others(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    assert main(["demo", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_stopped_demo_ends_the_command_that_it_has_started():
    """Also if the signal reaches only the demo, and not the whole terminal's process group."""
    child = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
    code = f"from archsr.demo import _run; _run({child!r})"
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    number = next(int(line) for line in started.stdout if line.strip().isdigit())
    started.send_signal(signal.SIGINT)
    started.communicate(timeout=60)
    assert started.returncode != 0
    assert not psutil.pid_exists(number)
