"""Each measure of architecture falls with growing distortion of its kind, and stays where it is for other kinds."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from planted import KINDS, facade

from archsr.colour import mean_drift
from archsr.evaluate.architecture import architecture, false_texture
from archsr.evaluate.lines import compare_lines, segments
from archsr.evaluate.repetition import repetition
from archsr.images import pixels_to_tensor, read_photo

STRENGTHS = (0.0, 0.4, 1.0)
# the measures that a kind must move, and the most that others may differ from perfect at full strength
MOVED = {
    "bent": ["lines", "lines_bend"],
    "broken": ["lines", "lines_kept", "consistency"],
    "scratched": ["lines", "lines_invented"],
    "unlike": ["repetition"],
    "tinted": ["colour", "consistency"],
    "rough": ["false_texture"],
    "blotched": ["consistency"],
}
STILL = {
    "bent": {"colour": 0.3, "false_texture": 0.05, "repetition": 2.0},
    "unlike": {"lines": 0.01, "colour": 0.05, "false_texture": 0.05},
    "tinted": {"lines": 0.01, "repetition": 0.05, "false_texture": 0.05},
    "rough": {"lines": 0.1, "repetition": 2.0, "colour": 0.05},
    "blotched": {"lines": 0.01, "colour": 0.05, "false_texture": 0.1},
}


@pytest.fixture(scope="module")
def seen():
    """kind → measure → values by strength, and the measures, on the drawn façade."""
    gt = facade()
    lq = F.interpolate(gt, scale_factor=0.25, mode="area")
    measures = architecture()
    values = {
        kind: [{m.name: m.of(sr, gt, lq) for m in measures} for s in STRENGTHS for sr in [distort(gt, s)]]
        for kind, distort in KINDS.items()
    }
    return values, {m.name: m for m in measures}


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in MOVED.items() for n in names])
def test_more_distortion_is_always_worse(seen, kind, name):
    values, measures = seen
    figures = [v[name] * (1 if measures[name].higher_is_better else -1) for v in values[kind]]
    assert all(a > b for a, b in pairwise(figures)), figures


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in STILL.items() for n in names])
def test_distortion_of_another_kind_does_not_move_it(seen, kind, name):
    values, measures = seen
    perfect = 1.0 if measures[name].higher_is_better else 0.0
    assert abs(values[kind][-1][name] - perfect) <= STILL[kind][name]


def test_equal_pictures_are_perfect():
    gt = facade()
    for measure in architecture():
        value = measure.of(gt.clone(), gt, F.interpolate(gt, scale_factor=0.25, mode="area"))
        if measure.name == "consistency":
            assert value < 1e-4  # areas are averaged in float32 for the input, in float64 for the result
        else:
            assert value == pytest.approx(1.0 if measure.higher_is_better else 0.0, abs=1e-12)


def test_a_photograph_behaves_as_the_drawing_does(real_photos):
    gt = pixels_to_tensor(read_photo(real_photos / "project_00" / "building-001_view-1.jpg").pixels[:512, :640])
    for kind, name in (("bent", "lines"), ("unlike", "repetition"), ("rough", "false_texture"), ("tinted", "colour")):
        [measure] = [m for m in architecture() if m.name == name]
        figures = [measure.of(KINDS[kind](gt, s), gt, gt) for s in (0.0, 0.3, 1.0)]
        assert figures == sorted(figures, reverse=measure.higher_is_better)
        assert len(set(figures)) == 3


def test_the_lines_of_a_drawing_are_found():
    """A black square on white, 100 pixels a side: four segments, at its sides."""
    picture = torch.ones(160, 180)
    picture[30:130, 40:140] = 0
    found = segments(picture.double().numpy() * 255)
    lengths = ((found[:, :2] - found[:, 2:]) ** 2).sum(1) ** 0.5
    assert len(found) == 4
    assert lengths == pytest.approx([100] * 4, abs=5)


def test_a_line_moved_by_a_known_distance():
    gt = torch.ones(1, 3, 128, 128)
    gt[:, :, :, :60] = 0.2
    for distance in (1, 2, 3):
        sr = torch.ones(1, 3, 128, 128)
        sr[:, :, :, : 60 + distance] = 0.2
        assert compare_lines(sr, gt).bend == pytest.approx(distance, abs=0.05)


def edge_at(place, size=128):
    """A dark left side that ends at column `place`: one straight line."""
    picture = torch.ones(1, 3, size, size)
    picture[:, :, :, :place] = 0.2
    return picture


@pytest.mark.parametrize(("distance", "same"), [(0, True), (1, True), (3, False), (4, False), (6, False)])
def test_a_line_is_the_same_within_two_pixels(distance, same):
    """Farther away the original's is lost, and the result's is invented."""
    found = compare_lines(edge_at(60 + distance), edge_at(60))
    assert found.kept == pytest.approx(1.0 if same else 0.0, abs=0.02)
    assert found.invented == pytest.approx(0.0 if same else 1.0, abs=0.02)


@pytest.mark.parametrize(("degrees", "some"), [(0, True), (3, True), (14, False)])
def test_a_line_that_is_turned_is_another(degrees, some):
    """Where the two cross they are near each other, but only within 8 degrees they are one."""
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    turned = torch.where(x - 64 < math.tan(math.radians(degrees)) * (y - 64), 0.2, 1.0)[None, None].expand(1, 3, -1, -1)
    assert (compare_lines(turned, edge_at(64)).kept > 0) == some


@pytest.mark.parametrize("shape", [(16, 16), (65, 67), (131, 97), (40, 300)])
def test_odd_and_small_sizes(shape):
    gt = facade()[:, :, 60 : 60 + shape[0], : shape[1]]
    for measure in architecture():
        value = measure.of(gt, gt, F.interpolate(gt, size=[max(1, n // 4) for n in shape], mode="area"))
        assert math.isnan(value) or 0 <= value < 20


def test_nothing_to_measure_is_no_number():
    plain = torch.full((1, 3, 128, 128), 0.5)
    noise = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    assert math.isnan(compare_lines(plain, plain).fidelity)
    assert math.isnan(repetition(plain, plain))
    assert math.isnan(false_texture(noise, noise))
    assert float(mean_drift(plain, plain)) == 0
