"""Photographs in the rows of a Hugging Face dataset: from the hub, a folder or a Parquet file."""

import glob
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from archsr.data.prepare.sources.files import read_file, stamp_file
from archsr.data.prepare.sources.photos import Photos, check_size, cleaned, distinct
from archsr.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

PREFIX = "hf:"
_BATCH = 1000


def local_place(spec: str) -> Path | None:
    """Return the folder or file of `hf:PLACE[@split]`, or None for the name of a dataset on the hub."""
    name, _ = _parts(spec)
    place = Path(name).expanduser()
    return place if place.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1 else None


def _parts(spec: str) -> tuple[str, str]:
    """Return name and split of a spec; an `@` inside an existing path belongs to the path."""
    whole = spec.removeprefix(PREFIX)
    name, at, split = whole.rpartition("@")
    return (whole, "") if not at or not name or Path(whole).expanduser().exists() else (name, split)


class RowPhotos(Photos):
    """The rows of a dataset with a column of images.

    A row of files in a folder is named by its path there. Any other is `LABEL/FILE`: the class of its first ClassLabel
    column, if there is one, and the file name stored with the image, or `row-0000123`. Rows with equal names are
    numbered in order.
    """

    @cached_property
    def _dataset(self) -> "Dataset":
        """Return all columns, images as they are stored."""
        import datasets

        found = _load(self.spec.text, cache=self.spec.unpack_to)
        images = [name for name, kind in found.features.items() if isinstance(kind, datasets.Image)]
        if not images or (len(images) > 1 and "image" not in images):
            some = f"several columns of images ({', '.join(images)})" if images else "no column of images"
            raise DataError(
                f"{self.origin}: {some} among {', '.join(found.column_names)}; expected one of the type datasets.Image "
                "(or one of that type called image): use cast_column or select_columns and save it again"
            )
        self._image = "image" if "image" in images else images[0]
        return found.cast_column(self._image, datasets.Image(decode=False))

    @cached_property
    def _images(self) -> "Dataset":
        """Return the column of images alone, so that reading a row loads nothing else."""
        return self._dataset.select_columns([self._image])

    @cached_property
    def _plain(self) -> "Dataset | None":
        """Return the columns of texts, numbers and classes, if there are any."""
        import datasets

        def is_plain(kind: object) -> bool:
            return isinstance(kind, datasets.ClassLabel) or (
                isinstance(kind, datasets.Value) and "binary" not in kind.dtype
            )

        names = [name for name, kind in self._dataset.features.items() if is_plain(kind)]
        return self._dataset.select_columns(names) if names else None

    @cached_property
    def _rows(self) -> dict[str, int]:
        rows: dict[str, int] = {}
        place = local_place(self.spec.text)
        root = place.resolve() if place and place.is_dir() else None
        for number, (label, (path, _)) in enumerate(zip(self._labels(), self._places, strict=True)):
            base = PurePosixPath(path.replace("\\", "/")).name or f"row-{number:07d}"
            name = f"{label}/{base}"
            if root and Path(path).is_absolute() and Path(path).resolve().is_relative_to(root):
                name = Path(path).resolve().relative_to(root).as_posix()
            rows[distinct(cleaned(name) or f"row-{number:07d}", rows)] = number
        return rows

    def _labels(self) -> list[str]:
        """Return the class of every row, empty if there is none."""
        import datasets

        found = self._dataset
        for name, kind in found.features.items():
            if isinstance(kind, datasets.ClassLabel):
                numbers = cast(list[int | None], found[name][:])
                return ["" if n is None or n < 0 else kind.names[n].replace("/", "_") for n in numbers]
        return [""] * len(found)

    @cached_property
    def _places(self) -> list[tuple[str, bool]]:
        """Return the stored path of every row (or an empty string) and whether it holds bytes, which are not read."""
        import pyarrow.compute

        field = cast(Any, pyarrow.compute).struct_field  # unlike combine_chunks it copies nothing
        places: list[tuple[str, bool]] = []
        for batch in cast(Any, self._images.with_format("arrow").iter(batch_size=_BATCH)):
            column = batch.column(self._image)
            paths, held = field(column, "path").to_pylist(), field(column, "bytes").is_valid().to_pylist()
            places += [(path or "", here) for path, here in zip(paths, held, strict=True)]
        return places

    def _find(self) -> list[str]:
        return list(self._rows)

    def read(self, name: str) -> bytes:
        """See `Photos`."""
        number = self._rows[name]
        path, held = self._places[number]
        if held:
            content = cast(Mapping[str, Any], self._images[number])[self._image]["bytes"]
            check_size(len(content), self.spec.max_bytes)
            return bytes(content)
        if not path:
            raise OSError("a row without an image")
        if "://" in path:
            raise OSError(f"not stored in the dataset but at {path}")
        return read_file(Path(path), max_bytes=self.spec.max_bytes)

    def stamp(self, name: str) -> str:
        """Return the dataset's fingerprint and size, the row, and the file if the row only names one."""
        found, number = self._dataset, self._rows[name]
        mark = f"{found._fingerprint}-{len(found)}-{number}"  # pyright: ignore[reportPrivateUsage]
        path, held = self._places[number]
        return f"{mark}-{stamp_file(Path(path))}" if path and not held else mark

    def columns(self, name: str) -> dict[str, str]:
        """Return the row's other columns with one text, number or class each, without empty values."""
        import datasets

        if self._plain is None:
            return {}
        found: dict[str, str] = {}
        kinds = self._plain.features
        for column, value in cast(Mapping[str, Any], self._plain[self._rows[name]]).items():
            kind = kinds[column]
            if isinstance(kind, datasets.ClassLabel):
                found[column] = kind.names[value] if value is not None and value >= 0 else ""
            elif value is not None:
                found[column] = str(value)
        return {column: text for column, text in found.items() if text}


