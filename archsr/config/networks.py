"""Settings of the generators and discriminators."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag

from archsr.config.memory import Recompute
from archsr.config.table import Positive, Table

SCRATCH = "scratch"
Beta = Annotated[float, Field(ge=0, lt=1)]
_JUDGE = "Architecture of the discriminator; the other keys depend on it."
_JUDGE_WEIGHTS = 'Initial weights: an official name, a path to a file, or "scratch" for random weights.'
_ARCH = "Architecture of the generator; the other keys depend on it."
_SCALE = "Upscaling factor of the sides of an image."
_FEATURES = "Number of feature channels."
_BLOCKS = "Number of blocks in the body."
_WEIGHTS = (
    'Initial weights: an official name (`archsr weights` lists them), "ncnn:NAME", a run folder, a path to a file, or '
    '"scratch" for random weights.'
)
_KEY = "training.gradient_checkpointing"
_TAIL = ("conv_body", "conv_up*", "conv_hr", "conv_last")


class _Network(Table):
    """Base of the generators' tables. The defaults suit a network with `features` and without blocks to recompute."""

    arch: Any
    complete: ClassVar[bool] = False  # whether the network brings its own weights

    def problem_with(self, pieces: Recompute) -> str | None:
        """Return why the generator cannot recompute such `pieces`, or None."""
        return None if pieces == "none" else f'{_KEY}: {self.arch} has no blocks to recompute; set "none"'

    def alternatives(self) -> tuple[tuple[str, ...], ...]:
        """Return selections of layers that a plan compares with the config's."""
        return ()

    def tiny(self) -> Self:
        """Return a small untrained version with the same layer names where possible."""
        return self.model_copy(update={"features": 8, "weights": SCRATCH})


class RRDBNetConfig(_Network):
    """The generator of Real-ESRGAN and ESRGAN."""

    arch: Literal["rrdbnet"] = Field(default="rrdbnet", description=_ARCH)
    scale: Literal[1, 2, 4] = Field(default=4, description=_SCALE)
    features: Positive = Field(default=64, description=_FEATURES)
    blocks: Positive = Field(default=23, description=_BLOCKS)
    growth: Positive = Field(default=32, description="Number of channels that each convolution of a dense block adds.")
    weights: str = Field(default="RealESRGAN_x4plus", description=_WEIGHTS)

    def problem_with(self, pieces: Recompute) -> str | None:
        """Return a message if there are not so many blocks."""
        return _too_many(pieces, self.blocks)

    def alternatives(self) -> tuple[tuple[str, ...], ...]:
        """Return selections from the last convolution to everything."""
        late = (("body.20-22", *_TAIL),) if self.blocks > 22 else ()
        return ("conv_last",), _TAIL, *late, ("all",)

    def tiny(self) -> Self:
        """Return a version with narrow dense blocks."""
        return super().tiny().model_copy(update={"growth": 4})


class SRVGGConfig(_Network):
    """The compact generator of the realesr-* models."""

    arch: Literal["srvgg"] = Field(description=_ARCH)
    scale: Literal[1, 2, 3, 4] = Field(default=4, description=_SCALE)
    features: Positive = Field(default=64, description=_FEATURES)
    convs: Positive = Field(default=16, description="Number of convolutions in the body.")
    weights: str = Field(default="realesr-animevideov3", description=_WEIGHTS)


class SRResNetConfig(_Network):
    """The generator of SRGAN in BasicSR's form, without normalisation. No weights are released at a fixed address."""

    arch: Literal["srresnet"] = Field(description=_ARCH)
    scale: Literal[2, 3, 4] = Field(default=4, description=_SCALE)
    features: Positive = Field(default=64, description=_FEATURES)
    blocks: Positive = Field(default=16, description=_BLOCKS)
    weights: str = Field(default=SCRATCH, description=_WEIGHTS)

    def problem_with(self, pieces: Recompute) -> str | None:
        """Return a message if there are not so many blocks, or no dense blocks."""
        if pieces == "rdb":
            return f'{_KEY}: srresnet has no dense blocks; "rrdb" recomputes each of its blocks'
        return _too_many(pieces, self.blocks)


class SpandrelConfig(_Network):
    """Any super-resolution network for RGB that spandrel recognises from a weights file: SwinIR, DAT, SPAN, ..."""

    complete = True

    arch: Literal["spandrel"] = Field(description=_ARCH)
    scale: Literal[2, 3, 4] = Field(default=4, description=_SCALE)
    file: str = Field(
        description="Path to its weights (.pth or .safetensors), which determine the architecture.",
        examples=["x.pth"],
    )

    @property
    def weights(self) -> str:
        """The source of its weights, as in the other networks' tables."""
        return self.file

    def problem_with(self, pieces: Recompute) -> str | None:
        """Return a message that names the key to use instead."""
        if pieces == "none":
            return None
        return (
            f'{_KEY}: spandrel\'s networks have blocks of many kinds; set "none", and list modules in '
            "training.recompute"
        )

    def tiny(self) -> Self:
        """Return it unchanged, because only its file defines it."""
        return self


