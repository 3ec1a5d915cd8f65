"""Each architecture metric worsens with growing distortion of its kind, and ignores other kinds."""

import math
import statistics
from functools import cache
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from planted import KINDS, blurred, facade, sharpened, wobbled

from archsr.data.stream.loader import spread
from archsr.evaluation.architecture import architecture, false_texture
from archsr.images.pixels import pixels_to_tensor, read_photo
from archsr.metrics.bend import SEARCH, bend_of
from archsr.metrics.colour import local_drift
from archsr.metrics.lines import compare_lines, segments

METRICS = {m.name: m for m in architecture()}
# the metrics that a kind must move, at each of its amounts more than at the one before
MOVED = {
    "wobble": ["lines", "lines_bend"],
    "lost places": ["lines", "lines_kept", "consistency"],
    "added lines": ["lines", "lines_invented"],
    "texture": ["false_texture"],
    "brightness": ["colour"],
    "cast": ["colour", "consistency"],
    "two casts": ["colour"],
    "stains": ["colour", "consistency"],
}
# the most that a metric may be from perfect at the last amount of other kinds
STILL = {
    "lines_bend": (0.06, ["blur", "sharpening", "contrast", "brightness", "shift", "rotation", "texture", "cast",
                          "two casts", "windows unlike", "stains", "JPEG"]),
    "colour": (1.1, ["blur", "sharpening", "shift", "wobble", "rotation", "texture", "JPEG"]),
    "false_texture": (0.5, ["blur", "sharpening", "contrast", "brightness", "shift", "wobble", "rotation", "cast",
                            "two casts", "windows unlike", "stains", "JPEG", "added lines"]),
    "lines_kept": (0.05, ["blur", "sharpening", "contrast", "brightness", "shift", "texture", "cast", "two casts",
                          "windows unlike", "stains", "JPEG"]),
    "lines_invented": (0.02, ["blur", "sharpening", "contrast", "brightness", "shift", "texture", "cast", "two casts",
                              "stains", "JPEG"]),
    "lines": (0.1, ["blur", "sharpening", "contrast", "brightness", "shift", "texture", "cast", "two casts",
                    "windows unlike", "stains", "JPEG"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def seen():
    """Return the metrics of distortions of the drawn façade by (kind, number of its amount), each computed once."""
    gt = facade(240, 336)
    lq = F.interpolate(gt, scale_factor=0.25, mode="area")

    @cache
    def look(kind, number):
        distort, amounts = KINDS[kind]
        sr = distort(gt, amounts[number])
        return {name: m.of(sr, gt, lq) for name, m in METRICS.items()}

    return look


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in MOVED.items() for n in names])
def test_more_distortion_is_always_worse(seen, kind, name):
    sign = 1 if METRICS[name].higher_is_better else -1
    perfect = 1.0 if METRICS[name].higher_is_better else 0.0
    figures = [sign * perfect, *(sign * seen(kind, n)[name] for n in range(len(KINDS[kind][1])))]
    assert all(a > b for a, b in pairwise(figures)), figures


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n, (_, kinds) in STILL.items() for k in kinds])
def test_distortion_of_another_kind_does_not_move_it(seen, name, kind):
    perfect = 1.0 if METRICS[name].higher_is_better else 0.0
    assert abs(seen(kind, -1 % len(KINDS[kind][1]))[name] - perfect) <= STILL[name][0]


def test_amounts_of_nothing_leave_an_image_as_it_is():
    gt = facade(96, 96)
    for kind, (distort, _) in KINDS.items():
        if kind not in ("blur", "JPEG", "windows unlike"):  # σ 0, the roundings of quality 100, no whole windows
            assert (distort(gt, 0) - gt).abs().max() < 1e-3, kind


def levels(image):
    return (image.mean(1)[0] * 255).round().double().numpy()


def edge(place, size=128):
    """Return a dark left side that ends at `place` of each row: one line."""
    x = torch.arange(float(size)).view(1, 1, 1, -1)
    return (0.2 + 0.8 * (x - torch.as_tensor(place).view(1, 1, -1, 1) + 0.5).clamp(0, 1)).expand(1, 3, size, -1)


LINE = segments(levels(edge(60.0)))


