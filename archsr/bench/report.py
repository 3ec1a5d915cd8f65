"""Benchmark results as JSON and as a table."""

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from archsr.bench.timing import Timing
from archsr.errors import UserError
from archsr.utils.atomic import write_bytes

SCHEMA = "archsr.bench/2"


def about() -> dict[str, Any]:
    """Return the date, machine and versions of the measurement."""
    return {
        "schema": SCHEMA,
        "date": str(datetime.datetime.now(datetime.UTC).date()),
        "archsr": importlib.metadata.version("archsr"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def figure(value: float) -> str:
    """Format a number with three digits and thousands separators: 1,040 and 0.00417."""
    return format(float(f"{value:.3g}"), ",.12g")


def write(path: Path, rows: Sequence[Timing]) -> None:
    """Write everything as JSON."""
    write_bytes(path, json.dumps({**about(), "rows": [asdict(r) for r in rows]}, indent=1).encode())


def table(rows: Sequence[Timing], head: dict[str, Any] | None = None) -> str:
    """Return a Markdown table below a line about its origin."""
    head = head or about()
    lines = [
        f"{head['date']}, {head['device']}, {head['cores']} cores ({head['threads']} threads), torch {head['torch']}\n",
        "| stage | what | figure | memory | of its limit |",
        "|---|---|---:|---:|---:|",
    ]
    for row in rows:
        memory = f"{row.memory / 2**30:.1f} GiB" if row.memory else ""
        share = "" if row.share is None else f"{row.share:.2f} of {row.limit}"
        lines.append(f"| {row.stage} | {row.case} | {figure(row.value)} {row.unit} | {memory} | {share} |")
    return "\n".join(lines)


def read(path: Path) -> tuple[dict[str, Any], dict[tuple[str, str], Timing]]:
    """Read a stored benchmark. Raises `UserError` if the file is not one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a benchmark ({error})") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:  # pyright: ignore[reportUnknownMemberType]
        raise UserError(f"{path}: not a benchmark of archsr ({SCHEMA})")
    rows = {(r["stage"], r["case"]): Timing(**r) for r in found["rows"]}  # pyright: ignore[reportUnknownArgumentType]
    return found, rows  # pyright: ignore[reportUnknownVariableType]


def compared(first: Path, second: Path) -> str:
    """Return a table of what two machines or versions have in common, and how much faster the second is."""
    (head_a, a), (head_b, b) = read(first), read(second)
    lines = [
        f"A: {head_a['date']}, {head_a['device']}, torch {head_a['torch']}",
        f"B: {head_b['date']}, {head_b['device']}, torch {head_b['torch']}\n",
        "| stage | what | A | B | B / A |",
        "|---|---|---:|---:|---:|",
    ]
    for key in (k for k in a if k in b):
        ratio = a[key].value / b[key].value if a[key].unit == "s" else b[key].value / a[key].value
        unit = a[key].unit
        lines.append(
            f"| {key[0]} | {key[1]} | {figure(a[key].value)} {unit} | {figure(b[key].value)} {unit} | {ratio:.2f} |"
        )
    if len(lines) == 4:
        raise UserError(f"{first} and {second} have no figure in common")
    return "\n".join(lines)
