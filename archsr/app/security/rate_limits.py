"""Rate limits: failed logins, simultaneous uploads, and slow request bodies."""

import time
from collections import Counter, deque
from collections.abc import Callable

_FREE_ATTEMPTS = 5  # wrong passwords of one visitor before the first delay
_MAX_DELAY = 300.0  # seconds
_MAX_PER_MINUTE = 60  # wrong passwords of all visitors together
_FORGET_AFTER = 3600.0  # seconds without a wrong password
_GRACE = 30.0  # seconds without a byte that every body may take
_MIN_RATE = 2**14  # bytes a second after that
UPLOAD_SECONDS, REQUEST_SECONDS = 3600.0, 60.0  # total time for an upload and for any other body


def seconds_allowed(count: int, waited: float, *, total: float) -> float:
    """Return how long the next piece of a body may take, after `count` bytes that took `waited` seconds."""
    return min(total, _GRACE + count / _MIN_RATE) - waited


class LoginAttempts:
    """Counts login attempts. Each counts as wrong until `succeeded` is called."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_visitor: dict[str, list[float]] = {}
        self._recent: deque[float] = deque()

    def delay(self, visitor: str) -> float:
        """Return the seconds until this visitor may try again: 1 after five attempts, then twice as long each time."""
        now = self._clock()
        self._forget(now)
        own = self._by_visitor.get(visitor, [])
        delay = min(_MAX_DELAY, 2.0 ** min(len(own) - _FREE_ATTEMPTS, 20)) if len(own) >= _FREE_ATTEMPTS else 0.0
        own_delay = own[-1] + delay - now if delay else 0.0
        common_delay = self._recent[0] + 60 - now if len(self._recent) >= _MAX_PER_MINUTE else 0.0
        return max(0.0, own_delay, common_delay)

    def record(self, visitor: str) -> None:
        """Count an attempt."""
        now = self._clock()
        self._by_visitor.setdefault(visitor, []).append(now)
        self._recent.append(now)

    def succeeded(self, visitor: str) -> None:
        """Forget the visitor's attempts, since the last password was right."""
        self._by_visitor.pop(visitor, None)
        if self._recent:
            self._recent.pop()

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0] <= now - 60:
            self._recent.popleft()
        for visitor in [v for v, times in self._by_visitor.items() if times[-1] <= now - _FORGET_AFTER]:
            del self._by_visitor[visitor]


class UploadSlots:
    """Simultaneous uploads: at most `per_visitor` of one visitor; only one each when `total` are taken."""

    def __init__(self, total: int, per_visitor: int) -> None:
        self._total, self._per_visitor = total, per_visitor
        self._taken: Counter[str] = Counter()

    def acquire(self, visitor: str) -> bool:
        """Take a slot and return True, or return False. `release` must follow a True."""
        own = self._taken[visitor]
        if own >= self._per_visitor or (own and self._taken.total() >= self._total):
            return False
        self._taken[visitor] += 1
        return True

    def release(self, visitor: str) -> None:
        """Give a slot back."""
        self._taken[visitor] -= 1
        self._taken += Counter()  # removes visitors with zero