def _load(spec: str, *, cache: Path | None) -> "Dataset":
    """Load the one dataset named by `spec`. Raises `UserError` for any error of the library."""
    import datasets

    place = local_place(spec)
    name, split = _parts(spec)
    if place and not place.exists():
        raise DataError(f"{spec}: no such folder or file: {place}; for a dataset of the hub write hf:owner/name")
    try:
        found = _load_local(place, cache=cache) if place else datasets.load_dataset(name)
    except Exception as error:  # the library, its readers and the network raise almost anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if place:
            raise DataError(f"{spec}: cannot be read as a dataset, or is damaged: {reason}") from None
        raise DataError(
            f"{spec}: cannot be loaded from the hub: {reason}. Without internet, fetch it elsewhere (hf download "
            f"{name} --repo-type dataset --local-dir FOLDER), copy the folder here and write hf:FOLDER"
        ) from None
    return _chosen(found, split, spec)


def _load_local(place: Path, *, cache: Path | None) -> Any:  # noqa: ANN401 - a Dataset, or one of each split
    import datasets

    where = str(cache) if cache else None
    if place.is_file():
        return datasets.load_dataset("parquet", data_files=glob.escape(str(place)), cache_dir=where)
    if (place / "dataset_dict.json").is_file() or (place / "state.json").is_file():
        return datasets.load_from_disk(str(place))
    return datasets.load_dataset(str(place), cache_dir=where)


def _chosen(found: Any, split: str, spec: str) -> "Dataset":  # noqa: ANN401
    """Return one split by name, several as `a+b`; the name is optional if there is only one."""
    import datasets

    if isinstance(found, datasets.Dataset):
        splits = {str(found.split or "all"): found}
    else:
        splits = {str(name): one for name, one in cast(Mapping[Any, datasets.Dataset], found).items()}
    wanted = split.split("+") if split else list(splits)
    if not set(wanted) <= set(splits) or (not split and len(splits) > 1):
        known = " or ".join(f"{spec.removesuffix('@' + split)}@{name}" for name in [*splits, "+".join(splits)])
        said = f"no split {split!r}" if split else f"{len(splits)} splits, and none is named"
        raise DataError(f"{spec}: {said}; write {known}")
    return datasets.concatenate_datasets([splits[name] for name in wanted])
