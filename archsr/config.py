"""Frozen, typed models of every setting: what may be written in a config file, with its default and its limits.

Reading files and wording errors is `config_file`; this module knows no stage of the work.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Unit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class Table(BaseModel):
    """A table of a config file: frozen, strict about types, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Span(Table):
    """A closed range to draw from uniformly."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self


class PositiveSpan(Span):
    """A range of numbers above zero."""

    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]


# ---------------------------------------------------------------- degradation (numbers: Real-ESRGAN's training options)


class Families(Table):
    """Probabilities of the blur kernel's family; they must add up to 1."""

    iso: Unit = 0.45
    aniso: Unit = 0.25
    generalized_iso: Unit = 0.12
    generalized_aniso: Unit = 0.03
    plateau_iso: Unit = 0.12
    plateau_aniso: Unit = 0.03

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = sum(self.model_dump().values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the probabilities add up to {total:g}, not 1")
        return self


class Blur(Table):
    """One random blur. `sigma` in pixels; `sinc` is the share of sinc kernels instead of the families."""

    probability: Unit = 1.0
    sigma: PositiveSpan = PositiveSpan(low=0.2, high=3.0)
    sinc: Unit = 0.1
    families: Families = Families()
    generalized_beta: PositiveSpan = PositiveSpan(low=0.5, high=4.0)
    plateau_beta: PositiveSpan = PositiveSpan(low=1.0, high=2.0)


class Resize(Table):
    """Probabilities of enlarging, reducing and keeping (they add up to 1), and the range of the factor."""

    up: Unit = 0.2
    down: Unit = 0.7
    keep: Unit = 0.1
    factor: PositiveSpan = PositiveSpan(low=0.15, high=1.5)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if abs(self.up + self.down + self.keep - 1) > 1e-6:
            raise ValueError(f"up + down + keep is {self.up + self.down + self.keep:g}, not 1")
        if not self.factor.low <= 1 <= self.factor.high:
            raise ValueError("factor must reach from at most 1 to at least 1")
        return self


class Noise(Table):
    """Gaussian (sigma in 0-255 units) or Poisson (scale of the shot noise); `grey` is the share of grey noise."""

    gaussian: Unit = 0.5
    sigma: Span = Span(low=1.0, high=30.0)
    poisson_scale: Span = Span(low=0.05, high=3.0)
    grey: Unit = 0.4


class Quality(Span):
    """JPEG quality, drawn as a real number."""

    low: Annotated[float, Field(ge=1, le=100)] = 30.0
    high: Annotated[float, Field(ge=1, le=100)] = 95.0


class Degradation(Table):
    """One order of the degradation: blur, resize, noise and JPEG."""

    blur: Blur = Blur()
    resize: Resize = Resize()
    noise: Noise = Noise()
    jpeg: Quality = Quality()


class SecondBlur(Blur):
    """The blur of the second order: weaker, and left out for one sample in five."""

    probability: Unit = 0.8
    sigma: PositiveSpan = PositiveSpan(low=0.2, high=1.5)


class SecondResize(Resize):
    """The resize of the second order; its factor is on top of the reduction by the model's scale."""

    up: Unit = 0.3
    down: Unit = 0.4
    keep: Unit = 0.3
    factor: PositiveSpan = PositiveSpan(low=0.3, high=1.2)


class SecondNoise(Noise):
    """The noise of the second order."""

    sigma: Span = Span(low=1.0, high=25.0)
    poisson_scale: Span = Span(low=0.05, high=2.5)


class SecondDegradation(Table):
    """The second order. Its JPEG comes before or after the last resize and sinc filter, one half each."""

    blur: SecondBlur = SecondBlur()
    resize: SecondResize = SecondResize()
    noise: SecondNoise = SecondNoise()
    jpeg: Quality = Quality()


class DegradeConfig(Table):
    """The second-order degradation of Real-ESRGAN (arXiv 2107.10833).

    `faithful` repeats the quirks of the reference implementation (transposed luma table and black borders in JPEG, one
    grey field per batch, a stretch of up to one pixel in the first resize, choices shared by the batch); `fixed` does
    what was meant, per sample.
    `margin`: the degraded crop is `gt_size + margin` wide and then cropped at random, so that the last JPEG's 8×8
    grid has a random phase (the reference: 400 for 256, margin 144). `pool_batches`: how many global batches the pair
    pool holds over all ranks (the reference: 180 pairs for a batch of 12, so 15); 0 turns it off.
    """

    fidelity: Literal["fixed", "faithful"] = "fixed"
    margin: Count = 32
    pool_batches: Count = 15
    sharpen_gt: bool = True
    first: Degradation = Degradation()
    second: SecondDegradation = SecondDegradation()
    final_sinc: Unit = 0.8


# ---------------------------------------------------------------- preparation


class PrepareConfig(Table):
    """How a folder of photographs becomes shards."""

    seed: Count = 0
    scale: Literal[1, 2, 3, 4] = 4
    val: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1
    tile: Annotated[int, Field(ge=64, multiple_of=4)] = 512
    min_side: Positive = 288
    pair_size: Annotated[int, Field(ge=32, multiple_of=4)] = 512
    pairs_per_photo: Positive = 4
    drawings: Literal["leave_out", "keep"] = "leave_out"
    drawing_threshold: Unit = 0.5
    bad_files: Literal["skip", "raise"] = "skip"
    max_bad_share: Unit = 0.5
    max_pixels: Positive = 150_000_000
    samples_per_shard: Positive = 512
    degrade: DegradeConfig = DegradeConfig()

    @model_validator(mode="after")
    def _leaves_a_train_split(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError(f"val + test is {self.val + self.test:g}; nothing is left to train on")
        if self.degrade.margin % self.scale or self.pair_size % self.scale:
            raise ValueError(f"degrade.margin and pair_size must be multiples of the scale ({self.scale})")
        smallest = self.degrade.margin + 64
        if self.min_side < smallest:
            raise ValueError(f"min_side ({self.min_side}) must be at least degrade.margin + 64 ({smallest})")
        return self


# ---------------------------------------------------------------- training

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


class DataConfig(Table):
    """Where samples come from. `window`: how many shards are mixed at a time; `workers` decode per process."""

    shards: str = "shards/photos"
    gt_size: Annotated[int, Field(ge=32, multiple_of=8)] = 256
    hflip: bool = True
    window: Positive = 8
    workers: Count = 4


class PixelLoss(Table):
    """Mean absolute error. `sharpened`: the target is the sharpened ground truth, as in the reference."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    sharpened: bool = True


class PerceptualLoss(Table):
    """L1 between VGG19 features before ReLU. `weights`: `vgg19` (torchvision's ImageNet file) or a file."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    sharpened: bool = True
    weights: str = "vgg19"
    layers: dict[str, float] = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}


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
    betas: tuple[Unit, Unit] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class EmaConfig(Table):
    """Moving average of the trained weights; `warmup` uses min(decay, (1 + n) / (10 + n)) at step n."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    warmup: bool = True


class TrainingConfig(Table):
    """What is trained and how. One iteration sees `global_batch` samples whatever the number of processes."""

    layers: Annotated[tuple[str | LayerGroup, ...], Field(min_length=1)] = ("conv_last",)
    global_batch: Positive = 12
    micro_batch: Positive = 12
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    gradient_checkpointing: bool = True
    channels_last: bool = True
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
        if self.training.global_batch % self.training.micro_batch:
            raise ValueError(
                f"training.global_batch ({self.training.global_batch}) must be a multiple of "
                f"training.micro_batch ({self.training.micro_batch})"
            )
        if self.data.gt_size % self.model.scale or self.degrade.margin % self.model.scale:
            raise ValueError(f"data.gt_size and degrade.margin must be multiples of model.scale ({self.model.scale})")
        return self
