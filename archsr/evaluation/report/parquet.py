"""Write the scores as Parquet files, by the schema in configs/README.md."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from archsr.evaluation.statistics.verdicts import findings
from archsr.evaluation.suite import Scores
from archsr.evaluation.summary import titles_of
from archsr.utils.atomic import replacing

_TEXT, _REAL, _WHOLE = pa.string(), pa.float64(), pa.int64()
_IMAGES: dict[str, Any] = {
    "image": _TEXT, "scene": _TEXT, "tags": pa.list_(_TEXT), "strength": _REAL, "difficulty": _REAL, "model": _TEXT,
    "title": _TEXT,
}  # fmt: skip
_VERDICTS: dict[str, Any] = {
    "model": _TEXT, "baseline": _TEXT, "metric": _TEXT, "title": _TEXT, "primary": pa.bool_(),
    "higher_is_better": pa.bool_(), "verdict": _TEXT, "mean": _REAL, "low": _REAL, "high": _REAL,
    "standardised": pa.struct({"mean": _REAL, "low": _REAL, "high": _REAL}), "wins": _REAL, "ties": _WHOLE,
    "images": _WHOLE, "scenes": _WHOLE, "error": _REAL, "sign_p": _REAL, "permutation_p": _REAL, "level": _REAL,
    "smallest": _REAL, "without_one_scene": pa.struct({"low": _REAL, "high": _REAL}),
    "heaviest_scene": pa.struct({"scene": _TEXT, "share": _REAL}), "warnings": pa.list_(_TEXT),
}  # fmt: skip


def write_images(path: Path, scores: Scores) -> None:
    """Write a row per image and model, a column per metric, NaN if missing; the model `gt` is the photograph."""
    titles = titles_of(scores)
    rows: list[dict[str, Any]] = [
        {"image": row.key, "scene": row.scene, "tags": list(row.tags), "strength": row.strength,
         "difficulty": row.difficulty, "model": name, "title": titles[name], **values}
        for row in scores.rows for name, values in row.values.items()
    ]  # fmt: skip
    _write(path, rows, _IMAGES | {m.name: _REAL for m in scores.metrics})


def write_verdicts(path: Path, scores: Scores) -> None:
    """Write a row per compared model and metric that could be computed."""
    metrics = {m.name: m for m in scores.metrics}
    rows: list[dict[str, Any]] = [
        {"model": model, "baseline": scores.baseline, "metric": name, "title": metrics[name].title,
         "primary": name == scores.primary, "higher_is_better": metrics[name].higher_is_better, **found.plain()}
        for model in scores.challengers for name, found in findings(scores, model, scores.baseline).items()
    ]  # fmt: skip
    _write(path, rows, _VERDICTS)


def _write(path: Path, rows: list[dict[str, Any]], columns: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(columns)), temporary)
