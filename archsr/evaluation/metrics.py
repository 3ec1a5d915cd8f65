"""Metrics of a score card. Ours work offline; LPIPS and those of pyiqa, an extra, need their weights."""

import contextlib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError

import torch
from torch import Tensor

from archsr.errors import UserError, did_you_mean, first_line
from archsr.images.pixels import tensor_to_pixels
from archsr.metrics.niqe import SMALLEST, niqe
from archsr.metrics.psnr_ssim import MS_SSIM_WEIGHTS, luma, ms_ssim, psnr, ssim
from archsr.models.download import OFFICIAL, cached, verify

NAN = float("nan")
_MS_SSIM_SIDE = 176  # smallest side: MS-SSIM halves it four times and then needs a window of 11
_OURS = ("ms_ssim", "lpips")  # metrics that are requested by name and need no pyiqa
NO_PYIQA = 'needs pyiqa, which is not installed: pip install "archsr[metrics]"'
# pyiqa's metrics without ground truth, and the file that each downloads into torch.hub's folder
NO_REFERENCE = {
    "brisque": "pyiqa/brisque_svm_weights.pth",
    "musiq": "pyiqa/musiq_koniq_ckpt-e95806b9.pth",
    "maniqa": "pyiqa/ckpt_koniq10k.pt",
    "clipiqa": "clip/RN50.pt",
}

Figure = Callable[[Tensor, Tensor, Tensor], float]


@dataclass(frozen=True)
class Metric:
    """A metric of one restored image: `of(sr, gt, lq)` on (1, 3, h, w) in [0, 1], NaN if it cannot be computed."""

    name: str
    title: str
    higher_is_better: bool
    of: Figure
    needs_gt: bool = True


def standard(border: int, *, channel: str = "rgb") -> list[Metric]:
    """Return PSNR, SSIM and NIQE with `border` pixels cropped. They need no download.

    `channel` is "rgb", or "y" for MATLAB's luma, not rounded, as in the field's tables of benchmarks.
    """
    of = luma if channel == "y" else _same
    suffix = " on Y" if channel == "y" else ""
    natural = lru_cache(maxsize=4)(partial(_niqe, border=border))  # tensors are equal by identity
    return [
        Metric("psnr", f"PSNR{suffix}, dB", True, lambda sr, gt, _: float(psnr(of(sr), of(gt), border=border))),
        Metric("ssim", f"SSIM{suffix}", True, lambda sr, gt, _: float(ssim(of(sr), of(gt), border=border))),
        Metric("niqe", "NIQE", False, lambda sr, _, __: natural(sr), needs_gt=False),
        Metric("niqe_distance", "NIQE from the photograph's", False, lambda sr, gt, _: abs(natural(sr) - natural(gt))),
    ]


def perceptual() -> list[Metric]:
    """Return the distance in features of EfficientNet-Lite0. Raises `UserError` if its weights are missing."""
    net = _feature_distance()
    return [Metric("features", "feature distance", False, lambda sr, gt, _: float(net(sr.cpu(), gt.cpu())))]


@lru_cache(maxsize=1)
def _feature_distance() -> Callable[[Tensor, Tensor], Tensor]:
    from archsr.models.feature_distance import FeatureDistance

    return FeatureDistance()


def _same(image: Tensor) -> Tensor:
    return image


def _niqe(sr: Tensor, *, border: int) -> float:
    if min(sr.shape[2:]) - 2 * border < SMALLEST:
        return NAN
    return niqe(tensor_to_pixels(sr), border=border)


def check_names(names: Sequence[str]) -> None:
    """Raise `UserError` for an unknown metric, before anything is measured."""
    others = [name for name in names if name not in _OURS]
    if others and not pyiqa_is_installed():
        if others != ["dists"]:  # part of every evaluation; its report says what is missing
            raise UserError(f"--metric {next(n for n in others if n != 'dists')}: {NO_PYIQA}")
        return
    for name in others:
        import pyiqa  # late: it takes seconds

        known = [*_OURS, *map(str, pyiqa.list_models())]
        if name not in known:
            raise UserError(f"--metric {name}: no such metric{did_you_mean(name, known)} (pyiqa's names)")


