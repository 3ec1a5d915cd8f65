"""Crops of photographs without ground truth: where models differ most, and where one agrees least with its input."""

from collections.abc import Sequence

import torch.nn.functional as F

from archsr.evaluation.compared_models import ComparedModel
from archsr.evaluation.photos.measured import PhotoRow
from archsr.evaluation.photos.photos import ClientPhotos
from archsr.evaluation.report.figures import SIDE, FigureCrop
from archsr.evaluation.report.words import about
from archsr.evaluation.suite import Scores, quantised
from archsr.evaluation.summary import figure
from archsr.images.pixels import tensor_to_pixels, to_float

_MOST = 4  # photographs shown because the models differ
_Wanted = tuple[str, int, int]  # reason, and top and left of the square in the result


def photo_crops(
    rows: Sequence[PhotoRow],
    photos: ClientPhotos,
    compared_models: Sequence[ComparedModel],
    scores: Scores,
    *,
    new: str,
) -> list[FigureCrop]:
    """Restore the chosen photographs again, the most different first. Return nothing if there is only one model."""
    if new == scores.baseline:
        return []
    chosen = _chosen(rows, new, scale=photos.scale)
    found: dict[tuple[int, _Wanted], FigureCrop] = {}
    of = {row.number: row for row in rows}
    for photo in photos.read(sorted({number for number, _ in chosen})):
        lq = to_float(photo.lq)[None]
        made = {c.name: tensor_to_pixels(quantised(c.restore(lq))) for c in compared_models}
        whole = tensor_to_pixels(F.interpolate(lq, scale_factor=photos.scale, mode="nearest"))
        height, width = whole.shape[:2]
        captions = {name: _caption(of[photo.number], name) for name in ("input", *made)}
        for why, top, left in [one for number, one in chosen if number == photo.number]:
            place = (max(0, min(at, side - SIDE)) for at, side in ((top, height), (left, width)))
            found[photo.number, (why, top, left)] = FigureCrop(
                why, photo.key, whole, *place, images={"input": whole, **made}, captions=captions
            )
    return [found[one] for one in chosen]


def _chosen(rows: Sequence[PhotoRow], new: str, *, scale: int) -> list[tuple[int, _Wanted]]:
    """Return number and square of each photograph to show, starting with the most different one of each scene."""
    by_change = sorted(rows, key=lambda row: -row.changed[new].value)
    first = list({row.scene: row for row in reversed(by_change)}.values())
    order = sorted(by_change, key=lambda row: row not in first)  # each part stays in its order
    chosen: list[tuple[int, _Wanted]] = []
    for row in order[:_MOST]:
        square = row.changed[new]
        chosen.append((row.number, (f"differ by {square.value:.1f} levels", square.top, square.left)))
    least = min(rows, key=lambda row: row.worst[new].value)
    square = least.worst[new]
    why = f"least like its input, {square.value:.1f} dB"
    return [*chosen, (least.number, (why, square.top * scale, square.left * scale))]


def selection_note(new: str, old: str) -> str:
    """Explain the rule that chose the crops."""
    return (
        f"Chosen by rule: the squares of {SIDE} pixels in which {new} and {old} differ most, of each scene one, and "
        f"the square in which {new} is least like its input."
    )


def _caption(row: PhotoRow, name: str) -> str:
    values = row.values.get(name, {})
    shown = [("agreement", "", " dB"), ("niqe", "NIQE ", "")]
    return ", ".join(f"{a}{figure(values[n], about(n).digits)}{b}" for n, a, b in shown if n in values)
