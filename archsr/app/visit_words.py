"""What the page says of a visit: how far it is and how long it takes, the results with their sizes, what went wrong."""

import time
from collections.abc import Mapping, Sequence
from html import escape
from itertools import product
from urllib.parse import quote

from archsr.app.security.upload_limits import words_of
from archsr.app.upscale.forecast import Speeds, seconds_left, shown_share, words_of_time
from archsr.app.upscale.job import Done, Now, ResultImage
from archsr.app.visits import Visit

CSS = """
.told .track { height: 8px; border-radius: 4px; overflow: hidden; background: var(--border-color-primary);
  margin: 8px 0 }
.told .track div { height: 100%; background: var(--color-accent); transition: width 1s linear }
.told .failed { border-left: 4px solid #dc2626; padding: 8px 12px; margin: 8px 0; border-radius: 4px;
  background: color-mix(in srgb, #dc2626 10%, transparent) }
.told ul { margin: 4px 0 0; padding-left: 20px }
.told p { margin: 4px 0; overflow-wrap: anywhere }
.results ul { list-style: none; margin: 0; padding: 0 }
.results li { display: flex; flex-wrap: wrap; gap: 2px 16px; justify-content: space-between; padding: 8px 0;
  border-bottom: 1px solid var(--border-color-primary) }
.results li a { overflow-wrap: anywhere; font-weight: 600 }
.results li span { font-size: 14px }
.results a.all { display: inline-block; margin: 4px 0 8px; padding: 8px 14px; border-radius: 6px; text-decoration: none;
  background: var(--button-primary-background-fill); color: var(--button-primary-text-color) }
"""


def told(visit: Visit, speeds: Speeds, *, clock: float | None = None) -> str:
    """Progress while it works; afterwards how many are ready; and always what failed. HTML."""
    ready = sum(len(one.results) for one in visit.done)
    parts = [_working(visit, speeds, time.monotonic() if clock is None else clock)] if visit.busy else []
    if ready or visit.cancelled:
        cancelled = "Cancelled. " if visit.cancelled else ""
        parts.append(f"<p>{cancelled}<strong>{f'{ready} ready' if ready else ''}</strong></p>")
    return f'<div class="told">{"".join(parts)}{failures(visit)}</div>'


def failures(visit: Visit) -> str:
    """A box with what was refused and why; empty where nothing was."""
    refused = [] if visit.failed else [one for one in visit.done if one.refused]
    lines = [f"<li><code>{escape(one.name)}</code>: {escape(one.refused)}</li>" for one in refused]
    head = escape(visit.failed) or (f"{len(refused)} could not be enlarged:" if refused else "")
    return f'<div class="failed" role="alert">{head}<ul>{"".join(lines)}</ul></div>' if head else ""


def refusals(done: Sequence[Done]) -> list[str]:
    """The same for programs, in Markdown."""
    return [f"- `{one.name.replace('`', chr(39))}`: {one.refused}" for one in done if one.refused]


def _working(visit: Visit, speeds: Speeds, clock: float) -> str:
    now = visit.now
    if now is None:
        return _bar(0, "Starting")
    about = f"{escape(now.name)} ({now.number + 1} of {visit.total}), {escape(now.model)}"
    share, left = outlook(visit, now, speeds, clock)
    if now.ahead:
        return _bar(share, f"{about}: {now.ahead} {'image' if now.ahead == 1 else 'images'} before this one")
    return _bar(share, about + (f": {words_of_time(left)} left" if left is not None else ""))


def _bar(share: float, words: str) -> str:
    percent = f"{100 * share:.1f}" if share < 0.1 else f"{100 * share:.0f}"
    return (
        f'<p>{words}</p><div class="track" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}" aria-label="Progress"><div style="width:{percent}%"></div></div><p>{percent} %</p>'
    )


def outlook(visit: Visit, now: Now, speeds: Speeds, clock: float) -> tuple[float, float | None]:
    """The share of the whole order that is done, and the seconds until its end; None where nothing is known of it."""
    pieces = list(product(range(visit.total), visit.models))
    seconds = forecasts(visit.pieces, speeds)
    place = pieces.index((now.number, now.model)) if (now.number, now.model) in pieces else 0
    share, left = _of_this(now, speeds, clock)
    if any(piece not in seconds for piece in pieces):
        return (place + share) / max(1, len(pieces)), left
    weights = [max(1e-6, seconds[p]) for p in pieces]
    done = sum(weights[:place]) + share * weights[place]
    rest = weights[place] if left is None else left
    return done / sum(weights), rest + sum(weights[place + 1 :])


def _of_this(now: Now, speeds: Speeds, clock: float) -> tuple[float, float | None]:
    """The same for the piece that is being done."""
    speed = speeds.known(now.model)
    if now.began is None or not now.pixels or speed is None:
        return now.share, None
    elapsed, expected = clock - now.began, now.pixels / speed
    left = seconds_left(now.share, elapsed=elapsed, told_at=now.told_at - now.began, expected=expected)
    return shown_share(now.share, now.tiles, elapsed=elapsed, expected=expected), left


def forecasts(pieces: Mapping[tuple[int, str], int], speeds: Speeds) -> dict[tuple[int, str], float]:
    """Seconds of each piece of work, of which the pixels to compute are given, whose model was measured."""
    known = {model: speeds.known(model) for _, model in pieces}
    return {p: pixels / speed for p, pixels in pieces.items() if (speed := known[p[1]])}


def results(visit: Visit) -> str:
    """A row for each result: its name, which downloads it, and its size before and after. HTML."""
    rows = [_row(one, image) for one in visit.done for image in one.results.values()]
    if not rows:
        return ""
    together = f'<a class="all" href="zip/{visit.token}" download>All {len(rows)} as one zip</a>'
    return f'<div class="results">{together if len(rows) > 1 else ""}<ul>{"".join(rows)}</ul></div>'


def _row(one: Done, image: ResultImage) -> str:
    name = escape(image.path.name)
    link = f'<a href="gradio_api/file={escape(quote(str(image.path)))}" download="{name}">{name}</a>'
    before = f"{_size(one.photo)} → " if one.photo else ""
    return f"<li>{link}<span>{before}{_size(image)}</span></li>"


def _size(image: ResultImage) -> str:
    width, height = image.size
    return f"{width} × {height}, {words_of(image.bytes)}"


def total_of(photos: Sequence[tuple[int, int]], seconds: float, where: str) -> str:
    """The forecast, of photographs of these heights and widths."""
    megapixels = sum(h * w for h, w in photos) / 1e6
    count = f"{len(photos)} photograph{'s' if len(photos) > 1 else ''}, {megapixels:.3g} megapixels"
    return f"{count}: <strong>{words_of_time(seconds)}</strong> on this machine's {where}"
