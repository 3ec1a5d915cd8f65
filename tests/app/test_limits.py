"""What an upload may be and how long it stays."""

import os
import subprocess
import time
from pathlib import Path

import pytest
import pyvips
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from archsr.app.security.upload_limits import Limits, check_count, check_upload, format_bytes, safe_name
from archsr.app.storage import Storage, touch
from archsr.cli import parser
from archsr.errors import UserError
from archsr.images.image_files import BadImageError

TRICKS = ["../../etc/passwd", "..\\..\\x.jpg", "/etc/passwd", "C:\\x.png", "a\0.jpg", "..", ".", "", ".hidden",
          "a/../b.png", "\u202egpj.exe", "x" * 300 + ".jpg", "." * 300, "é" * 200 + ".png", "a." + "b" * 300,
          "x\n.jpg"]  # fmt: skip


@settings(max_examples=40)
@given(st.text())
@example("0" * 120 + ".")
def test_a_name_is_one_plain_file_name(name):
    made = safe_name(name)
    assert made
    assert made not in (".", "..")
    assert not made.startswith(".")
    assert len(made.encode()) <= 120
    assert Path(made).name == made
    assert not set(made) & set('/\\:*?"<>|\0\n')
    assert safe_name(made) == made


@pytest.mark.parametrize("name", TRICKS)
def test_a_file_can_be_made_of_every_trick_and_stays_in_its_folder(name, tmp_path):
    path = tmp_path / safe_name(name)
    path.write_bytes(b"")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["façade – 1.jpg", "Haus am Ring (Süd).tif", "屋根.png", "two.dots.webp", "no ending"])
def test_ordinary_names_stay(name):
    assert safe_name(name) == name


def test_sizes_and_pixels_are_bounded(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 30)).save(path)
    assert check_upload(path, Limits()) == (30, 40)
    size = path.stat().st_size
    assert check_upload(path, Limits(max_bytes=size, max_pixels=1200)) == (30, 40)
    with pytest.raises(BadImageError, match="more than the limit of"):
        check_upload(path, Limits(max_bytes=size - 1))
    with pytest.raises(BadImageError, match="40×30 is more than 1,199 pixels"):
        check_upload(path, Limits(max_pixels=1199))
    with pytest.raises(BadImageError, match="drop it again"):
        check_upload(tmp_path / "gone.png", Limits())


def test_what_cameras_make_is_welcome_by_default(tmp_path):
    path = tmp_path / "phone.png"
    Image.new("1", (5712, 4284)).save(path)
    assert check_upload(path, Limits()) == (4284, 5712)
    tiff = tmp_path / "45 megapixels, 16 bits.tif"
    pyvips.Image.black(8256, 5504, bands=3).cast("ushort").tiffsave(str(tiff), compression="deflate")
    assert check_upload(tiff, Limits()) == (5504, 8256)
    assert Limits().max_bytes - 2**20 > 8256 * 5504 * 6
    asked = parser().parse_args(["app"])
    assert (asked.max_bytes, asked.max_pixels) == (Limits().max_bytes, Limits().max_pixels)


def test_a_refusal_names_the_option_that_allows_more(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 30)).save(path)
    for limits, option in ((Limits(max_bytes=9), "--max-bytes"), (Limits(max_pixels=9), "--max-pixels")):
        with pytest.raises(BadImageError, match=f"whoever started the page can allow more: archsr app {option}"):
            check_upload(path, limits)


def test_counts_are_bounded():
    check_count(32, Limits())
    with pytest.raises(UserError, match="drop a photograph first"):
        check_count(0, Limits())
    with pytest.raises(UserError, match="33 photographs at once; at most 32"):
        check_count(33, Limits())


def test_bytes_in_words():
    assert [format_bytes(n) for n in (900, 12 * 2**10, 64 * 2**20, 3 * 2**29)] == ["900 B", "12 kB", "64 MB", "1.5 GB"]


@pytest.fixture
def storage(tmp_path):
    made = Storage(keep_seconds=1000, max_bytes=10_000, parent=tmp_path)
    yield made
    made.close()


def test_only_what_was_not_used_goes(storage):
    old, used = storage.new_folder() / "old", storage.new_folder() / "used"
    for path in (old, used):
        path.write_bytes(b"x")
        os.utime(path, (1, 1))
    touch(used)
    assert storage.sweep() == 1
    assert not old.exists()
    assert used.exists()
    assert storage.sweep(now=time.time() + 1001) == 1
    assert list(storage.folder.rglob("*")) == []


def test_uploads_that_were_broken_off_go_early(storage):
    part, whole = storage.folder / "tmpabc", storage.new_folder() / "photo.jpg"
    for path in (part, whole):
        path.write_bytes(b"x")
    assert storage.sweep(now=time.time() + 30) == 0
    assert storage.sweep(now=time.time() + 90) == 1
    assert whole.exists()


def test_the_room_is_bounded(storage):
    assert not storage.is_full()
    (storage.new_folder() / "large").write_bytes(bytes(10_001))
    assert storage.is_full()


def test_a_killed_servers_folder_goes_and_a_living_ones_stays(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead, alive = tmp_path / f"archsr-app-{gone.pid}-abc", tmp_path / f"archsr-app-{os.getpid()}-abc"
    foreign = tmp_path / "archsr-app-notes"
    for folder in (dead, alive, foreign):
        (folder / "results").mkdir(parents=True)
    storage = Storage(keep_seconds=10, max_bytes=10, parent=tmp_path)
    assert not dead.exists()
    storage.close()
    assert alive.exists()
    assert foreign.exists()
    assert not storage.folder.exists()
