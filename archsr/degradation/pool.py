"""The training pair pool mixes pairs of many batches, so that the pairs of a batch need not share random choices.

Real-ESRGAN keeps 180 pairs for a batch of 12 and shuffles them all. Swapping with distinct random slots gives the same
mixture. Both images lie on the 8-bit grid, so the pool is exact in uint8 at a quarter of the memory.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from archsr.degradation.apply import Pair
from archsr.degradation.canvas import send
from archsr.images.pixels import to_float, to_uint8

PoolState = dict[str, Tensor]


class PairPool:
    """Holds `capacity` pairs on the pairs' device. While it fills, batches are stored and also returned unchanged."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.lq: Tensor | None = None
        self.gt: Tensor | None = None
        self.origin: Tensor | None = None
        self.filled = 0

    def swap(self, pair: Pair, rng: torch.Generator) -> Pair:
        """Swap a batch for one of the same size, with origins if given. `rng` is on the CPU."""
        batch = len(pair.lq)
        if self.capacity == 0:
            return pair
        if self.lq is None or self.gt is None:
            self.lq, self.gt = self._room(pair.lq), self._room(pair.gt)
        if self.origin is None and pair.origin is not None:
            self.origin = self._unknown(pair.origin.shape[1])
        if self.filled + batch <= self.capacity:
            self.lq[self.filled : self.filled + batch] = to_uint8(pair.lq)
            self.gt[self.filled : self.filled + batch] = to_uint8(pair.gt)
            if self.origin is not None and pair.origin is not None:
                self.origin[self.filled : self.filled + batch] = pair.origin
            self.filled += batch
            return pair
        places = torch.randperm(self.filled, generator=rng)[:batch]
        slots = send(places, self.lq.device)
        origin = None if self.origin is None else self.origin[places]
        out = Pair(to_float(self.lq[slots]), to_float(self.gt[slots]), origin)
        self.lq[slots] = to_uint8(pair.lq)
        self.gt[slots] = to_uint8(pair.gt)
        if self.origin is not None and pair.origin is not None:
            self.origin[places] = pair.origin
        return out

    def _room(self, like: Tensor) -> Tensor:
        return torch.zeros(self.capacity, *like.shape[1:], dtype=torch.uint8, device=like.device)

    def _unknown(self, columns: int) -> Tensor:
        return torch.full((self.capacity, columns), -1, dtype=torch.int64)

    def state(self) -> PoolState:
        """Return the filled slots for the checkpoint."""
        if self.lq is None or self.gt is None:
            return {}
        known = {} if self.origin is None else {"origin": self.origin[: self.filled].clone()}
        return {"lq": self.lq[: self.filled].clone(), "gt": self.gt[: self.filled].clone(), **known}

    def load(self, state: PoolState, *, device: torch.device) -> None:
        """Load the slots of `state`. Raises ValueError if there are more than fit."""
        count = len(state["lq"]) if state else 0
        if count > self.capacity:
            raise ValueError(f"{count} pairs do not fit into a pool of {self.capacity}")
        if count == 0:
            return
        self.lq, self.gt = self._room(state["lq"].to(device)), self._room(state["gt"].to(device))
        self.lq[:count], self.gt[:count] = state["lq"].to(device), state["gt"].to(device)
        self.filled = count
        if "origin" in state:  # older checkpoints have none
            self.origin = self._unknown(state["origin"].shape[1])
            self.origin[:count] = state["origin"].cpu()


def redistribute(states: Sequence[PoolState], *, rank: int, world: int) -> PoolState:
    """Return this rank's share of pools saved by another number of ranks: every pair goes to exactly one rank."""
    full_states = [s for s in states if s]
    if not full_states:
        return {}
    return {name: torch.cat([s[name] for s in full_states])[rank::world].contiguous() for name in full_states[0]}
