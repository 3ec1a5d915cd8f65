"""What one launch of `train.py` does: a run or a dry run (`debug.py` has the debugging mode)."""

import torch

from archsr import config_file
from archsr.config import TrainConfig
from archsr.models.build import build
from archsr.training.layers import select, table
from archsr.training.loop import train
from archsr.training.memory import forecast
from archsr.training.processes import begin, end


def run(config: TrainConfig, *, resume: bool) -> None:
    """Train. Every process calls it."""
    torch.backends.cudnn.benchmark = True  # crops have one size
    accelerator, world = begin(config)
    try:
        train(config, accelerator, world, resume=resume)
    finally:
        end()


def dry_run(config: TrainConfig) -> None:
    """Print the resolved config, the chosen layers and the memory forecast; touch nothing."""
    with torch.device("meta"):
        net = build(config.model)
        groups = select(net, config.training.layers)
    print(config_file.dump(config))
    print(table(net, groups))
    print(f"memory forecast per process:\n{forecast(config).table()}")
