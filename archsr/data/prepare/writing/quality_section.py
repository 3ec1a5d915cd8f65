"""The section of the report on the quality of the photographs as targets, and its summary for the terminal."""

import html
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from archsr.config import QualityConfig
from archsr.config.config_file import check
from archsr.data import manifest as mf
from archsr.data.prepare.survey.limits import LIMITS, Limit
from archsr.data.prepare.survey.scan import ScannedFile
from archsr.data.prepare.writing import pieces
from archsr.data.prepare.writing.pieces import Read
from archsr.metrics.quality import Quality

_EXAMPLES = 3  # photographs on each side of a limit
_KINDS = frozenset(limit.kind for limit in LIMITS)


def limits_of(made: mf.Manifest) -> QualityConfig:
    """Return the limits that a dataset was prepared with: none for one from before there were any."""
    return check(QualityConfig, made.prepare.get("quality", {}), where=mf.NAME)


def quality_section(sources: Sequence[ScannedFile], made: mf.Manifest, read: Read) -> str:
    """Return a histogram of each value with its limit, and the photographs nearest to the limit on both sides."""
    config = limits_of(made)
    measured = [(s, s.quality) for s in sources if s.quality and (not s.kind or s.kind in _KINDS)]
    text = (
        "<p>What limits these photographs as targets: a result is never sharper. A red line is a limit, a key of "
        "<code>[quality]</code> in the configuration of the preparation (configs/prepare.toml).</p>"
    )
    if not measured:
        return ""
    chroma = Counter(quality.chroma or "no JPEG or another sampling" for _, quality in measured)
    told = ", ".join(f"{name}: {count}" for name, count in sorted(chroma.items()))
    text += f"<p>Chroma sampling: {html.escape(told)}. Downsampled: {sum(bool(s.reduced) for s, _ in measured)}.</p>"
    return pieces.section("Quality", text + "".join(_value(limit, measured, config, read) for limit in LIMITS))


def _value(limit: Limit, measured: Sequence[tuple[ScannedFile, Quality]], config: QualityConfig, read: Read) -> str:
    sign = 1 if limit.lowest else -1
    found = sorted(((sign * _of(limit, q), s.path, s) for s, q in measured), key=lambda one: one[:2])
    inside = [(v, s) for v, _, s in found if not limit.is_broken(sign * v, config)]
    beyond = [(v, s) for v, _, s in found if limit.is_broken(sign * v, config)]
    if limit.value == "jpeg":
        inside = [(v, s) for v, s in inside if v]
    drawn = pieces.bars(limit.title, [sign * v for v, _, _ in found], limit.edges, limit=limit.of(config))
    said = f"{limit.key} = {limit.of(config):g}" if limit.of(config) else f"no limit ({limit.key})"
    shown = [("within the limit", inside[:_EXAMPLES]), ("beyond it", beyond[-_EXAMPLES:])]
    figures = [
        pieces.figure(s, f"{limit.words.format(sign * v)}: {side}", read) for side, some in shown for v, s in some
    ]
    return f"{drawn}<p><code>{said}</code></p>{pieces.row(figures)}"


def _of(limit: Limit, quality: Quality) -> float:
    return float(getattr(quality, limit.value))


def quality_table(kept: Sequence[Mapping[str, Any]], config: QualityConfig) -> Iterator[str]:
    """Yield a table of the values of `kept` photographs, lines of sources.jsonl; nothing if none was measured."""
    measured = [plain["quality"] for plain in kept if plain.get("quality")]
    if not measured:
        return
    yield f"quality of {len(measured)} photographs"
    yield f"  {'':12}{'worst':>8}{'worst 5%':>10}{'median':>8}{'limit':>8}"
    for limit in LIMITS:
        values = np.array([float(plain[limit.value]) for plain in measured])
        values = values[values > 0] if limit.value == "jpeg" else values
        if not len(values):
            continue
        worst, bad = (0.0, 0.05) if limit.lowest else (1.0, 0.95)
        row = "".join(f"{np.quantile(values, q):>{w}.2f}" for q, w in ((worst, 8), (bad, 10), (0.5, 8)))
        yield f"  {limit.value:12}{row}{limit.of(config) or 'none':>8}"
