import numpy as np
import pytest
import torch
from scipy.special import j1

from archsr.config import DegradeConfig
from archsr.degradation import kernels as K
from archsr.degradation.canvas import full
from archsr.degradation.kernels import blur
from archsr.degradation.recipe import draw
from archsr.utils.seeds import generator


def params(kind, taps, sigma_x=1.0, sigma_y=None, theta=0.0, beta=1.0, cutoff=1.0):
    f = lambda v: torch.tensor([v])
    return K.KernelParams(
        f(kind), f(taps), f(sigma_x), f(sigma_x if sigma_y is None else sigma_y), f(theta), f(beta), f(cutoff)
    )


GOLDENS = {  # centre, corner of the k×k kernel, sum of squares
    "iso k7": (params(K.GAUSSIAN, 7, 1.5), 0.07326883, 0.00134197, 0.03789899),
    "aniso k9": (params(K.GAUSSIAN, 9, 2.0, 0.8, 0.5), 0.10059867, 3.487e-4, 0.05085493),
    "generalized aniso": (params(K.GENERALIZED, 9, 2.0, 0.8, 0.5, 0.7), 0.06699578, 0.00434900, 0.02839870),
    "generalized iso": (params(K.GENERALIZED, 9, 1.2, beta=2.5), 0.17979358, 0.0, 0.13215154),
    "plateau iso": (params(K.PLATEAU, 9, 1.2, beta=1.5), 0.11441398, 0.00108186, 0.04621086),
    "plateau aniso": (params(K.PLATEAU, 9, 2.0, 0.8, 0.5, 1.5), 0.10804315, 0.00276097, 0.04591618),
    "sinc k7": (params(K.SINC, 7, cutoff=torch.pi / 3), 0.06363540, -0.00616561, 0.03902056),
    "sinc k21": (params(K.SINC, 21, cutoff=2.0), 0.30571201, 0.00223998, 0.28565409),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_goldens(name):
    p, centre, corner, squares = GOLDENS[name]
    kernel = K.render(p)[0]
    edge = 10 - (int(p.taps[0]) - 1) // 2
    assert kernel[10, 10].item() == pytest.approx(centre, abs=5e-9, rel=1e-6)
    assert kernel[edge, edge].item() == pytest.approx(corner, abs=5e-8)
    assert kernel.square().sum().item() == pytest.approx(squares, abs=5e-9, rel=1e-6)


def test_golden_rows_and_columns():
    kernel = K.render(GOLDENS["aniso k9"][0])[0]
    assert kernel[10, 6:9].tolist() == pytest.approx([0.00121863, 0.00840305, 0.03337429], abs=1e-8)
    assert kernel[6:9, 10].tolist() == pytest.approx([4.19e-6, 0.00034557, 0.00808081], abs=1e-8)
    assert K.render(GOLDENS["sinc k21"][0])[0].min().item() == pytest.approx(-0.03555053, abs=1e-8)


def test_sinc_against_scipy():
    kernel = K.render(params(K.SINC, 13, cutoff=1.7))[0].double().numpy()
    y, x = np.mgrid[-6:7, -6:7]
    r = np.hypot(x, y)
    r[6, 6] = 1.0
    expected = 1.7 * j1(1.7 * r) / (2 * np.pi * r)
    expected[6, 6] = 1.7**2 / (4 * np.pi)
    expected /= expected.sum()
    assert np.abs(kernel[4:17, 4:17] - expected).max() < 1e-7


def test_every_drawn_kernel_sums_to_one_within_its_taps():
    recipe = draw(DegradeConfig(), generator(0, "t"), 500, scale=4, gt_size=64)
    for p in (recipe.first.kernel, recipe.second.kernel, recipe.final_kernel):
        rendered = K.render(p)
        assert torch.allclose(rendered.sum((1, 2)), torch.ones(500), atol=1e-5)
        axis = (torch.arange(21) - 10).abs()
        beyond = axis[None, :] > (p.taps[:, None] - 1) // 2
        assert (rendered[beyond[:, :, None].expand_as(rendered)] == 0).all()


def test_a_batch_is_its_single_kernels():
    recipe = draw(DegradeConfig(), generator(1, "t"), 6, scale=4, gt_size=64)
    together = K.render(recipe.first.kernel)
    for i in range(6):
        one = K.KernelParams(**{k: v[i : i + 1] for k, v in vars(recipe.first.kernel).items()})
        assert torch.equal(K.render(one)[0], together[i])


def test_filter_golden(card):
    out = blur(full(card), GOLDENS["aniso k9"][0]).pixels
    assert out[0, :, 10, 10].tolist() == pytest.approx([0.596504, 0.539414, 0.455085], abs=1e-6)
    assert out[0, :, 0, 0].tolist() == pytest.approx([0.519318, 0.531540, 0.542123], abs=1e-6)


def test_the_identity_changes_nothing(card):
    assert torch.equal(blur(full(card), params(K.IDENTITY, 7)).pixels, card)
