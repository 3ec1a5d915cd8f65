"""What saving does: encoders, generations of JPEG, few levels. Each against another program, and off by default."""

import importlib
import importlib.util
import io
import json
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from damages import config, drawn, photo
from PIL import Image, features
from scipy.cluster.vq import vq

from archsr.config import PRESETS
from archsr.degradation.apply import apply
from archsr.degradation.canvas import Canvas, full
from archsr.degradation.codecs import CODECS, encode_and_decode, save
from archsr.degradation.histograms import parameters
from archsr.degradation.jpeg import FLAT, ROBIDOUX, TABLES, jpeg
from archsr.degradation.recipe import VERSION, from_json, to_json
from archsr.degradation.saving import bayer, few_levels, not_saved, save_often
from archsr.degradation.words import describe
from archsr.errors import UserError

EVERYTHING = {
    "steps": ["blur1", "saves", "reduce", "codec", "levels"],
    "codec": {"probability": 0.7},
    "saves": {"probability": 0.8, "low": 1, "high": 6, "tables": {"standard": 0.4, "robidoux": 0.3, "flat": 0.3}},
    "levels": {"probability": 0.6},
}
PACKAGE = {"webp": "PIL", "avif": "PIL", "heic": "pillow_heif", "h264": "av", "hevc": "av"}
INSTALLED = [
    pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"needs {package}"))
    for name, package in PACKAGE.items()
]


def pixels(image):
    return (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def ragged(heights, widths, seed=0):
    """Return a canvas whose undefined pixels are NaN, so that reading them shows."""
    image = photo(seed, len(heights), max(heights), max(widths))
    canvas = Canvas(image, torch.tensor(heights), torch.tensor(widths))
    return canvas.with_pixels(image.masked_fill(~canvas.valid(), float("nan")))


def rms(a, b):
    return float(np.sqrt(((np.asarray(a, float) - np.asarray(b, float)) ** 2).mean()))


def pils(image, name, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, name, **options)
    return np.asarray(Image.open(file).convert("RGB"))


# ---------------------------------------------------------------- nothing of it unless asked for


@pytest.mark.parametrize("preset", PRESETS)
def test_off_by_default_and_version_4_gives_the_same_pair(preset):
    recipe = drawn(5, preset=preset)
    assert not {"saves", "codec", "levels"} & set(recipe.steps)
    stored = json.loads(json.dumps(to_json(recipe)))
    assert stored["version"] == VERSION == 5
    del stored["saving"]
    old = from_json({**stored, "version": 4})
    assert to_json(old) == to_json(recipe)
    gt = photo(5, 3, 80, 80)
    assert torch.equal(apply(gt, old).lq, apply(gt, recipe).lq)


def test_its_draws_change_no_other():
    """Nor does one of its steps change what another draws."""
    alone = [step for step in EVERYTHING["steps"] if step in ("blur1", "reduce")]
    plain, all_of_it = (
        to_json(drawn(5, 40, **{**EVERYTHING, "steps": steps})) for steps in (alone, EVERYTHING["steps"])
    )
    one = to_json(drawn(5, 40, **{**EVERYTHING, "steps": [*alone, "levels"]}))
    assert all_of_it["saving"] != plain["saving"]
    assert one["saving"]["levels"] == all_of_it["saving"]["levels"]
    for stored in (plain, all_of_it):
        del stored["saving"], stored["steps"]
    assert plain == all_of_it


def test_everything_at_once_is_pure_described_and_equal_one_by_one():
    recipe, gt = drawn(6, 12, **EVERYTHING), photo(6, 12, 80, 80)
    pair = apply(gt, recipe)
    assert torch.equal(apply(gt, from_json(json.loads(json.dumps(to_json(recipe))))).lq, pair.lq)
    assert 0 <= float(pair.lq.min()) < float(pair.lq.max()) <= 1
    for i in range(12):
        assert all(describe(recipe, i))
        assert torch.equal(apply(gt[i : i + 1], recipe.take(slice(i, i + 1))).lq, pair.lq[i : i + 1])
    values = parameters([recipe])
    assert {"codec", "saves", "levels", "saves: quality", "codec: WebP", "levels: dithered"} <= values.keys()


def test_words():
    recipe = drawn(3, 60, **EVERYTHING)
    said = [line for i in range(60) for line in describe(recipe, i)]
    for start in ("WebP ", "AVIF ", "no encoder", "saved: ", "not saved again", "all levels"):
        assert any(line.startswith(start) for line in said), start
    assert any(line.endswith("levels, dithered") for line in said)
    assert any("Lanczos JPEG" in line and "robidoux" in line for line in said)


# ---------------------------------------------------------------- real encoders


@pytest.mark.parametrize("side", [(1, 1), (5, 17), (33, 40), (97, 131)])
@pytest.mark.parametrize("name", INSTALLED)
def test_each_encoder_keeps_size_and_likeness(name, side):
    image = pixels(photo(1))[: side[0], : side[1]]
    fine, coarse = (12, 40) if name in ("h264", "hevc") else (90, 20)
    near, far = (rms(save(image, name, quality), image) for quality in (fine, coarse))
    assert save(image, name, fine).shape == image.shape
    assert near < 12
    if side[0] > 30:
        assert 0 < near < 7 < far, "worse at a coarse quality"
        mean = (save(image, name, fine).astype(float) - image).mean((0, 1))
        assert np.abs(mean).max() < 1.2, "no change of brightness or colour"


@pytest.mark.parametrize("name", INSTALLED)
def test_the_same_bits_from_many_threads_at_once(name):
    images = [pixels(photo(seed, 1, 96, 112)) for seed in range(4)]
    alone = [save(image, name, 30) for image in images]
    found = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: save(images[i % 4], name, 30)})) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert all(np.array_equal(found[i], alone[i % 4]) for i in range(12))


