"""Trackers for a run's curves and images: TensorBoard, Weights & Biases, trackio.

All are accelerate's tracker classes. They are started one by one, because `Accelerator.init_trackers` stops at the
first failure. Here a failing tracker is reported once, and the other trackers and training continue.
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

LOGIN = 30  # seconds to wait for an answer when an account key is requested


@dataclass(frozen=True)
class Track:
    """The tracked run. `ident` identifies it for ever; it starts or resumes at `step`.

    `logged_until` is the last step that an earlier process has logged, or -1. The run repeats the steps from `step` to
    there. TensorBoard hides its old values for these steps. The other trackers cannot remove values, so the steps are
    not logged to them again.
    """

    config: TrainConfig
    folder: Path
    ident: str
    step: int = 0
    logged_until: int = -1


def check_trackers(names: Sequence[str]) -> None:
    """Raise `UserError` if a tracker's package is not installed."""
    absent = [name for name in names if not _installed(name)]
    if absent:
        rest = json.dumps([name for name in names if name not in absent])
        raise UserError(
            f"log.trackers: not installed: {', '.join(absent)}; pip install {' '.join(absent)}, or leave them out: "
            f"--set 'log.trackers={rest}'"
        )


def _installed(name: str) -> bool:
    # not find_spec: it would find wandb's folder of runs in the current directory
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


class Trackers:
    """The trackers of a run on rank 0. No method raises. Call `close` at the end."""

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
        """Log numbers under their full names."""
        for kind, tracker, at in self._at(step):
            with self._forgiving(kind):
                tracker.log(dict(values), step=at)

    def image(self, name: str, pixels: Pixels, step: int) -> None:
        """Log an image (h, w, 3), uint8."""
        for kind, tracker, at in self._at(step):
            with self._forgiving(kind):
                _IMAGE[kind](tracker, name, pixels, at)

    def close(self) -> None:
        """Write or send everything that is pending."""
        for kind, tracker in self._all.items():
            with self._forgiving(kind):
                tracker.finish()

    def _at(self, step: int) -> Generator[tuple[str, GeneralTracker, int]]:
        """Yield the trackers that log `step`, and the step to log at: the present one for late checkpoints."""
        self._now = max(self._now, step)
        for kind, tracker in self._all.items():
            if kind == "tensorboard" or step > self._track.logged_until:
                yield kind, tracker, self._now

    @contextmanager
    def _forgiving(self, name: str) -> Generator[None]:
        try:
            yield
        except Exception as error:  # a service or its package may raise anything
            if name not in self._told:
                console.warn(f"{self._track.folder}: {name} fails: {first_line(error, kind=True)}; training continues")
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
    # trackio identifies runs by name only
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
