import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from archsr.images.pixels import pixels_to_tensor
from archsr.metrics.niqe import imresize, niqe
from archsr.metrics.psnr_ssim import luma, psnr, ssim


@pytest.fixture(scope="module")
def images():
    """The pair of the goldens: R, uint8 (200, 296, 3), and R with small errors."""
    y, x, c = np.meshgrid(np.arange(200), np.arange(296), np.arange(3), indexing="ij")
    texture = (73 * x + 151 * y + 37 * c + (x * y % 97)) % 23 - 11
    first = np.clip(np.round(128 + 70 * np.sin(x / (9 + c) + y / 17) + 40 * np.cos(x * y / 900 + c) + texture), 0, 255)
    second = np.clip(first + ((31 * x + 17 * y) % 9 - 4), 0, 255)
    assert int(first.sum()) == 22_483_694
    return first.astype(np.uint8), second.astype(np.uint8)


def test_goldens(images):
    a, b = (pixels_to_tensor(p) for p in images)
    assert psnr(a, b).item() == pytest.approx(39.891716, abs=1e-6)
    assert ssim(a, b).item() == pytest.approx(0.979025881, abs=1e-8)
    assert psnr(luma(a), luma(b)).item() == pytest.approx(41.213637, abs=1e-6)
    assert ssim(luma(a), luma(b)).item() == pytest.approx(0.967957278, abs=1e-8)


def test_niqe_goldens(images):
    assert niqe(images[0]) == pytest.approx(13.056372, abs=5e-6)
    assert niqe(images[0], border=4) == pytest.approx(12.599490, abs=1e-5)


def test_imresize_golden(images):
    small = imresize(images[0] / 255, scale=0.25)
    assert small.shape == (50, 74, 3)
    assert small[5, 7] == pytest.approx([0.347988, 0.243432, 0.161869], abs=1e-6)
    assert small.mean() == pytest.approx(0.496460, abs=1e-6)


def test_against_scikit_image(images):
    a, b = images
    tensors = [pixels_to_tensor(p) for p in images]
    assert psnr(*tensors, border=0).item() == pytest.approx(peak_signal_noise_ratio(a, b), abs=1e-9)
    theirs = structural_similarity(
        a, b, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    # scikit-image averages over a region of its own choosing: a pixel's border apart
    assert ssim(*tensors, border=0).item() == pytest.approx(theirs, abs=2e-3)


def test_batches_are_single_images(images):
    a, b = (pixels_to_tensor(p) for p in images)
    both = psnr(torch.cat([a, b]), torch.cat([b, b]))
    assert both[0] == psnr(a, b)[0]
    assert torch.isinf(both[1])


def test_metrics_know_better_from_worse(images):
    gt = pixels_to_tensor(images[0])
    noise = torch.randn(gt.shape, generator=torch.Generator().manual_seed(0))
    values = [(psnr(gt + s * noise, gt).item(), ssim(gt + s * noise, gt).item()) for s in (0.01, 0.03, 0.1)]
    assert values == sorted(values, reverse=True)


def test_niqe_refuses_what_is_too_small():
    with pytest.raises(ValueError, match="192"):
        niqe(np.zeros((191, 400, 3), dtype=np.uint8))


def test_niqe_has_no_figure_for_a_flat_image():
    """As a network that saturates makes it; numpy's decomposition failed on it."""
    assert np.isnan(niqe(np.full((200, 200, 3), 255, dtype=np.uint8)))


def test_niqe_prefers_photographs_to_noise(real_photos):
    from archsr.images.pixels import read_photo

    pixels = read_photo(real_photos / "project_00" / "building-001_view-1.jpg").pixels
    noisy = np.clip(pixels + np.random.default_rng(0).normal(0, 25, pixels.shape), 0, 255).astype(np.uint8)
    assert niqe(pixels) < 7 < niqe(noisy)
