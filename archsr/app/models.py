"""The models that the page offers. Each is loaded once; the least recently used is dropped first."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from archsr.checkpoint import strength_of, weights_of
from archsr.errors import UserError
from archsr.models.download import OFFICIAL
from archsr.models.ncnn import NCNN
from archsr.models.weights import local_file
from archsr.runs.folders import is_run, runs_in
from archsr.upscaling.label import label_of
from archsr.upscaling.opening import open_model
from archsr.upscaling.upscaler import Upscaler

RUNS = Path("runs")
_Key = tuple[str, float, float]


@dataclass(frozen=True)
class ModelChoice:
    """A model under the short `name` that visitors choose; `source` is a run folder, a file or an official name."""

    name: str
    source: str

    @property
    def run(self) -> Path | None:
        """Its run folder, if it is a run."""
        return Path(self.source) if is_run(self.source) else None


def model_choices(sources: Sequence[str], *, runs: Path = RUNS) -> list[ModelChoice]:
    """Return the models of `sources`, or the runs in `runs` and the official models on this machine if it is empty.

    Raises `UserError` if there is none or one cannot be opened.
    """
    chosen = list(sources) or _available(runs)
    if not chosen:
        raise UserError(
            f"no model found: {runs}/ has no run and no official model is on this machine; name one: archsr app "
            "RealESRGAN_x4plus (it is downloaded), or archsr weights ncnn:realesrgan-x4plus"
        )
    for source in sources:  # weights_of and open_model raise what is wrong
        if Path(source).is_dir():
            weights_of(source)
        elif source not in OFFICIAL and source not in NCNN and not Path(source).is_file():
            open_model(source)
    short = [_short_name(s) for s in chosen]
    ambiguous = {n for n, count in Counter(short).items() if count > 1}
    return [ModelChoice(s if n in ambiguous else n, s) for n, s in zip(short, chosen, strict=True)]


def _available(runs: Path) -> list[str]:
    official = [n for n in (*filter(_is_generator, OFFICIAL), *NCNN) if local_file(n)]
    return [*filter(_has_weights, map(str, runs_in(runs))), *official]


def _has_weights(run: str) -> bool:
    try:
        weights_of(run)
    except UserError:
        return False
    return True


def _is_generator(name: str) -> bool:
    return "ESRGAN" in name.upper().replace("REALESR-", "ESRGAN") and not name.endswith("_netD")


def _short_name(source: str) -> str:
    name = source.removeprefix("ncnn:") if source in NCNN else Path(source).resolve().name
    return name.removesuffix(".safetensors").removesuffix(".pth").removesuffix(".fp16")


class ModelCache:
    """Opened models, at most `most` of them. `get` has no lock: only the worker's thread may call it."""

    def __init__(self, choices: Sequence[ModelChoice], *, devices: Sequence[torch.device], most: int) -> None:
        self.choices = {choice.name: choice for choice in choices}
        self.devices = list(devices)
        self._most = most
        self._loaded: OrderedDict[_Key, Upscaler] = OrderedDict()
        self._scales: dict[tuple[str, float], int] = {}

    def runs(self) -> list[Path]:
        """Return the run folders among the choices."""
        return [choice.run for choice in self.choices.values() if choice.run is not None]

    def scale_of(self, name: str) -> int | None:
        """Return a model's scale, or None if it cannot be opened. Any thread may call it."""
        choice = self.choices.get(name)
        if choice is None:
            return None
        try:
            key = (name, _modified(choice.source))
            if key not in self._scales:
                self._scales[key] = open_model(choice.source)[0].scale
        except UserError:
            return None
        return self._scales[key]

    def get(self, name: str, *, strength: float = 1.0, tile: int | None = None) -> Upscaler:
        """Return a model, interpolated by `strength` from a run's first weights (0) to its best (1).

        Opens a run again if it has saved better weights. Raises `UserError` if there is no such model.
        """
        choice = self.choices.get(name)
        if choice is None:
            raise UserError(f"{name}: no such model; choose one of {', '.join(self.choices)}")
        strength = strength if choice.run else 1.0
        key = (name, strength, _modified(choice.source))
        if key not in self._loaded:
            self._make_room(name, strength)
            share = strength * strength_of(choice.source) if strength != 1 else None
            net, _ = open_model(choice.source, strength=share)
            label = label_of(choice.source, strength=share)
            self._loaded[key] = Upscaler(net, devices=self.devices, precision="auto", label=label)
        self._loaded.move_to_end(key)
        upscaler = self._loaded[key]
        upscaler.tile = tile
        return upscaler

    def _make_room(self, name: str, strength: float) -> None:
        for key in [k for k in self._loaded if k[:2] == (name, strength)]:
            del self._loaded[key]  # older weights of the same run
        while len(self._loaded) >= self._most:
            self._loaded.popitem(last=False)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _modified(source: str) -> float:
    """Return when the weights of a source were written; 0 for those that never change."""
    path = Path(weights_of(source))
    return path.stat().st_mtime if path.is_file() else 0.0
