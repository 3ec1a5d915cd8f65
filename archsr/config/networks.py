"""Settings of the generators and discriminators."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag

from archsr.config.memory import Recompute
from archsr.config.table import Positive, Table

SCRATCH = "scratch"
Beta = Annotated[float, Field(ge=0, lt=1)]


class RRDBNetConfig(Table):
    """Real-ESRGAN's generator. `weights`: an official name, `ncnn:NAME`, a file, or `scratch`."""

    arch: Literal["rrdbnet"] = "rrdbnet"
    scale: Literal[1, 2, 4] = 4
    features: Positive = 64
    blocks: Positive = 23
    growth: Positive = 32
    weights: str = "RealESRGAN_x4plus"


class SRVGGConfig(Table):
    """The compact generator of the realesr-* models. `weights` as for RRDBNet."""

    arch: Literal["srvgg"]
    scale: Literal[1, 2, 3, 4] = 4
    features: Positive = 64
    convs: Positive = 16
    weights: str = "realesr-animevideov3"


class SRResNetConfig(Table):
    """The generator of SRGAN as BasicSR has it, without normalisation. No weights are released at a fixed address."""

    arch: Literal["srresnet"]
    scale: Literal[2, 3, 4] = 4
    features: Positive = 64
    blocks: Positive = 16
    weights: str = SCRATCH


class SpandrelConfig(Table):
    """Any network of RGB super-resolution that spandrel tells from the tensors of `file` (`.pth`, `.safetensors`)."""

    arch: Literal["spandrel"]
    scale: Literal[2, 3, 4] = 4
    file: str

    @property
    def weights(self) -> str:
        """Where its weights come from, as of the other networks."""
        return self.file


ModelConfig = Annotated[RRDBNetConfig | SRVGGConfig | SRResNetConfig | SpandrelConfig, Field(discriminator="arch")]


class OptimizerConfig(Table):
    """Any optimiser name that timm knows; Adam with the reference's betas by default.

    `decay_biases`: whether `weight_decay` is also of biases and other vectors. `args`: its further arguments.
    """

    name: str = "adam"
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    decay_biases: bool = True
    args: dict[str, float | int | bool | str] = Field(default={})

    def __hash__(self) -> int:
        """Of a part of what forecasts are remembered by; a dictionary has none."""
        return hash(self.model_dump_json())


class _Judge(Table):
    """What every discriminator has; used only where `losses.gan.weight` is above 0. `train = false` keeps it as is.

    `warmup`: iterations in which only it learns, which one with random weights needs. `every`: the generator learns in
    every so-manieth iteration (BasicSR's `net_d_iters`). `pause`: it is not updated in an iteration in which it was
    right about more than this share of both kinds, real and fake; 1 for never. `optimizer`: its own.
    """

    features: Positive = 64
    train: bool = True
    lr_scale: Annotated[float, Field(gt=0)] = 1.0
    clip: Annotated[float, Field(ge=0)] = 0.0
    warmup: Annotated[int, Field(ge=0)] = 0
    every: Positive = 1
    pause: Annotated[float, Field(gt=0, le=1)] = 1.0
    optimizer: OptimizerConfig = OptimizerConfig()


class UNetConfig(_Judge):
    """Real-ESRGAN's U-Net with spectral normalisation: a logit per pixel."""

    arch: Literal["unet"] = "unet"
    weights: str = "RealESRGAN_x4plus_netD"


class VGGStyleConfig(_Judge):
    """The discriminator of SRGAN and ESRGAN: one logit per picture of exactly `input_size` = `data.gt_size` pixels."""

    arch: Literal["vgg"]
    input_size: Literal[128, 256] = 128
    weights: str = SCRATCH


class PatchConfig(_Judge):
    """PatchGAN: a logit per overlapping patch, `layers` strided convolutions deep."""

    arch: Literal["patch"]
    layers: Annotated[int, Field(ge=1, le=5)] = 3
    norm: Literal["batch", "spectral", "none"] = "spectral"
    weights: str = SCRATCH


def _which(table: Any) -> str:  # noqa: ANN401 - a table as written, or one of the models
    """Configs written before there was a choice name none."""
    return str(table.get("arch", "unet") if isinstance(table, dict) else getattr(table, "arch", "unet"))


DiscriminatorConfig = Annotated[
    Annotated[UNetConfig, Tag("unet")] | Annotated[VGGStyleConfig, Tag("vgg")] | Annotated[PatchConfig, Tag("patch")],
    Discriminator(_which),
]


def recomputes(model: BaseModel) -> bool:
    """Whether the network can be trained with gradient checkpointing: whether it has blocks to recompute."""
    return isinstance(model, RRDBNetConfig | SRResNetConfig)


def problem_with_recomputing(model: ModelConfig, pieces: Recompute) -> str | None:
    """Why the generator cannot recompute such `pieces`, or None."""
    key = "training.gradient_checkpointing"
    if pieces != "none" and isinstance(model, SpandrelConfig):
        return (
            f'{key}: spandrel\'s networks have blocks of many kinds; set "none", and name modules in training.recompute'
        )
    if pieces != "none" and isinstance(model, SRVGGConfig):
        return f'{key}: srvgg has no blocks to recompute; set "none"'
    if pieces == "rdb" and isinstance(model, SRResNetConfig):
        return f'{key}: srresnet has no dense blocks; "rrdb" recomputes each of its blocks'
    if isinstance(pieces, int) and isinstance(model, RRDBNetConfig | SRResNetConfig) and pieces > model.blocks:
        return f"{key} ({pieces}) is above model.blocks ({model.blocks})"
    return None


def problem_with_size(judge: UNetConfig | VGGStyleConfig | PatchConfig, gt_size: int) -> str | None:
    """Why the discriminator cannot take pictures of `gt_size`, or None."""
    if isinstance(judge, VGGStyleConfig) and judge.input_size != gt_size:
        return f"discriminator.input_size ({judge.input_size}) must be data.gt_size ({gt_size})"
    if isinstance(judge, PatchConfig) and gt_size >> judge.layers < 3:
        return f"discriminator.layers ({judge.layers}) leave nothing of data.gt_size ({gt_size}); at most 5 and fewer"
    return None
