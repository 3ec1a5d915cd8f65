"""What a fit says in words: estimates, what could not be told, and whether the images are good already."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from archsr.degradation.fitting.image_traces import ImageTraces
from archsr.degradation.fitting.matching import Matching, poisson_share
from archsr.degradation.fitting.numbers import interval

FEW = 20  # images, below which ranges are rough
_GOOD_JPEG, _GOOD_NOISE, _GOOD_BLUR = 92, 1.2, 0.7

Row = tuple[str, str, str]


def measured_rows(images: Sequence[ImageTraces]) -> list[Row]:
    """Return what files and pixels tell without a fit: name, share or median with interval, and a remark."""
    return [*_of_jpeg(images), *_of_pixels(images), *_of_brightness(images)]


def _of_jpeg(images: Sequence[ImageTraces]) -> Iterator[Row]:
    yield "JPEG, by the file's header", _share([t.compressed == "header" for t in images]), ""
    other = "qualities above 92 leave no trace in pixels" if any(t.compressed != "header" for t in images) else ""
    yield "JPEG, by the pixels of another format", _share([t.compressed == "pixels" for t in images]), other
    seen = [t for t in images if t.jpeg]
    if not seen:
        return
    tables = sum(t.standard for t in seen) / len(seen)
    for name, q in (("lower tenth", 0.1), ("median", 0.5), ("upper tenth", 0.9)):
        found = interval(np.array([float(t.jpeg) for t in seen]), lambda v, q=q: float(np.quantile(v, q)))
        said = f"{tables:.0%} have the standard's luma table exactly" if q == 0.5 else ""
        yield f"JPEG quality, {name}", found.text(0), said
    sampled = Counter(t.sampling or "other" for t in seen)
    yield "chroma sampling", ", ".join(f"{k}: {n}" for k, n in sampled.most_common()), ""
    twice = [t.earlier for t in images if t.earlier]
    said = f"earlier quality {min(twice)} to {max(twice)}" if twice else "only one coarser than the last is seen"
    yield "compressed twice, same grid", _share([t.earlier > 0 for t in images]), said
    weak = "weak evidence: some single JPEGs seem to have one, too"
    yield "a second grid off the origin", _share([t.moved is not None for t in images]), weak


def _of_pixels(images: Sequence[ImageTraces]) -> Iterator[Row]:
    for name, values, digits in (
        ("resolved share of each side", [t.quality.resolution for t in images], 2),
        ("width of edges, pixels", [t.quality.blur for t in images if t.quality.blur], 2),
        ("halos beside edges, share of their height", [t.quality.halo for t in images], 3),
        ("noise left after JPEG, levels", [t.noise.luma for t in images], 2),
        ("correlation of the channels' noise", [t.noise.correlation for t in images if t.noise.luma >= 1], 2),
    ):
        told = np.array([v for v in values if v == v])
        if len(told) >= 3:
            yield name, interval(told, lambda v: float(np.median(v))).text(digits), f"median of {len(told)}"


def _of_brightness(images: Sequence[ImageTraces]) -> Iterator[Row]:
    slope = poisson_share(images)
    if slope.low == slope.low:
        yield "share of the noise that grows with brightness", slope.text(), "negative: shadows are noisier"
        noisy = [t.noise for t in images if t.noise.luma >= 1]
        read, shot = (float(np.nanmedian([getattr(n, key) for n in noisy])) for key in ("read", "shot"))
        yield "variance of the noise, squared levels", f"{read:.1f} + {shot:.1f} x", "x: brightness from 0 to 1"


def _share(flags: Sequence[bool]) -> str:
    return interval(np.array(flags, np.float64), lambda v: float(v.mean())).text()


def not_told(images: Sequence[ImageTraces], match: Matching, notes: Sequence[str]) -> Iterator[str]:
    """Yield what could not be estimated, or only roughly."""
    yield from notes
    if len(images) < FEW:
        yield f"There are only {len(images)} images: with fewer than {FEW} the ranges are rough."
    shapes = Counter(t.shape for t in images if t.shape)
    if shapes:
        yield (
            f"Of {sum(shapes.values())} images with edges wide enough, {shapes['disc']} look blurred by a disc; a "
            "third of those with a Gaussian blur would too. "
            + ("The table has discs." if match.fit.disc else "The table has Gaussian blurs only.")
        )
    else:
        yield "No image has edges wide enough to tell a disc from a Gaussian; the table has Gaussian blurs."
    yield "Motion: lines of façades have directions of their own, which cannot be told from that of a moved camera."
    yield (
        "Blur, enlarging and sharpening partly cancel each other: several tables give the same images, and the fit "
        "names one of them. Halos are assumed 0.5 to 1.2 pixels wide."
    )
    yield "Noise that JPEG has removed cannot be seen; the table draws as much as leaves the same traces."
    yield "An earlier JPEG of the same or a higher quality than the last leaves no trace."
    if any(t.compressed == "pixels" for t in images):
        yield "The sampling of colours of a PNG that was a JPEG is a guess; the table takes that of the JPEG files."
    if match.fit.poisson < 0 or poisson_share(images).value < 0:
        yield "Shadows are noisier than bright areas, as in a camera: the step sensor does that, and is not fitted."
    if match.fit.earlier.share and match.fit.earlier_is == "before":
        yield "The quality of a JPEG with a displaced grid is not measured, but assumed to lie below the last one's."


def is_good(images: Sequence[ImageTraces], match: Matching) -> bool:
    """Return whether the images need hardly any repair: fine JPEG or none, no visible noise, sharp."""
    fine = np.mean([not t.jpeg or t.jpeg >= _GOOD_JPEG for t in images]) >= 0.9
    fit = match.fit
    quiet = fit.noise.share * fit.noise.high < _GOOD_NOISE
    sharp = fit.blur.share * fit.blur.high < _GOOD_BLUR and not fit.kept.share
    return bool(fine and quiet and sharp and not fit.earlier.share)


GOOD = (
    "These images are good already: fine JPEG or none, hardly any noise, sharp. Train without repair: no denoising and "
    'no added texture. Use this table or preset = "bicubic", losses.gan.weight = 0 and losses.pixel.weight = 1.'
)
