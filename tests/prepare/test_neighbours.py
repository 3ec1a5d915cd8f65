"""Photographs that follow each other in a folder are joined by number, by time, or if they show one building."""

import io
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from archsr.config import PrepareConfig
from archsr.config.prepare import ScenesConfig
from archsr.data import manifest as mf
from archsr.data.prepare.duplicates import neighbours
from archsr.data.prepare.duplicates.buildings import agreeing, features_of
from archsr.data.prepare.duplicates.neighbours import camera_name_warning, following
from archsr.data.prepare.inspect_shards import summary
from archsr.data.prepare.pipeline import prepare
from archsr.data.prepare.scenes import is_numbered_by_a_camera
from archsr.data.prepare.survey.scan import ScannedFile
from archsr.data.versions import current
from archsr.images.pixels import taken_at

SETTINGS = PrepareConfig(val=0.2, test=0.2, tile=96, min_side=90, pair_size=48, degrade={"margin": 24},
                         drawings="keep")  # fmt: skip


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


def facade(seed, size=(720, 480)):
    """Draw stones and windows, all different."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(int(v) for v in rng.integers(110, 200, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(260):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        w, h = rng.integers(8, 60, 2)
        draw.rectangle([x, y, x + w, y + h], fill=tuple(int(v) for v in rng.integers(30, 240, 3)))
    return image


def elsewhere(image):
    """Return the same wall from a few steps aside: another part, smaller, and in perspective."""
    w, h = image.size
    corners = (0.45 * w, 0.02 * h, 0.42 * w, 0.97 * h, 1.0 * w, 0.92 * h, 0.97 * w, 0.09 * h)
    return image.transform((420, 420), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)


def signed(image, text):
    font = ImageFont.load_default(size=54)
    ImageDraw.Draw(image).text((60, 60), text, font=font, fill="white", stroke_width=2, stroke_fill="black")
    return image


def test_one_wall_from_two_places_agrees_and_two_walls_do_not():
    walls = [features_of(encoded(facade(seed))) for seed in range(6)]
    moved = [features_of(encoded(elsewhere(facade(seed)))) for seed in range(6)]
    counts = np.array([[agreeing(a, b) for b in moved] for a in walls])
    assert counts.diagonal().min() >= 24
    assert (counts - np.diag(counts.diagonal()) == 0).all()


def test_the_sign_of_one_shop_on_two_houses_joins_nothing():
    a, b = (features_of(encoded(signed(facade(seed), "PHARMACY"))) for seed in (7, 8))
    assert agreeing(a, b) == 0


def test_blank_images_have_no_features_and_agree_with_nothing():
    blank = features_of(encoded(Image.new("RGB", (300, 200), "grey")))
    assert agreeing(blank, blank) == 0


# pairs in one street that show one building each, found by eye among consecutive photographs
BY_EYE = {
    (50, 51), (131, 132), (132, 133), (152, 153), (153, 154), (203, 204), (221, 222), (283, 284), (310, 311),
    (311, 312), (312, 313), (313, 314), (320, 321), (322, 323), (323, 324), (342, 344), (380, 381), (423, 424),
    (440, 441), (441, 442), (442, 443), (452, 453), (453, 454), (462, 463), (490, 491), (491, 492), (501, 502),
    (510, 511), (513, 514), (550, 551),
}  # fmt: skip


@pytest.mark.gate
def test_on_real_facades_it_finds_a_third_of_the_pairs_and_none_that_is_wrong(real_facades):
    files = {int(p.stem.split("_")[1]): p for p in real_facades.rglob("img_*.jpg")}
    numbers = sorted(files)
    seen = {n: features_of(files[n].read_bytes()) for n in numbers}
    pairs = [(a, b) for i, a in enumerate(numbers) for b in numbers[i + 1 : i + 9]]
    found = {pair for pair in pairs if agreeing(seen[pair[0]], seen[pair[1]])}
    assert found <= BY_EYE
    assert len(found) >= 9


# ---------------------------------------------------------------- by number and by time


@pytest.mark.parametrize(
    ("stem", "alone"),
    [("IMG_2231", True), ("DSC01234", True), ("12", True), ("P1010234", True), ("whatsapp image 3", True),
     ("villa-01", False), ("villa", False), ("school 2", False), ("building-005_view-1", False)],
)  # fmt: skip
def test_names_that_only_a_camera_gave(stem, alone):
    assert is_numbered_by_a_camera(stem) == alone


def test_a_block_of_numbers_is_one_chain_and_new_numbers_move_none():
    config = SETTINGS.model_copy(update={"scenes": ScenesConfig(neighbours="number", neighbours_block=5)})
    old = [ScannedFile(f"IMG_{n:04}.jpg") for n in (1, 3, 4, 5, 9, 10)]
    links = following(old, config)
    assert links == [("IMG_0001.jpg", "IMG_0003.jpg"), ("IMG_0003.jpg", "IMG_0004.jpg"),
                     ("IMG_0005.jpg", "IMG_0009.jpg")]  # fmt: skip
    more = following([*old, *(ScannedFile(f"IMG_{n:04}.jpg") for n in (2, 6, 11))], config)
    blocks = {frozenset(int(name[4:8]) // 5 for name in link) for link in more}
    assert all(len(block) == 1 for block in blocks)
    assert following([replace(s, path=f"villa/{s.path}") for s in old], config) == [], "a folder is a scene already"


def test_photographs_within_some_minutes_are_one_scene(tmp_path):
    config = SETTINGS.model_copy(update={"scenes": ScenesConfig(neighbours="time", neighbours_minutes=10)})
    times = ["2024-05-01T10:00:00", "2024-05-01T10:09:00", "2024-05-01T10:18:59", "2024-05-01T10:40:00", ""]
    found = following([ScannedFile(f"IMG_{n}.jpg", taken=t) for n, t in enumerate(times)], config)
    assert found == [("IMG_0.jpg", "IMG_1.jpg"), ("IMG_1.jpg", "IMG_2.jpg")]


def test_the_time_is_that_of_the_shot():
    exif = Image.Exif()
    exif[0x0132] = "2025:01:01 00:00:00"  # of the last change
    assert taken_at(encoded(facade(0), exif=exif)) == "2025-01-01T00:00:00"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:01 12:33:10"
    assert taken_at(encoded(facade(0), exif=exif)) == "2024-05-01T12:33:10"
    exif.get_ifd(0x8769)[0x9003] = "yesterday"
    assert taken_at(encoded(facade(0), exif=exif)) == ""
    assert taken_at(encoded(facade(0))) == taken_at(b"no image") == ""


# ---------------------------------------------------------------- in a preparation


@pytest.fixture
def flat(tmp_path):
    """Write twenty photographs of one folder, numbered by a camera; every fifth shows the previous one's building."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for number in range(20):
        image = elsewhere(facade(number - 1)) if number % 5 == 1 else facade(number)
        (folder / f"IMG_{number:04}.jpg").write_bytes(encoded(image))
    return folder


