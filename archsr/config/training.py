"""Settings of a training run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archsr.config.degrade import DegradeConfig
from archsr.config.table import Count, Positive, Table

SCRATCH = "scratch"


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


ModelConfig = Annotated[RRDBNetConfig | SRVGGConfig, Field(discriminator="arch")]


class DiscriminatorConfig(Table):
    """The U-Net discriminator; used only where `losses.gan.weight` is above 0. `train = false` keeps it as it is."""

    features: Positive = 64
    weights: str = "RealESRGAN_x4plus_netD"
    train: bool = True
    lr_scale: Annotated[float, Field(gt=0)] = 1.0


class TagChoice(Table):
    """Training samples by their tags (patterns with `*` and `?`): any of `only`, none of `without`.

    `balance`: the shares in which tags are seen, `{interior = 1, exterior = 1}`; the rarer are repeated.
    """

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    balance: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})


class DataConfig(Table):
    """Where samples come from. `window`: how many shards are mixed at a time; `workers` decode per process."""

    shards: str = "shards/photos"
    tags: TagChoice = TagChoice()
    gt_size: Annotated[int, Field(ge=32, multiple_of=8)] = 256
    hflip: bool = True
    window: Positive = 8
    workers: Count = 4


Beta = Annotated[float, Field(ge=0, lt=1)]
VggLayer = Annotated[str, Field(pattern=r"^conv(1_[12]|2_[12]|[345]_[1-4])$")]


class PixelLoss(Table):
    """Mean absolute error. `sharpened`: the target is the sharpened ground truth, as in the reference."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    sharpened: bool = True


class PerceptualLoss(Table):
    """L1 between VGG19 features before ReLU. `weights`: `vgg19` (torchvision's ImageNet file) or a file."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    sharpened: bool = True
    weights: str = "vgg19"
    layers: dict[VggLayer, Annotated[float, Field(gt=0)]] = Field(
        default={"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}, min_length=1
    )


class GanLoss(Table):
    """Binary cross-entropy on the discriminator's logits; the real pictures are the plain ground truth."""

    weight: Annotated[float, Field(ge=0)] = 0.1
    sharpened: bool = False


class LossConfig(Table):
    """The generator's objective: a weighted sum."""

    pixel: PixelLoss = PixelLoss()
    perceptual: PerceptualLoss = PerceptualLoss()
    gan: GanLoss = GanLoss()

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.pixel.weight == self.perceptual.weight == self.gan.weight == 0:
            raise ValueError("all weights are 0: there is nothing to learn")
        return self


class LayerGroup(Table):
    """Layers that share a learning rate: the stage's times `lr_scale`."""

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    lr_scale: Annotated[float, Field(gt=0)] = 1.0


class Stage(Table):
    """A stretch of training at one learning rate on the whole training split or a fixed `subset` of every shard."""

    iterations: Positive
    lr: Annotated[float, Field(gt=0)]
    subset: Annotated[float, Field(gt=0, le=1)] = 1.0


class OptimizerConfig(Table):
    """Any optimiser name that timm knows; Adam with the reference's betas by default."""

    name: str = "adam"
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class EmaConfig(Table):
    """Moving average of the trained weights; `warmup` uses min(decay, (1 + n) / (10 + n)) at step n."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    warmup: bool = True


class TrainingConfig(Table):
    """What is trained and how. One iteration sees `global_batch` samples whatever the number of processes.

    `micro_batch` is the most a process passes through the network at once; the rest is accumulated. An iteration with a
    loss that is no number is skipped; `max_skipped` of them within 1,000 end the run.
    """

    layers: Annotated[tuple[str | LayerGroup, ...], Field(min_length=1)] = ("conv_last",)
    global_batch: Positive = 12
    micro_batch: Positive = 12
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    gradient_checkpointing: bool = False
    channels_last: bool = True
    max_skipped: Positive = 10
    optimizer: OptimizerConfig = OptimizerConfig()
    ema: EmaConfig = EmaConfig()


class ValidationConfig(Table):
    """Validation on the fixed pairs: every `every` iterations (and before the first) on at most `samples` of them."""

    every: Positive = 500
    samples: Positive = 64
    best: Literal["psnr", "ssim"] = "psnr"
    pictures: Count = 4


class CheckpointConfig(Table):
    """A checkpoint every `every` iterations; the newest `keep` stay."""

    every: Positive = 500
    keep: Annotated[int, Field(ge=2)] = 2


class LogConfig(Table):
    """A line every `every` iterations; `keys` also writes the key of every sample trained on, per rank."""

    every: Positive = 50
    keys: bool = False
    tensorboard: bool = True


class TrainConfig(Table):
    """A whole run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    runs: str = "runs"
    seed: Count = 0
    model: ModelConfig = RRDBNetConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    data: DataConfig = DataConfig()
    degrade: DegradeConfig = DegradeConfig()
    losses: LossConfig = LossConfig()
    training: TrainingConfig
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.data.gt_size % self.model.scale or self.degrade.margin % self.model.scale:
            raise ValueError(f"data.gt_size and degrade.margin must be multiples of model.scale ({self.model.scale})")
        return self
