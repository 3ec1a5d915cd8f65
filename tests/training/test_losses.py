"""Losses of two images: laws, and small cases computed by hand."""

import pytest
import torch

from archsr.config import CharbonnierLoss, ColourLoss, FrequencyLoss, GradientLoss, LdlLoss, MsSsimLoss, PixelLoss
from archsr.training.losses.image_losses import IMAGE_LOSSES, artefacts, ldl

KINDS = [
    ("pixel", PixelLoss()),
    ("charbonnier", CharbonnierLoss(epsilon=1e-9)),
    ("frequency", FrequencyLoss(kind="focal")),
    ("frequency", FrequencyLoss(kind="l1")),
    ("gradient", GradientLoss(kind="sobel")),
    ("gradient", GradientLoss(kind="laplacian")),
    ("colour", ColourLoss(size=4)),
    ("ms_ssim", MsSsimLoss(scales=1)),
    ("ms_ssim", MsSsimLoss(scales=2)),
]


def images(count=3, shape=(3, 23, 26), seed=0):
    return torch.rand(2, count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).unbind(0)


@pytest.mark.parametrize(("name", "config"), KINDS)
def test_laws_of_all(name, config):
    loss = IMAGE_LOSSES[name]
    a, b = images()
    assert float(loss(a, a, config)) == pytest.approx(0, abs=1e-8)
    assert float(loss(a, b, config)) > 0
    assert float(loss(a, b, config)) == pytest.approx(float(loss(b, a, config)))
    alone = [float(loss(x[None], y[None], config)) for x, y in zip(a, b, strict=True)]
    assert float(loss(a, b, config)) == pytest.approx(sum(alone) / 3)
    halfway = float(loss(a + (b - a) / 2, b, config))
    assert halfway < float(loss(a, b, config))


@pytest.mark.parametrize(("name", "config"), KINDS)
def test_gradients_are_right_and_the_targets_alone(name, config):
    a, b = images(1, (3, 22, 23))
    a.requires_grad_()
    b.requires_grad_()
    IMAGE_LOSSES[name](a, b, config).backward()
    assert b.grad is None
    if config == KINDS[2][1]:  # its weight is held fixed in the gradient
        return
    step = 1e-6 * torch.randn(a.shape, generator=torch.Generator().manual_seed(1), dtype=a.dtype)
    with torch.no_grad():
        change = IMAGE_LOSSES[name](a + step, b, config) - IMAGE_LOSSES[name](a - step, b, config)
    assert float(change / 2) == pytest.approx(float((a.grad * step).sum()), rel=1e-3)


@pytest.mark.parametrize(("name", "config"), KINDS)
def test_equal_images_have_a_gradient_of_numbers(name, config):
    a, _ = images()
    sr = a.float().requires_grad_()
    IMAGE_LOSSES[name](sr, a.float(), config).backward()
    assert sr.grad.isfinite().all()


def test_ms_ssim_is_pyiqas():
    """Five scales on sides that halve evenly, where pyiqa neither rounds nor pads."""
    from pyiqa.archs.ssim_arch import ms_ssim

    a, _ = images(2, (3, 192, 208))
    b = (a + 0.2 * torch.randn(a.shape, generator=torch.Generator().manual_seed(1), dtype=a.dtype)).clamp(0, 1)
    weights = 0.0448 + 0.2856 + 0.3001 + 0.2363 + 0.1333  # pyiqa does not divide by their sum, 1.0001
    found = 1 - IMAGE_LOSSES["ms_ssim"](b[:1], a[:1], MsSsimLoss(scales=5))
    assert float(found) == pytest.approx(float(ms_ssim(b[:1], a[:1])) ** (1 / weights), abs=1e-5)


def test_ms_ssim_of_opposites_has_a_gradient_of_numbers():
    """Contrast and structure are negative on average, so a power would give NaN."""
    a, _ = images()
    sr = (1 - a).float().requires_grad_()
    IMAGE_LOSSES["ms_ssim"](sr, a.float(), MsSsimLoss(scales=2)).backward()
    assert sr.grad.isfinite().all()


