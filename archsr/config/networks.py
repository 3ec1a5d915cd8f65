"""Settings of the generators and discriminators."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag

from archsr.config.memory import Recompute
from archsr.config.table import Positive, Table

SCRATCH = "scratch"
Beta = Annotated[float, Field(ge=0, lt=1)]
_KEY = "training.gradient_checkpointing"
_TAIL = ("conv_body", "conv_up*", "conv_hr", "conv_last")


class _Network(Table):
    """What every generator's table answers; here, of a network of `features` without blocks to recompute."""

    arch: Any
    complete: ClassVar[bool] = False  # whether the network comes with its weights, so that none are loaded into it

    def problem_with(self, pieces: Recompute) -> str | None:
        """Why the generator cannot recompute such `pieces`, or None."""
        return None if pieces == "none" else f'{_KEY}: {self.arch} has no blocks to recompute; set "none"'

    def alternatives(self) -> tuple[tuple[str, ...], ...]:
        """Choices of layers that a plan compares with the config's."""
        return ()

    def tiny(self) -> Self:
        """Untrained, and small where layer names allow: chosen layers still exist."""
        return self.model_copy(update={"features": 8, "weights": SCRATCH})


class RRDBNetConfig(_Network):
    """Real-ESRGAN's generator. `weights`: an official name, `ncnn:NAME`, a file, or `scratch`."""

    arch: Literal["rrdbnet"] = "rrdbnet"
    scale: Literal[1, 2, 4] = 4
    features: Positive = 64
    blocks: Positive = 23
    growth: Positive = 32
    weights: str = "RealESRGAN_x4plus"

    def problem_with(self, pieces: Recompute) -> str | None:
        """Why there are not so many blocks."""
        return _too_many(pieces, self.blocks)

    def alternatives(self) -> tuple[tuple[str, ...], ...]:
        """From the last convolution to everything."""
        late = (("body.20-22", *_TAIL),) if self.blocks > 22 else ()
        return ("conv_last",), _TAIL, *late, ("all",)

    def tiny(self) -> Self:
        """With narrow dense blocks."""
        return super().tiny().model_copy(update={"growth": 4})


class SRVGGConfig(_Network):
    """The compact generator of the realesr-* models. `weights` as for RRDBNet."""

    arch: Literal["srvgg"]
    scale: Literal[1, 2, 3, 4] = 4
    features: Positive = 64
    convs: Positive = 16
    weights: str = "realesr-animevideov3"


class SRResNetConfig(_Network):
    """The generator of SRGAN as BasicSR has it, without normalisation. No weights are released at a fixed address."""

    arch: Literal["srresnet"]
    scale: Literal[2, 3, 4] = 4
    features: Positive = 64
    blocks: Positive = 16
    weights: str = SCRATCH

    def problem_with(self, pieces: Recompute) -> str | None:
        """Why there are not so many blocks, or not such."""
        if pieces == "rdb":
            return f'{_KEY}: srresnet has no dense blocks; "rrdb" recomputes each of its blocks'
        return _too_many(pieces, self.blocks)


class SpandrelConfig(_Network):
    """Any network of RGB super-resolution that spandrel tells from the tensors of `file` (`.pth`, `.safetensors`)."""

    complete = True

    arch: Literal["spandrel"]
    scale: Literal[2, 3, 4] = 4
    file: str

    @property
    def weights(self) -> str:
        """Where its weights come from, as of the other networks."""
        return self.file

    def problem_with(self, pieces: Recompute) -> str | None:
        """Which key to use instead."""
        if pieces == "none":
            return None
        return (
            f'{_KEY}: spandrel\'s networks have blocks of many kinds; set "none", and name modules in '
            "training.recompute"
        )

    def tiny(self) -> Self:
        """As it is: only its file says what it is."""
        return self


def _too_many(pieces: Recompute, blocks: int) -> str | None:
    return (
        f"{_KEY} ({pieces}) is above model.blocks ({blocks})" if isinstance(pieces, int) and pieces > blocks else None
    )


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

    recomputes: ClassVar[bool] = False  # whether the network has pieces to recompute

    features: Positive = 64
    train: bool = True
    lr_scale: Annotated[float, Field(gt=0)] = 1.0
    clip: Annotated[float, Field(ge=0)] = 0.0
    warmup: Annotated[int, Field(ge=0)] = 0
    every: Positive = 1
    pause: Annotated[float, Field(gt=0, le=1)] = 1.0
    optimizer: OptimizerConfig = OptimizerConfig()

    def problem_with_size(self, gt_size: int) -> str | None:  # noqa: ARG002
        """Why it cannot take pictures of `gt_size`, or None."""
        return None


class UNetConfig(_Judge):
    """Real-ESRGAN's U-Net with spectral normalisation: a logit per pixel."""

    recomputes = True

    arch: Literal["unet"] = "unet"
    weights: str = "RealESRGAN_x4plus_netD"


class VGGStyleConfig(_Judge):
    """The discriminator of SRGAN and ESRGAN: one logit per picture of exactly `input_size` = `data.gt_size` pixels."""

    arch: Literal["vgg"]
    input_size: Literal[128, 256] = 128
    weights: str = SCRATCH

    def problem_with_size(self, gt_size: int) -> str | None:
        """It takes one size only."""
        if self.input_size == gt_size:
            return None
        return f"discriminator.input_size ({self.input_size}) must be data.gt_size ({gt_size})"


class PatchConfig(_Judge):
    """PatchGAN: a logit per overlapping patch, `layers` strided convolutions deep."""

    arch: Literal["patch"]
    layers: Annotated[int, Field(ge=1, le=5)] = 3
    norm: Literal["batch", "spectral", "none"] = "spectral"
    weights: str = SCRATCH

    def problem_with_size(self, gt_size: int) -> str | None:
        """Every strided layer halves it."""
        if gt_size >> self.layers >= 3:
            return None
        return f"discriminator.layers ({self.layers}) leave nothing of data.gt_size ({gt_size}); at most 5 and fewer"


def _which(table: Any) -> str:  # noqa: ANN401 - a table as written, or one of the models
    """Configs written before there was a choice name none."""
    return str(table.get("arch", "unet") if isinstance(table, dict) else getattr(table, "arch", "unet"))


DiscriminatorConfig = Annotated[
    Annotated[UNetConfig, Tag("unet")] | Annotated[VGGStyleConfig, Tag("vgg")] | Annotated[PatchConfig, Tag("patch")],
    Discriminator(_which),
]
