"""Per-picture figures as a Parquet file: one row for each picture and model, one column for each measure."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from archsr.atomic import replacing
from archsr.evaluate.suite import Scores
from archsr.evaluate.words import GROUND_TRUTH


def write_table(path: Path, scores: Scores) -> None:
    """Columns: picture, scene, tags, strength (levels), difficulty (dB), model, title, and the measures.

    NaN where a figure was not taken.
    """
    titles = {**dict(scores.contenders), "gt": GROUND_TRUTH}
    rows: list[dict[str, Any]] = [
        {"picture": row.key, "scene": row.scene, "tags": list(row.tags), "strength": row.strength,
         "difficulty": row.difficulty, "model": name, "title": titles[name], **values}
        for row in scores.rows for name, values in row.values.items()
    ]  # fmt: skip
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
