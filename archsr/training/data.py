"""Open a run's dataset and check it before anything else starts."""

from dataclasses import dataclass

from archsr.config import TagChoice, TrainConfig
from archsr.data import manifest as mf
from archsr.data.remote import Place, Remote, place_of
from archsr.data.stream.choice import Choice, choose
from archsr.errors import DataError
from archsr.utils import console
from archsr.utils.world import World

FEW_SCENES = 3  # with fewer validation scenes the metrics are unreliable


@dataclass(frozen=True)
class Data:
    """A dataset's location and manifest. `choice` is set if the config selects samples by tag."""

    folder: Place
    manifest: mf.Manifest
    choice: Choice | None

    @property
    def samples(self) -> int:
        """Number of training samples in an epoch."""
        return self.choice.total if self.choice else self.manifest.splits["train"].samples

    def warnings(self, config: TrainConfig) -> list[tuple[str, str]]:
        """Return pairs (problem, remedy) for settings that work but are probably a mistake."""
        found: list[tuple[str, str]] = []
        tile, size = self.manifest.prepare.get("tile"), config.data.gt_size
        if isinstance(tile, int) and self.manifest.prepare.get("crops") == "tiles" and size > tile:
            larger = -(-(size + config.degrade.margin) // 16) * 16
            what = f"data.gt_size {size} is larger than the tiles ({tile} pixels): crops are padded by mirroring"
            found.append((what, f"--set data.gt_size={tile // 2}, or prepare with --set tile={larger}"))
        val = self.manifest.splits["val"]
        if val.scenes < FEW_SCENES:
            what = f"{val.samples} pairs of {val.scenes} scene{'s' * (val.scenes > 1)} are few for choosing weights"
            if val.scenes == 1:
                what = f"validation has one scene ({val.samples} pairs): the weights are chosen for one building"
            found.append((what, "prepare with a larger share: --set val=0.2"))
        return found

    def summary(self) -> str:
        """Return the numbers of samples, and a table of tags if the config uses them."""
        text = f"{self.samples} training and {self.manifest.splits['val'].samples} validation samples"
        if self.manifest.paired:
            text += ", pairs from disk and others" if self.manifest.degrades else ", stored pairs: nothing is degraded"
        return f"{text}\n{self.choice.table()}" if self.choice else text


def open_data(config: TrainConfig, *, trained_on: str = "") -> Data:
    """Return the dataset, checked against config and files. Raises `DataError`.

    It is the current version, or the version with the fingerprint `trained_on` if there is one.
    """
    folder = place_of(config.data.shards, config.data)
    manifest = mf.load(folder)
    if trained_on not in ("", manifest.fingerprint) and (earlier := mf.version_of(config.data.shards, trained_on)):
        folder, manifest = earlier
    if manifest.scale != config.model.scale:
        raise DataError(f"{folder}: pairs of scale {manifest.scale}, but model.scale is {config.model.scale}")
    train = manifest.splits["train"].shards
    mf.check_sizes(folder, train + manifest.splits["val"].shards)
    if isinstance(folder, Remote):
        _refuse_small_cache(folder, train, config.data.window)
    choice = None
    if config.data.tags != TagChoice():
        choice = choose([[s.tags for s in mf.read_index(folder, shard)] for shard in train], config.data.tags)
    data = Data(folder, manifest, choice)
    _refuse_too_few(data, config)
    return data


def open_on_all_ranks(config: TrainConfig, world: World, *, trained_on: str = "") -> Data:
    """Call `open_data` on every rank. Raise on all ranks if one fails or if they see different datasets."""
    data = world.on_all_ranks(lambda: open_data(config, trained_on=trained_on))  # all ranks
    seen = world.gather(data.manifest.fingerprint)  # all ranks
    if len(set(seen)) > 1:
        raise DataError(
            f"{data.folder}: the ranks see different datasets (fingerprint on rank 0: {seen[0][:16]}, on {world.rank}: "
            f"{seen[world.rank][:16]}). It was just replaced, or is not the same folder on all machines; start again"
        )
    return data


def dataset_of_run(data: Data, trained_on: str, config: TrainConfig, world: World) -> Data:
    """Return the dataset version with fingerprint `trained_on`, which may be older than the current one."""
    if trained_on == data.manifest.fingerprint:
        return data
    earlier = open_on_all_ranks(config, world, trained_on=trained_on)  # all ranks
    if world.rank == 0 and earlier.folder != data.folder:
        console.say(
            f"{earlier.folder}: the run uses this version, with which it started; the current one is {data.folder}"
        )
    return earlier


def _refuse_too_few(data: Data, config: TrainConfig) -> None:
    have, need = data.samples, config.training.global_batch
    smallest = min(stage.subset for stage in config.training.stages)
    if have * smallest < need:
        share = f" (subset {smallest:g} of {have})" if smallest < 1 else ""
        raise DataError(
            f"{data.folder}: {int(have * smallest)} training samples{share} are fewer than one global batch ({need}); "
            "lower training.global_batch or prepare more photographs"
        )


def _refuse_small_cache(folder: Remote, shards: list[mf.Shard], window: int) -> None:
    """Raise `DataError` if the cache cannot hold the two windows that processes read from at once."""
    sizes = sorted((s.bytes for s in shards), reverse=True)
    need = sum(sizes[: 2 * window])
    if folder.limit < need:
        raise DataError(
            f"{folder}: data.cache_gb ({folder.limit / 1e9:g}) is too small: two windows of {window} shards need "
            f"{need / 1e9:.3g} GB; raise it or lower data.window"
        )
