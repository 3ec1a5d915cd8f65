"""What a visitor has here, whichever page of the same browser asks: photographs, results, work that goes on."""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from archsr.app.pixel_tiles import files_of
from archsr.app.storage import touch
from archsr.app.upscale.job import Done, Now
from archsr.app.upscale.uploads import Upload


@dataclass
class Visit:
    """`key` is known to the visitor's browser alone, `page` is what began it; `token` leads to its results.

    `total` photographs and `models` were ordered; `pieces` has the pixels to compute by number and model, as far as
    they are known; `failed` says why an order came to nothing.
    """

    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    page: str = ""
    token: str = ""
    photos: list[Upload] = field(default_factory=list[Upload])
    done: list[Done] = field(default_factory=list[Done])
    now: Now | None = None
    task: "asyncio.Task[None] | None" = None
    total: int = 0
    models: list[str] = field(default_factory=list[str])
    pieces: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])
    failed: str = ""
    cancelled: bool = False
    seen: float = field(default_factory=time.monotonic)

    @property
    def busy(self) -> bool:
        """Whether work for it goes on."""
        return self.task is not None and not self.task.done()

    def begin(self, total: int, models: Sequence[str]) -> None:
        """Forget what an earlier order brought."""
        self.token, self.total, self.models = secrets.token_hex(16), total, list(models)
        self.done, self.now, self.failed, self.cancelled = [], None, "", False

    def results(self) -> Iterator[Path]:
        """The files of all results."""
        for one in self.done:
            for image in one.results.values():
                yield image.path

    def look(self) -> None:
        """Somebody has looked: its files are in use."""
        self.seen = time.monotonic()
        touch(*map(Path, self.photos), *self.results())
        for one in self.done:
            for image in (one.photo, *one.results.values()):
                if image is not None and image.viewed:
                    touch(image.path, *files_of(image.path.parent))
                if image is not None and image.detail is not None:
                    touch(image.detail)
        self.photos = [p for p in self.photos if Path(p).is_file()]
        self.done = [one for one in self.done if one.refused or all(p.path.is_file() for p in one.results.values())]


class Visits:
    """At most `most` of them, each forgotten `keep` seconds after it was last seen unless work for it goes on."""

    def __init__(self, *, most: int, keep: float) -> None:
        self._most, self._keep = most, keep
        self._all: OrderedDict[str, Visit] = OrderedDict()

    def of(self, key: object) -> Visit | None:
        """The visit with this key; a key that was not made here is nobody's."""
        visit = self._all.get(key) if isinstance(key, str) else None
        if visit is not None:
            self._all.move_to_end(visit.key)
            visit.look()
        return visit

    def found(self, key: object, page: str) -> Visit | None:
        """The visit with this key, or that of a page which has not been told its key yet."""
        told_soon = (v for v in self._all.values() if page and v.page == page)
        return self.of(key) or next(told_soon, None)

    def at(self, key: object, page: str) -> Visit:
        """As `found`, or a new one."""
        return self.found(key, page) or self.new(page)

    def new(self, page: str = "") -> Visit:
        """Another visit, begun by a page; the one that was not seen for longest makes room."""
        self._forget()
        visit = Visit(page=page)
        self._all[visit.key] = visit
        return visit

    def with_token(self, token: str) -> Visit | None:
        """The visit whose last order has this token."""
        return next((v for v in self._all.values() if token and secrets.compare_digest(v.token, token)), None)

    def busy(self) -> int:
        """For how many of them work goes on."""
        return sum(v.busy for v in self._all.values())

    def unseen(self, visit: Visit) -> bool:
        """Whether nobody has looked for so long that nobody will."""
        return time.monotonic() - visit.seen > self._keep

    def _forget(self) -> None:
        idle = [v for v in self._all.values() if not v.busy]
        too_many = len(self._all) + 1 - self._most
        for number, visit in enumerate(idle):
            if number < too_many or self.unseen(visit):
                del self._all[visit.key]
