"""The runs that weights come from: a run that continues from another one remembers it, and its snapshots do."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from archsr.checkpoint.run_folder import ident_of
from archsr.checkpoint.snapshots import about_snapshot, weights_of
from archsr.config import ModelConfig
from archsr.errors import UserError
from archsr.models.weights import locate, names, whereabouts
from archsr.runs.folders import is_run, run_config
from archsr.utils.atomic import sha256


@dataclass(frozen=True)
class Ancestor:
    """A trained model: its run's name and identifier, its iteration, its file's SHA-256, and its dataset.

    `shards` is the config's `data.shards`, `fingerprint` the dataset's; `began` are the weights it began with, as its
    config names them. Values that nobody recorded are empty.
    """

    run: str
    ident: str
    step: int
    sha256: str
    shards: str
    fingerprint: str
    began: str

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Ancestor":
        """Return the ancestor that `asdict` made plain. Keys of later versions are ignored."""
        return cls(**{f.name: plain[f.name] for f in fields(cls)})


def lineage(source: str, *, which: str = "chosen") -> list[Ancestor]:
    """Return the trained models behind a run folder or weights file, the oldest first and itself last.

    Empty for official names and files that archsr did not write. Raises `UserError` for a run without weights.
    """
    if source in names():
        return []
    path = Path(weights_of(source, which=which))
    about = about_snapshot(path) if path.is_file() else {}
    before = [Ancestor.of(plain) for plain in about.get("ancestors", [])]
    return [*before, _itself(path, about)] if about.get("step") else before


def ancestors_of_start(weights: str) -> list[dict[str, Any]]:
    """Return the ancestors of a run that begins with `weights`, as plain data for its records."""
    return [asdict(ancestor) for ancestor in lineage(weights)]


def _itself(path: Path, about: Mapping[str, Any]) -> Ancestor:
    """Return the entry of a snapshot. In its run folder, the folder knows what older snapshots do not say."""
    name, ident, shards = about.get("run", path.stem), about.get("ident", ""), about.get("shards", "")
    model = about.get("model", {})
    began = str(model.get("weights") or model.get("file") or "")
    run = path.parent.parent
    if path.parent.name == "snapshots" and is_run(run):
        name, ident = run.resolve().name, ident or ident_of(run)
        shards = shards or run_config(run).data.shards
    return Ancestor(name, ident, about["step"], sha256(path), shards, about.get("fingerprint", ""), began)


def with_file(model: ModelConfig) -> ModelConfig:
    """Return the network's config with the file of its initial weights, where it names a run folder.

    Raises `UserError` for another folder. A network that brings its own weights is returned unchanged.
    """
    return model if model.complete else model.model_copy(update={"weights": weights_of(model.weights)})


def where_is(source: str) -> str:
    """Return a message on whether the weights that a config names are on this machine; run folders, too."""
    if source in names() or not Path(source).is_dir():
        return whereabouts(source)
    try:
        return f"here ({locate(weights_of(source))})"
    except UserError as error:
        return f"NOT THERE: {str(error).removeprefix(f'{source}: ')}"