def test_charbonnier_is_l1_far_away_and_square_near():
    sr, target = torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, 3, 4, 4)
    assert float(IMAGE_LOSSES["charbonnier"](sr, target, CharbonnierLoss(epsilon=1e-4))) == pytest.approx(0.5)
    near = IMAGE_LOSSES["charbonnier"](sr * 1e-3, target, CharbonnierLoss(epsilon=0.1))
    assert float(near) == pytest.approx(0.1 + 0.5 * (5e-4) ** 2 / 0.1)


def test_one_wave_is_one_frequency():
    """A cosine of amplitude A over n pixels has two coefficients A·√n/2; focal weighs both by 1."""
    x = torch.arange(32, dtype=torch.float64)
    wave = (0.3 * torch.cos(2 * torch.pi * 5 * x / 32)).expand(1, 1, 16, 32)
    n, size = 16 * 32, 0.3 * (16 * 32) ** 0.5 / 2
    zero = torch.zeros_like(wave)
    assert float(IMAGE_LOSSES["frequency"](wave, zero, FrequencyLoss(kind="l1"))) == pytest.approx(2 * size / (2 * n))
    assert float(IMAGE_LOSSES["frequency"](wave, zero, FrequencyLoss())) == pytest.approx(2 * size**2 / n)


def test_focal_weighs_by_the_error_itself():
    """Jiang 2021, written with loops."""
    a, b = images(2, (1, 6, 5))
    found = torch.fft.fft2(a, norm="ortho") - torch.fft.fft2(b, norm="ortho")
    expected = []
    for image in found.abs()[:, 0]:
        expected += [(e / image.max()) ** 2 * e**2 for e in image.ravel()]
    mean = float(sum(expected) / len(expected))
    assert float(IMAGE_LOSSES["frequency"](a, b, FrequencyLoss(alpha=2.0))) == pytest.approx(mean)


def test_edges_see_no_cast_and_a_ramp_has_its_slope():
    a, _ = images()
    for kind in ("sobel", "laplacian"):
        assert float(IMAGE_LOSSES["gradient"](a + 0.2, a, GradientLoss(kind=kind))) == pytest.approx(0, abs=1e-12)
    ramp = 0.01 * torch.arange(20, dtype=torch.float64).expand(1, 3, 15, 20)
    zero = torch.zeros_like(ramp)
    # 0.01 across and nothing down
    assert float(IMAGE_LOSSES["gradient"](ramp, zero, GradientLoss())) == pytest.approx(0.005)
    assert float(IMAGE_LOSSES["gradient"](ramp, zero, GradientLoss(kind="laplacian"))) == pytest.approx(0, abs=1e-8)


def test_colour_sees_a_cast_and_no_detail():
    a, _ = images(2, (3, 32, 32))
    checks = 0.1 * (-1.0) ** (torch.arange(32)[:, None] + torch.arange(32))
    assert float(IMAGE_LOSSES["colour"](a + checks, a, ColourLoss(size=8))) == pytest.approx(0, abs=1e-9)
    assert float(IMAGE_LOSSES["colour"](a + 0.05, a, ColourLoss(size=8))) == pytest.approx(0.05)


def test_artefacts_are_where_the_residual_varies_and_the_average_does_better():
    target = torch.zeros(1, 3, 40, 40)
    sr = torch.full_like(target, 0.1)
    sr[..., 10:20, 10:20] += 0.2 * (-1.0) ** (torch.arange(10)[:, None] + torch.arange(10))  # noise in one square
    good, bad = torch.zeros_like(target), torch.ones_like(target)
    found = artefacts(sr, target, good, window=7)
    assert float(found[..., 12:18, 12:18].min()) > 100 * float(found[..., 25:, 25:].max())
    assert float(artefacts(sr, target, bad, window=7).max()) == 0
    assert float(ldl(sr, target, bad, LdlLoss())) == 0
    assert float(ldl(sr, target, good, LdlLoss())) > 0


def test_the_artefact_loss_is_zero_with_a_gradient_of_numbers_for_equals():
    target, _ = images(2, (3, 20, 20))
    sr = target.float().requires_grad_()
    ldl(sr, target.float(), target.float(), LdlLoss()).backward()
    assert sr.grad.isfinite().all()
