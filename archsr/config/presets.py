"""Presets of the degradation: tables of defaults, in files shipped with the package."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import tomli

Preset = Literal["realesrgan", "realesrnet", "bsrgan", "camera", "web", "bicubic"]
PRESETS: tuple[Preset, ...] = get_args(Preset)


def configs_folder() -> Path:
    """Return the folder of shipped configs: inside the package in an installed wheel, beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


@lru_cache(maxsize=len(PRESETS))
def preset_table(name: Preset) -> dict[str, Any]:
    """Return the preset's values for the table `degrade`. Other keys keep their defaults."""
    return tomli.loads((configs_folder() / "presets" / f"{name}.toml").read_text(encoding="utf-8"))


def laid_over(base: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` updated with the keys of `written`, table by table."""
    merged = {**base, **written}
    for key, value in written.items():
        below = base.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = laid_over(below, value)  # pyright: ignore[reportUnknownArgumentType]
    return merged


# the keys of a stored table from before the step `halve` existed
_TABLE = {
    "preset", "fidelity", "quirks", "steps", "shuffle", "antialias", "margin", "pool_batches", "sharpen_gt", "first",
    "second", "final_sinc",
}  # fmt: skip
_ORDER = {
    "blur": {"probability", "sigma", "sinc", "families", "generalized_beta", "plateau_beta"},
    "resize": {"up", "down", "keep", "factor"},
    "noise": {"probability", "gaussian", "sigma", "poisson_scale", "grey"},
    "jpeg": {"probability", "low", "high"},
}


def stored_before_halving(written: Mapping[str, Any]) -> bool:
    """Return whether a run stored this complete table before the step `halve` and its keys existed.

    If so, the preset's newer keys do not apply to that run.
    """
    whole = "halve" not in written and written.keys() >= _TABLE
    return whole and all(
        _has(written[order], name, keys) for order in ("first", "second") for name, keys in _ORDER.items()
    )


def _has(order: Any, name: str, keys: set[str]) -> bool:  # noqa: ANN401 - whatever was written
    table: Any = order.get(name) if isinstance(order, dict) else None  # pyright: ignore[reportUnknownMemberType]
    return isinstance(table, dict) and table.keys() >= keys  # pyright: ignore[reportUnknownMemberType]
