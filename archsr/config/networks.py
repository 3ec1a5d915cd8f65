"""Settings of the generators and discriminators."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag

from archsr.config.memory import Recompute
from archsr.config.table import Positive, Table

SCRATCH = "scratch"
Beta = Annotated[float, Field(ge=0, lt=1)]
_JUDGE = "Which discriminator it is; the other keys depend on it."
_JUDGE_WEIGHTS = 'Where training starts: an official name, a path to a file, or "scratch" for random weights.'
_ARCH = "Which network it is; the other keys depend on it."
_SCALE = "How many times longer the sides of an image become."
_FEATURES = "Channels of its features."
_BLOCKS = "Blocks of its body."
_WEIGHTS = (
    'Where training starts: an official name (`archsr weights` lists them), "ncnn:NAME", a path to a file, or '
    '"scratch" for random weights.'
)
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
    """The generator of Real-ESRGAN and ESRGAN."""

    arch: Literal["rrdbnet"] = Field(default="rrdbnet", description=_ARCH)
    scale: Literal[1, 2, 4] = Field(default=4, description=_SCALE)
    features: Positive = Field(default=64, description=_FEATURES)
    blocks: Positive = Field(default=23, description=_BLOCKS)
    growth: Positive = Field(default=32, description="Channels that each convolution of a dense block adds.")
    weights: str = Field(default="RealESRGAN_x4plus", description=_WEIGHTS)

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
    """The compact generator of the realesr-* models."""

    arch: Literal["srvgg"] = Field(description=_ARCH)
    scale: Literal[1, 2, 3, 4] = Field(default=4, description=_SCALE)
    features: Positive = Field(default=64, description=_FEATURES)
    convs: Positive = Field(default=16, description="Convolutions of its body.")
    weights: str = Field(default="realesr-animevideov3", description=_WEIGHTS)


class SRResNetConfig(_Network):
    """The generator of SRGAN as BasicSR has it, without normalisation. No weights are released at a fixed address."""

    arch: Literal["srresnet"] = Field(description=_ARCH)
    scale: Literal[2, 3, 4] = Field(default=4, description=_SCALE)
    features: Positive = Field(default=64, description=_FEATURES)
    blocks: Positive = Field(default=16, description=_BLOCKS)
    weights: str = Field(default=SCRATCH, description=_WEIGHTS)

    def problem_with(self, pieces: Recompute) -> str | None:
        """Why there are not so many blocks, or not such."""
        if pieces == "rdb":
            return f'{_KEY}: srresnet has no dense blocks; "rrdb" recomputes each of its blocks'
        return _too_many(pieces, self.blocks)


class SpandrelConfig(_Network):
    """Any network of RGB super-resolution that spandrel tells from the tensors of a file: SwinIR, DAT, SPAN, ..."""

    complete = True

    arch: Literal["spandrel"] = Field(description=_ARCH)
    scale: Literal[2, 3, 4] = Field(default=4, description=_SCALE)
    file: str = Field(
        description="Path to its weights (.pth or .safetensors), which alone say what network it is.",
        examples=["x.pth"],
    )

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
    """The optimiser: by default Adam with the reference's betas."""

    name: str = Field(default="adam", description="Any optimiser name that timm knows.")
    betas: tuple[Beta, Beta] = Field(
        default=(0.9, 0.99), description="Decay of the averages of the gradient and of its square, from 0 to below 1."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(default=0.0, description="Weight decay.")
    decay_biases: bool = Field(
        default=True, description="false: there is no weight decay for biases and other vectors."
    )
    args: dict[str, float | int | bool | str] = Field(
        default={}, description="Further arguments of the optimiser: { eps = 1e-8 }, { momentum = 0.9 }."
    )

    def __hash__(self) -> int:
        """Of a part of what forecasts are remembered by; a dictionary has none."""
        return hash(self.model_dump_json())


class _Judge(Table):
    """What every discriminator has; used only where `losses.gan.weight` is above 0."""

    recomputes: ClassVar[bool] = False  # whether the network has pieces to recompute

    features: Positive = Field(default=64, description="Channels of its first features.")
    train: bool = Field(default=True, description="false: it is not trained, and judges as its weights do.")
    lr_scale: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="Factor of its learning rate upon the stage's."
    )
    clip: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="The most that the norm of its gradient may be; 0: no limit."
    )
    warmup: Annotated[int, Field(ge=0)] = Field(
        default=0, description="First iterations in which only it learns: with random weights it needs some."
    )
    every: Positive = Field(
        default=1, description="The generator learns in one of so many iterations (BasicSR's net_d_iters)."
    )
    pause: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0,
        description="It is not updated in an iteration in which it is right about more than this share of real and of "
        "fake images; 1: it always is.",
    )
    optimizer: OptimizerConfig = Field(
        default=OptimizerConfig(), description="The discriminator's own optimiser; keys as of training.optimizer."
    )

    def problem_with_size(self, gt_size: int) -> str | None:  # noqa: ARG002
        """Why it cannot take images of `gt_size`, or None."""
        return None


class UNetConfig(_Judge):
    """Real-ESRGAN's U-Net with spectral normalisation: a logit per pixel."""

    recomputes = True

    arch: Literal["unet"] = Field(default="unet", description=_JUDGE)
    weights: str = Field(default="RealESRGAN_x4plus_netD", description=_JUDGE_WEIGHTS)


class VGGStyleConfig(_Judge):
    """The discriminator of SRGAN and ESRGAN: a logit per image."""

    arch: Literal["vgg"] = Field(description=_JUDGE)
    input_size: Literal[128, 256] = Field(
        default=128, description="Side of the images that it takes, in pixels; must be data.gt_size."
    )
    weights: str = Field(default=SCRATCH, description=_JUDGE_WEIGHTS)

    def problem_with_size(self, gt_size: int) -> str | None:
        """It takes one size only."""
        if self.input_size == gt_size:
            return None
        return f"discriminator.input_size ({self.input_size}) must be data.gt_size ({gt_size})"


class PatchConfig(_Judge):
    """PatchGAN: a logit per overlapping patch."""

    arch: Literal["patch"] = Field(description=_JUDGE)
    layers: Annotated[int, Field(ge=1, le=5)] = Field(default=3, description="Its strided convolutions.")
    norm: Literal["batch", "spectral", "none"] = Field(default="spectral", description="Its normalisation.")
    weights: str = Field(default=SCRATCH, description=_JUDGE_WEIGHTS)

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
