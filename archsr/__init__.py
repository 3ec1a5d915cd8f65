"""archsr fine-tunes Real-ESRGAN for photographs of architecture.

    import archsr

    model = archsr.load_model("RealESRGAN_x4plus")   # or a run folder, or a weights file
    large = model(photo)                             # takes and returns a PIL image, an array or a tensor

`load_model`, `degrade`, `fit_degradation`, `prepare`, `open_shards`, `train`, `evaluate` and `export` do what the
commands do and return objects. `help(archsr.train)` explains one of them. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import os
from importlib import import_module

TYPE_CHECKING = False  # importing `typing` would take longer than everything else here
if TYPE_CHECKING:
    from typing import Any

    from archsr.api.data import open_shards, prepare
    from archsr.api.degrading import degrade
    from archsr.api.fitting import fit_degradation
    from archsr.api.model import Model, load_model
    from archsr.api.runs import evaluate, export, train
    from archsr.api.settings import load_config
    from archsr.errors import ConfigError, DataError, UserError, WeightsError

__version__ = "0.1.0"
__all__ = [
    "ConfigError", "DataError", "Model", "UserError", "WeightsError", "degrade", "evaluate", "export",
    "fit_degradation", "load_config", "load_model", "open_shards", "prepare", "train",
]  # fmt: skip

# Threads that share an operation on a CPU wait for each other by spinning, also while other programs keep the threads
# they wait for from running. Seconds for a pass of x4plus on two cores, with three programs at once and alone: 7.4 and
# .81 with libgomp's default of 300,000 spins, 3.3 and .83 with 5,000. The variable is read when torch is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

_MODULES = {
    "load_model": "api.model", "Model": "api.model", "open_shards": "api.data", "prepare": "api.data",
    "load_config": "api.settings", "degrade": "api.degrading",
    "fit_degradation": "api.fitting", "train": "api.runs", "evaluate": "api.runs",
    "export": "api.runs",
    "ConfigError": "errors", "DataError": "errors", "UserError": "errors", "WeightsError": "errors",
}  # fmt: skip


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a function or a class
    if name in _MODULES:
        return getattr(import_module(f"archsr.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'archsr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
