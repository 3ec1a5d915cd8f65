"""The network from the wheel is the right one, and its distance grows with every kind of damage."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from archsr.errors import UserError
from archsr.models import imagenet
from archsr.models.feature_distance import FeatureDistance
from archsr.models.imagenet import FILE, NETWORK, lite0_state

pytestmark = pytest.mark.skipif(FILE.local_file() is None, reason="not installed: pip install -e '.[offline]'")


@pytest.fixture(scope="module")
def distance():
    return FeatureDistance()


@pytest.fixture(scope="module")
def classifier():
    import timm

    net = timm.create_model(NETWORK, pretrained=False)
    net.load_state_dict(lite0_state())
    return net.eval()


def test_the_packages_own_architecture_gives_the_same_logits(classifier):
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install efficientnet-lite-pytorch")
    theirs = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(FILE.local_file())).eval()
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(classifier(x), theirs(x), atol=1e-4)


@pytest.mark.parametrize(("name", "classes"), [("chelsea", {281, 282, 285}), ("coffee", {967}), ("rocket", {657, 812})])
def test_it_recognises_scikit_images_photographs(classifier, name, classes):
    """A cat (tabby, tiger cat, Egyptian cat), an espresso, a rocket (missile, space shuttle)."""
    from skimage import data

    try:
        pixels = getattr(data, name)()
    except (OSError, ModuleNotFoundError, ConnectionError) as error:
        pytest.skip(f"scikit-image has it not at hand: {error}")
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255
    side = min(x.shape[2:])
    top, left = (x.shape[2] - side) // 2, (x.shape[3] - side) // 2
    x = F.interpolate(x[:, :, top : top + side, left : left + side], (224, 224), mode="bicubic", antialias=True)
    assert int(classifier(x * 2 - 1).argmax()) in classes


def image():
    from skimage import data

    pixels = np.ascontiguousarray(data.astronaut()[:256, 100:356])
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def per_channel(x, change):
    return torch.stack([torch.from_numpy(np.asarray(change(c.numpy()), dtype=np.float32)) for c in x[0]])[None]


def blurred(x, s):
    return per_channel(x, lambda c: ndimage.gaussian_filter(c, 2 * s))


def ringing(x, s):
    """Add the edges of a sharp frequency cut-off."""
    cut = torch.fft.rfft2(x)
    cut[..., 40:-40, :] = 0
    cut[..., 40:] = 0
    return x + s * (torch.fft.irfft2(cut, s=x.shape[2:]) - x)


def noisy(x, s):
    return x + 0.1 * s * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def wobbling(x, s):
    y, column = np.mgrid[: x.shape[2], : x.shape[3]]
    moved = [y + 2 * s * np.sin(column / 7), column + 2 * s * np.sin(y / 9)]
    return per_channel(x, lambda c: ndimage.map_coordinates(c, moved, order=1, mode="reflect"))


def invented(x, s):
    """Add a fine grid that was not there."""
    y, column = torch.meshgrid(torch.arange(x.shape[2]), torch.arange(x.shape[3]), indexing="ij")
    return x + 0.12 * s * ((y % 4 < 2) ^ (column % 4 < 2)).float() - 0.06 * s


def tinted(x, s):
    return x + s * torch.tensor([0.12, 0.0, -0.12]).view(1, 3, 1, 1)


KINDS = [blurred, ringing, noisy, wobbling, invented, tinted]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_more_damage_is_farther(distance, kind):
    """A colour cast of 30 levels hardly counts: no more than noise of 4 (tests/measure prints them all)."""
    x = image()
    found = [float(distance(kind(x, s).clamp(0, 1), x)) for s in (0.0, 0.25, 0.5, 1.0)]
    assert found[0] == pytest.approx(0, abs=1e-5)
    assert found == sorted(found)
    assert found[-1] > 0.05


def test_a_batch_is_its_images(distance):
    a, b = torch.rand(2, 3, 3, 64, 80, generator=torch.Generator().manual_seed(1))
    alone = [float(distance(x[None], y[None])) for x, y in zip(a, b, strict=True)]
    assert distance(a, b).tolist() == pytest.approx(alone, rel=1e-4)


def test_a_file_that_is_not_here_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHSR_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.files", lambda name: None)
    with pytest.raises(UserError, match="archsr weights efficientnet-lite0"):
        imagenet.lite0_state()
