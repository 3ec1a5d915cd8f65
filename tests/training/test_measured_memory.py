"""Compare the memory forecast with torch's hooks and profiler on real networks."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "measure"))
import measure_memory as measure

from archsr.training.memory.ledger import one_pass
from archsr.training.memory.passes import generator_pass

SMALL = {"features": 8, "growth": 4, "blocks": 4}


ALL = pytest.param(23, marks=pytest.mark.slow)


@pytest.mark.parametrize("blocks", [5, ALL])
@pytest.mark.parametrize("precision", measure.PRECISIONS)
@pytest.mark.parametrize("name", [n for n in measure.LAYERS if n != "body.20-22"])
def test_what_x4plus_keeps(name, precision, blocks):
    """All ways of recomputing, within 10 %, for five of its blocks or all."""
    for pieces in measure.PIECES:
        config = measure.config_for(measure.LAYERS[name], pieces, precision, size=32, blocks=blocks)
        kept = measure.measured_kept(config, 1)
        assert generator_pass(config, 1).kept == pytest.approx(kept, rel=0.1), pieces


@pytest.mark.parametrize("pieces", measure.PIECES)
def test_what_is_kept_is_in_proportion_to_the_batch_and_to_the_pixels(pieces):
    """A small image therefore predicts a large one."""
    one, two, three = (
        measure.measured_kept(measure.config_for(["all"], pieces, "fp32", **SMALL), n) for n in (1, 2, 3)
    )
    assert (two, three) == (2 * one, 3 * one)
    assert measure.measured_kept(measure.config_for(["all"], pieces, "fp32", size=128, **SMALL), 1) == 4 * one


@pytest.mark.parametrize("layers", [["conv_last"], ["body.1.rdb2.conv3"], ["all"]])
@pytest.mark.parametrize("pieces", ["none", "rrdb", 2])
def test_the_peak_is_what_the_allocator_reports(layers, pieces):
    """The convolutions are as wide as those of x4plus; their work space is an assumption."""
    config = measure.config_for(layers, pieces, "fp32", blocks=3)
    assert generator_pass(config, 2).peak == pytest.approx(measure.measured_peak(config, 2), rel=0.1)


@pytest.mark.parametrize(
    ("pieces", "precision"),
    [
        pytest.param(pieces, precision, marks=() if (pieces, precision) == ("rrdb", "bf16") else pytest.mark.slow)
        for pieces in ("none", "rrdb")
        for precision in measure.PRECISIONS
    ],
)
def test_the_peak_of_an_iteration_with_all_losses(pieces, precision):
    config = measure.config_for(["all"], pieces, precision, size=64, again=pieces != "none", **SMALL)
    found, peak, _ = measure.iteration(config, 2)
    assert found == pytest.approx(peak, rel=0.15)


def test_shapes_alone_keep_what_real_numbers_keep():
    config = measure.config_for(["all"], "rrdb", "fp32", **SMALL)
    net, run = measure.made(config)
    x = measure.torch.rand(2, 3, 16, 16)
    real, imagined = one_pass(lambda: run(x), [net]), generator_pass(config, 2)
    assert (real.kept, real.held, real.flops) == (imagined.kept, imagined.held, imagined.flops)
    assert real.peak == pytest.approx(imagined.peak, rel=0.01)


def test_a_forecast_asks_no_imagined_number_under_anomaly_detection():
    config = measure.config_for(["all"], "rrdb", "bf16", size=40, **SMALL)
    with measure.torch.autograd.set_detect_anomaly(True, check_nan=True):
        assert generator_pass(config, 3).kept > 0
        assert measure.torch.is_anomaly_enabled()
