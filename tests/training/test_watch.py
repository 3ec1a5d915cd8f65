"""Watched values are correct, and each warning appears once until its condition ends."""

import pytest
import torch

from archsr.training.logging.run_warnings import (
    ACCURACY,
    DRIFT,
    RunWarnings,
    accuracy,
    colour_drift,
    validation_complaint,
)

LOGITS = torch.tensor([-2.0, -1.0, 0.2, 3.0])


@pytest.mark.parametrize(
    ("objective", "other", "real", "fake"),
    [
        ("vanilla", None, 0.5, 0.5),
        ("hinge", None, 0.5, 0.5),
        ("least_squares", None, 0.25, 0.75),
        ("relativistic", torch.tensor([-1.5, -1.5]), 0.75, 0.25),
    ],
)
def test_the_side_of_a_logit(objective, other, real, fake):
    assert accuracy(objective, LOGITS, real=True, other=other) == real
    assert accuracy(objective, LOGITS, real=False, other=other) == fake


def test_a_cast_is_its_size_and_detail_is_none():
    gt = torch.full((2, 3, 8, 8), 0.5)
    sr = gt + 0.2 * (torch.arange(8) % 2 - 0.5)
    assert colour_drift(sr, gt) == pytest.approx(0, abs=1e-6)
    sr[:, 0] += 0.3
    assert colour_drift(sr, gt) == pytest.approx(0.1, abs=1e-6)


def test_a_discriminator_that_is_always_right_is_told_once_until_it_errs_again():
    watch = RunWarnings()
    wins = {"d_real_accuracy": ACCURACY + 0.01, "d_fake_accuracy": 1.0, "d_real_logit": 4.0, "d_fake_logit": -5.0}
    (text,) = watch.of_training(wins)
    assert "right about 98% of real and fake (logits 9.0 apart)" in text
    assert "discriminator.lr_scale" in text
    assert watch.of_training(wins) == []
    assert watch.of_training(wins | {"d_real_accuracy": 0.8}) == []
    assert len(watch.of_training(wins)) == 1


def test_a_jump_is_against_the_usual_norm_of_the_group():
    watch = RunWarnings()
    for norm in (1.0, 1.2, 0.9, 1.1, 1.0):
        assert watch.of_training({"grad_norm/tail": norm, "grad_norm/body": 30.0}) == []
    (text,) = watch.of_training({"grad_norm/tail": 12.0, "grad_norm/body": 30.0})
    assert "gradient norm of tail is 12 times" in text
    assert "training.clip=2" in text
    assert watch.of_training({"grad_norm/tail": 1.0, "grad_norm/body": 30.0}) == []


def test_drift_and_validation():
    watch = RunWarnings()
    assert "mean colours differ" in watch.of_training({"colour_drift": DRIFT})[0]
    original = {"colour": 2.0, "consistency": 0.5}
    assert validation_complaint(original, original) == {}
    assert set(validation_complaint({"colour": 3.1, "consistency": 1.6}, original)) == {"colour", "consistency"}
    assert len(watch.of_validation({"colour": 3.1, "consistency": 0.03}, original)) == 1
    assert watch.of_validation({"colour": 3.1, "consistency": 0.03}, original) == []
    assert watch.of_training({"colour_drift": 0.0}) == []
    assert len(watch.of_training({"colour_drift": DRIFT})) == 1
