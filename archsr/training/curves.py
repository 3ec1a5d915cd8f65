"""The curves of a run as one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from archsr.atomic import replacing
from archsr.config import LossConfig
from archsr.training.log import read_log

_LOSSES = (*LossConfig.model_fields, "d_real", "d_fake")


def draw_curves(run: Path) -> Path | None:
    """Write RUN/curves.png with the losses and the validation's PSNR and SSIM; None if nothing was logged yet."""
    events = read_log(run)
    trained = [e for e in events if e["event"] == "train"]
    validated = [e for e in events if e["event"] == "validation"]
    if not trained or not validated:
        return None
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    losses, psnr, ssim = figure.subplots(1, 3)
    for name in _LOSSES:
        _plot(losses, trained, name, name)
    for axes, metric, unit in ((psnr, "psnr", "PSNR, dB"), (ssim, "ssim", "SSIM")):
        _plot(axes, validated, metric, "moving average")
        _plot(axes, validated, f"raw_{metric}", "raw weights")
        axes.axhline(validated[0][metric], color="grey", linestyle=":", label="before training")
        axes.set_title(f"validation: {unit}")
    losses.set_title("training loss")
    for axes in (losses, psnr, ssim):
        axes.set_xlabel("iteration")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    with replacing(run / "curves.png") as temporary:
        figure.savefig(temporary, dpi=120)
    return run / "curves.png"


def _plot(axes: Axes, events: Sequence[dict[str, Any]], name: str, label: str) -> None:
    points = [(e["step"], e[name]) for e in events if name in e]
    if points:
        axes.plot(*zip(*points, strict=True), marker=".", label=label)
