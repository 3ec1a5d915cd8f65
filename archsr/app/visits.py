"""Visits: the photographs, results and running order of a visitor, found again by any page of the same browser."""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from archsr.app.pixel_tiles import view_files
from archsr.app.storage import touch
from archsr.app.upscale.job import JobProgress, PhotoResult
from archsr.app.upscale.uploads import Upload


@dataclass
class Visit:
    """What one visitor has on the server.

    `key` is a secret of the visitor's browser; `page` is the page that began the visit; `token` is the secret part of
    the path of its zip. The last order has `total` photographs and `models`; `pixels` are the pixels to compute by
    (number of the photograph, model), as far as they are known; `error` says why the whole order failed.
    """

    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    page: str = ""
    token: str = ""
    photos: list[Upload] = field(default_factory=list[Upload])
    done: list[PhotoResult] = field(default_factory=list[PhotoResult])
    current: JobProgress | None = None
    task: "asyncio.Task[None] | None" = None
    total: int = 0
    models: list[str] = field(default_factory=list[str])
    pixels: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])
    error: str = ""
    cancelled: bool = False
    last_seen: float = field(default_factory=time.monotonic)

    @property
    def busy(self) -> bool:
        """Whether an order is running."""
        return self.task is not None and not self.task.done()

    def reset(self, total: int, models: Sequence[str]) -> None:
        """Forget the last order and prepare for one of `total` photographs."""
        self.token, self.total, self.models = secrets.token_hex(16), total, list(models)
        self.done, self.current, self.error, self.cancelled = [], None, "", False

    def results(self) -> Iterator[Path]:
        """Yield the paths of all results."""
        for one in self.done:
            for image in one.results.values():
                yield image.path

    def touch(self) -> None:
        """Mark the visit and its files as used, and forget files that were removed."""
        self.last_seen = time.monotonic()
        touch(*map(Path, self.photos), *self.results())
        for one in self.done:
            for image in (one.photo, *one.results.values()):
                if image is not None and image.has_view:
                    touch(image.path, *view_files(image.path.parent))
                if image is not None and image.detail is not None:
                    touch(image.detail)
        self.photos = [p for p in self.photos if Path(p).is_file()]
        self.done = [one for one in self.done if one.error or all(p.path.is_file() for p in one.results.values())]


class Visits:
    """At most `most` visits. An idle one is forgotten `keep_seconds` after it was last seen."""

    def __init__(self, *, most: int, keep_seconds: float) -> None:
        self._most, self._keep_seconds = most, keep_seconds
        self._all: OrderedDict[str, Visit] = OrderedDict()

    def get(self, key: object) -> Visit | None:
        """Return the visit with this key, or None. Browsers send the key, so it can be anything."""
        visit = self._all.get(key) if isinstance(key, str) else None
        if visit is not None:
            self._all.move_to_end(visit.key)
            visit.touch()
        return visit

    def find(self, key: object, page: str) -> Visit | None:
        """Return the visit with this key, or the one that `page` began before its browser received the key."""
        of_page = (v for v in self._all.values() if page and v.page == page)
        return self.get(key) or next(of_page, None)

    def find_or_create(self, key: object, page: str) -> Visit:
        """Return the visit that `find` returns, or a new one."""
        return self.find(key, page) or self.create(page)

    def create(self, page: str = "") -> Visit:
        """Return a new visit. If there are too many, the least recently seen idle one is forgotten."""
        self._forget()
        visit = Visit(page=page)
        self._all[visit.key] = visit
        return visit

    def with_token(self, token: str) -> Visit | None:
        """Return the visit whose last order has this token, or None."""
        return next((v for v in self._all.values() if token and secrets.compare_digest(v.token, token)), None)

    def busy_count(self) -> int:
        """Return how many visits have a running order."""
        return sum(v.busy for v in self._all.values())

    def is_abandoned(self, visit: Visit) -> bool:
        """Return whether a visit was last seen too long ago."""
        return time.monotonic() - visit.last_seen > self._keep_seconds

    def _forget(self) -> None:
        idle = [v for v in self._all.values() if not v.busy]
        excess = len(self._all) + 1 - self._most
        for number, visit in enumerate(idle):
            if number < excess or self.is_abandoned(visit):
                del self._all[visit.key]
