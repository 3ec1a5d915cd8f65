"""Fetches shards at a URL before the stream needs them. The order is arithmetic, so it is known in advance."""

import threading
from collections.abc import Sequence

from archsr.data import manifest as mf
from archsr.data.cache import copy_of, fetch_copy, touch
from archsr.data.remote import Remote, TransferCancelled
from archsr.data.stream.plan import Plan
from archsr.errors import UserError

_SHARE = 0.9  # of the cache: the rest is for indexes and for shards that other runs use
_PAUSE = 0.5  # seconds between checks for transfers of other processes


def horizon(plan: Plan, sizes: Sequence[int], position: int, budget: int) -> list[int]:
    """Return the shards that are needed from `position` on, each once, in the order of their first sample.

    They fit into `budget` bytes by their `sizes`, but there is always at least one and at most the whole dataset.
    """
    ahead: dict[int, None] = {}
    used = 0
    for shard in plan.upcoming(position):
        if shard in ahead:
            if len(ahead) == sum(1 for n in plan.sizes if n):
                break
            continue
        used += sizes[shard]
        if ahead and used > budget:
            break
        ahead[shard] = None
    return list(ahead)


class Prefetcher:
    """A thread that keeps the cache filled with the next shards of `plan`. Several processes share the work.

    It ends on an error: the reader that needs the shard meets the same error and reports it.
    """

    def __init__(self, remote: Remote, shards: Sequence[mf.Shard], plan: Plan) -> None:
        self._remote = remote
        self._shards = shards
        self._plan = plan
        self._position = 0
        self._moved = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def at(self, position: int) -> None:
        """Set the position of the stream; the first call starts the thread."""
        before, self._position = self._position, position
        if not self._thread.is_alive() and not self._stop.is_set() and self._thread.ident is None:
            self._thread.start()
        elif self._plan.window_of(before) != self._plan.window_of(position):
            self._moved.set()

    def close(self) -> None:
        """Cancel a transfer in progress and end the thread."""
        self._stop.set()
        self._moved.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        sizes = [s.bytes for s in self._shards]
        try:
            while not self._stop.is_set():
                self._moved.clear()
                ahead = horizon(self._plan, sizes, self._position, int(_SHARE * self._remote.limit))
                complete = self._fill([self._shards[n] for n in ahead])
                self._moved.wait(None if complete else _PAUSE)
        except (UserError, TransferCancelled):
            return

    def _fill(self, ahead: list[mf.Shard]) -> bool:
        """Fetch the shards ahead; return whether all of them are in the cache now."""
        items = [item for shard in ahead for item in (shard.index_item, shard.tar_item)]
        keep = {copy_of(self._remote, item) for item in items}
        # all are marked as used, the nearest as the newest, so that older shards are evicted first
        missing = [item for item in reversed(items) if not touch(self._remote, item)][::-1]
        complete = True
        for item in missing:
            if self._stop.is_set() or self._moved.is_set():
                return False
            complete &= fetch_copy(self._remote, item, keep=keep, stop=self._stop)
        return complete
