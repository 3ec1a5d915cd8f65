"""PSNR, SSIM and NIQE of real images beside basicsr's and pyiqa's on the same pixels."""

import numpy as np
import pytest
from peer_tools import ask, table

from archsr.evaluation.metrics import extra, standard
from archsr.evaluation.pairs import reduced
from archsr.images.pixels import pixels_to_tensor, read_photo
from archsr.metrics.niqe import imresize

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def files(real_photos):
    """Five photographs and their bicubic enlargements, uint8."""
    found = {}
    for path in sorted(real_photos.glob("*/building*view-1.jpg"))[:5]:
        gt = read_photo(path).pixels[:320, :400]
        large = imresize(reduced(gt, 4).astype(np.float64) / 255, scale=4)
        found[path.stem] = (np.round(np.clip(large, 0, 1) * 255).astype(np.uint8), gt)
    return found


def ours(files, channel):
    metrics = standard(4, channel=channel)
    rows = {}
    for name, pair in files.items():
        sr, gt = (pixels_to_tensor(p) for p in pair)
        rows[name] = {m.name: m.of(sr, gt, sr) for m in metrics}
    return rows


def test_basicsr_measures_the_same(files, tmp_path):
    inputs = {f"{n}/{part}": p for n, pair in files.items() for part, p in zip(("sr", "gt"), pair, strict=True)}
    theirs = ask("official_metrics.py", tmp_path, **inputs)
    rows = []
    for channel in ("rgb", "y"):
        for name, values in ours(files, channel).items():
            assert values["psnr"] == pytest.approx(float(theirs[f"{name}/psnr/{channel}"]), abs=1e-6)
            assert values["ssim"] == pytest.approx(float(theirs[f"{name}/ssim/{channel}"]), abs=1e-6)
            assert values["niqe"] == pytest.approx(float(theirs[f"{name}/niqe"]), abs=1e-3)
            gaps = [abs(values[m] - float(theirs[f"{name}/{m}/{channel}"])) for m in ("psnr", "ssim")]
            rows.append(
                [
                    name,
                    channel,
                    *(f"{g:.1e}" for g in gaps),
                    f"{abs(values['niqe'] - float(theirs[f'{name}/niqe'])):.1e}",
                ]
            )
    table("Differences from basicsr", ["image", "channel", "PSNR, dB", "SSIM", "NIQE"], rows)


def test_pyiqa_measures_the_same(files):
    """Without borders, on RGB; pyiqa's SSIM is of full-range luma and so another figure."""
    [theirs], missing = extra(["psnr"])
    assert missing == {}
    for sr, gt in files.values():
        a, b = pixels_to_tensor(sr), pixels_to_tensor(gt)
        assert theirs.of(a, b, a) == pytest.approx(standard(0)[0].of(a, b, a), abs=1e-3)
