"""Random generators derived from what they are for, so that none has to be saved or shared.

A generator is a pure function of `(seed, purpose, coordinates...)`: epoch, position, rank, whatever names the draw.
"""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager

import torch


def seed_of(seed: int, *key: str | int) -> int:
    """A 63-bit seed mixed from `seed` and `key`; the same on every machine and Python (never `hash()`)."""
    text = "\x1f".join([str(seed), *(f"{type(k).__name__}:{k}" for k in key)])
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *key: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh `torch.Generator` on `device` for the purpose and coordinates in `key`."""
    return torch.Generator(device=device).manual_seed(seed_of(seed, *key))


@contextmanager
def seeded(seed: int, *key: str | int) -> Generator[None]:
    """Let library code that only knows the global generator draw from (`seed`, `key`); its state is put back after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, *key))
        yield


def unit(seed: int, *key: str | int) -> float:
    """One number in [0, 1) that depends on nothing but `seed` and `key`."""
    return (seed_of(seed, *key) >> 10) / 2**53  # 53 bits: never rounds up to 1.0
