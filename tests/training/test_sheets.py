"""The sheet of a validation has the right images under its headings, and finds the earlier ones again."""

import json

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from archsr.training.logging.curves import draw_curves
from archsr.training.logging.sheets import SIDE, Seen, before_of, draw, of_each_scene


def flat(value, side=SIDE):
    return np.full((side, side, 3), value, np.uint8)


def columns(sheet, row, count):
    """Return the middle values of a row's images; the text beside them is darker or lighter than these."""
    top = 18 + row * (SIDE + 22)
    return [int(sheet[top + 50, c * (SIDE + 4) + 50, 0]) for c in range(count)]


def test_before_now_and_the_photograph(tmp_path):
    rows = [Seen(f"photo {n}", "house", flat(40 + n), flat(80 + n), flat(120 + n)) for n in range(2)]
    first = draw(rows, 0)
    assert [columns(first, n, 3) for n in range(2)] == [[40, 80, 120], [41, 81, 121]]
    path = tmp_path / "step-00000000.png"
    Image.fromarray(first).save(path)
    before = before_of(path, 2)
    assert [int(p[0, 0, 0]) for p in before] == [80, 81]
    later = draw([Seen(r.name, r.scene, r.lq, flat(200), r.gt) for r in rows], 300, before)
    assert [columns(later, n, 4) for n in range(2)] == [[40, 80, 200, 120], [41, 81, 200, 121]]
    assert later.shape[1] == 4 * (SIDE + 4) - 4


def test_without_a_first_sheet_or_with_another_number_of_images_there_is_no_before(tmp_path):
    row = Seen("small", "house", flat(10, 64), flat(20, 64), flat(30, 64))
    assert before_of(tmp_path / "none.png", 1) == []
    Image.fromarray(draw([row], 0)).save(tmp_path / "one.png")
    assert before_of(tmp_path / "one.png", 2) == []
    assert columns(draw([row], 5), 0, 3) == [10, 20, 30]
    assert columns(draw([row], 5, before_of(tmp_path / "one.png", 1)), 0, 4) == [10, 20, 20, 30]


def test_every_word_is_drawn():
    row = Seen("house/facade.jpg", "house", flat(10), flat(20), flat(30))
    assert not np.array_equal(draw([row], 5), draw([row], 6)), "the heading says how many iterations"
    assert not np.array_equal(draw([row], 5), draw([Seen("other", "house", row.lq, row.sr, row.gt)], 5))
    assert not np.array_equal(draw([row], 5), draw([Seen(row.name, "", row.lq, flat(24), row.gt)], 5)), "how near"


def test_each_scene_is_shown_before_any_twice():
    found = [Seen(f"{scene}{n}", scene, flat(0, 4), flat(0, 4), flat(0, 4)) for scene in "aabc" for n in range(2)]
    assert [s.scene for s in of_each_scene(found, 5)] == ["a", "b", "c", "a", "b"]
    grown = []
    for one in found:
        grown = of_each_scene([*grown, one], 5)
    assert [s.name for s in grown] == [s.name for s in of_each_scene(found, 5)], "one after another is the same"


def test_the_curves_have_every_logged_loss_and_whole_iterations(tmp_path, monkeypatch):
    losses = {"pixel": 0.1, "features": 0.2, "gan": 0.3, "total": 0.6, "d_real": 0.7, "d_fake": 0.8}
    line = {"event": "train", "iterations": 1, "colour_drift": 0.5, **losses}
    judged = {"event": "validation", "psnr": 20.0, "features": 3.0, "niqe_distance": 1.0, "false_texture": 1.0}
    events = [{**judged, "step": 0}, *({**line, "step": n} for n in (1, 2, 3)), {**judged, "step": 3}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps({**e, "time": 0}) + "\n" for e in events))
    drawn = []
    real = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), real(self, *a, **k))[1])
    draw_curves(tmp_path)
    figure = drawn[0]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(losses)
    for axes in figure.axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())
