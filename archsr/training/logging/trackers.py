"""Where a run's curves and images are followed besides its folder: TensorBoard, Weights & Biases, trackio.

All are accelerate's tracker classes. They are started one by one and not by `Accelerator.init_trackers`, which stops
at the first that fails: here a tracker that fails is said once, and neither the others nor the training notice.
"""

import importlib.metadata
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.tracking import GeneralTracker, TensorBoardTracker, TrackioTracker, WandBTracker

from archsr.config import TrainConfig
from archsr.errors import UserError, first_line
from archsr.images.pixels import Pixels
from archsr.utils import console

LOGIN = 30  # seconds in which a question for the key of an account must be answered


@dataclass(frozen=True)
class Track:
    """The run that is followed. `ident`: its own for ever; `step`: where it begins or goes on.

    `told`: the last step that an earlier process has told of, -1 for none. Between `step` and `told` a run repeats
    itself: TensorBoard hides what it has of that, to the others, which cannot take anything back, it is not said again.
    """

    config: TrainConfig
    folder: Path
    ident: str
    step: int = 0
    told: int = -1


def check_trackers(names: Sequence[str]) -> None:
    """Raises `UserError` where the package of one is not installed."""
    absent = [name for name in names if not _installed(name)]
    if absent:
        rest = json.dumps([name for name in names if name not in absent])
        raise UserError(
            f"log.trackers: not installed: {', '.join(absent)}; pip install {' '.join(absent)}, or do without: "
            f"--set 'log.trackers={rest}'"
        )


def _installed(name: str) -> bool:
    # not find_spec: wandb's own folder of runs, where it lies, would pass for the package
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


class Trackers:
    """The trackers of a run on rank 0. No method raises. `close` at the end."""

    def __init__(self, track: Track) -> None:
        self._track = track
        self._now = track.step
        self._told: set[str] = set()
        self._all: dict[str, GeneralTracker] = {}
        for name in track.config.log.trackers:
            with self._forgiving(name):
                tracker = _MAKE[name](track)
                tracker.start()
                self._all[name] = tracker

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers with their full names."""
        for kind, tracker, at in self._at(step):
            with self._forgiving(kind):
                tracker.log(dict(values), step=at)

    def image(self, name: str, pixels: Pixels, step: int) -> None:
        """An image (h, w, 3) uint8."""
        for kind, tracker, at in self._at(step):
            with self._forgiving(kind):
                _IMAGE[kind](tracker, name, pixels, at)

    def close(self) -> None:
        """Write, or send, what is still waiting."""
        for kind, tracker in self._all.items():
            with self._forgiving(kind):
                tracker.finish()

    def _at(self, step: int) -> Generator[tuple[str, GeneralTracker, int]]:
        """The trackers to tell about `step`, and as which: a checkpoint of earlier, complete now, counts as now."""
        self._now = max(self._now, step)
        for kind, tracker in self._all.items():
            if kind == "tensorboard" or step > self._track.told:
                yield kind, tracker, self._now

    @contextmanager
    def _forgiving(self, name: str) -> Generator[None]:
        try:
            yield
        except Exception as error:  # whatever a service or its package may raise
            if name not in self._told:
                console.warn(f"{self._track.folder}: {name} fails: {first_line(error, kind=True)}; training goes on")
            self._told.add(name)


def _tensorboard(track: Track) -> GeneralTracker:
    return TensorBoardTracker("tensorboard", track.folder, purge_step=track.step + 1 if track.step else None)


def _wandb(track: Track) -> GeneralTracker:
    log, tables = track.config.log, track.config.model_dump(mode="json")
    return WandBTracker(
        log.project, name=track.config.name, id=track.ident, resume="allow", dir=str(track.folder), config=tables,
        settings={"login_timeout": LOGIN},
    )  # fmt: skip


def _trackio(track: Track) -> GeneralTracker:
    log, tables = track.config.log, track.config.model_dump(mode="json")
    # it knows runs by their names alone
    return TrackioTracker(log.project, name=f"{track.config.name}-{track.ident}", resume="allow", config=tables)


def _trackio_image(tracker: GeneralTracker, name: str, pixels: Pixels, step: int) -> None:
    import trackio  # pyright: ignore[reportMissingImports] - optional, and large

    tracker.log({name: trackio.Image(pixels)}, step=step)


_MAKE: dict[str, Callable[[Track], GeneralTracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
}
_IMAGE: dict[str, Callable[[Any, str, Pixels, int], None]] = {
    "tensorboard": lambda t, name, pixels, step: t.log_images({name: pixels[None]}, step=step, dataformats="NHWC"),
    "wandb": lambda t, name, pixels, step: t.log_images({name: [pixels]}, step=step),
    "trackio": _trackio_image,
}
