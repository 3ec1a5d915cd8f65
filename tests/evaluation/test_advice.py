"""What a report advises: one test for each branch of a pure function of the verdicts."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from test_page import DISTANCE, with_distance
from test_verdicts import CLEAR, scores_of

from archsr.config import TrainConfig
from archsr.config.table import Table
from archsr.evaluation.report import advice
from archsr.evaluation.report.advice import Advised, Blend, advise, situation_of
from archsr.evaluation.report.html import page

CLEARLY = Advised(
    model="new", baseline="old", source="runs/new", primary="psnr", verdicts={"psnr": "better"}, scenes=12
)


def told(**changes):
    return " ".join(advise(replace(CLEARLY, **changes)))


def test_better_without_objection_is_taken():
    said = told(verdicts={"psnr": "better", "features": "inconclusive"})
    assert "Take it" in said
    assert "--model runs/new" in said
    assert "strength" not in said


TRUER = {"psnr": "better", "features": "worse"}
SHARPER = {"psnr": "worse", "features": "better"}
BLENDS = (Blend(0.25, 20.3, 0.30), Blend(0.5, 20.6, 0.31), Blend(0.75, 20.8, 0.36))


def test_truer_but_softer_is_a_choice_and_half_way_is_named_as_not_measured():
    said = told(verdicts=TRUER)
    assert "If truth to the photographs matters more, take it" in said
    assert "If sharpness matters more, use `--strength 0.5`" in said
    assert "was not measured" in said
    assert "--blend 0.25 --blend 0.5 --blend 0.75" in said
    assert "--strength 0.35" in told(verdicts=TRUER, strength=0.7)


def test_the_advised_strength_is_the_sharpest_measured_one_that_keeps_half_of_the_gain():
    said = told(verdicts=TRUER, blends=BLENDS, psnr=(20.0, 21.0), distance=(0.30, 0.40))
    assert "use `--strength 0.5` (measured here: PSNR 20.60, distance 0.31)" in said
    assert "was not measured" not in said
    none_keeps = told(verdicts=TRUER, blends=(Blend(0.25, 20.1, 0.30),), psnr=(20.0, 21.0), distance=(0.3, 0.4))
    assert "use `--strength 0.25`" in none_keeps, "the only measured one"


def test_sharper_but_less_true_is_a_choice_and_the_truest_that_keeps_half_is_named():
    blends = (Blend(0.25, 20.8, 0.38), Blend(0.5, 20.6, 0.34), Blend(0.75, 20.3, 0.32))
    said = told(verdicts=SHARPER, blends=blends, psnr=(21.0, 20.0), distance=(0.40, 0.30))
    assert "If sharpness matters more, take it" in said
    assert "If truth to the photographs matters more, use `--strength 0.5`" in said


def test_a_file_has_no_strength_but_can_be_blended():
    said = told(verdicts=TRUER, source="other.pth", is_run=False)
    assert "--strength" not in said
    assert "archsr blend" in said


@pytest.mark.parametrize(
    ("worse", "weights", "keys"),
    [
        ("features", {"pixel": 1.0}, ["losses.perceptual.weight", "losses.features.weight"]),
        ("psnr", {"pixel": 1.0, "gan": 0.1}, ["lower `losses.gan.weight` (now 0.1)", "losses.pixel.weight"]),
        ("psnr", {"pixel": 1.0}, ["losses.pixel.weight"]),
        ("colour", {"pixel": 1.0}, ["raise `losses.colour.weight` (now 0)"]),
        ("lines_kept", {}, ["losses.gradient.weight"]),
        ("false_texture", {"gan": 0.1}, ["losses.gan.weight", "losses.ldl.weight"]),
        ("niqe_distance", {}, ["losses.gan.weight"]),
        ("consistency", {}, ["degrade.preset"]),
    ],
)
def test_worse_is_not_taken_and_the_keys_to_change_next_are_named(worse, weights, keys):
    said = told(verdicts={worse: "worse"}, primary=worse, weights=weights)
    assert "Do not take it" in said
    assert all(key in said for key in keys), said
    assert "training.stages" in said
    if weights and "gan" not in weights:
        assert "lower `losses.gan.weight`" not in said, "it is off"


def test_what_got_worse_beside_a_gain_names_its_key_too():
    said = told(verdicts={"psnr": "better", "features": "better", "colour": "worse"})
    assert "Take it" in said
    assert "losses.colour.weight" in said


def test_inconclusive_says_what_would_decide():
    few = told(verdicts={"psnr": "inconclusive"}, scenes=3)
    assert "--set test=" in few
    many = told(verdicts={"psnr": "inconclusive"})
    assert "training.stages" in many
    assert "Keep old" in many
    assert "Take it" not in few + many


def test_no_verdict_is_no_ground_for_a_decision():
    said = told(verdicts={"psnr": "no verdict"}, reason="It was chosen on these images.")
    assert "It was chosen on these images." in said
    assert "archsr evaluate runs/new" in said
    assert "Take it" not in said


def test_a_gain_that_bicubic_has_too_is_no_merit():
    gain = {"psnr": (20.0, 20.5), "verdicts": {"psnr": "better"}}
    assert "Bicubic interpolation gains 0.70 dB over old, too" in told(bicubic=20.7, **gain)
    assert "Bicubic interpolation gains 0.50 dB over old, too" in told(bicubic=20.5, **gain), "as much"
    assert "Bicubic" not in told(bicubic=20.4, **gain)
    assert "Bicubic" not in told(bicubic=20.7, psnr=(20.0, 19.0), verdicts={"psnr": "worse"}), "no gain to doubt"
    assert "Bicubic" not in told(bicubic=None, **gain)


def test_every_named_key_is_one_of_the_config():
    named = set(re.findall(r"`((?:losses|training|degrade)\.[a-z_.]+)`", Path(advice.__file__).read_text()))
    assert len(named) > 6
    for key in named:
        part = TrainConfig
        for name in key.split("."):
            assert name in part.model_fields, key
            kind = part.model_fields[name].annotation
            part = kind if isinstance(kind, type) and issubclass(kind, Table) else part


def test_the_situation_comes_from_the_scores():
    scores = with_distance(
        scores_of({"psnr": CLEAR}, models=("bicubic", "new × 0.5", "new"), paths=(("old", "new × 0.5", "new"),)),
        old=1.0, new=2.0,
    )  # fmt: skip
    found = situation_of(scores, "new", source="runs/new", shares={"new × 0.5": 0.5, "new": 1.0})
    assert found.verdicts["psnr"] == "better"
    assert found.psnr == (1.0, pytest.approx(2.0, abs=0.1))
    assert [b.share for b in found.blends] == [0.5]
    assert found.bicubic == pytest.approx(found.psnr[1])
    assert found.distance == (1.0, 2.0)
    assert DISTANCE.name in found.verdicts


def test_the_page_ends_with_it():
    html = page(scores_of({"psnr": CLEAR}), title="t", protocol="p", crops=[], figures=[], extras={},
                config="name = 'x'", advice=["Take it: do & go `--strength 0.5`."])  # fmt: skip
    end = html.split("<h2 id=advice>What to do</h2>")[1]
    assert "Take it: do &amp; go <code>--strength 0.5</code>." in end
    assert "<h2" not in end
    assert "<details" not in end
