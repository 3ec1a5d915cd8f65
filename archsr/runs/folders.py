"""Run folders: how to recognise one, and where its files are. Without torch, so that listing many runs is fast."""

import re
from pathlib import Path

from archsr.config import TrainConfig, config_file
from archsr.errors import UserError

CONFIG = "config.toml"
NO_RUN = f"no run folder: it has no {CONFIG}"
_STEP = re.compile(r"step-(\d{8,})")


def is_run(source: str | Path) -> bool:
    """Return whether a path or model name is a run folder."""
    return (Path(source) / CONFIG).is_file()


def check_run(source: str) -> None:
    """Raise `UserError` if a folder is not a run."""
    if Path(source).is_dir() and not is_run(source):
        raise UserError(f"{source}: {NO_RUN}")


def runs_in(folder: Path) -> list[Path]:
    """Return the run folders in a folder, sorted by name."""
    return sorted(p.parent for p in folder.glob(f"*/{CONFIG}"))


def run_config(source: str | Path) -> TrainConfig:
    """Return the resolved config of a run. Raises `UserError`."""
    return config_file.load(TrainConfig, Path(source) / CONFIG)


def folder_of(config: TrainConfig) -> Path:
    """Return the run folder of a config."""
    return Path(config.runs) / config.name


def checkpoints_folder(run: Path) -> Path:
    """Return the folder of a run's checkpoints."""
    return run / "checkpoints"


def name_of(step: int) -> str:
    """Return the folder name of a step's checkpoint."""
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """Return the step in a checkpoint folder's name, or None for a name that archsr does not write."""
    found = _STEP.fullmatch(name)
    return int(found[1]) if found and name == name_of(int(found[1])) else None


def numbered(parent: Path) -> list[Path]:
    """Return the checkpoint folders, newest first, without other folders."""
    found = [(step, p) for p in parent.glob("step-*") if (step := step_of(p.name)) is not None and p.is_dir()]
    return [path for _, path in sorted(found, reverse=True)]