def _too_many(pieces: Recompute, blocks: int) -> str | None:
    return (
        f"{_KEY} ({pieces}) is above model.blocks ({blocks})" if isinstance(pieces, int) and pieces > blocks else None
    )


ModelConfig = Annotated[RRDBNetConfig | SRVGGConfig | SRResNetConfig | SpandrelConfig, Field(discriminator="arch")]


class OptimizerConfig(Table):
    """The optimiser. The default is Adam with the reference's betas."""

    name: str = Field(default="adam", description="Name of any optimiser in timm.")
    betas: tuple[Beta, Beta] = Field(
        default=(0.9, 0.99),
        description="Decay rates of the running averages of the gradient and its square; from 0 to below 1.",
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(default=0.0, description="Weight decay.")
    decay_biases: bool = Field(default=True, description="false: no weight decay for biases and other vectors.")
    args: dict[str, float | int | bool | str] = Field(
        default={}, description="Further arguments of the optimiser: { eps = 1e-8 }, { momentum = 0.9 }."
    )

    def __hash__(self) -> int:
        """Hash the fields, because forecasts are cached by them and a dictionary has no hash."""
        return hash(self.model_dump_json())


class _Discriminator(Table):
    """Base of the discriminators' tables, used only if `losses.gan.weight` is above 0."""

    recomputes: ClassVar[bool] = False  # whether the network has pieces to recompute

    features: Positive = Field(default=64, description="Number of channels of the first layer.")
    train: bool = Field(default=True, description="false: the discriminator is not trained.")
    lr_scale: Annotated[float, Field(gt=0)] = Field(default=1.0, description="Learning rate relative to the stage's.")
    clip: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Maximum norm of its gradient (gradient clipping); 0: no limit."
    )
    warmup: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Number of first iterations that train only the discriminator. Random weights need some."
    )
    every: Positive = Field(default=1, description="Train the generator in one of so many iterations (net_d_iters).")
    pause: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0,
        description="It is not updated in an iteration in which it is right about more than this share of real and of "
        "fake images; 1: always updated.",
    )
    optimizer: OptimizerConfig = Field(
        default=OptimizerConfig(),
        description="The discriminator's optimiser, with the same keys as training.optimizer.",
    )

    def problem_with_size(self, gt_size: int) -> str | None:  # noqa: ARG002
        """Return why it cannot process images of `gt_size`, or None."""
        return None


class UNetConfig(_Discriminator):
    """Real-ESRGAN's U-Net with spectral normalisation. It gives a logit per pixel."""

    recomputes = True

    arch: Literal["unet"] = Field(default="unet", description=_JUDGE)
    weights: str = Field(default="RealESRGAN_x4plus_netD", description=_JUDGE_WEIGHTS)


class VGGStyleConfig(_Discriminator):
    """The discriminator of SRGAN and ESRGAN. It gives a logit per image."""

    arch: Literal["vgg"] = Field(description=_JUDGE)
    input_size: Literal[128, 256] = Field(
        default=128, description="Side of its inputs in pixels; must be data.gt_size."
    )
    weights: str = Field(default=SCRATCH, description=_JUDGE_WEIGHTS)

    def problem_with_size(self, gt_size: int) -> str | None:
        """Return a message for any other size than its own."""
        if self.input_size == gt_size:
            return None
        return f"discriminator.input_size ({self.input_size}) must equal data.gt_size ({gt_size})"


class PatchConfig(_Discriminator):
    """PatchGAN. It gives a logit per overlapping patch."""

    arch: Literal["patch"] = Field(description=_JUDGE)
    layers: Annotated[int, Field(ge=1, le=5)] = Field(default=3, description="Number of strided convolutions.")
    norm: Literal["batch", "spectral", "none"] = Field(default="spectral", description="Normalisation layers.")
    weights: str = Field(default=SCRATCH, description=_JUDGE_WEIGHTS)

    def problem_with_size(self, gt_size: int) -> str | None:
        """Return a message if halving the size in every strided layer leaves nothing."""
        if gt_size >> self.layers >= 3:
            return None
        return f"discriminator.layers ({self.layers}) are too many for data.gt_size ({gt_size}); use fewer"


def _which(table: Any) -> str:  # noqa: ANN401 - a table as written, or one of the models
    """Choose the default architecture for configs from before there was a choice."""
    return str(table.get("arch", "unet") if isinstance(table, dict) else getattr(table, "arch", "unet"))


DiscriminatorConfig = Annotated[
    Annotated[UNetConfig, Tag("unet")] | Annotated[VGGStyleConfig, Tag("vgg")] | Annotated[PatchConfig, Tag("patch")],
    Discriminator(_which),
]
