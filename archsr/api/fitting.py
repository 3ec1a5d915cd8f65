"""Fit a degradation to images as people would enlarge them."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archsr.api.fitting_page import page
from archsr.config import DegradeConfig
from archsr.config.presets import Preset
from archsr.data.drawn_photos import draw_photos
from archsr.degradation.fitting.distance import Distance, distance
from archsr.degradation.fitting.image_traces import LEAST, PATCH, ImageTraces, traces_of
from archsr.degradation.fitting.matching import ROUNDS, SIMULATIONS, Matching, match
from archsr.degradation.fitting.numbers import Interval
from archsr.degradation.fitting.simulate import Simulated, clean_crops, simulate
from archsr.degradation.fitting.words import GOOD, is_good, measured_rows, not_told
from archsr.degradation.fitting.written import toml_of
from archsr.errors import DataError, UserError
from archsr.images.image_files import READ, is_image
from archsr.images.pixels import BadImageError, Pixels, read_photo
from archsr.utils import console
from archsr.utils.atomic import write_bytes
from archsr.utils.progress import progress, tracked

LIMIT = 120  # images
COMPARED: tuple[Preset, ...] = ("realesrgan", "camera", "web", "bicubic")
_PHOTOS = 48  # clean photographs
_CROPS = 600
_COMPARED_PATCHES = 100
_FOLDS = 5  # images of each set that a comparison needs at least
_SHOWN = 12


@dataclass(frozen=True)
class FittedDegradation:
    """A fitted degradation.

    `config` is the table; `intervals` of its numbers over the images; `distances` between the images and photographs
    degraded by the fit and by presets (empty if there were too few images), by name; `good`: whether the images hardly
    need repair; `table`, `report`: the files written; `summary` in words.
    """

    config: DegradeConfig
    intervals: dict[str, Interval]
    distances: dict[str, Distance]
    good: bool
    table: Path
    report: Path
    summary: str

    def __repr__(self) -> str:
        return self.summary


def fit_degradation(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str] = "degradation",
    *,
    photos: str | os.PathLike[str] | None = None,
    limit: int = LIMIT,
    scale: int = 4,
    seed: int = 0,
) -> FittedDegradation:
    """Fit the table `degrade` to the images of `folder`, like `archsr fit-degradation`.

    Writes `degrade.toml` and `report.html` into `out`. `photos` are sharp photographs to degrade, by default drawn
    ones; at most `limit` images are read, evenly spread. The same images, photographs and seed give the same files.
    Raises `UserError`.
    """
    paths = _paths(Path(folder))
    clean, source = _clean(photos, scale)
    side = _crop_side(clean, scale)
    clean = [p for p in clean if min(p.shape[:2]) >= side]
    images, notes = _images(Path(folder), paths, limit=limit, side=side // scale)
    if photos is None:
        notes.append(
            "Drawn photographs were degraded; give real ones with --photos FOLDER, as drawings have less texture."
        )
    crops = clean_crops(clean, _CROPS, side=side, seed=seed)
    patches = min(_COMPARED_PATCHES, sum(len(t.patches) for t in images))
    total = SIMULATIONS * ROUNDS + patches * (len(COMPARED) + 1)
    with progress("degrading photographs", total, unit="patch") as advance:
        found = match(images, crops, seed=seed, scale=scale, advance=advance)
        tables = {"fit": found.config, **{name: DegradeConfig(preset=name) for name in COMPARED}}
        made = {
            name: simulate(
                table, crops, patches, seed=seed + 100, scale=scale, advance=advance, show=_SHOWN, only_traces=False
            )
            for name, table in tables.items()
        }
    return _written(Path(out), images, found, made, source=source, notes=notes, folder=str(folder))


def _paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give a folder of the images that you want to enlarge")
    paths = _images_in(folder)
    if not paths:
        raise DataError(f"{folder}: no images there ({', '.join(READ)})")
    return paths


def _images_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if is_image(p) and p.is_file())


def _images(folder: Path, paths: list[Path], *, limit: int, side: int) -> tuple[list[ImageTraces], list[str]]:
    """Read and measure the images; also return notes on those that were left out."""
    chosen = [paths[i] for i in sorted({round(x) for x in np.linspace(0, len(paths) - 1, min(limit, len(paths)))})]
    images: list[ImageTraces] = []
    bad, small = list[str](), 0
    for path in tracked(chosen, "reading images"):
        try:
            told = traces_of(str(path.relative_to(folder)), path.read_bytes(), side=side)
        except (BadImageError, OSError) as error:
            bad.append(f"{path.name}: {error}")
            continue
        small += told is None
        images += [told] if told else []
    if not images:
        raise DataError(
            f"{folder}: none of {len(chosen)} images can be used: {len(bad)} cannot be read, {small} have a side below "
            f"{LEAST} pixels{'; ' + bad[0] if bad else ''}"
        )
    notes = [f"{len(bad)} files could not be read: {'; '.join(bad[:3])}."] if bad else []
    notes += [f"{small} images were left out, as a side is below {LEAST} pixels."] if small else []
    notes += [f"{len(chosen)} of {len(paths)} images were read (--limit)."] if len(chosen) < len(paths) else []
    return images, notes


def _clean(photos: str | os.PathLike[str] | None, scale: int) -> tuple[list[Pixels], str]:
    """Return sharp photographs large enough to be reduced, and what they are."""
    least = LEAST * scale
    if photos is None:
        with tempfile.TemporaryDirectory() as drawn:
            draw_photos(Path(drawn), projects=12, views=2, plans=0)
            single = [read_photo(path).pixels for path in sorted(Path(drawn).rglob("*.jpg"))]
        large = [_sheet(single[n : n + 4]) for n in range(0, len(single), 4)]
        return [p for p in large if min(p.shape[:2]) >= least], "photographs drawn by archsr"
    folder = Path(photos)
    paths = _images_in(folder)
    if not paths:
        raise DataError(f"{folder}: no photographs there ({', '.join(READ)})")
    found: list[Pixels] = []
    for path in tracked(paths[:: -(-len(paths) // (2 * _PHOTOS))], "reading photographs"):
        try:
            pixels = read_photo(path).pixels
        except BadImageError as error:
            console.warn(f"{path}: left out: {error}")
            continue
        found += [pixels] if min(pixels.shape[:2]) >= least else []
    if not found:
        raise DataError(f"{folder}: no photograph has {least} pixels on its shorter side, {LEAST} times the scale")
    return found[:_PHOTOS], f"photographs of {folder}"


def _sheet(four: Sequence[Pixels]) -> Pixels:
    """Return four images of one size as one, twice as high and wide."""
    return np.concatenate([np.concatenate(four[:2], axis=1), np.concatenate(four[2:], axis=1)])


def _crop_side(clean: Sequence[Pixels], scale: int) -> int:
    if not clean:
        raise UserError(f"no photograph is large enough for the scale {scale}; give larger ones with --photos FOLDER")
    usual = int(np.quantile([min(p.shape[:2]) for p in clean], 0.25))
    return min(PATCH * scale, usual // (8 * scale) * (8 * scale))


def _compared(images: Sequence[ImageTraces], made: dict[str, Simulated]) -> dict[str, Distance]:
    photos = min(len(np.unique(s.photo)) for s in made.values())
    if min(len(images), photos) < _FOLDS:
        return {}
    real = np.concatenate([t.statistics for t in images])
    image = np.repeat(np.arange(len(images)), [len(t.statistics) for t in images])
    return {n: distance(real, s.statistics, groups_a=image, groups_b=s.photo) for n, s in made.items()}


def _written(
    out: Path,
    images: Sequence[ImageTraces],
    found: Matching,
    made: dict[str, Simulated],
    *,
    source: str,
    notes: list[str],
    folder: str,
) -> FittedDegradation:
    distances, good = _compared(images, made), is_good(images, found)
    uncertain = list(not_told(images, found, notes))
    if not distances:
        uncertain.insert(0, f"Fewer than {_FOLDS} images or photographs: the two sets could not be compared.")
    lines = [f"fitted to {len(images)} images of {folder}, with {source}", *_told(found), *_distance_lines(distances)]
    head = "\n".join(
        [
            *lines,
            "Look first: archsr preview degrade.toml --photos PHOTOS. Then replace the table [degrade] of a config.",
        ]
    )
    text = toml_of(found.config, found.intervals, _said(images, found), head)
    table, report = out / "degrade.toml", out / "report.html"
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(table, text.encode())
    rows = measured_rows(images)
    html = page(images, found, made, distances, rows=rows, uncertain=uncertain, good=GOOD if good else "", toml=text)
    write_bytes(report, html.encode())
    lines += [GOOD] if good else []
    lines += [f"not certain: {line}" for line in uncertain[:2]] if len(images) < 20 or not distances else []
    lines.append(f"see {report}; the table is {table}")
    return FittedDegradation(
        found.config, found.intervals, distances, good, table=table, report=report, summary="\n".join(lines)
    )


def _told(found: Matching) -> list[str]:
    """Return a line for each damage of the fit."""
    fit, lines = found.fit, list[str]()
    for name, what, unit in (("blur", "blur", "σ"), ("sharpening", "sharpened", "amount"), ("noise", "noise", "σ")):
        one = getattr(fit, name)
        lines.append(f"{what}: {one.share:.0%}" + (f", {unit} {one.low:.2f} to {one.high:.2f}" if one.share else ""))
    kept = fit.kept
    lines.append(f"enlarged before: {kept.share:.0%}" + (f", from {kept.low:.2f} of the size on" if kept.share else ""))
    jpeg = fit.jpeg
    lines.append(f"JPEG: {jpeg.share:.0%}" + (f", quality {jpeg.low:.0f} to {jpeg.high:.0f}" if jpeg.share else ""))
    if fit.earlier.share:
        lines.append(f"JPEG before: {fit.earlier.share:.0%}, quality {fit.earlier.low:.0f} to {fit.earlier.high:.0f}")
    return lines


def _distance_lines(distances: dict[str, Distance]) -> list[str]:
    if not distances:
        return []
    said = ", ".join(f"{name} {d.auc.text()}" for name, d in distances.items())
    return [f"AUC of a classifier that tells the images from degraded photographs (0.5: it cannot): {said}"]


def _said(images: Sequence[ImageTraces], found: Matching) -> dict[str, str]:
    """Return the comments of what was measured directly."""
    seen = sum(t.jpeg > 0 for t in images)
    sampled = "Measured: sampling of the colours of the files." if seen else ""
    return {
        "steps": "Only what was found; all of it but the two resizes happens to lq itself.",
        "second.jpeg.probability": f"Measured: {seen} of {len(images)} images.",
        "second.jpeg.low": "Measured: uniform with the same lower and upper tenth as the files' qualities.",
        "second.jpeg.sampling": sampled,
        "first.jpeg.probability": f"Measured: share of images compressed twice, {found.fit.earlier.share:.2f}.",
        "first.noise.grey": f"Fitted: {found.fit.grey:.2f}.",
        "first.noise.gaussian": "Measured: the rest depends on brightness.",
        "sharpen_gt": "false: lq is measured as it is, so the photograph is degraded as it is.",
    }