def test_webp_and_avif_are_pils():
    """Both are exactly what PIL writes at this quality with one thread; AVIF differs with two."""
    image = photo(2)
    for number, options in ((1, {"method": 4}), (2, {"speed": 8, "subsampling": "4:2:0", "max_threads": 1})):
        name = CODECS[number].upper()
        assert features.check(CODECS[number])
        mine = encode_and_decode(full(image), torch.tensor([number]), torch.tensor([55.0]))
        assert np.array_equal(pixels(mine), pils(pixels(image), name, quality=55, **options))


def test_a_ragged_batch_is_saved_one_by_one():
    canvas = ragged([24, 33, 5, 32], [40, 17, 9, 32])
    codec, quality = torch.tensor([1, 2, 0, 1]), torch.tensor([50.0, 60.0, 0.0, 90.0])
    out = encode_and_decode(canvas, codec, quality)
    for i in range(4):
        h, w = canvas.height[i], canvas.width[i]
        one = canvas.pixels[i : i + 1, :, :h, :w]
        assert torch.equal(
            out[i : i + 1, :, :h, :w], encode_and_decode(full(one), codec[i : i + 1], quality[i : i + 1])
        )
    assert torch.equal(out[2, :, :5, :9], canvas.pixels[2, :, :5, :9]), "without an encoder nothing is rounded"
    beyond = full(torch.tensor([-1.0, 2.0]).view(1, 1, 1, 2).expand(1, 3, 16, 2).repeat(1, 1, 1, 8))
    saved = encode_and_decode(beyond, torch.tensor([1]), torch.tensor([90.0]))
    assert (saved.min() >= 0) & (saved.max() <= 1)


def test_shares_and_qualities():
    only = {"formats": {"webp": 0.25, "avif": 0.75}, "probability": 0.4, "webp": {"low": 50, "high": 60}}
    saving = drawn(0, 6000, **{**EVERYTHING, "codec": only}).saving
    assert (saving.codec.bincount(minlength=6) / 6000).tolist() == pytest.approx([0.6, 0.1, 0.3, 0, 0, 0], abs=0.02)
    webp, avif = (saving.codec_quality[saving.codec == number] for number in (1, 2))
    assert sorted(set(webp.tolist())) == list(range(50, 61))
    assert (avif.min(), avif.max()) == (35, 80)


@pytest.mark.parametrize(("name", "install"), [("heic", "archsr[phone]"), ("h264", "archsr[codecs]")])
def test_a_missing_package_is_named_before_anything_is_drawn(name, install, monkeypatch):
    def missing(module):
        raise ImportError(module)

    table = {"steps": ["reduce", "codec"], "codec": {"formats": {"webp": 0.5, "avif": 0.0, name: 0.5}}}
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=rf'formats.{name} needs .*pip install "{install[:6]}\[{install[7:-1]}\]"'):
        drawn(**table)


# ---------------------------------------------------------------- generations of JPEG


