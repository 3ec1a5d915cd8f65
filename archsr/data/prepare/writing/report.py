"""`report.html`: one self-contained page about a prepared dataset."""

import html
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from archsr.config.config_file import check
from archsr.config.prepare import ScenesConfig
from archsr.data import manifest as mf
from archsr.data.prepare.decide import Decision, Match
from archsr.data.prepare.duplicates.neighbours import BUILDING, camera_name_warning
from archsr.data.prepare.survey.scan import ScannedFile
from archsr.data.prepare.writing import pieces
from archsr.data.prepare.writing.pieces import Read
from archsr.data.prepare.writing.quality_section import quality_section

_SHOWN = 24  # images of one kind at most
_CROPS = 12
_NAMED = 200  # scenes at most
_SIDES = {"test": "for testing (test)", "val": "for choosing the best weights (val)", "train": "for training (train)"}
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.6rem}h2{margin-top:2.4rem;border-bottom:1px solid #ddd;padding-bottom:.2rem;font-size:1.2rem}
table{border-collapse:collapse}td,th{padding:.2rem .9rem .2rem 0;text-align:right}th:first-child,td:first-child
{text-align:left}.row{display:flex;flex-wrap:wrap;gap:12px}figure{margin:0;width:176px;font-size:12px;line-height:1.3;
overflow-wrap:anywhere}figure img{max-width:176px;max-height:176px;background:#eee}figure.wide{width:364px}
figure.wide img{margin-right:6px}.leak{color:#b00020;font-weight:600}.none{color:#777}
.bars{display:inline-block;margin-right:2rem}
"""


def write_report(path: Path, folder: Path, made: mf.Manifest, decision: Decision, read: Read) -> None:
    """Write the page for the dataset in `folder`; `read` returns a source file's bytes for its thumbnail."""
    parts = [
        f"<h1>Dataset from {html.escape(made.sources.origin)}</h1>",
        _summary(made),
        _camera_names(decision, made),
        _sides(decision),
        _same(decision.same, read),
        _buildings(decision.buildings, read),
        _left_out(decision.sources, read),
        _drawings(decision.sources, made, read),
        quality_section(decision.sources, made, read),
        _distributions([s for s in decision.sources if not s.kind]),
        _tags(decision),
        _crops(folder, made),
    ]
    body = "\n".join(parts)
    page = f"<title>archsr prepare</title><style>{_STYLE}</style>{body}"
    path.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8">{page}</html>\n', encoding="utf-8")


def _summary(made: mf.Manifest) -> str:
    rows = [
        [name, s.scenes, s.photos, s.samples, len(s.shards), f"{sum(t.bytes for t in s.shards) / 1e6:.1f}"]
        for name, s in made.splits.items()
    ]
    found = made.sources
    return (
        f"<p>{found.found} files found, {found.kept} photographs kept, {len(made.left_out)} left out. "
        f"Fingerprint <code>{made.fingerprint[:16]}</code>.</p>"
        + pieces.table(["split", "scenes", "photographs", "samples", "shards", "MB"], rows)
    )


def _sides(decision: Decision) -> str:
    """List the scenes of each split, those with several names under the first of them."""
    counts = Counter(decision.scenes.of.values())
    parts: list[str] = []
    for side in ("test", "val", "train"):
        names = [name for name in sorted(counts) if decision.sides[name] == side]
        shown = ", ".join(f"{pieces.escaped(name.removeprefix('title:'))} ({counts[name]})" for name in names[:_NAMED])
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        parts.append(f"<p><b>{_SIDES[side]}</b>: {shown}{more}</p>")
    told = (
        "<p>A scene is a sub-folder, or photographs of one title; scenes that show the same are one, under the first "
        "of their names. In brackets: photographs.</p>"
    )
    return pieces.section("Which scenes are for what", told + "".join(parts))


def _same(same: Sequence[Match], read: Read) -> str:
    across = [s for s in same if s.folders[0] != s.folders[1]]
    leaks = sum(s.leak for s in same)
    first = sorted(same, key=lambda s: (not s.leak, s.folders[0] == s.folders[1], -s.score, s.a, s.b))
    shown = first[:_SHOWN]
    some = f" Shown are {len(shown)} of them." if len(shown) < len(same) else ""
    text = (
        f"<p>{len(same)} pairs of files show the same photograph; {len(across)} of them lie in different folders. A "
        f"split by folder alone would have put {leaks} on two sides, one in training and one in its test. Here the two "
        "of a pair are always in one scene, and so on one side. Files that are equal to the last byte are left out but "
        f"for one; others (resized, toned, cropped) are kept.{some}</p>"
    )
    return pieces.section("Near-duplicates", text + pieces.row(_pair(s, read) for s in shown))


def _camera_names(decision: Decision, made: mf.Manifest) -> str:
    sides = {path: decision.side(path) for path in decision.scenes.of}
    taken = {s.path: s.taken for s in decision.sources}
    said = camera_name_warning(sides, taken, check(ScenesConfig, made.prepare["scenes"], where=mf.NAME))
    return f'<p class="leak" style="white-space:pre-wrap">{html.escape(said)}</p>' if said else ""


def _buildings(found: Sequence[Match], read: Read) -> str:
    shown = sorted(found, key=lambda s: (not s.leak, s.score, s.a, s.b))[:_SHOWN]
    some = f" Shown are {len(shown)} of them, the least certain first." if len(shown) < len(found) else ""
    text = (
        f"<p>{len(found)} pairs of photographs that follow each other in a folder show one building from nearby "
        f"places: as many of their features agree as is written below. The two of a pair are in one scene.{some}</p>"
    )
    return pieces.section("The same building", text + pieces.row(_pair(s, read) for s in shown)) if found else ""


def _pair(same: Match, read: Read) -> str:
    mark = "; by folder it would be on two sides: joined" if same.leak else ""
    score = f"{same.score:.0f} features" if same.how == BUILDING else f"score {same.score:.2f}"
    words = f"{pieces.escaped(same.a)} = {pieces.escaped(same.b)}<br>{same.how}, {score}{mark}"
    return f'<figure class="wide">{pieces.thumb(same.a, read)}{pieces.thumb(same.b, read)}<br>{words}</figure>'


def _left_out(sources: Sequence[ScannedFile], read: Read) -> str:
    kinds: defaultdict[str, list[ScannedFile]] = defaultdict(list)
    for source in sorted((s for s in sources if s.kind), key=lambda s: s.path):
        kinds[source.kind].append(source)
    parts: list[str] = []
    for kind, found in sorted(kinds.items()):
        more = f", the first {_SHOWN} of them" if len(found) > _SHOWN else ""
        parts.append(
            f"<h3>{kind}: {len(found)}{more}</h3>"
            + pieces.row(pieces.figure(s, s.reason, read) for s in found[:_SHOWN])
        )
    return pieces.section("Left out", "".join(parts) or '<p class="none">nothing</p>')


def _drawings(sources: Sequence[ScannedFile], made: mf.Manifest, read: Read) -> str:
    threshold = float(made.prepare["drawing_threshold"])
    kept = sorted((s for s in sources if not s.kind), key=lambda s: (-s.drawing, s.path))[:8]
    out = sorted((s for s in sources if s.kind == "drawing"), key=lambda s: (s.drawing, s.path))[:8]
    text = (
        f"<p>The classifier leaves out what scores {threshold:g} and more. A wrong one is put right by name: "
        "<code>allow</code> and <code>deny</code> in the configuration of the preparation (configs/prepare.toml).</p>"
    )
    for title, some in (("Kept, with the highest scores", kept), ("Left out, with the lowest scores", out)):
        text += f"<h3>{title}</h3>" + pieces.row(pieces.figure(s, f"score {s.drawing:.2f}", read) for s in some)
    return pieces.section("Drawings", text)


def _distributions(kept: Sequence[ScannedFile]) -> str:
    sizes = pieces.bars("Megapixels", [s.width * s.height / 1e6 for s in kept], [0, 0.25, 0.5, 1, 2, 4, 8, 16, 32])
    sharp = pieces.bars("Sharpness (mean |Laplacian|)", [s.sharpness for s in kept], [0, 2, 4, 8, 12, 16, 24, 32, 48])
    return pieces.section("Sizes and sharpness", sizes + sharp)


def _tags(decision: Decision) -> str:
    if not any(decision.tags.values()):
        return ""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path, tags in decision.tags.items():
        for tag in tags or ("(none)",):
            counts[tag][decision.side(path)] += 1
    rows = [[tag, *(counts[tag][side] for side in mf.SPLITS)] for tag in sorted(counts)]
    empty = [str(row[0]) for row in rows if not row[3] and row[0] != "(none)"]
    text = pieces.table(["tag", *mf.SPLITS], rows)
    if empty:
        text += f'<p class="leak">no test photographs: {html.escape(", ".join(empty))}</p>'
    return pieces.section("Tags, photographs per split", text)


def _crops(folder: Path, made: mf.Manifest) -> str:
    figures: list[str] = []
    for side, members in (("train", ("gt",)), ("val", ("lq", "gt")), ("test", ("lq", "gt"))):
        for shard in made.splits[side].shards[:1]:
            with (folder / shard.file).open("rb") as tar:
                for sample in mf.read_index(folder, shard)[:_CROPS]:
                    images: list[str] = []
                    for name in members:
                        tar.seek(sample.members[name].offset)
                        images.append(pieces.image(tar.read(sample.members[name].size)))
                    wide = ' class="wide"' if len(members) > 1 else ""
                    figures.append(f"<figure{wide}>{''.join(images)}<br>{side}: {sample.key}</figure>")
    return pieces.section("Sample crops", pieces.row(figures))
