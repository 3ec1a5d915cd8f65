"""Lab and CIEDE2000 against scikit-image."""

import numpy as np
import pytest
import torch
from skimage import color

from archsr.metrics.colour import ciede2000, lab, local_drift


@pytest.fixture(scope="module")
def colours():
    rng = np.random.default_rng(0)
    greys = np.repeat(rng.random((200, 1)), 3, axis=1)
    corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    return np.concatenate((rng.random((5000, 3)), greys, corners, corners * 0.02))


def test_lab_is_scikit_images(colours):
    assert np.abs(lab(torch.from_numpy(colours)).numpy() - color.rgb2lab(colours)).max() < 1e-3


def test_differences_are_scikit_images(colours):
    rng = np.random.default_rng(1)
    first = color.rgb2lab(colours)
    near = first + rng.normal(0, 2, first.shape)
    for second in (first[rng.permutation(len(first))], near, first):
        found = ciede2000(torch.from_numpy(first), torch.from_numpy(second)).numpy()
        assert np.abs(found - color.deltaE_ciede2000(first, second)).max() < 1e-4


def test_a_cast_drifts_and_detail_does_not():
    image = torch.full((2, 3, 8, 8), 0.5)
    detail = image + 0.2 * (torch.arange(8) % 2 - 0.5)
    cast = image * torch.tensor([1.0, 1.0, 0.8]).view(1, 3, 1, 1)
    assert local_drift(detail, image) == pytest.approx(torch.zeros(2), abs=1e-3)
    assert local_drift(cast, image).min() > 5


def test_opposite_casts_do_not_make_up_for_each_other():
    """Half of a grey image redder and half greener counts as much as all of it redder."""
    image = torch.full((1, 3, 64, 256), 0.5, dtype=torch.float64)
    red = torch.tensor([0.06, 0.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1)
    whole, halves = image + red, image + red
    halves[..., 128:] = (image - red)[..., 128:]
    assert local_drift(halves, image) == pytest.approx(local_drift(whole, image), rel=0.2)