def pyiqa_is_installed() -> bool:
    """Return whether the extra `metrics` is installed."""
    return importlib.util.find_spec("pyiqa") is not None


def is_cached(name: str) -> bool:
    """Return whether the file of a metric of `NO_REFERENCE` is on this machine."""
    return (Path(torch.hub.get_dir()) / NO_REFERENCE[name]).is_file()


def extra(names: Sequence[str]) -> tuple[list[Metric], dict[str, str]]:
    """Return the requested learned metrics, and the reasons for those that are not available."""
    found: list[Metric] = []
    missing: dict[str, str] = {}
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # lpips uses deprecated arguments of torchvision
                found.append(_OPENED.get(name, partial(_from_pyiqa, name))())
        except Exception as error:  # downloads and checkpoints fail in many ways; the reason is reported
            reason = first_line(error, kind=not isinstance(error, UserError))
            unreachable = isinstance(error, URLError)
            missing[name] = f"{_no_files()} ({reason})" if unreachable else reason
    return found, missing


def _no_files() -> str:
    folder = f"{torch.hub.get_dir()}/checkpoints"
    return f"its files are missing and cannot be downloaded; copy {folder} from a machine where the metric works"


def _lpips() -> Metric:
    """Open LPIPS v0.1 with AlexNet, RGB in [-1, 1]. Its linear weights are in the package, AlexNet is downloaded."""
    import lpips

    _lend("alexnet", "checkpoints")
    net = cast(Any, lpips.LPIPS(net="alex", verbose=False)).eval()

    def distance(sr: Tensor, gt: Tensor, _: Tensor) -> float:
        with torch.inference_mode():
            return float(net(sr.cpu() * 2 - 1, gt.cpu() * 2 - 1))

    return Metric("lpips", "LPIPS", False, distance)


def _lend(name: str, folder: str) -> None:
    """Link a file of archsr's cache into the folder of torch.hub where the metric's package looks for it."""
    official, place = OFFICIAL[name], Path(torch.hub.get_dir()) / folder / OFFICIAL[name].file
    found = cached(name)
    if found is None or place.exists():
        return
    verify(found, official)
    with contextlib.suppress(OSError):  # a read-only folder: the package then says what it lacks
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(found.resolve())


def _ms_ssim() -> Metric:
    """Return MS-SSIM on full-range luma, as pyiqa computes it."""
    weights = torch.tensor(MS_SSIM_WEIGHTS, dtype=torch.float64)

    def grey(image: Tensor) -> Tensor:
        parts = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
        return torch.einsum("c,bchw->bhw", parts, image.cpu().double() * 255).round()[:, None]

    def figure(sr: Tensor, gt: Tensor, _: Tensor) -> float:
        if min(sr.shape[2:]) < _MS_SSIM_SIDE:
            return NAN
        return float(ms_ssim(grey(sr), grey(gt), weights, peak=255))

    return Metric("ms_ssim", "MS-SSIM", True, figure)


_OPENED: dict[str, Callable[[], Metric]] = {"lpips": _lpips, "ms_ssim": _ms_ssim}


def _from_pyiqa(name: str) -> Metric:
    if not pyiqa_is_installed():
        raise UserError(NO_PYIQA)
    import pyiqa

    if name not in pyiqa.list_models():
        raise ValueError(f"pyiqa has no metric {name!r}")
    if name == "dists":
        _lend("vgg16", "checkpoints")
        _lend("dists", "pyiqa")
    metric = cast(Any, pyiqa.create_metric(name, device=torch.device("cpu")))
    full_reference = metric.metric_mode == "FR"

    def figure(sr: Tensor, gt: Tensor, _: Tensor) -> float:
        with torch.inference_mode():
            return float(metric(sr.cpu(), gt.cpu()) if full_reference else metric(sr.cpu()))

    return Metric(name, name.upper(), not metric.lower_better, figure, needs_gt=full_reference)
