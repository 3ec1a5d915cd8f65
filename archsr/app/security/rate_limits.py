"""How long a visitor is waited for and has to wait: passwords, uploads at once, and how slow a body may be."""

import time
from collections import Counter, deque
from collections.abc import Callable

_FREE = 5  # wrong passwords of one visitor before the first delay
_LONGEST = 300.0  # seconds, of a delay
_ALL = 60  # wrong passwords in a minute, of everybody together
_FORGOTTEN = 3600.0  # seconds after which a visitor begins anew
_GRACE = 30.0  # seconds without a byte that every body is given
_RATE = 2**14  # bytes a second that it must reach after that
LONG, SHORT = 3600.0, 60.0  # seconds in all, for an upload and for any other body


def patience(count: int, waited: float, *, total: float) -> float:
    """Seconds that the next piece of a body may take, after `count` bytes for which `waited` seconds were needed."""
    return min(total, _GRACE + count / _RATE) - waited


class Attempts:
    """Passwords that were tried. Each counts as wrong until it turned out right."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tried: dict[str, list[float]] = {}
        self._lately: deque[float] = deque()

    def wait(self, visitor: str) -> float:
        """Seconds until this visitor may try again; 0: now. After five it is 1, then twice as long each time."""
        now = self._clock()
        self._forget(now)
        own = self._tried.get(visitor, [])
        delay = min(_LONGEST, 2.0 ** min(len(own) - _FREE, 20)) if len(own) >= _FREE else 0.0
        alone = own[-1] + delay - now if delay else 0.0
        together = self._lately[0] + 60 - now if len(self._lately) >= _ALL else 0.0
        return max(0.0, alone, together)

    def tries(self, visitor: str) -> None:
        """A password comes."""
        now = self._clock()
        self._tried.setdefault(visitor, []).append(now)
        self._lately.append(now)

    def knew(self, visitor: str) -> None:
        """It was right."""
        self._tried.pop(visitor, None)
        if self._lately:
            self._lately.pop()

    def _forget(self, now: float) -> None:
        while self._lately and self._lately[0] <= now - 60:
            self._lately.popleft()
        for visitor in [v for v, times in self._tried.items() if times[-1] <= now - _FORGOTTEN]:
            del self._tried[visitor]


class UploadSlots:
    """Uploads at once: at most `each` of one visitor; beyond `most` in all, only one for each."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each = most, each
        self._taken: Counter[str] = Counter()

    def enter(self, visitor: str) -> bool:
        """Take one, if there is one; then `leave` must follow."""
        own = self._taken[visitor]
        if own >= self._each or (own and self._taken.total() >= self._most):
            return False
        self._taken[visitor] += 1
        return True

    def leave(self, visitor: str) -> None:
        """Give it back."""
        self._taken[visitor] -= 1
        self._taken += Counter()  # without those who have none