def one_save(**values):
    """Return a `Saving` of one sample with one generation, at quality 60."""
    saving = not_saved(1)
    last = {"save_quality": 60.0, **values}
    changed = {name: getattr(saving, name).clone() for name in last}
    for name, value in last.items():
        changed[name][:, -1] = value
    return type(saving)(**{**vars(saving), "saves": torch.tensor([1]), **changed})


@pytest.mark.parametrize("quality", [40, 75, 92])
@pytest.mark.parametrize("table", range(3), ids=TABLES)
def test_each_table_is_libjpegs(table, quality):
    """PIL with the same table is nearer (below 2.5 levels RMS) than with any other, for three shifts of the grid."""
    image = photo(1)
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    mine = pixels(save_often(full(image), *(one_save(save_quality=float(quality), save_table=table),) * 2).pixels)

    def libjpeg(own):
        if own is None:
            return pils(pixels(image), "JPEG", quality=quality, subsampling="4:2:0")
        scaled = ((own * scale + 50) / 100).floor().clamp(1, 255).int().flatten().tolist()
        return pils(pixels(image), "JPEG", qtables=[scaled, scaled], subsampling="4:2:0")

    apart = [rms(mine, libjpeg(each)) for each in (None, ROBIDOUX, FLAT)]
    assert apart[table] < 2.5
    assert apart[table] == min(apart)


@pytest.mark.parametrize(("y", "x"), [(0, 0), (3, 5), (7, 1)])
def test_the_grid_lies_where_it_was_moved(y, x):
    """Libjpeg with the image moved so is below 2.8 levels away, and twice as far with the grid at another place."""
    image = photo(3)
    saving = one_save(save_y=y, save_x=x, save_quality=30.0)
    mine = pixels(save_often(full(image), saving, saving).pixels)

    def moved(dy, dx):
        padded = np.pad(pixels(image), ((dy, 0), (dx, 0), (0, 0)), mode="edge")
        return pils(padded, "JPEG", quality=30, subsampling="4:2:0")[dy:, dx:]

    assert rms(mine, moved(y, x)) < 2.8
    assert rms(mine, moved((y + 4) % 8, (x + 4) % 8)) > 1.5 * rms(mine, moved(y, x))


def test_generations_are_pils_resize_and_libjpeg_one_after_another():
    """Four generations by Lanczos, saved by PIL beside ours: nearer than either is to the image."""
    image, saving = photo(4), not_saved(1)
    factors, qualities = [0.7, 1.2, 0.8, 1.0], [60.0, 80.0, 50.0, 70.0]
    factor, quality = saving.save_factor.clone(), saving.save_quality.clone()
    factor[0, 2:], quality[0, 2:] = torch.tensor(factors), torch.tensor(qualities)
    saving = type(saving)(
        **{**vars(saving), "saves": torch.tensor([4]), "save_factor": factor, "save_quality": quality}
    )
    mine = pixels(save_often(full(image), saving, saving).pixels)
    theirs, (h, w) = Image.fromarray(pixels(image)), image.shape[2:]
    for f, q in zip(factors, qualities, strict=True):
        theirs = theirs.resize((round(w * f), round(h * f)), Image.Resampling.LANCZOS)
        theirs = Image.fromarray(pils(np.asarray(theirs), "JPEG", quality=int(q), subsampling="4:2:0"))
    change = rms(theirs, pixels(image))
    assert rms(mine, theirs) < 0.5 * change


def test_more_generations_do_more_damage():
    image = photo(5, 8)
    table = {"steps": ["saves", "reduce"], "saves": {"low": 1, "high": 1}}
    lost = []
    for count in (1, 3, 6):
        saving = drawn(2, 8, **{**table, "saves": {"low": count, "high": count}}).saving
        out = save_often(full(image), saving, saving)
        assert out.pixels.shape == image.shape
        lost.append((out.pixels - image).square().mean().sqrt().item())
    assert lost[0] < lost[1] < lost[2]