def scenes(folder):
    made = mf.load(current(folder))
    return {s.photo: s.scene for side in mf.SPLITS for shard in made.splits[side].shards
            for s in mf.read_index(current(folder), shard)}  # fmt: skip


def test_two_of_one_building_are_one_scene_and_the_rest_is_said_in_red(flat, tmp_path):
    out = tmp_path / "out"
    made = prepare(flat, out, SETTINGS)
    of = scenes(out)
    for number in range(0, 20, 5):
        assert of[f"IMG_{number:04}.jpg"] == of[f"IMG_{number + 1:04}.jpg"]
    assert len(set(of.values())) == 16
    page, told = (current(out) / "report.html").read_text(), summary(made, current(out))
    assert '<p class="leak" style="white-space:pre-wrap">20 photographs have only a camera' in page
    assert "4 pairs of photographs that follow each other in a folder show one building" in page
    assert "WARNING: 20 photographs have only a camera's number" in told
    assert "--set scenes.neighbours=number  10 numbers each, here 2 scenes or fewer" in told
    assert "10 minutes apart; 20 have no time in their EXIF" in told
    assert "4 pairs of neighbours show the same building" in told
    joined = SETTINGS.model_copy(update={"test": 0.3, "scenes": ScenesConfig(neighbours="number", neighbours_block=5)})
    told = summary(prepare(flat, tmp_path / "joined", joined), current(tmp_path / "joined"))
    assert "numbers each" not in told
    assert len(set(scenes(tmp_path / "joined").values())) == 4


def test_without_the_search_nothing_is_joined(flat, tmp_path):
    prepare(flat, tmp_path / "out", SETTINGS.model_copy(update={"scenes": ScenesConfig(same_building=0)}))
    assert len(set(scenes(tmp_path / "out").values())) == 20


def test_folders_and_titles_warn_of_nothing():
    sides = {"villa/IMG_1.jpg": "train", "villa/IMG_2.jpg": "train", "school-1.jpg": "test", "school-2.jpg": "test"}
    assert camera_name_warning(sides, {}, ScenesConfig()) == ""
    assert camera_name_warning({"IMG_1.jpg": "train", "IMG_2.jpg": "train"}, {}, ScenesConfig()) == ""
    words = camera_name_warning({"IMG_1.jpg": "train", "IMG_2.jpg": "test"}, {}, ScenesConfig())
    assert "2 have the photograph" in words


def test_photographs_without_a_time_stay_alone_and_are_warned_of():
    """Photographs without a time once silenced the warning and were joined with nothing."""
    sides, scenes = {"IMG_1.jpg": "train", "IMG_2.jpg": "test"}, ScenesConfig(neighbours="time")
    assert "2 have the photograph before or after on another side" in camera_name_warning(sides, {}, scenes)
    assert camera_name_warning(sides, dict.fromkeys(sides, "2024-05-01T10:00:00"), scenes) == ""


def test_only_new_neighbours_are_compared_and_the_result_is_as_anew(flat, tmp_path, monkeypatch):
    out, compared = tmp_path / "out", []
    real = neighbours.agreeing
    monkeypatch.setattr(neighbours, "agreeing", lambda a, b: compared.append(1) or real(a, b))
    prepare(flat, out, SETTINGS)
    assert len(compared) == 20 * 8 - 36
    compared.clear()
    (flat / "IMG_0020.jpg").write_bytes(encoded(elsewhere(facade(19))))
    prepare(flat, out, SETTINGS)
    assert len(compared) == 8
    assert scenes(out)["IMG_0020.jpg"] == scenes(out)["IMG_0019.jpg"]
    shutil.copytree(flat, tmp_path / "copy")
    prepare(tmp_path / "copy", tmp_path / "anew", SETTINGS)
    same = [(current(folder) / "same.jsonl").read_text() for folder in (out, tmp_path / "anew")]
    assert same[0] == same[1]
