"""A GPU whose tensors are shapes: tensors on the CPU are real, those on "cuda" are fake, and everything is counted.

Runs in a process that has the libraries of `stub_libraries.py`. A tensor on the wrong device raises as on a GPU.
Waits of the host for the device, copies, casts and kernel launches are counted with the phase and the line of archsr
that caused them.
"""

import contextlib
import math
import sys
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

# no kernel: views, allocations and bookkeeping
_FREE = {
    "empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "_unsafe_view", "detach", "lift_fresh",
    "set_", "resize_", "record_stream", "_local_scalar_dense", "is_pinned", "_reshape_alias", "device",
    "_assert_tensor_metadata", "alias",
}  # fmt: skip
_DATA_DEPENDENT = {"nonzero", "masked_select", "unique", "_unique2", "equal", "is_nonzero"}
# tensors that one kernel of a foreach operation takes, by how many lists it reads (ATen's MultiTensorApply.cuh)
_PER_LAUNCH = {1: 110, 2: 64, 3: 48, 4: 36}
_LISTS = {"_foreach_lerp_": 2, "_foreach_add_": 1, "_foreach_norm": 1, "_fused_adam_": 4, "_fused_adamw_": 4,
          "_foreach_mul_": 1}  # fmt: skip


class FakeDevice(TorchDispatchMode):
    """Enter it, and "cuda" tensors are fake. The counters are keyed by (phase, ..., line of archsr)."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.phase = "set-up"
        self.launches: Counter[tuple[str, str, str]] = Counter()  # (phase, operation, line)
        self.waits: Counter[tuple[str, str, str]] = Counter()  # (phase, kind, line)
        self.casts: Counter[tuple[str, str, str]] = Counter()  # (phase, "float16 to float32", line)
        self.expanded: Counter[tuple[str, str, str]] = Counter()  # gradients without memory of their own
        self.copied: Counter[tuple[str, str, str]] = Counter()  # bytes: (phase, "uint8 to cpu", line)
        self.on_wait: Callable[[], None] = lambda: None
        self._pinned: set[int] = set()
        self._kept: list[Tensor] = []

    def clear(self) -> None:
        """Forget the counts."""
        for counter in (self.launches, self.waits, self.casts, self.expanded, self.copied):
            counter.clear()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and func.namespace == "aten" and func._can_decompose():
            with self:  # as autograd does outside of the inference mode
                return func.decompose(*args, **kwargs)
        name = func.name().split(".")[0].split("::")[1]
        wanted = kwargs.get("device")
        on_gpu = any(_is_cuda(t) for t in tree_leaves((args, kwargs)))
        if not on_gpu and (wanted is None or torch.device(wanted).type != "cuda"):
            if kwargs.get("pin_memory"):
                return self._noted(func(*args, **kwargs))
            return self._noted(args[0].clone()) if name == "_pin_memory" else func(*args, **kwargs)
        line = _line()
        if name == "_local_scalar_dense":
            self._wait("item", line)
            return {torch.bool: False, torch.int64: 0}.get(args[0].dtype, 0.0)
        if name in _DATA_DEPENDENT:
            self._wait(name, line)
        if name == "equal":
            return True
        if name == "index" and any(
            _is_cuda(i) and i.dtype in (torch.bool, torch.uint8) for i in args[1] if i is not None
        ):
            self._wait("index by a mask", line)
        copied = self._copied(name, args, kwargs, line)
        if copied is not None:
            return copied
        self._note_casts(name, args, kwargs, line)
        converted = tree_map(self._as_fake, (args, kwargs))
        with self.fake:
            out = func(*converted[0], **converted[1])
        count = 0 if func.is_view or name in _FREE else _launches(name, args)
        if count:
            self.launches[self.phase, name, line] += count
        return out

    def _noted(self, pinned: Tensor) -> Tensor:
        self._pinned.add(pinned.untyped_storage().data_ptr())
        self._kept.append(pinned)  # so that its address stays its own
        return pinned

    def _is_pinned(self, tensor: Tensor) -> bool:
        return not isinstance(tensor, FakeTensor) and tensor.untyped_storage().data_ptr() in self._pinned

    @contextlib.contextmanager
    def waiting_for_events(self) -> Generator[None]:
        """Count also the waits for CUDA's events, streams and devices, which are no operations."""
        places = [(torch.cuda.Event, "event"), (torch.cuda.Stream, "stream"), (torch.cuda, "device")]
        plain = [(owner, owner.synchronize) for owner, _ in places]

        def counting(kind: str) -> Callable[..., None]:
            return lambda *_args, **_kwargs: self._wait(kind, _line())

        for owner, kind in places:
            owner.synchronize = counting(kind)
        try:
            yield
        finally:
            for owner, function in plain:
                owner.synchronize = function

    def _wait(self, kind: str, line: str) -> None:
        self.waits[self.phase, kind, line] += 1
        self.on_wait()

    def _copied(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], line: str) -> Tensor | None:
        """Count a copy between host and device as a wait unless it is asynchronous. Return a copy on the host."""
        if name not in ("_to_copy", "copy_"):
            return None
        source: Tensor = (
            args[-1] if name == "copy_" and not isinstance(args[-1], bool) else args[1 if name == "copy_" else 0]
        )
        if name == "_to_copy":
            kind = torch.device(kwargs["device"]).type if kwargs.get("device") is not None else source.device.type
        else:
            kind = args[0].device.type
        without_wait = bool(kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
        if {source.device.type, kind} == {"cpu", "cuda"}:
            self.copied[self.phase, f"{source.dtype} to {kind}".replace("torch.", ""), line] += source.nbytes
        if source.device.type == "cpu" and kind == "cuda":
            paged = not self._is_pinned(source)
            if paged or not without_wait:
                self._wait("copy to the device" + (" from pageable memory" if paged else ""), line)
        if source.device.type == "cuda" and kind == "cpu":
            if not without_wait or (name == "copy_" and not self._is_pinned(args[0])):
                self._wait("copy to the host", line)
            self.launches[self.phase, name, line] += 1
            if name == "copy_":
                return args[0]
            return torch.zeros(source.shape, dtype=kwargs.get("dtype") or source.dtype)
        return None

    def _note_casts(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], line: str) -> None:
        target = kwargs.get("dtype")
        if name == "_to_copy" and target is not None and args[0].dtype != target:
            change = f"{args[0].dtype} to {target}".replace("torch.", "")
            self.casts[self.phase, change, line] += 1
        if name == "convolution_backward" and 0 in args[0].stride() and args[0].numel() > 1:
            self.expanded[self.phase, name, line] += 1

    def _as_fake(self, value: Any) -> Any:
        real = isinstance(value, Tensor) and not isinstance(value, FakeTensor)
        return self.fake.from_tensor(value) if real else value


