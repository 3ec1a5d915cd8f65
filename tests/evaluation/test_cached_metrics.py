"""Metrics that several columns share are computed once for the same images."""

import torch

from archsr.evaluation import architecture, metrics


def test_the_ground_truth_has_its_niqe_computed_once_for_many_models(monkeypatch):
    calls = []
    monkeypatch.setattr(metrics, "_niqe", lambda image, *, border: calls.append(image) or float(image.mean()))
    distance = next(m for m in metrics.standard(4) if m.name == "niqe_distance")
    gt = torch.ones(1, 3, 8, 8)
    for n in range(10):
        assert distance.of(torch.full_like(gt, float(n)), gt, gt) == abs(n - 1)
    assert len(calls) == 11


def test_equal_images_are_not_the_same_image(monkeypatch):
    calls = []
    monkeypatch.setattr(metrics, "_niqe", lambda image, *, border: calls.append(image) or 1.0)
    natural = next(m for m in metrics.standard(4) if m.name == "niqe")
    a, b = torch.ones(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    for image in (a, b, a, b):
        natural.of(image, image, image)
    assert [image is a for image in calls] == [True, False]


def test_lines_are_compared_once_for_four_metrics_and_the_order_counts(monkeypatch):
    calls = []
    found = architecture.compare_lines(torch.ones(1, 3, 64, 64), torch.ones(1, 3, 64, 64))
    monkeypatch.setattr(architecture, "compare_lines", lambda *images: calls.append(images) or found)
    lines = [m for m in architecture.architecture() if m.name.startswith("lines")]
    a, b = torch.ones(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    for sr, gt in ((a, b), (b, a)):
        for metric in lines:
            metric.of(sr, gt, gt)
    assert len(lines) == 4
    assert len(calls) == 2
