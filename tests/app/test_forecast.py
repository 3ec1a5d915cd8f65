"""How long it takes, in figures and in words."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from serving import small_network

from archsr.app.upscale.forecast import Speeds, computed_pixels, displayed_share, format_duration, seconds_left
from archsr.upscaling.opening import open_model
from archsr.upscaling.upscaler import Upscaler

SHARES = st.floats(0, 1)
SECONDS = st.floats(0, 1e6)


@pytest.fixture(scope="module")
def upscaler(tmp_path_factory):
    net, _ = open_model(str(small_network(tmp_path_factory.mktemp("net") / "small.safetensors")))
    return Upscaler(net, device=torch.device("cpu"), tile=64)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "about 5 seconds"), (12, "about 15 seconds"), (59, "about 1 minute"), (61, "about 1 minute"),
     (185, "about 3 minutes"), (2400, "about 40 minutes"), (2460, "about 40 minutes"), (3500, "about 1 hour"),
     (7800, "about 2 hours 10 minutes"), (200_000, "about 55 hours")],
)  # fmt: skip
def test_time_in_words(seconds, words):
    assert format_duration(seconds) == words


@given(SHARES, st.integers(1, 100), SECONDS, SECONDS)
def test_what_is_shown_lies_between_what_was_told_and_the_next_tile(reported, tiles, elapsed, expected):
    share = displayed_share(reported, tiles, elapsed=elapsed, expected=expected)
    assert reported <= share <= 1
    assert share <= reported + 1 / tiles


def test_the_share_moves_before_the_first_tile_is_done():
    shares = [displayed_share(0, 4, elapsed=t, expected=400) for t in (0, 20, 40, 99, 200)]
    assert shares == pytest.approx([0, 0.05, 0.1, 0.2375, 0.2375])


def test_the_time_left_follows_the_pace_of_the_work():
    assert seconds_left(0, elapsed=10, reported_at=0, expected=100) == 90
    assert seconds_left(0.5, elapsed=10, reported_at=8, expected=100) == 6
    assert seconds_left(0.5, elapsed=30, reported_at=8, expected=100) == 0


def test_the_windows_of_a_image_are_those_that_the_network_sees(upscaler, monkeypatch):
    seen = []
    whole = upscaler._whole
    monkeypatch.setattr(upscaler, "_whole", lambda net, window: seen.append(window.shape) or whole(net, window))
    upscaler.restore(torch.rand(1, 3, 150, 230))
    assert len(seen) > 1
    assert computed_pixels(upscaler, 150, 230) == (sum(s[2] * s[3] for s in seen), len(seen))


def test_a_model_is_measured_once_and_then_learnt_from_work(upscaler, monkeypatch):
    speeds, calls = Speeds(), []
    pixels = upscaler.pixels
    monkeypatch.setattr(upscaler, "pixels", lambda image: calls.append(image) or pixels(image))
    assert speeds.get("small") is None
    speeds.measure("small", upscaler)
    measured, count = speeds.get("small"), len(calls)
    assert measured > 0
    speeds.measure("small", upscaler)
    assert (speeds.get("small"), len(calls)) == (measured, count)
    speeds.set("small", 7.0)
    assert speeds.get("small") == 7.0