def _is_cuda(value: object) -> bool:
    return isinstance(value, FakeTensor) and value.device.type == "cuda"


def _line() -> str:
    """Return "training/step.py:70", the innermost line of archsr that runs."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if "/archsr/" in file and "/tests/" not in file:
            return f"{file.rsplit('/archsr/', 1)[-1]}:{frame.f_lineno}"
        frame = frame.f_back
    return "torch"


def _launches(name: str, args: tuple[Any, ...]) -> int:
    """Estimate the kernels of an operation, from ATen's sources."""
    if name.startswith(("_foreach", "_fused")):
        tensors: list[Tensor] = args[0]
        by_count = math.ceil(len(tensors) / _PER_LAUNCH[_LISTS.get(name, 2)])
        by_size = math.ceil(sum(t.numel() for t in tensors) / 65536 / 320)
        return max(by_count, by_size)
    if name == "convolution":
        return 1 + (args[2] is not None)
    if name == "convolution_backward":
        return sum(map(bool, args[-1]))
    return {"_fft_r2c": 2, "_fft_c2r": 2, "_fft_c2c": 2, "binary_cross_entropy_with_logits": 6}.get(name, 1)


def move_in_place() -> None:
    """Let `Module.to` replace tensors: torch's way cannot turn a real parameter into a fake one."""

    def apply(module: nn.Module, function: Any, recurse: bool = True) -> nn.Module:
        for child in module.children():
            child._apply(function)
        for name, parameter in module._parameters.items():
            if parameter is not None:
                with torch.no_grad():
                    moved = function(parameter)
                if moved is not parameter:
                    module._parameters[name] = nn.Parameter(moved, parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = function(buffer)
        return module

    nn.Module._apply = apply
