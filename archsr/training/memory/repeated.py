"""Repeat operations on meta tensors without asking torch again what shapes their results have.

torch works these shapes out in Python, which takes most of the time of a forecast. A network repeats few operations
hundreds of times.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor


class _Shape(NamedTuple):
    """All that a meta tensor is."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class _RealTensorError(Exception):
    """A tensor has contents, which a shape does not describe."""


@dataclass(frozen=True)
class Known:
    """An operation that has run once: its result in shapes, the bytes it allocates while it runs, and its FLOPs.

    `shapes` is None if the result is the first argument, changed in place.
    """

    shapes: Any
    work_space: int
    flops: int

    def again(self, args: Any) -> Any:  # noqa: ANN401 - of any operation
        """Return the result for arguments of the same shapes, in new tensors."""
        return args[0] if self.shapes is None else _anew(self.shapes)


def key_of(func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
    """Return a key for an operation and its arguments, or None if it can only be run.

    It can be repeated if it makes new tensors, or only changes its first argument and returns it.
    """
    try:
        key = (func, _described(args), _described(kwargs)) if _is_plain(func) else None
        hash(key)
    except (TypeError, _RealTensorError):
        return None
    return key


@cache
def _is_plain(func: Any) -> bool:  # noqa: ANN401
    changed = [n for n, one in enumerate(func._schema.arguments) if one.alias_info is not None]
    shared = [one.alias_info is not None for one in func._schema.returns]
    in_place = func._schema.is_mutable and (changed, shared) == ([0], [True])
    return in_place or not (changed or any(shared))


def known(out: Any, args: Any, *, work_space: int, flops: int) -> Known | None:  # noqa: ANN401
    """Return what is needed to repeat the operation that made `out`, or None if shapes do not tell it.

    They do not if a result shares its storage with an argument or another result.
    """
    if args and out is args[0]:
        return Known(None, work_space, flops)
    results = list(tensors(out))
    own, given = ({identity(t) for t in several} for several in (results, tensors(args)))
    apart = len(own) == len(results) and not own & given
    exact = all(t.is_meta and t.untyped_storage().nbytes() == t.nbytes for t in results)
    return Known(_described(out), work_space, flops) if results and apart and exact else None


def identity(tensor: Tensor) -> int:
    """Return an identifier of a tensor's storage. Meta tensors have no addresses to compare."""
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


def tensors(value: Any) -> Iterator[Tensor]:  # noqa: ANN401 - inputs and outputs of operations
    """Yield the tensors in a value and in nested lists, tuples and dictionaries. pytree takes several times as long."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from tensors(one)


def _described(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Tensor):
        if not value.is_meta:
            raise _RealTensorError
        return _Shape(tuple(value.shape), value.stride(), value.dtype)
    if isinstance(value, list | tuple):
        return type(value), *map(_described, value)
    if isinstance(value, dict):
        return dict, *((name, _described(one)) for name, one in value.items())
    return type(value), value  # the type too: True, 1 and 1.0 are equal


def _anew(shapes: Any) -> Any:  # noqa: ANN401
    if isinstance(shapes, _Shape):
        return torch.empty_strided(shapes.size, shapes.stride, dtype=shapes.dtype, device="meta")
    kind, *rest = shapes
    return kind(map(_anew, rest)) if kind in (list, tuple) else rest[0]
