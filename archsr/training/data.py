"""The dataset of a run, checked before anything else begins."""

from dataclasses import dataclass
from pathlib import Path

from archsr import manifest as mf
from archsr.config import TagChoice, TrainConfig
from archsr.errors import UserError
from archsr.stream.choice import Choice, choose


@dataclass(frozen=True)
class Data:
    """A dataset's folder and manifest, and, where the config speaks of tags, which of its samples are taken."""

    folder: Path
    manifest: mf.Manifest
    choice: Choice | None

    @property
    def samples(self) -> int:
        """Training samples in an epoch."""
        return self.choice.total if self.choice else self.manifest.splits["train"].samples

    def summary(self) -> str:
        """The numbers of samples, and a table of tags where they matter."""
        text = f"{self.samples} training and {self.manifest.splits['val'].samples} validation samples"
        text += ", stored pairs: nothing is degraded" if self.manifest.paired else ""
        return f"{text}\n{self.choice.table()}" if self.choice else text


def open_data(config: TrainConfig) -> Data:
    """The dataset, checked against the config and the files."""
    folder = Path(config.data.shards)
    manifest = mf.load(folder)
    if manifest.scale != config.model.scale:
        raise UserError(f"{folder}: pairs of scale {manifest.scale}, but model.scale is {config.model.scale}")
    train = manifest.splits["train"].shards
    mf.check_sizes(folder, train + manifest.splits["val"].shards)
    choice = None
    if config.data.tags != TagChoice():
        choice = choose([[s.tags for s in mf.read_index(folder, shard)] for shard in train], config.data.tags)
    data = Data(folder, manifest, choice)
    _refuse_too_few(data, config)
    return data


def _refuse_too_few(data: Data, config: TrainConfig) -> None:
    have, need = data.samples, config.training.global_batch
    smallest = min(stage.subset for stage in config.training.stages)
    if have * smallest < need:
        share = f" (subset {smallest:g} of {have})" if smallest < 1 else ""
        raise UserError(
            f"{data.folder}: {int(have * smallest)} training samples{share} are fewer than one global batch ({need}); "
            "lower training.global_batch or prepare more photographs"
        )
