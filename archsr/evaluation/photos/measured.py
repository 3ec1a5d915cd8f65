"""Photographs measured without ground truth: one restored by every model, and what was measured before, kept."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from archsr.errors import UserError
from archsr.evaluation.compared_models import ComparedModel
from archsr.evaluation.metrics import Metric
from archsr.evaluation.people import identity_of
from archsr.evaluation.photos.agreement import downsampled, worst_square
from archsr.evaluation.photos.photos import ClientPhoto
from archsr.evaluation.report.figures import most_changed
from archsr.evaluation.suite import ImageScores, quantised
from archsr.images.pixels import to_float

NAME = "measured.jsonl"
_VERSION = 1  # of the lines: another one is measured again


@dataclass(frozen=True)
class Square:
    """A square of a result: how much is found in it, and its top and left in pixels."""

    value: float
    top: int
    left: int


@dataclass(frozen=True)
class PhotoRow(ImageScores):
    """A photograph: its `size`, height and width, and the `window` of it that was measured: top, left, height, width.

    `changed`: by model, the square of its result that differs most from the baseline's, in levels of 255. `worst`: by
    model, the square of the input with which the result agrees least, in dB, in pixels of `window`.
    """

    size: tuple[int, int] = (0, 0)
    window: tuple[int, int, int, int] = (0, 0, 0, 0)
    changed: dict[str, Square] = field(default_factory=dict[str, Square])
    worst: dict[str, Square] = field(default_factory=dict[str, Square])


def measure_photo(
    photo: ClientPhoto, compared_models: Sequence[ComparedModel], metrics: Sequence[Metric], *, baseline: str
) -> PhotoRow:
    """One photograph restored by every model. Besides the baseline's, one result is held at a time."""
    lq = to_float(photo.lq)[None]
    first = next(c for c in compared_models if c.name == baseline)
    start = quantised(first.restore(lq)).cpu()
    values: dict[str, dict[str, float]] = {}
    changed: dict[str, Square] = {}
    worst: dict[str, Square] = {}
    for each in compared_models:
        sr = start if each is first else quantised(each.restore(lq)).cpu()
        values[each.name] = {m.name: m.of(sr, sr, lq) for m in metrics}
        worst[each.name] = Square(*worst_square(downsampled(sr, lq), lq))
        if each is not first:
            value, top, left = most_changed(sr, start)
            changed[each.name] = Square(value * 255, top, left)
    return PhotoRow(
        photo.number, photo.key, photo.scene, values, size=photo.size, window=photo.window, changed=changed, worst=worst
    )


class MeasurementCache:
    """What was measured before, a line a photograph, in a file that is only added to; a broken line is left out.

    A line counts for the same pixels, models, baseline and metrics, under whatever name the photograph has now.
    """

    def __init__(
        self,
        path: Path,
        compared_models: Sequence[ComparedModel],
        metrics: Sequence[Metric],
        *,
        border: int,
        baseline: str,
    ) -> None:
        models = [[c.name, identity_of(c.weights) if c.weights else [c.between, c.share]] for c in compared_models]
        self._asked = json.dumps([_VERSION, models, [m.name for m in metrics], border, baseline])
        self._path = path
        self._rows = _read(path)

    def of(self, photo: ClientPhoto, metric: Callable[[ClientPhoto], PhotoRow]) -> PhotoRow:
        """The row of a photograph: as it is kept, else measured and kept. Raises `UserError`."""
        key = hashlib.sha256(self._asked.encode() + photo.lq.numpy().tobytes() + repr(photo.lq.shape).encode())
        known = self._rows.get(key.hexdigest())
        if known is not None:
            return _row(known, photo)
        row = metric(photo)
        line = "\n" + json.dumps({"of": key.hexdigest(), "row": asdict(row)})  # a broken one before it stays alone
        try:
            with self._path.open("a", encoding="utf-8") as file:  # lines of several processes stay whole
                file.write(line)
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {error.strerror or error}") from None
        return row


def _read(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return found
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            one = json.loads(line)
            found[one["of"]] = one["row"]
        except (ValueError, TypeError, KeyError):  # the process was killed while it wrote
            continue
    return found


def _row(kept: dict[str, Any], photo: ClientPhoto) -> PhotoRow:
    changed, worst = ({m: Square(**s) for m, s in kept[name].items()} for name in ("changed", "worst"))
    return PhotoRow(
        photo.number, photo.key, photo.scene, kept["values"], size=photo.size, window=photo.window, changed=changed,
        worst=worst,
    )  # fmt: skip
