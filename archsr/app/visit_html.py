"""HTML about a visit: progress and time left, results with their sizes, and errors."""

import time
from collections.abc import Mapping, Sequence
from html import escape
from itertools import product
from urllib.parse import quote

from archsr.app.context import queue_text
from archsr.app.security.upload_limits import format_bytes
from archsr.app.upscale.forecast import Speeds, displayed_share, format_duration, seconds_left
from archsr.app.upscale.job import JobProgress, PhotoResult, ResultImage
from archsr.app.visits import Visit

CSS = """
.status .track { height: 8px; border-radius: 4px; overflow: hidden; background: var(--border-color-primary);
  margin: 8px 0 }
.status .track div { height: 100%; background: var(--color-accent); transition: width 1s linear }
.status .failed { border-left: 4px solid #dc2626; padding: 8px 12px; margin: 8px 0; border-radius: 4px;
  background: color-mix(in srgb, #dc2626 10%, transparent) }
.status ul { margin: 4px 0 0; padding-left: 20px }
.status p { margin: 4px 0; overflow-wrap: anywhere }
.results ul { list-style: none; margin: 0; padding: 0 }
.results li { display: flex; flex-wrap: wrap; gap: 2px 16px; justify-content: space-between; padding: 8px 0;
  border-bottom: 1px solid var(--border-color-primary) }
.results li a { overflow-wrap: anywhere; font-weight: 600 }
.results li span { font-size: 14px }
.results a.all { display: inline-block; margin: 4px 0 8px; padding: 8px 14px; border-radius: 6px; text-decoration: none;
  background: var(--button-primary-background-fill); color: var(--button-primary-text-color) }
"""


def status_html(visit: Visit, speeds: Speeds, *, clock: float | None = None) -> str:
    """Return progress while an order runs, afterwards how many results there are, and always the errors."""
    ready = sum(len(one.results) for one in visit.done)
    parts = [_progress_html(visit, speeds, time.monotonic() if clock is None else clock)] if visit.busy else []
    if ready or visit.cancelled:
        cancelled = "Cancelled. " if visit.cancelled else ""
        parts.append(f"<p>{cancelled}<strong>{f'{ready} ready' if ready else ''}</strong></p>")
    return f'<div class="status">{"".join(parts)}{_errors_html(visit)}</div>'


def _errors_html(visit: Visit) -> str:
    failed = [] if visit.error else [one for one in visit.done if one.error]
    lines = [f"<li><code>{escape(one.name)}</code>: {escape(one.error)}</li>" for one in failed]
    head = escape(visit.error) or (f"{len(failed)} could not be enlarged:" if failed else "")
    return f'<div class="failed" role="alert">{head}<ul>{"".join(lines)}</ul></div>' if head else ""


def error_lines(done: Sequence[PhotoResult]) -> list[str]:
    """Return the errors as lines of Markdown, for programs."""
    return [f"- `{one.name.replace('`', chr(39))}`: {one.error}" for one in done if one.error]


def _progress_html(visit: Visit, speeds: Speeds, clock: float) -> str:
    current = visit.current
    if current is None:
        return _bar(0, "Starting")
    text = f"{escape(current.name)} ({current.number + 1} of {visit.total}), {escape(current.model)}"
    share, left = estimate_progress(visit, current, speeds, clock)
    if current.ahead:
        return _bar(share, text + queue_text(current.ahead))
    return _bar(share, text + (f": {format_duration(left)} left" if left is not None else ""))


def _bar(share: float, text: str) -> str:
    percent = f"{100 * share:.1f}" if share < 0.1 else f"{100 * share:.0f}"
    return (
        f'<p>{text}</p><div class="track" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}" aria-label="Progress"><div style="width:{percent}%"></div></div><p>{percent} %</p>'
    )


def estimate_progress(visit: Visit, current: JobProgress, speeds: Speeds, clock: float) -> tuple[float, float | None]:
    """Return the share of the order that is done and the seconds left, which are None as long as they are unknown."""
    jobs = list(product(range(visit.total), visit.models))
    seconds = expected_seconds(visit.pixels, speeds)
    place = jobs.index((current.number, current.model)) if (current.number, current.model) in jobs else 0
    share, left = _estimate_job(current, speeds, clock)
    if any(job not in seconds for job in jobs):
        return (place + share) / max(1, len(jobs)), left
    weights = [max(1e-6, seconds[job]) for job in jobs]
    done = sum(weights[:place]) + share * weights[place]
    rest = weights[place] if left is None else left
    return done / sum(weights), rest + sum(weights[place + 1 :])


def _estimate_job(current: JobProgress, speeds: Speeds, clock: float) -> tuple[float, float | None]:
    speed = speeds.get(current.model)
    if current.started is None or not current.pixels or speed is None:
        return current.share, None
    elapsed, expected = clock - current.started, current.pixels / speed
    left = seconds_left(
        current.share, elapsed=elapsed, reported_at=current.reported - current.started, expected=expected
    )
    return displayed_share(current.share, current.tiles, elapsed=elapsed, expected=expected), left


def expected_seconds(pixels: Mapping[tuple[int, str], int], speeds: Speeds) -> dict[tuple[int, str], float]:
    """Return the seconds for each job, by number and model, whose model was measured, from its pixels to compute."""
    known = {model: speeds.get(model) for _, model in pixels}
    return {job: count / speed for job, count in pixels.items() if (speed := known[job[1]])}


def results_html(visit: Visit) -> str:
    """Return a row for each result: its name, which is a download link, and its size before and after."""
    rows = [_row(one, image) for one in visit.done for image in one.results.values()]
    if not rows:
        return ""
    archive = f'<a class="all" href="zip/{visit.token}" download>All {len(rows)} as one zip</a>'
    label = "<p>Their XMP says that a network enlarged them, and which one.</p>"
    return f'<div class="results">{archive if len(rows) > 1 else ""}<ul>{"".join(rows)}</ul>{label}</div>'


def _row(one: PhotoResult, image: ResultImage) -> str:
    name = escape(image.path.name)
    link = f'<a href="gradio_api/file={escape(quote(str(image.path)))}" download="{name}">{name}</a>'
    before = f"{_size(one.photo)} → " if one.photo else ""
    lost = f"; {escape(image.lost)}" if image.lost else ""
    return f"<li>{link}<span>{before}{_size(image)}{lost}</span></li>"


def _size(image: ResultImage) -> str:
    width, height = image.size
    return f"{width} × {height}, {format_bytes(image.bytes)}"