@pytest.mark.parametrize("pixels", [0.25, 0.5, 1.0, 2.0, 3.0, 4.0])
def test_the_bend_of_a_wave_is_its_root_mean_square(pixels):
    """Two whole waves have no rotation. The bend does not saturate within the search range."""
    wave = pixels * torch.sin(torch.arange(128.0) * 2 * torch.pi / 64)
    expected = pixels / 2**0.5
    for change in (lambda p: p, lambda p: blurred(p, 1.5), lambda p: sharpened(p, 1.0), lambda p: 0.3 + 0.5 * p):
        found = bend_of(LINE, levels(change(edge(60 + wave))), levels(edge(60.0)))
        assert found == pytest.approx(expected, rel=0.08, abs=0.1)  # of whole pixels with one grey between


@pytest.mark.parametrize("where", [0.0, 0.25, 0.5, 2.3, -3.7, torch.linspace(-3, 3, 128)])
def test_a_line_that_is_moved_or_turned_is_not_bent(where):
    moved = edge(60 + torch.as_tensor(where).expand(128))
    assert bend_of(LINE, levels(moved), levels(edge(60.0))) < 0.06


def test_lines_that_cannot_be_seen_have_no_bend():
    """Lines outside of the search range, or with inverted contrast, have none either."""
    gone, far, inverse = torch.full((1, 3, 128, 128), 0.5), edge(60.0 + SEARCH + 3), 1 - edge(60.0)
    for sr in (gone, far, inverse):
        assert math.isnan(bend_of(LINE, levels(sr), levels(edge(60.0))))
    assert math.isnan(compare_lines(gone, edge(60.0)).bend)
    assert compare_lines(gone, edge(60.0)).fidelity == 0


def test_a_line_is_not_taken_for_its_neighbour():
    """Dark bars are ten pixels apart, one of them faint in places: each is matched with itself."""
    columns = torch.arange(128.0)
    bars = (0.9 - 0.5 * ((columns % 10) < 3).float()).view(1, 1, 1, -1).expand(1, 3, 128, -1)
    faint = bars.clone()
    faint[:, :, 40:60] = 0.9 - (0.9 - faint[:, :, 40:60]) * torch.where((columns > 58) & (columns < 66), 0.2, 1.0)
    assert bend_of(segments(levels(bars)), levels(wobbled(faint, 1.0)), levels(bars)) < 1.2


def test_noise_does_not_make_a_line_jump_between_bars():
    """Bars are five pixels apart, under noise. The bend is 0.45 px if each station chooses its shift alone."""
    bars = (0.9 - 0.5 * ((torch.arange(128.0) % 5) < 2).float()).view(1, 1, 1, -1).expand(1, 3, 128, -1)
    noise = 0.3 * torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    assert bend_of(segments(levels(bars)), levels((bars + noise).clamp(0, 1)), levels(bars)) < 0.15


def test_equal_images_are_perfect():
    gt = facade(192, 240)
    for metric in architecture():
        value = metric.of(gt.clone(), gt, F.interpolate(gt, scale_factor=0.25, mode="area"))
        if metric.name == "consistency":
            assert value < 1e-4  # areas are averaged in float32 for the input, in float64 for the result
        else:
            assert value == pytest.approx(1.0 if metric.higher_is_better else 0.0, abs=1e-12)


def test_a_photograph_behaves_as_the_drawing_does(real_photos):
    gt = pixels_to_tensor(read_photo(real_photos / "project_00" / "building-001_view-1.jpg").pixels[:256, :320])
    for kind, name in (("wobble", "lines"), ("wobble", "lines_bend"), ("texture", "false_texture"), ("cast", "colour")):
        distort, amounts = KINDS[kind]
        figures = [METRICS[name].of(sr, gt, gt) for sr in (gt, *(distort(gt, a) for a in amounts[1:4]))]
        assert figures == sorted(figures, reverse=METRICS[name].higher_is_better)
        assert len(set(figures)) == len(figures)
    for sr in (blurred(gt, 1.5), sharpened(gt, 1.0), KINDS["shift"][0](gt, 0.5)):
        assert compare_lines(sr, gt).bend < 0.4 * compare_lines(wobbled(gt, 0.5), gt).bend


