"""What is a run, and where things lie in it, by names alone; no torch, so that a look at many runs is quick."""

import re
from pathlib import Path

from archsr.config import TrainConfig, config_file
from archsr.errors import UserError

CONFIG = "config.toml"
NO_RUN = f"no run folder: it has no {CONFIG}"
_STEP = re.compile(r"step-(\d{8,})")


def is_run(source: str | Path) -> bool:
    """Whether a path, or what users name a model by, is a run folder."""
    return (Path(source) / CONFIG).is_file()


def check_run(source: str) -> None:
    """Raise `UserError` for a folder that is no run."""
    if Path(source).is_dir() and not is_run(source):
        raise UserError(f"{source}: {NO_RUN}")


def runs_in(folder: Path) -> list[Path]:
    """The runs that lie in a folder, by their names."""
    return sorted(p.parent for p in folder.glob(f"*/{CONFIG}"))


def run_config(source: str | Path) -> TrainConfig:
    """The resolved config of a run. Raises `UserError`."""
    return config_file.load(TrainConfig, Path(source) / CONFIG)


def folder_of(config: TrainConfig) -> Path:
    """The folder of the run that a config describes."""
    return Path(config.runs) / config.name


def home(run: Path) -> Path:
    """Where a run's checkpoints lie."""
    return run / "checkpoints"


def name_of(step: int) -> str:
    """The folder name of a step's checkpoint."""
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step of a checkpoint folder's name; None for a name that archsr does not write."""
    found = _STEP.fullmatch(name)
    return int(found[1]) if found and name == name_of(int(found[1])) else None


def numbered(parent: Path) -> list[Path]:
    """Checkpoint folders, newest first. Foreign ones are left out."""
    found = [(step, p) for p in parent.glob("step-*") if (step := step_of(p.name)) is not None and p.is_dir()]
    return [path for _, path in sorted(found, reverse=True)]
