"""Passes that were forecast before, stored on disk: the same shapes and the same code need the same bytes."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from archsr.models.download import cache_folder
from archsr.training.memory.ledger import Pass
from archsr.utils.atomic import write_bytes

W = TypeVar("W")
Several = dict[str, Pass]
_PACKAGE = Path(__file__).parents[2]
_CODE = ("config", "models", "training/losses", "training/memory")  # what decides which operations are run
_LIBRARIES = ("torch", "torchvision", "timm", "lpips")


def stored(find: Callable[[W], Several]) -> Callable[[W], Several]:
    """Return `find`, which reads what it found before, in this process or in the cache folder.

    The text of its argument must hold all that the result depends on, besides the code.
    """

    @lru_cache(maxsize=256)
    def found(which: W) -> Several:
        path = cache_folder().parent / "passes" / f"{_key(find.__name__, which)}.json"
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):  # absent or damaged: found again
            return {name: Pass(**one) for name, one in json.loads(path.read_bytes()).items()}
        passes = find(which)
        with contextlib.suppress(OSError):  # a shared cache may be read-only
            write_bytes(path, json.dumps({name: vars(one) for name, one in passes.items()}).encode())
        return passes

    return found


def _key(name: str, which: object) -> str:
    return hashlib.sha256(f"{name}\0{which!r}\0{_code()}".encode()).hexdigest()[:32]


@cache
def _code() -> str:
    """Return a digest of the code and the libraries of a forecast."""
    digest = hashlib.sha256(repr([version(name) for name in _LIBRARIES]).encode())
    for path in sorted(path for part in _CODE for path in (_PACKAGE / part).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
