"""Networks of any architecture that spandrel knows, told from the tensors of a file and kept under its names."""

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

if TYPE_CHECKING:  # importing all its architectures takes seconds, which only those who use one should wait
    from spandrel import ImageModelDescriptor, SizeRequirements

_AT_REST = ("DropPath", "StochasticDepth")  # every architecture brings its own class of such a name


@dataclass(frozen=True)
class FileNames:
    """How a network's tensors are called in its file, and the file's tensors that the network does not take."""

    of: Mapping[str, str]
    carried: Mapping[str, Tensor]


class Foreign(Generator):
    """A network of spandrel's: (b, 3, h, w) in [0, 1] to (b, 3, scale·h, scale·w), not clamped.

    Modules and tensors have its own names: it shares the tables in which torch keeps them. Sizes that it cannot take
    are padded as spandrel pads them, and cut again. What draws random numbers in training, or keeps statistics of
    batches, stays as in use: a run is then repeated and resumed bit for bit.
    Parts of it may need float32 or views in plain memory order, ask for values, or draw what no exporter knows.
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
        """The network of the file, with its weights, on the device of a surrounding `with torch.device(...)`."""
        from archsr.models.foreign_trial import open_trained  # which tries networks of this class

        return open_trained(config.file, scale=config.scale).to(torch.empty(0).device)

    def halo(self) -> int:
        """A guess: what these networks see is not known."""
        return 64

    def get_submodule(self, target: str) -> nn.Module:
        """By the network's own names, of which some are also names of methods here."""
        return self._inner[0].get_submodule(target) if target else self

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) to (b, 3, scale·h, scale·w)."""
        height, width = x.shape[2:]
        return self._call(self._inner[0], padded(x, self.size))[:, :, : height * self.scale, : width * self.scale]

    def train(self, mode: bool = True) -> Self:
        """As ever, but for what must not change by itself."""
        super().train(mode)
        self._inner[0].training = mode
        for module in self.modules():
            if isinstance(module, _DropoutNd | _BatchNorm) or type(module).__name__ in _AT_REST:
                module.training = False
        return self

    def in_file(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The network's tensors under the names of the file that it was read from, with what it carries along."""
        return {**self.names.carried, **{self.names.of.get(k, k): v for k, v in state.items()}}

    def padding_of(self, side: int) -> str:
        """What happens to squares of `side` pixels in front of the network, for people; "" where nothing."""
        added = self.size.get_padding(side, side)[0]
        return f"{self.title} takes {side} pixels padded to {side + added}" if added else ""


def padded(x: Tensor, size: "SizeRequirements") -> Tensor:
    """Mirrored to the right and below up to a size that the network takes, beyond that repeated."""
    height, width = x.shape[2:]
    right, below = size.get_padding(width, height)
    if not right and not below:
        return x
    mirrored = min(right, width - 1), min(below, height - 1)
    x = F.pad(x, (0, mirrored[0], 0, mirrored[1]), mode="reflect")
    return F.pad(x, (0, right - mirrored[0], 0, below - mirrored[1]), mode="replicate")


# ---------------------------------------------------------------- from files


def open_foreign(file: str) -> Foreign:
    """The network of a `.pth` or `.safetensors` file, on the CPU, in float32.

    Raises `UserError` where the file cannot be had or read, or holds no network that enlarges RGB images.
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
    """The network that `state` belongs to."""
    from spandrel import ImageModelDescriptor

    tensors = {k: v.float() if v.is_floating_point() else v for k, v in state.items() if isinstance(v, Tensor)}
    found = _described(tensors, where)
    if not isinstance(found, ImageModelDescriptor) or found.purpose != "SR":
        raise UserError(
            f"{where}: {found.architecture.name} for {found.purpose}; only networks that enlarge are trained"
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
        return ModelLoader().load_from_state_dict(dict(tensors))  # a copy: some architectures change it
    except UnsupportedModelError:
        some = ", ".join(f"{k} {tuple(v.shape)}" for k, v in list(tensors.items())[:3])
        raise UserError(f"{where}: no network that spandrel knows; its first tensors are {some}") from None
    except Exception as error:  # what each architecture stumbles over in tensors that are not quite its own
        raise UserError(f"{where}: spandrel cannot build it ({first_line(error, kind=True)})") from None


def _file_names(net: nn.Module, tensors: Mapping[str, Tensor], where: str) -> FileNames:
    """Whence each of the network's tensors came.

    Some architectures rename what they read. Then marked tensors are read in the same way, and the marks looked for;
    where they are not found, the network's own names are kept.
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
