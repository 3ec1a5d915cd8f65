"""`archsr bench`: time each stage alone, next to the hardware's limits and to other implementations."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from archsr.bench import report, stages
from archsr.bench.limits import limits
from archsr.bench.peer import against
from archsr.bench.timing import Clock, Timing

STAGES = ("decode", "stream", "degrade", "train", "upscale")


def bench(
    names: Sequence[str], *, seconds: float, small: bool = False, peers: bool = False, to: Path | None = None
) -> str:
    """Time the named stages, or all of them, and return the table. JSON is stored at `to`.

    `peers`: only the comparison with realesrgan, unless stages are named as well.
    """
    rows: list[Timing] = []
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for row in _rows(names or (() if peers else STAGES), Clock(seconds, device), small=small):
        rows.append(row)
        print(f"{row.stage}, {row.case}: {report.figure(row.value)} {row.unit}", file=sys.stderr, flush=True)
    if peers:
        rows += against(work=stages.SMALL if small else None)
    if to:
        report.write(to, rows)
    return report.table(rows)


def _rows(names: Sequence[str], clock: Clock, *, small: bool) -> Iterator[Timing]:
    if not names:
        return
    work = stages.SMALL if small else stages.Workload()
    best = limits(clock)
    yield from best
    if "decode" in names or "stream" in names:
        with stages.dataset() as data:
            yield from (decoding := list(stages.decode(clock, data)))
            if "stream" in names:
                yield from stages.stream(clock, work, data, decoding)
    timed = {"degrade": stages.degrade, "train": stages.train, "upscale": stages.upscale}
    for name in (n for n in timed if n in names):
        yield from timed[name](clock, work, best)