def test_blur_and_sharpening_of_photographs_are_neither_lost_nor_invented_lines_nor_texture(real_facades):
    """The limits are shares of the effect of the metric's own distortion. Photographs have edges of all strengths."""
    files = sorted(real_facades.rglob("*.jpg"))
    gts = [pixels_to_tensor(read_photo(files[n]).pixels)[:, :, 40:296, 40:360] for n in spread(len(files), 3)]

    def far(kind):
        """Return how far the largest amount is from perfect: lines kept, lines invented, false texture."""
        distort, amounts = KINDS[kind]
        pairs = [(distort(gt, amounts[-1]), gt) for gt in gts]
        lines = [compare_lines(*pair) for pair in pairs]
        texture = statistics.fmean(false_texture(*pair) for pair in pairs)
        return sum(1 - one.kept for one in lines), sum(one.invented for one in lines), 3 * texture

    lost, added, rough = far("lost places")[0], far("added lines"), far("texture")[2]
    assert added[2] < 0.25 * rough
    for other in ("blur", "sharpening"):
        kept, invented, texture = far(other)
        assert (kept < 0.25 * lost, invented < 0.25 * added[1], texture < 0.25 * rough) == (True,) * 3


def test_detail_that_was_there_and_is_sharpened_is_no_false_texture():
    """The image is plaster: faint noise on a flat wall."""
    noise = torch.randn(1, 1, 96, 128, generator=torch.Generator().manual_seed(0)).expand(1, 3, -1, -1)
    gt = 0.5 + blurred(noise, 0.7) * 2 / 255
    assert false_texture(sharpened(gt, 2.0), gt) < 0.05
    assert false_texture(sharpened(gt + noise.flip(3) * 2 / 255, 2.0), gt) > 2


def test_the_lines_of_a_drawing_are_found():
    """A black square on white, 100 pixels a side, has four segments, at its sides."""
    image = torch.ones(160, 180)
    image[30:130, 40:140] = 0
    found = segments(image.double().numpy() * 255)
    lengths = ((found[:, :2] - found[:, 2:]) ** 2).sum(1) ** 0.5
    assert len(found) == 4
    assert lengths == pytest.approx([100] * 4, abs=5)


def edge_at(place, size=128):
    """Return a dark left side that ends at column `place`: one straight line."""
    image = torch.ones(1, 3, size, size)
    image[:, :, :, :place] = 0.2
    return image


@pytest.mark.parametrize(("distance", "same"), [(0, True), (1, True), (3, False), (4, False), (6, False)])
def test_a_line_is_the_same_within_two_pixels(distance, same):
    """Farther away, one line is lost and one invented: half of both lines together."""
    found = compare_lines(edge_at(60 + distance), edge_at(60))
    assert found.kept == pytest.approx(1.0 if same else 0.0, abs=0.02)
    assert found.invented == pytest.approx(0.0 if same else 0.5, abs=0.02)


@pytest.mark.parametrize(("degrees", "some"), [(0, True), (3, True), (14, False)])
def test_a_line_that_is_turned_is_another(degrees, some):
    """Near the crossing the lines are close, but they only match within 8 degrees."""
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    turned = torch.where(x - 64 < math.tan(math.radians(degrees)) * (y - 64), 0.2, 1.0)[None, None].expand(1, 3, -1, -1)
    assert (compare_lines(turned, edge_at(64)).kept > 0) == some


@pytest.mark.parametrize("shape", [(16, 16), (65, 67), (131, 97), (40, 300)])
def test_odd_and_small_sizes(shape):
    gt = facade()[:, :, 60 : 60 + shape[0], : shape[1]]
    for metric in architecture():
        value = metric.of(gt, gt, F.interpolate(gt, size=[max(1, n // 4) for n in shape], mode="area"))
        assert math.isnan(value) or 0 <= value < 20


def test_nothing_to_measure_is_no_number():
    plain = torch.full((1, 3, 128, 128), 0.5)
    noise = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    assert math.isnan(compare_lines(plain, plain).fidelity)
    assert math.isnan(false_texture(noise, noise))
    assert float(local_drift(plain, plain)) == 0
