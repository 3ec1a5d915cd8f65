"""Settings of a training run."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from archsr.config.degrade import DegradeConfig
from archsr.config.losses import LossConfig
from archsr.config.memory import MicroBatchKey, RecomputeKey
from archsr.config.networks import (
    DiscriminatorConfig,
    ModelConfig,
    OptimizerConfig,
    RRDBNetConfig,
    UNetConfig,
)
from archsr.config.table import Count, Positive, Table


class TagChoice(Table):
    """Training samples by their tags (patterns with `*` and `?`): any of `only`, none of `without`.

    `balance`: the shares in which tags are seen, `{interior = 1, exterior = 1}`; the rarer are repeated.
    """

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    balance: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})


class DataConfig(Table):
    """Where samples come from. `window`: how many shards are mixed at a time; `workers` decode per process.

    `shards` is a folder or a URL; of one at a URL, at most `cache_gb` lie in `cache`, and each transfer is tried again
    `retries` times. `hflip` mirrors one crop in two; `rot90` turns crops by 0 to 3 quarter turns, which is off because
    buildings stand upright.
    """

    shards: str = "shards/photos"
    cache: str = "shards/.cache"
    cache_gb: Annotated[float, Field(gt=0)] = 50.0
    retries: Count = 7
    tags: TagChoice = TagChoice()
    gt_size: Annotated[int, Field(ge=32, multiple_of=8)] = 256
    hflip: bool = True
    rot90: bool = False
    window: Positive = 8
    workers: Count = 4


class LayerGroup(Table):
    """Layers that share a learning rate, the stage's times `lr_scale`, and a weight decay, else the optimiser's.

    With `rank` above 0 not the layers themselves are trained but low-rank adapters on their weights, times
    `alpha` / `rank`; snapshots hold the sum.
    """

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    lr_scale: Annotated[float, Field(gt=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    rank: Count = 0
    alpha: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _alpha_needs_a_rank(self) -> Self:
        if self.alpha is not None and not self.rank:
            raise ValueError("alpha goes with rank")
        return self


class Stage(Table):
    """A stretch of training on the whole training split or a fixed `subset` of every shard.

    `lr` is constant, or after `warmup` iterations falls to `lr_end` (`cosine`, `linear`) or by `gamma` at `milestones`
    (`multistep`), iterations counted within the stage. With `until = "plateau"` the stage ends early once `patience`
    validations in a row were not better than its best by `min_delta`.
    """

    iterations: Positive
    lr: Annotated[float, Field(gt=0)]
    subset: Annotated[float, Field(gt=0, le=1)] = 1.0
    schedule: Literal["constant", "cosine", "linear", "multistep"] = "constant"
    warmup: Count = 0
    lr_end: Annotated[float, Field(ge=0)] = 0.0
    milestones: tuple[Positive, ...] = ()
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.5
    until: Literal["iterations", "plateau"] = "iterations"
    patience: Positive = 5
    min_delta: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _has_a_course(self) -> Self:
        if self.warmup >= self.iterations:
            raise ValueError(f"warmup ({self.warmup}) must be shorter than iterations ({self.iterations})")
        if bool(self.milestones) != (self.schedule == "multistep"):
            raise ValueError('milestones go with schedule = "multistep"')
        if self.milestones and self.milestones[-1] >= self.iterations:
            raise ValueError(f"milestones must be below iterations ({self.iterations}): they count within the stage")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must rise")
        if self.lr_end and self.schedule not in ("cosine", "linear"):
            raise ValueError('lr_end goes with schedule = "cosine" or "linear"')
        if self.lr_end > self.lr:
            raise ValueError(f"lr_end ({self.lr_end:g}) is above lr ({self.lr:g})")
        return self


class EmaConfig(Table):
    """Moving average of the trained weights; `warmup` uses min(decay, (1 + n) / (10 + n)) at step n."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    warmup: bool = True


