"""Plot the curves of a run as one image."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsr.config import LossConfig
from archsr.evaluation.selection import PERCEPTUAL
from archsr.training.logging.log import read_log
from archsr.utils.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSSES = (*LossConfig.model_fields, "total", "d_real", "d_fake")  # terms of a logged line; others are watched values
_TITLES = {
    "psnr": ("PSNR, dB", "high"), "ssim": ("SSIM", "high"), "features": ("feature distance", "low"),
    "lpips": ("LPIPS", "low"), "dists": ("DISTS", "low"), "niqe_distance": ("NIQE from the photographs'", "low"),
    "false_texture": ("false texture, levels", "low"),
}  # fmt: skip


def draw_curves(run: Path) -> Path | None:
    """Write RUN/curves.png: losses, validation metrics and watched values. Return None if nothing was logged yet."""
    # imported late: it takes half a second, which would delay the first iteration
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    events = read_log(run)
    trained = [e for e in events if e["event"] == "train"]
    validated = [e for e in events if e["event"] == "validation"]
    if not trained or not validated:
        return None
    # fixed margins: computing good ones took longer than drawing
    figure = Figure(figsize=(12, 7.2))
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.07, top=0.95, wspace=0.25, hspace=0.3)
    (losses, *judged), watched = figure.subplots(2, 3)
    most = max(e.get("iterations", 1) for e in trained)
    # the first line of a start covers only one iteration and would look like a jump
    means = [e for e in trained if e.get("iterations", 1) > 1 or most == 1]
    for name in LOSSES:
        _plot(losses, means, name, name)
    distance = next((name for name in PERCEPTUAL if name in validated[0]), "ssim")
    for axes, metric in zip(judged, ("psnr", distance), strict=True):
        _plot_judged(axes, validated, metric)
    losses.set_title(f"training loss, means of {most} iterations")
    _draw_watched(list(watched), trained, validated)
    for axes in (losses, *judged, *watched):
        axes.set_xlabel("iteration")
        axes.title.set_fontsize("medium")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.has_data():
            axes.legend(fontsize="small", framealpha=0.6, loc="upper right")
    with replacing(run / "curves.png") as temporary:
        figure.savefig(temporary, dpi=120, pil_kwargs={"compress_level": 1})
    return run / "curves.png"


def _draw_watched(all_axes: Sequence["Axes"], trained: list[dict[str, Any]], validated: list[dict[str, Any]]) -> None:
    norms, natural, last = all_axes
    for name in sorted({k for e in trained for k in e if k.startswith("grad_norm/")}):
        _plot(norms, trained, name, name.removeprefix("grad_norm/")[:30])
    norms.set_yscale("log")
    norms.set_title("gradient norm (steady is good)")
    _plot_judged(natural, validated, "niqe_distance")
    if any("d_real_accuracy" in e for e in trained):
        for kind in ("real", "fake"):
            _plot(last, trained, f"d_{kind}_accuracy", f"right about {kind}")
        last.set_title("discriminator (1: the generator learns nothing)")
    else:
        _plot_judged(last, validated, "false_texture")


def _plot_judged(axes: "Axes", validated: Sequence[dict[str, Any]], metric: str) -> None:
    """Plot a metric over the validations, with its initial value and the chosen weights."""
    title, way = _TITLES[metric]
    _plot(axes, validated, metric, "moving average")
    chosen = [e for e in validated if e.get("chosen") and e["step"]]
    if chosen and metric in chosen[-1]:
        axes.plot(chosen[-1]["step"], chosen[-1][metric], "o", markersize=10, fillstyle="none", label="chosen")
    if metric in validated[0]:
        axes.axhline(validated[0][metric], color="grey", linestyle=":", label="before training")
    axes.set_title(f"validation: {title} ({way} is good)")


def _plot(axes: "Axes", events: Sequence[dict[str, Any]], name: str, label: str) -> None:
    """Plot a value; the total of the losses has rings, so that a lone loss is seen inside."""
    points = [(e["step"], e[name]) for e in events if name in e]
    if points and name == "total":
        axes.plot(*zip(*points, strict=True), "--o", color="grey", fillstyle="none", zorder=1, label=label)
    elif points:
        axes.plot(*zip(*points, strict=True), marker=".", label=label)
