"""Pieces of HTML for the report: tables, histograms, figures with thumbnails."""

import base64
import html
import io
import json
from collections.abc import Callable, Iterable, Sequence

from PIL import Image

from archsr.data.prepare.survey.scan import ScannedFile
from archsr.images.pixels import BadImageError, read_photo

Read = Callable[[str], bytes]

THUMB = 176  # pixels


def bars(title: str, values: Sequence[float], edges: Sequence[float], *, limit: float = 0.0) -> str:
    """Draw a histogram as inline SVG; the last bar holds everything beyond the last edge. A `limit` is a red line."""
    counts = [sum(low <= v < high for v in values) for low, high in zip(edges, [*edges[1:], float("inf")], strict=True)]
    most, drawn = max([*counts, 1]), list[str]()
    for i, (low, count) in enumerate(zip(edges, counts, strict=True)):
        height = 100 * count / most
        drawn.append(
            f'<rect x="{i * 52}" y="{120 - height:.1f}" width="46" height="{height:.1f}" fill="#5b7fa6"/>'
            f'<text x="{i * 52 + 23}" y="{114 - height:.1f}" font-size="11" text-anchor="middle">{count}</text>'
            f'<text x="{i * 52}" y="136" font-size="11">{low:g}+</text>'
        )
    if limit:
        drawn.append(_line(limit, edges))
    svg = f'<svg width="{52 * len(edges)}" height="142" role="img" aria-label="{title}">{"".join(drawn)}</svg>'
    return f'<div class="bars"><h3>{title}</h3>{svg}</div>'


def _line(limit: float, edges: Sequence[float]) -> str:
    """Draw a limit where it lies between the edges."""
    last = max(i for i, edge in enumerate(edges) if edge <= limit)
    part = (limit - edges[last]) / (edges[last + 1] - edges[last]) if last + 1 < len(edges) else 0.5
    x = 52 * (last + min(part, 1)) - 3 * (part == 0)
    return f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="124" stroke="#b00020" stroke-width="2"/>'


def section(title: str, content: str) -> str:
    """Return a heading and its content."""
    return f"<h2>{title}</h2>{content}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; its cells are escaped."""
    lines = ["".join(f"<th>{html.escape(h)}</th>" for h in head)]
    lines += ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def row(figures: Iterable[str]) -> str:
    """Return figures side by side, or the word none."""
    joined = "".join(figures)
    return f'<div class="row">{joined}</div>' if joined else '<p class="none">none</p>'


def figure(source: ScannedFile, words: str, read: Read) -> str:
    """Return a photograph with its path and words below."""
    return f"<figure>{thumb(source.path, read)}<br>{escaped(source.path)}<br>{html.escape(words)}</figure>"


def escaped(path: str) -> str:
    """Return a path as it may stand in HTML, with invisible characters as JSON writes them."""
    return html.escape(json.dumps(path, ensure_ascii=False)[1:-1].encode("utf-8", "replace").decode())


def thumb(path: str, read: Read) -> str:
    """Return the thumbnail of a source file, nothing if it cannot be read."""
    try:
        return image(read(path))
    except OSError:
        return ""


def image(content: bytes) -> str:
    """Return an image file as an embedded thumbnail, nothing if it cannot be decoded."""
    try:
        small = Image.fromarray(read_photo(content).pixels)
    except BadImageError:
        return ""
    small.thumbnail((THUMB, THUMB), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
