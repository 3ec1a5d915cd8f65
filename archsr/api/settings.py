"""Load configs from files, plain tables or configs, with single keys overridden."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from archsr.config import TrainConfig, config_file
from archsr.config.presets import laid_over

M = TypeVar("M", bound=BaseModel)


def load_config(
    config: str | os.PathLike[str] | Mapping[str, Any] | TrainConfig,
    **settings: Any,  # noqa: ANN401 - keys of TrainConfig
) -> TrainConfig:
    """Load a training config from a TOML file, its tables or another config, and override it by `settings`.

    A setting is a key (`name="x"`), a table that only changes the keys it has (`data={"workers": 2}`), or a dotted key
    (`**{"data.workers": 2}`). Raises `ConfigError`.
    """
    return merge_settings(TrainConfig, config, settings)


def merge_settings(
    kind: type[M], config: "str | os.PathLike[str] | Mapping[str, Any] | M | None", settings: Mapping[str, Any]
) -> M:
    """Override `config` by `settings`, as in `load_config`, and validate it. Raises `ConfigError`.

    >>> from archsr.config import PrepareConfig
    >>> made = merge_settings(PrepareConfig, {"test": 0.2}, {"tile": 256, "scenes": {"neighbours": "number"}})
    >>> made.test, made.tile, made.scenes.neighbours
    (0.2, 256, 'number')
    """
    where = f"the settings of archsr.{'train' if kind.__name__ == 'TrainConfig' else 'prepare'}"
    if isinstance(config, BaseModel):
        tables: Mapping[str, Any] = config.model_dump(mode="json", exclude_none=True)
    elif isinstance(config, Mapping):
        tables = config
    elif config is None:
        tables = {}
    else:
        where = os.fspath(config)
        tables = config_file.read(Path(config))
    for key, value in settings.items():
        plain: Any = value.model_dump(mode="json", exclude_none=True) if isinstance(value, BaseModel) else value
        for part in reversed(key.split(".")):
            plain = {part: plain}
        tables = laid_over(tables, plain)
    return config_file.check(kind, tables, where=where)
