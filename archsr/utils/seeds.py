"""Random generators derived from their purpose, so that none has to be saved or shared.

A generator is a pure function of `(seed, purpose, coordinates...)`, such as epoch, position or rank.
"""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager

import torch


def seed_of(seed: int, *key: str | int) -> int:
    """Derive a 63-bit seed from `seed` and `key`; it is the same on every machine and Python (never `hash()`)."""
    text = "\x1f".join([str(seed), *(f"{type(k).__name__}:{k}" for k in key)])
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *key: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new `torch.Generator` on `device` for the purpose and coordinates in `key`."""
    return torch.Generator(device=device).manual_seed(seed_of(seed, *key))


@contextmanager
def seeded(seed: int, *key: str | int) -> Generator[None]:
    """Seed the global generator with (`seed`, `key`) for library code that uses it; restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, *key))
        yield


def unit(seed: int, *key: str | int) -> float:
    """Return a number in [0, 1) that depends only on `seed` and `key`."""
    return (seed_of(seed, *key) >> 10) / 2**53  # 53 bits: never rounds up to 1.0
