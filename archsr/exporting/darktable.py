"""Packages for darktable: a zip of a folder with the model's id, which darktable unpacks and reads.

The form follows darktable's `src/ai/README.md`, `src/ai/backend_common.c` (`_scan_directory`: the keys of
`config.json`) and `src/common/ai/restore.c` (task `upscale`: `model_x2.onnx`, `model_x4.onnx`, input (1, 3, h, w) of
sRGB in [0, 1]), and the names of inputs and outputs in the repository darktable-org/darktable-ai. darktable ignores
further keys and files, so the licence and the card travel in the package.
"""

import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from archsr.errors import UserError
from archsr.exporting.graphs import write_onnx
from archsr.models.base import Generator

SCALES = (2, 4)


def write_darktable(
    net: Generator, path: Path, precision: str, *, licence: str, card: Callable[[Sequence[Path], str], str]
) -> str:
    """Write a `.dtmodel`; `card` makes the text of README.md from the graph's file and how it was compared.

    Raises `UserError` for a scale that darktable has no place for.
    """
    if net.scale not in SCALES:
        raise UserError(f"{path}: darktable upscales 2 or 4 times, this network {net.scale} times")
    name = f"upscale-{re.sub(r'[^a-z0-9]+', '-', path.stem.lower()).strip('-')}"
    about = {
        "id": name,
        "name": path.stem,
        "description": f"{net.title}, {net.scale} times",
        "task": "upscale",
        "backend": "onnx",
        "version": "1.0",
        "tiling": True,
        **({"license": licence} if licence else {}),
    }
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / f"model_x{net.scale}.onnx"
        said = write_onnx(net, graph, precision)
        _rename_ends(graph)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
            package.write(graph, f"{name}/{graph.name}")
            package.writestr(f"{name}/config.json", json.dumps(about, indent=4) + "\n")
            package.writestr(f"{name}/README.md", card([graph], said))
    return f"darktable package, {said}"


def _rename_ends(path: Path) -> None:
    """Rename the graph's input and output to `input` and `output`."""
    import onnx  # pyright: ignore[reportMissingImports]

    model = cast(Any, onnx).load(str(path))
    names = {"lq": "input", "sr": "output"}
    for value in (*model.graph.input, *model.graph.output):
        value.name = names[value.name]
    for node in model.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(end, end) for end in ends]
    cast(Any, onnx).save(model, str(path))