def test_generations_of_a_ragged_batch_are_those_of_each_sample():
    canvas = ragged([24, 33, 5, 40], [40, 17, 9, 48])
    saving = drawn(9, 4, **EVERYTHING).saving
    assert len(set(saving.saves.tolist())) > 2
    out = save_often(canvas, saving, saving)
    assert torch.equal(out.height, canvas.height)
    for i in range(4):
        h, w = canvas.height[i], canvas.width[i]
        mine = type(saving)(**{name: values[i : i + 1] for name, values in vars(saving).items()})
        one = full(canvas.pixels[i : i + 1, :, :h, :w])
        alone = save_often(one, mine, mine).pixels if mine.saves.any() else one.pixels
        # a coefficient half way between two may be rounded to the other
        off = (out.pixels[i : i + 1, :, :h, :w] - alone).abs() * 255
        assert (off > 0.5).float().mean() < 0.02
    recipe = drawn(0, 6000, **EVERYTHING).saving
    assert (recipe.saves.bincount() / 6000).tolist() == pytest.approx([0.2] + [0.8 / 6] * 6, abs=0.02)
    assert (recipe.save_factor[:, -1] == 1).all()
    assert set(recipe.save_y.flatten().tolist()) == set(range(8))


def test_without_a_table_jpeg_is_as_before():
    image, quality = photo(6, 2), torch.tensor([12.0, 80.0])
    standard = torch.zeros(2, dtype=torch.int64)
    assert torch.equal(jpeg(full(image), quality), jpeg(full(image), quality, table=standard))


# ---------------------------------------------------------------- levels


def quantised(image, count, *, dithered=False):
    b = len(image)
    values = {"levels": torch.full((b,), count), "dithered": torch.full((b,), dithered)}
    return few_levels(full(image), type(not_saved(b))(**{**vars(not_saved(b)), **values}))


@pytest.mark.parametrize("count", [2, 5, 24, 200])
def test_levels_are_scipys_nearest_codes(count):
    values = photo(8)[0].double().numpy().reshape(-1, 1)
    codes = np.arange(count)[:, None] / (count - 1)
    theirs = codes[vq(values, codes)[0]]
    mine = quantised(photo(8), count)[0].numpy().reshape(-1, 1)
    halfway = np.abs(np.abs(values - theirs) * (count - 1) - 0.5) < 1e-4
    assert 0.9 * count <= len(np.unique(mine)) <= count
    assert np.abs(mine - theirs)[~halfway].max() < 1e-6


@pytest.mark.parametrize("count", [2, 7, 48])
def test_dithering_keeps_the_mean_and_bands_do_not(count):
    thresholds = (bayer(torch.device("cpu")) * 64 - 0.5).int()
    assert sorted(thresholds.flatten().tolist()) == list(range(64))
    assert thresholds[:2, :2].tolist() == [[0, 32], [48, 16]]
    for value in (0.0, 0.13, 0.4, 0.77, 1.0):
        flat = torch.full((1, 3, 16, 24), value)
        mean = quantised(flat, count, dithered=True).mean().item()
        assert abs(mean - value) <= 1 / 128 / (count - 1) + 1e-6
    sky = torch.linspace(0.4, 0.6, 256).view(1, 1, 1, 256).expand(1, 3, 64, 256)
    errors = [F.avg_pool2d(quantised(sky, count, dithered=d) - sky, 8).abs().mean() for d in (True, False)]
    assert errors[0] < 0.2 * errors[1]


def test_levels_of_each_sample_and_their_shares():
    image = photo(7, 3, 35, 41)
    none = not_saved(3)
    some = type(none)(
        **{**vars(none), "levels": torch.tensor([0, 4, 9]), "dithered": torch.tensor([False, True, False])}
    )
    out = few_levels(full(image * 1.5 - 0.2), some)
    assert torch.equal(out[0], image[0] * 1.5 - 0.2)
    assert [len(out[i].unique()) for i in (1, 2)] == [4, 9]
    assert (float(out[1:].min()), float(out[1:].max())) == (0.0, 1.0)
    saving = drawn(0, 6000, **EVERYTHING).saving
    few = saving.levels > 0
    assert few.float().mean().item() == pytest.approx(0.6, abs=0.02)
    assert (saving.levels[few].min(), saving.levels[few].max()) == (24, 96)
    assert saving.dithered[few].float().mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"saves": {"low": 4, "high": 2}}, "low .4. is above high"),
        ({"saves": {"factor": {"low": 1.0, "high": 3.0}}}, "above 2"),
        ({"codec": {"formats": {"webp": 0.9}}}, "add up to 1.3"),
        ({"levels": {"low": 1}}, "levels.low"),
    ],
)
def test_bad_settings_are_refused(table, said):
    with pytest.raises(UserError, match=said):
        config(**table)
