"""Measure photographs without ground truth, and keep the measurements for the next evaluation."""

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
_VERSION = 1  # of the file's lines; lines of another version are not used


@dataclass(frozen=True)
class Square:
    """A square of a result: its value, and its top and left in pixels."""

    value: float
    top: int
    left: int


@dataclass(frozen=True)
class PhotoRow(ImageScores):
    """A photograph: its `size` (height, width) and the measured `window` (top, left, height, width).

    `changed` is by model the square that differs most from the baseline's result, in levels of 255. `worst` is by model
    the square of the input with which the result agrees least, in dB, in pixels of `window`.
    """

    size: tuple[int, int] = (0, 0)
    window: tuple[int, int, int, int] = (0, 0, 0, 0)
    changed: dict[str, Square] = field(default_factory=dict[str, Square])
    worst: dict[str, Square] = field(default_factory=dict[str, Square])


def measure_photo(
    photo: ClientPhoto, compared_models: Sequence[ComparedModel], metrics: Sequence[Metric], *, baseline: str
) -> PhotoRow:
    """Measure one photograph restored by every model. Holds the baseline's result and one other at a time."""
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
    """Measurements in an append-only file, a line per photograph. Broken lines are ignored.

    A line is valid for the same pixels, models, baseline and metrics, whatever the photograph's name.
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

    def of(self, photo: ClientPhoto, measure: Callable[[ClientPhoto], PhotoRow]) -> PhotoRow:
        """Return the row of a photograph, measured and stored if it is new. Raises `UserError`."""
        key = hashlib.sha256(self._asked.encode() + photo.lq.numpy().tobytes() + repr(photo.lq.shape).encode())
        known = self._rows.get(key.hexdigest())
        if known is not None:
            return _row(known, photo)
        row = measure(photo)
        # the line break first, in case the last line is broken
        line = "\n" + json.dumps({"of": key.hexdigest(), "row": asdict(row)})
        try:
            with self._path.open("a", encoding="utf-8") as file:  # appended lines of several processes do not mix
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
        except (ValueError, TypeError, KeyError):  # broken because the process was killed
            continue
    return found


def _row(kept: dict[str, Any], photo: ClientPhoto) -> PhotoRow:
    changed, worst = ({m: Square(**s) for m, s in kept[name].items()} for name in ("changed", "worst"))
    return PhotoRow(
        photo.number, photo.key, photo.scene, kept["values"], size=photo.size, window=photo.window, changed=changed,
        worst=worst,
    )  # fmt: skip
