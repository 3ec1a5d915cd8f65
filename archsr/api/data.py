"""Prepare photographs as a dataset, and read a dataset's samples."""

import os
import sys
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

from archsr.api.settings import merge_settings
from archsr.api.tables import Table, as_html, table_of
from archsr.config import DataConfig, PrepareConfig
from archsr.data import manifest as mf
from archsr.data.prepare.inspect_shards import summary, tag_table
from archsr.data.prepare.pipeline import prepare as prepare_photos
from archsr.data.remote import Place, place_of
from archsr.data.stream.reader import ShardReader
from archsr.data.versions import current
from archsr.errors import DataError
from archsr.images.pixels import Pixels


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset: its version's `folder`, its `manifest`, and the `summary`."""

    folder: Path
    manifest: mf.Manifest
    summary: str

    @property
    def report(self) -> Path:
        """The page that shows what was kept and what was left out."""
        return self.folder / "report.html"

    @property
    def table(self) -> Table:
        """The number of scenes, photographs and samples of each split."""
        splits = self.manifest.splits.items()
        rows = [{"split": n, "scenes": s.scenes, "photos": s.photos, "samples": s.samples} for n, s in splits]
        return table_of(rows, index="split")

    def __repr__(self) -> str:
        return self.summary

    def _repr_html_(self) -> str:
        left_out = len(self.manifest.left_out)
        return f"{as_html(self.table)}<p>{left_out} files left out; {self.report} says why.</p>"


def prepare(
    photos: str | os.PathLike[str],
    shards: str | os.PathLike[str],
    config: str | os.PathLike[str] | Mapping[str, Any] | PrepareConfig | None = None,
    *,
    workers: int | None = None,
    restart: bool = False,
    reread: bool = False,
    **settings: Any,  # noqa: ANN401 - keys of PrepareConfig
) -> Prepared:
    """Prepare photographs as a dataset in the folder `shards`, like `archsr prepare`; earlier versions are kept.

    `photos` is a folder with a sub-folder per project, an archive, a Parquet file, or "hf:NAME". `settings` are keys of
    `configs/prepare.toml` (`test=0.35`, `scenes={"neighbours": "number"}`) that override `config`. `workers` is the
    number of processes (0: this one). By default it is one per core in a notebook or at a prompt, and 0 in a script,
    which needs `if __name__ == "__main__":` around a call with processes. An interrupted call continues where it
    stopped. Raises `DataError`, `ConfigError`.
    """
    settings_given = merge_settings(PrepareConfig, config, settings)
    out = Path(shards)
    if workers is None:  # worker processes import the script, and would call this again
        workers = 0 if hasattr(sys.modules["__main__"], "__file__") else os.cpu_count() or 1
    made = prepare_photos(os.fspath(photos), out, settings_given, workers=workers, restart=restart, reread=reread)
    assert made is not None  # only a task returns None
    folder = current(out)
    return Prepared(folder, made, "\n".join([summary(made, folder), *tag_table(folder, made)]))


@dataclass(frozen=True)
class ShardSample:
    """One sample: `gt` uint8 (h, w, 3), and `lq` if the dataset stores it, as for val and test.

    `photo` is the file it was cut from, at `box` (left, top, width, height). `recipe` is the degradation of `lq`.
    """

    key: str
    scene: str
    tags: tuple[str, ...]
    photo: str
    box: tuple[int, int, int, int]
    gt: Pixels
    lq: Pixels | None = None
    recipe: Mapping[str, Any] | None = None


class Shards(Sequence[ShardSample]):
    """The samples of a split in stored order; each is read and verified when it is accessed."""

    def __init__(self, place: Place, split: str) -> None:
        self.place = place
        self.manifest = mf.load(place)
        if split not in self.manifest.splits:
            raise DataError(f"{place}: no split {split!r}; choose one of {', '.join(self.manifest.splits)}")
        self.split = split
        self.scale = self.manifest.scale
        shards = self.manifest.splits[split].shards
        self._starts = [0, *accumulate(shard.samples for shard in shards)]
        self._reader = ShardReader(place, shards)

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, number: int) -> ShardSample: ...
    @overload
    def __getitem__(self, number: slice) -> list[ShardSample]: ...
    def __getitem__(self, number: int | slice) -> ShardSample | list[ShardSample]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        at = number + len(self) if number < 0 else number
        if not 0 <= at < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        shard = bisect_right(self._starts, at) - 1
        sample = self._reader.sample(shard, at - self._starts[shard])
        images = {n: self._image(shard, sample, n) for n in ("gt", "lq") if n in sample.members}
        recipe = self._reader.metadata(shard, sample).get("recipe")
        place = sample.key, sample.scene, sample.tags, sample.photo, sample.box
        return ShardSample(*place, images["gt"], images.get("lq"), recipe)

    def __iter__(self) -> Iterator[ShardSample]:
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        split = self.manifest.splits[self.split]
        return f"<{len(self)} {self.split} samples of {split.photos} photographs, {split.scenes} scenes: {self.place}>"

    def _image(self, shard: int, sample: mf.Sample, member: str) -> Pixels:
        return self._reader.image(shard, sample, member).permute(1, 2, 0).contiguous().numpy()

    def close(self) -> None:
        """Close the files."""
        self._reader.close()


def open_shards(path: str | os.PathLike[str], split: str = "train") -> Shards:
    """Open the samples of a prepared dataset by its folder (its current version) or URL.

    `len`, indices, slices and iteration work as for a list. Raises `DataError` if there is no such dataset or split, or
    a sample is damaged.
    """
    return Shards(place_of(os.fspath(path), DataConfig()), split)
