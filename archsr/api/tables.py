"""Tables for notebooks: pandas if it is installed, else lists of dictionaries; and both as HTML."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

Table = Any  # a pandas.DataFrame, or list[dict[str, Any]] where there is no pandas


def table_of(rows: Sequence[dict[str, Any]], *, index: str = "") -> Table:
    """Return the rows as a DataFrame with the column `index` as its index, or unchanged without pandas."""
    try:
        import pandas as pd
    except ImportError:
        return list(rows)
    frame = pd.DataFrame(list(rows))
    return frame.set_index(index) if index and len(frame) else frame


def as_html(table: Table) -> str:
    """Return an HTML table."""
    if hasattr(table, "to_html"):
        return table.to_html(float_format="{:.4g}".format, na_rep="–", border=0)
    heads = list(dict.fromkeys(key for row in table for key in row))
    lines = ["".join(f"<th>{escape(str(head))}</th>" for head in heads)]
    lines += ["".join(f"<td>{escape(_cell(row.get(head)))}</td>" for head in heads) for row in table]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def image_html(path: Path) -> str:
    """Return a PNG embedded in HTML, or an empty string if it does not exist."""
    if not path.is_file():
        return ""
    return f'<img style="max-width: 100%" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'
