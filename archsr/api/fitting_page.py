"""The report of a fitted degradation: one HTML file."""

from collections.abc import Mapping, Sequence
from html import escape

from archsr.degradation.fitting.distance import Distance
from archsr.degradation.fitting.image_traces import ImageTraces
from archsr.degradation.fitting.matching import Matching
from archsr.degradation.fitting.simulate import Simulated
from archsr.evaluation.report.html_parts import document, folded, lossless, table
from archsr.images.pixels import Pixels

_SHOWN = 12
_STYLE = (
    "<style>.grid{display:flex;flex-wrap:wrap;gap:6px} .grid img{width:160px;height:160px;object-fit:cover;"
    "image-rendering:pixelated}</style>"
)
NAMES = {
    "blur": "Gaussian blur, σ in pixels", "sharpening": "sharpening, amount", "noise": "noise before JPEG, σ in levels",
    "kept": "enlarged before, from this share of the size",
}  # fmt: skip


def page(
    images: Sequence[ImageTraces],
    found: Matching,
    made: Mapping[str, Simulated],
    distances: Mapping[str, Distance],
    *,
    rows: Sequence[tuple[str, str, str]],
    uncertain: Sequence[str],
    good: str,
    toml: str,
) -> str:
    """Return the page: distance, pictures side by side, estimates, what is uncertain, every image, and the table."""
    title = f"Degradation fitted to {len(images)} images"
    parts = [_STYLE, f"<h1>{title}</h1>", f"<p class=said>{escape(_first(distances))}</p>"]
    parts += [f"<p class=said>{escape(good)}</p>"] if good else []
    parts += ["<h2>Look</h2>", _pictures(images, made)]
    if distances:
        parts += [
            "<h2>Can they be told apart?</h2>",
            table(
                ["degraded by", "AUC", "accuracy"], [[n, d.auc.text(), d.accuracy.text()] for n, d in distances.items()]
            ),
            "<p class=small>A linear discriminant on statistics of patches learns to tell your images from "
            "photographs degraded by each table; it is tested on images that it has not seen. 0.5: it cannot "
            "tell them apart; 1: it always can. Other motifs alone raise it above 0.5. In brackets: 95 % intervals "
            "over images.</p>",
        ]
    parts += ["<h2>Measured</h2>", table(["", "value (95 % interval)", ""], rows)]
    parts += ["<h2>Fitted</h2>", _fitted(found), "<h2>What it could not tell</h2>"]
    parts.append("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in uncertain) + "</ul>")
    parts += [folded("Every image", _every(images)), folded("degrade.toml", f"<pre>{escape(toml)}</pre>")]
    return document(title, "\n".join(parts))


def _first(distances: Mapping[str, Distance]) -> str:
    if not distances:
        return "There are too few images or photographs to compare them."
    best = min(distances, key=lambda name: distances[name].auc.value)
    fit, before = distances["fit"].auc, distances["realesrgan"].auc
    nearest = (
        "The fit is the nearest of all." if best == "fit" else f"The preset {best} is nearer than the fit: use it."
    )
    return (
        f"A classifier tells your images from photographs degraded by Real-ESRGAN's preset with an AUC of "
        f"{before.text()}, and from photographs degraded by the fitted table with {fit.text()}. {nearest}"
    )


def _pictures(images: Sequence[ImageTraces], made: Mapping[str, Simulated]) -> str:
    step = max(1, len(images) // _SHOWN)
    yours = [t.patches[0] for t in images[::step]][:_SHOWN]
    sets = {
        "Your images": yours,
        "Photographs degraded by the fitted table": made["fit"].shown[:_SHOWN],
        "Photographs degraded by Real-ESRGAN's preset": made["realesrgan"].shown[:_SHOWN],
    }
    parts = [f"<h3>{name}</h3><div class=grid>{''.join(map(_image, shown))}</div>" for name, shown in sets.items()]
    return "".join(parts) + "<p class=small>Parts of 160 pixels, one pixel as one pixel.</p>"


def _image(pixels: Pixels) -> str:
    top, left = ((side - 160) // 2 if side > 160 else 0 for side in pixels.shape[:2])
    return f"<img alt='' src='{lossless(pixels[top : top + 160, left : left + 160])}'>"


def _fitted(found: Matching) -> str:
    rows = [
        [
            said,
            *(found.intervals[f"{name} {part}"].text() for part in ("share", "low", "high")),
            f"{found.errors[name]:.2f}",
        ]
        for name, said in NAMES.items()
    ]
    words = (
        "<p class=small>Ranges under which these images are likeliest, by simulation; an image resembles "
        f"{found.neighbours:.0f} simulations on average. A range means nothing if its share is 0. Last column: the "
        f"error of the number of one patch, known on simulations. Grey noise: {found.fit.grey:.0%}; noise that "
        f"grows with brightness: {found.fit.poisson:.0%}.</p>"
    )
    return table(["", "share", "low", "high", "error of one patch"], rows) + words


def _every(images: Sequence[ImageTraces]) -> str:
    heads = ["image", "size", "JPEG", "by", "sampling", "earlier", "grid", "resolved", "edges", "halo", "noise"]
    rows = [
        [
            t.name, f"{t.size[0]}×{t.size[1]}", str(t.jpeg or ""), t.compressed, t.sampling, str(t.earlier or ""),
            str(t.moved or ""), f"{t.quality.resolution:.2f}", f"{t.quality.blur:.2f}", f"{t.quality.halo:.3f}",
            f"{t.noise.luma:.2f}",
        ]
        for t in images
    ]  # fmt: skip
    return table(heads, rows, sortable=True)
