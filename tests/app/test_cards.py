"""What a score card shows first, and what a trial says of its figures."""

import math

import pytest

from archsr.app.compare.tab import scores_table
from archsr.app.compare.trial import Trial, summary
from archsr.app.runs.cards_tab import parse_report
from archsr.evaluation.metrics import Metric

REPORT = """# a on the fixed val pairs

In words: compared with original, a is truer in colour. The rest, 3 of 4, cannot be told.

a against original: **better** by colour.

| mean of 9 images | a |
|---|---:|
| PSNR, dB | 20.00 |

*Protocol: all of them.*

## a against original

| measure | verdict | sign test |
|---|---|---:|
| PSNR, dB | **cannot tell** | p = 0.062 |

Differences are taken image by image.

## What the metrics mean

- **PSNR, dB**: decibels

## By tag

| group | PSNR, dB |
|---|---|
| wall | 19 |

## Per image

| image | a PSNR |
|---|---:|
| wall-1 | 19.5 |
"""


def test_a_card_begins_with_what_was_found_and_ends_with_p_values():
    card = parse_report(REPORT)
    assert card.headline == "**Compared with original, a is truer in colour.**"
    assert "sign test" not in card.body
    assert "decibels" not in card.body
    assert "p = 0.062" in card.statistics
    assert "decibels" in card.statistics
    kept = {line for line in REPORT.partition("\n## Per image")[0].splitlines() if line}
    assert kept == {line for line in (card.body + "\n" + card.statistics).splitlines() if line}
    assert card.body.index("mean of 9") < card.body.index("## By tag")


def test_a_finding_for_each_model_and_a_report_of_another_form():
    two = REPORT.replace("a against", "In words: compared with original, b is noisier.\n\na against", 1)
    assert parse_report(two).headline.splitlines()[::2] == [
        "**Compared with original, a is truer in colour.**",
        "**Compared with original, b is noisier.**",
    ]
    other = parse_report("# Layers\n\nThe tail is best by 0.2 dB.\n\n| layers |\n|---|\n| tail |\n")
    assert other.headline == "The tail is best by 0.2 dB."
    assert other.statistics == ""
    assert parse_report("# Nothing else\n").headline == ""


# ---------------------------------------------------------------- compare

PSNR = Metric("psnr", "PSNR, dB", True, lambda *_: 0.0)
DISTANCE = Metric("features", "feature distance", False, lambda *_: 0.0)
SSIM = Metric("ssim", "SSIM", True, lambda *_: 0.0)


def trial(**scores):
    return Trial({}, [PSNR, DISTANCE, SSIM], {name: list(values) for name, values in scores.items()}, [])


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"bicubic": (22, 5, 1), "a": (20, 3, 0)}, "**bicubic** by PSNR, **a** by feature distance"),
        ({"bicubic": (20, 5, 1), "a": (22, 3, 0)}, "**a** by PSNR and by feature distance"),
        ({"bicubic": (20, math.nan, 1), "a": (22, math.nan, 0)}, "**a** by PSNR"),
    ],
)
def test_no_single_metric_is_crowned(scores, said):
    assert (
        summary(trial(**scores))
        == f"Nearest to the ground truth: {said}. No single metric decides; look at the images."
    )


def test_the_table_shows_every_figure_and_no_foreign_tags():
    table = scores_table(trial(**{"<b>": (20.126, math.nan, 0.5)}))
    assert "<td>&lt;b&gt;</td><td>20.13</td><td>–</td><td>0.500</td>" in table
    assert "<th>feature distance ↓</th>" in table