def seconds_of(text: str) -> float:
    """Seconds of `[D-]H:MM:SS`."""
    days, _, clock = text.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return float(((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds)


class TrainingConfig(Table):
    """What is trained and how. One iteration sees `global_batch` samples whatever the number of processes.

    `precision`: "auto" is the 16-bit type that suits the device, and fp32 where none does (training/precision.py).
    `micro_batch` is the most a process passes through the network at once, "auto" what is found to fit; the rest is
    accumulated. What is recomputed is not kept for the backward pass; `recompute`: patterns of modules, of any network.
    An iteration with a loss that is no number is skipped; `max_skipped` of them within 1,000 end the run. `clip`: the
    most that the norm of the generator's gradient may be, 0 for no limit. `time_limit`: `[D-]H:MM:SS` from the
    process's start to the last checkpoint's end; empty for none. `collective_timeout`: minutes in which the other
    processes must join, and then do their part of an iteration.
    """

    layers: Annotated[tuple[str | LayerGroup, ...], Field(min_length=1)] = ("conv_last",)
    global_batch: Positive = 12
    micro_batch: MicroBatchKey = 12
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    gradient_checkpointing: RecomputeKey = "none"
    recompute: tuple[str, ...] = ()
    recompute_losses: bool = False
    recompute_discriminator: bool = False
    channels_last: bool = True
    max_skipped: Positive = 10
    time_limit: Annotated[str, Field(pattern=r"^((\d+-)?\d+:[0-5]\d:[0-5]\d)?$")] = ""
    collective_timeout: Annotated[float, Field(gt=0)] = 10.0
    clip: Annotated[float, Field(ge=0)] = 0.0
    optimizer: OptimizerConfig = OptimizerConfig()
    ema: EmaConfig = EmaConfig()

    @property
    def seconds(self) -> float | None:
        """The time limit in seconds."""
        return seconds_of(self.time_limit) if self.time_limit else None


class ValidationConfig(Table):
    """Validation on the fixed pairs: every `every` iterations (and before the first) on at most `samples` of them.

    `best` chooses the weights: "balance" (the smallest perceptual distance among what keeps PSNR within
    `fidelity_floor` dB of the start's and is no farther from the photographs' NIQE), or a metric; "auto" is "balance"
    where a loss looks at features or a discriminator judges, else "psnr". `perceptual`: which distance; "auto" is LPIPS
    or DISTS where their files are here, else "features". `strength`: whether the run looks, at its end, for the share
    of its fine-tuning that is best by the same rule.
    """

    every: Positive = 500
    samples: Positive = 64
    best: Literal["auto", "balance", "psnr", "ssim", "features", "lpips", "dists", "niqe_distance"] = "auto"
    fidelity_floor: Annotated[float, Field(ge=0)] = 0.5
    perceptual: Literal["auto", "features", "lpips", "dists"] = "auto"
    strength: bool = True
    pictures: Count = 4


class EvaluationConfig(Table):
    """`primary`: the metric on which the verdicts of `archsr evaluate` hang, fixed before training.

    "auto" is what chooses the weights (of "balance" the perceptual distance, `validation.perceptual` or "features"):
    it is what the run aims at, and the test images had no part in the choice.
    """

    primary: Literal["auto", "psnr", "ssim", "features", "lpips", "dists", "niqe_distance"] = "auto"


class CheckpointConfig(Table):
    """A checkpoint every `every` iterations; the newest `keep` stay.

    Besides them, `keep_best`: the one with the best validation; `keep_hours`: one per so many hours, 0 for none.
    `mirror`: a second place for them, a folder or an address that fsspec opens (`s3://`, `hf://`, ...).
    """

    every: Positive = 500
    keep: Annotated[int, Field(ge=2)] = 2
    keep_best: bool = False
    keep_hours: Annotated[float, Field(ge=0)] = 0.0
    mirror: str = ""


class LogConfig(Table):
    """A line every `every` iterations; `keys` also writes the key of every sample trained on, per rank.

    `trackers` show curves and pictures; `project` is what W&B and trackio file the run under.
    """

    every: Positive = 50
    keys: bool = False
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "archsr"

    moved: ClassVar[Mapping[str, str]] = {"tensorboard": 'trackers = ["tensorboard"], or [] for none'}


class TrainConfig(Table):
    """A whole run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    runs: str = "runs"
    seed: Count = 0
    model: ModelConfig = RRDBNetConfig()
    discriminator: DiscriminatorConfig = UNetConfig()
    data: DataConfig = DataConfig()
    degrade: DegradeConfig = DegradeConfig()
    losses: Annotated[LossConfig, Field(validate_default=True)] = LossConfig()
    training: TrainingConfig
    validation: ValidationConfig = ValidationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()

    @property
    def best(self) -> str:
        """What chooses the weights, "auto" decided."""
        if self.validation.best != "auto":
            return self.validation.best
        learned = ("perceptual", "features", "lpips", "dists", "gan")
        return "balance" if any(name in self.losses.terms() for name in learned) else "psnr"

    @property
    def primary(self) -> str:
        """The primary metric of evaluations, "auto" decided: the same on every machine."""
        if self.evaluation.primary != "auto":
            return self.evaluation.primary
        if self.best != "balance":
            return self.best
        return "features" if self.validation.perceptual == "auto" else self.validation.perceptual

    @field_validator("losses")
    @classmethod
    def _targets_follow_the_degradation(cls, losses: LossConfig, info: ValidationInfo) -> LossConfig:
        degrade = info.data.get("degrade")  # not there where it was refused
        return losses.decided(sharpened=degrade.sharpen_gt) if isinstance(degrade, DegradeConfig) else losses

    @property
    def problem_with_targets(self) -> str | None:
        """Why no training should start: inputs from the photographs as they are, but sharpened targets.

        What it would train is a sharpener. Older runs were, so that their configs are read and go on nevertheless.
        """
        wrong = [name for name, term in self.losses.terms().items() if term.sharpened is True]
        if self.degrade.sharpen_gt or not wrong:
            return None
        return (
            f"losses.{wrong[0]}.sharpened = true, but degrade.sharpen_gt = false (preset {self.degrade.preset!r}), by "
            "which the targets are the photographs themselves; leave the first out, or set both true"
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.data.gt_size % self.model.scale or self.degrade.margin % self.model.scale:
            raise ValueError(f"data.gt_size and degrade.margin must be multiples of model.scale ({self.model.scale})")
        if problem := self.model.problem_with(self.training.gradient_checkpointing):
            raise ValueError(problem)
        if self.training.recompute_discriminator and not self.discriminator.recomputes:
            raise ValueError(
                f"training.recompute_discriminator: of {self.discriminator.arch} nothing can be recomputed; set false"
            )
        if self.losses.gan.weight and (problem := self.discriminator.problem_with_size(self.data.gt_size)):
            raise ValueError(problem)
        if self.losses.colour.size > self.data.gt_size:
            raise ValueError(f"losses.colour.size ({self.losses.colour.size}) is above data.gt_size")
        if self.losses.ms_ssim.weight and self.losses.ms_ssim.smallest > self.data.gt_size:
            raise ValueError(
                f"losses.ms_ssim.scales ({self.losses.ms_ssim.scales}) need a data.gt_size of at least "
                f"{self.losses.ms_ssim.smallest}; each scale fewer needs half of that"
            )
        return self
