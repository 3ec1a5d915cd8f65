"""Measure the memory of a forward and backward pass by counting every allocation, of real or "meta" tensors.

"Meta" tensors have shapes and no contents. With them autograd keeps and frees exactly what it would on a device, so the
peak is known without a device. Allocations inside library calls are not visible; for convolutions they are estimated as
in oneDNN: a copy of the output and of the incoming gradient.
"""

import weakref
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from archsr.training.memory.repeated import Known, identity, key_of, known, tensors


@dataclass(frozen=True)
class Pass:
    """Bytes above the previous level, and floating-point operations (a multiplication and an addition count as two).

    `kept`: what autograd saved for the backward pass; `held`: that and the result, after the forward pass; `forward`
    and `backward`: the peak of each.
    """

    kept: float
    forward: float
    held: float
    backward: float
    flops: float

    @property
    def peak(self) -> float:
        """The peak in bytes."""
        return max(self.forward, self.backward)

    def between(self, other: "Pass", share: float) -> "Pass":
        """Interpolate linearly to another pass, at `share` of the way."""
        a, b = vars(self), vars(other)
        return Pass(**{name: a[name] + share * (b[name] - a[name]) for name in a})


def one_pass(forward: Callable[[], Tensor], weights: Iterable[nn.Module], *, narrow: torch.dtype | None = None) -> Pass:
    """Measure `forward` and its backward pass. `narrow`: autocast's dtype, for meta tensors only.

    The trained parameters of `weights` have gradients already, as in gradient accumulation.
    """
    parameters = [p for net in weights for p in net.parameters()]
    known = {identity(p) for p in parameters}
    for p in parameters:
        p.grad = torch.zeros_like(p) if p.requires_grad else None
    kept: dict[int, tuple[Any, int]] = {}  # an address may be used again: only storages that still live count

    def pack(tensor: Tensor) -> Tensor:
        if identity(tensor) not in known:
            storage = tensor.untyped_storage()
            kept[identity(tensor)] = weakref.ref(storage), storage.nbytes()
        return tensor

    # anomaly detection would check meta tensors for NaN
    anomalies = torch.autograd.set_detect_anomaly(False)
    with anomalies, _narrowed(narrow) as weights_of_autocast, Ledger() as ledger:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            result = forward()
        weights_of_autocast.clear()
        before, held = ledger.take_peak(), ledger.live
        saved = sum(size for storage, size in kept.values() if storage() is not None)
        if result.requires_grad:
            result.backward(torch.ones_like(result))
        return Pass(saved, before, held, ledger.take_peak(), ledger.flops)


def forward_flops(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> int:
    """Return the floating-point operations of a network for an input of `shape`, without a graph."""
    with torch.device("meta"):
        net, x = make(), torch.empty(shape)
        with torch.no_grad(), Ledger() as ledger:
            net(x)
    return ledger.flops


def saved_bytes(forward: Callable[[], object], net: nn.Module) -> int:
    """Return the bytes autograd saves for the backward pass of `forward`: each storage once, without weights."""
    weights = {identity(p) for p in net.parameters()}
    seen: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if identity(tensor) not in weights:
            seen[identity(tensor)] = tensor  # kept alive, so that its identity is not reused
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        held = forward()
    del held
    return sum(t.untyped_storage().nbytes() for t in seen.values())


_KNOWN: dict[Any, Known] = {}  # of all ledgers: the passes of a plan have most operations in common


class Ledger(TorchDispatchMode):
    """Count the storages that operations inside its `with` block allocate, while they live, and FLOPs.

    `live`: bytes now; `flops`: of the convolutions and matrix products so far.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled, and guarding each call against it takes time."""
        return False

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.flops = 0
        self._peak = 0
        self._open: dict[int, Any] = {}

    def take_peak(self) -> int:
        """Return the peak bytes since the last call."""
        peak, self._peak = self._peak, self.live
        return peak

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        key = key_of(func, args, kwargs or {})
        before = _KNOWN.get(key)
        out = before.again(args) if before else func(*args, **(kwargs or {}))
        given = {identity(t) for t in tensors((args, kwargs))}
        for tensor in tensors(out):
            if identity(tensor) not in given:
                self._enter(tensor.untyped_storage())
        work_space, flops = (
            (before.work_space, before.flops)
            if before
            else (_work_space(func, args, out), _flops(func, args, kwargs or {}, out))
        )
        if key is not None and before is None and (found := known(out, args, work_space=work_space, flops=flops)):
            _KNOWN[key] = found
        self._peak = max(self._peak, self.live + work_space)
        self.flops += flops
        return out

    def _enter(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()  # pyright: ignore[reportPrivateUsage]
        if key not in self._open:
            self.live += size
            self._open[key] = weakref.ref(storage, lambda _: self._leave(key, size))

    def _leave(self, key: int, size: int) -> None:
        self.live -= size
        del self._open[key]


def _flops(func: Any, args: Any, kwargs: Any, out: Any) -> int:  # noqa: ANN401
    count = flop_registry.get(getattr(func, "_overloadpacket", None))
    return 0 if count is None else count(*args, **kwargs, out_val=out)


def _work_space(func: Any, args: Any, out: Any) -> int:  # noqa: ANN401
    """Return the bytes that a convolution allocates while it runs."""
    name = getattr(func, "_overloadpacket", None)
    if name is torch.ops.aten.convolution:
        return out.nbytes
    if name is torch.ops.aten.convolution_backward:
        grad, x = args[:2]
        # in 16 bits the weight gradient needs twice the input in addition
        narrow = 2 * x.nbytes if out[1] is not None and x.element_size() == 2 else 0
        return grad.nbytes + (out[0].nbytes if out[0] is not None else 0) + narrow
    return 0


@contextmanager
def _narrowed(dtype: torch.dtype | None) -> Generator[dict[Tensor, Tensor]]:
    """Imitate autocast for convolutions, linear layers and PReLU, because autocast does not support meta tensors.

    Yields its cache of narrow trained weights, so that the caller can clear it. A torch function mode would be simpler,
    but torch disables it during the backward pass, including recomputation.
    """
    narrow: dict[Tensor, Tensor] = {}

    def cast(given: Any) -> Any:  # noqa: ANN401
        if not isinstance(given, Tensor):
            return given
        if given.is_leaf and given.requires_grad:
            return narrow.setdefault(given, given.to(dtype)) if given not in narrow else narrow[given]
        return given.to(dtype)

    def narrowed(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *args, **kwargs: function(*map(cast, args), **kwargs)

    if dtype is None:
        yield narrow
    else:
        with mock.patch.multiple(F, conv2d=narrowed(F.conv2d), linear=narrowed(F.linear), prelu=narrowed(F.prelu)):
            yield narrow
