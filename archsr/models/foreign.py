"""Networks of any architecture that spandrel recognises from a file's tensors, under the file's tensor names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.nn.modules.dropout import _DropoutNd  # pyright: ignore[reportPrivateUsage]

from archsr.config import SpandrelConfig
from archsr.errors import UserError, first_line
from archsr.models.base import Generator
from archsr.models.files import read_pickled, read_safetensors

if TYPE_CHECKING:  # imported late: importing all its architectures takes seconds
    from spandrel import ImageModelDescriptor, SizeRequirements

_AT_REST = ("DropPath", "StochasticDepth")  # every architecture has its own class for this


@dataclass(frozen=True)
class FileNames:
    """The file's names of the network's tensors, and the file's other tensors."""

    of: Mapping[str, str]
    carried: Mapping[str, Tensor]


class Foreign(Generator):
    """A network of spandrel's: (b, 3, h, w) in [0, 1] to (b, 3, scale·h, scale·w), not clamped.

    Modules and tensors keep the network's own names, because this shares the tables in which torch keeps them.
    Unsupported sizes are padded as spandrel does, and the result is cropped. Dropout and batch statistics stay in
    inference mode, so that a run can be repeated and resumed bit for bit. Parts of the network may need float32 or
    contiguous views, depend on values, or use operations that no exporter supports.
    """

    tags = ()
    converts = False
    tested = False

    def __init__(self, found: "ImageModelDescriptor[Any]", names: FileNames) -> None:
        super().__init__()
        inner: nn.Module = found.model
        self.scale = found.scale
        self.title = found.architecture.name
        self.size: SizeRequirements = found.size_requirements
        narrow = {"bf16": found.supports_bfloat16, "fp16": found.supports_half}
        self.supported_precisions = ("fp32", *(kind for kind, able in narrow.items() if able))
        self.names = names
        self._call: Callable[[nn.Module, Tensor], Tensor] = found._call_fn  # pyright: ignore[reportPrivateUsage]
        self._inner = (inner,)  # not as a child: its tensors would be called _inner.*
        for table in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            object.__setattr__(self, table, getattr(inner, table))

    @classmethod
    def from_config(cls, config: SpandrelConfig) -> "Foreign":  # pyright: ignore[reportIncompatibleMethodOverride]
        """Build the network of the file, with its weights, on the device of a surrounding `with torch.device(...)`."""
        from archsr.models.foreign_trial import open_trained  # imported here, because it imports this class

        return open_trained(config.file, scale=config.scale).to(torch.empty(0).device)

    def halo(self) -> int:
        """Return a guess, because the receptive field of these networks is unknown."""
        return 64

    def get_submodule(self, target: str) -> nn.Module:
        """Look up by the network's own names, some of which are also names of methods here."""
        return self._inner[0].get_submodule(target) if target else self

    def forward(self, x: Tensor) -> Tensor:
        """Upscale (b, 3, h, w) to (b, 3, scale·h, scale·w)."""
        height, width = x.shape[2:]
        return self._call(self._inner[0], padded(x, self.size))[:, :, : height * self.scale, : width * self.scale]

    def train(self, mode: bool = True) -> Self:
        """Set the mode, but keep dropout and batch statistics in inference mode."""
        super().train(mode)
        self._inner[0].training = mode
        for module in self.modules():
            if isinstance(module, _DropoutNd | _BatchNorm) or type(module).__name__ in _AT_REST:
                module.training = False
        return self

    def in_file(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors under the file's names, with the file's other tensors."""
        return {**self.names.carried, **{self.names.of.get(k, k): v for k, v in state.items()}}

    def padding_of(self, side: int) -> str:
        """Return a message if inputs of `side` pixels are padded, or ""."""
        added = self.size.get_padding(side, side)[0]
        return f"{self.title} pads {side} pixels to {side + added}" if added else ""


def padded(x: Tensor, size: "SizeRequirements") -> Tensor:
    """Pad to the right and below to a supported size: mirrored, beyond that repeated."""
    height, width = x.shape[2:]
    right, below = size.get_padding(width, height)
    if not right and not below:
        return x
    mirrored = min(right, width - 1), min(below, height - 1)
    x = F.pad(x, (0, mirrored[0], 0, mirrored[1]), mode="reflect")
    return F.pad(x, (0, right - mirrored[0], 0, below - mirrored[1]), mode="replicate")


def open_foreign(file: str) -> Foreign:
    """Return the network of a `.pth` or `.safetensors` file, on the CPU, in float32.

    Raises `UserError` if the file cannot be found or read, or is not a network that upscales RGB images.
    """
    from spandrel import canonicalize_state_dict

    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"{file}: no such weights file")
    with torch.device("cpu"):
        content = read_safetensors(path) if path.suffix == ".safetensors" else read_pickled(path)
        if not isinstance(content, dict):
            raise UserError(f"{file}: holds no dictionary of tensors")
        return foreign_of(canonicalize_state_dict(content), where=file)


def foreign_of(state: Mapping[str, Any], *, where: str) -> Foreign:
    """Return the network that `state` belongs to."""
    from spandrel import ImageModelDescriptor

    tensors = {k: v.float() if v.is_floating_point() else v for k, v in state.items() if isinstance(v, Tensor)}
    found = _described(tensors, where)
    if not isinstance(found, ImageModelDescriptor) or found.purpose != "SR":
        raise UserError(
            f"{where}: {found.architecture.name} for {found.purpose}; only super-resolution networks can be trained"
        )
    if (found.input_channels, found.output_channels) != (3, 3):
        raise UserError(
            f"{where}: {found.architecture.name} from {found.input_channels} to {found.output_channels} channels; only "
            "RGB to RGB is trained"
        )
    return Foreign(found, _file_names(found.model, tensors, where)).train()


def _described(tensors: Mapping[str, Tensor], where: str) -> Any:  # noqa: ANN401 - one of two kinds of descriptors
    from spandrel import ModelLoader, UnsupportedModelError

    try:
        return ModelLoader().load_from_state_dict(dict(tensors))  # copied, because some architectures change it
    except UnsupportedModelError:
        some = ", ".join(f"{k} {tuple(v.shape)}" for k, v in list(tensors.items())[:3])
        raise UserError(f"{where}: not a network that spandrel knows; its first tensors are {some}") from None
    except Exception as error:  # each architecture may fail differently on tensors that do not quite match
        raise UserError(f"{where}: spandrel cannot build it ({first_line(error, kind=True)})") from None


def _file_names(net: nn.Module, tensors: Mapping[str, Tensor], where: str) -> FileNames:
    """Find the file's name for each tensor. Some architectures rename tensors while reading.

    So marked tensors are read in the same way and found again. If that fails, the network's own names are kept.
    """
    own = net.state_dict()
    if own.keys() <= tensors.keys():
        return FileNames({k: k for k in own}, {k: v for k, v in tensors.items() if k not in own})
    marked = {k: torch.full_like(v, n) if v.is_floating_point() else v for n, (k, v) in enumerate(tensors.items(), 1)}
    read: dict[str, Tensor] = _described(marked, where).model.state_dict()
    numbered = dict(enumerate(tensors, 1))
    of: dict[str, str] = {}
    for name, tensor in read.items():
        mark = int(tensor.flatten()[0]) if tensor.is_floating_point() else 0
        source = numbered.get(mark, name)
        if source in tensors and torch.equal(tensors[source], own[name]):
            of[name] = source
    if of.keys() != own.keys() or len(set(of.values())) != len(of):
        return FileNames({}, {})
    return FileNames(of, {k: v for k, v in tensors.items() if k not in of.values()})
