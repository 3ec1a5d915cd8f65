"""Settings of a training run."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from archsr.config.data import DataConfig
from archsr.config.degrade import DegradeConfig
from archsr.config.losses import LossConfig
from archsr.config.memory import MicroBatchKey, RecomputeKey
from archsr.config.networks import DiscriminatorConfig, ModelConfig, OptimizerConfig, RRDBNetConfig, UNetConfig
from archsr.config.table import Count, Positive, Table
from archsr.config.watching import CheckpointConfig, EvaluationConfig, LogConfig, ValidationConfig


class LayerGroup(Table):
    """Layers with their own training settings."""

    names: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Layers, as in training.layers: names, globs, ranges.", examples=[["body.22"]]
    )
    lr_scale: Annotated[float, Field(gt=0)] = Field(default=1.0, description="Learning rate relative to the stage's.")
    weight_decay: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Weight decay; else the optimiser's."
    )
    rank: Count = Field(
        default=0,
        description="Rank of low-rank adapters that are trained instead of the weights; 0: train the weights.",
    )
    alpha: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Adapters are scaled by alpha / rank. Default: rank."
    )

    @model_validator(mode="after")
    def _alpha_needs_a_rank(self) -> Self:
        if self.alpha is not None and not self.rank:
            raise ValueError("alpha needs rank")
        return self


class Stage(Table):
    """A stage of training. Stages run in sequence; those with the same subset continue one stream of samples."""

    iterations: Positive = Field(description="Number of iterations of the stage.", examples=[10000])
    lr: Annotated[float, Field(gt=0)] = Field(description="Learning rate.", examples=[1e-4])
    subset: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="Share of every shard to train on, from its start; above 0 to 1."
    )
    schedule: Literal["constant", "cosine", "linear", "multistep"] = Field(
        default="constant",
        description=(
            'Learning-rate schedule: "constant"; "cosine" and "linear" fall to lr_end; "multistep" falls by gamma at '
            "milestones."
        ),
    )
    warmup: Count = Field(default=0, description="Number of first iterations of the stage in which lr rises from 0.")
    lr_end: Annotated[float, Field(ge=0)] = Field(default=0.0, description='Final lr, with "cosine" and "linear".')
    milestones: tuple[Positive, ...] = Field(
        default=(), description='Iterations within the stage at which lr falls, with "multistep".'
    )
    gamma: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.5, description="Factor applied to lr at each milestone, between 0 and 1."
    )
    until: Literal["iterations", "plateau"] = Field(
        default="iterations",
        description='"plateau": the stage also ends after `patience` validations in a row without improvement over '
        'its best (validation.best); "iterations": it always runs all iterations.',
    )
    patience: Positive = Field(
        default=5, description='Validations without improvement that end the stage, with "plateau".'
    )
    min_delta: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description='Smallest improvement that counts, with "plateau"; in the unit of validation.best.'
    )

    @model_validator(mode="after")
    def _has_a_course(self) -> Self:
        if self.warmup >= self.iterations:
            raise ValueError(f"warmup ({self.warmup}) must be shorter than iterations ({self.iterations})")
        if bool(self.milestones) != (self.schedule == "multistep"):
            raise ValueError('set milestones if, and only if, schedule = "multistep"')
        if self.milestones and self.milestones[-1] >= self.iterations:
            raise ValueError(f"milestones must be below iterations ({self.iterations}): they count within the stage")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must rise")
        if self.lr_end and self.schedule not in ("cosine", "linear"):
            raise ValueError('lr_end needs schedule = "cosine" or "linear"')
        if self.lr_end > self.lr:
            raise ValueError(f"lr_end ({self.lr_end:g}) is above lr ({self.lr:g})")
        return self


class EmaConfig(Table):
    """The moving average of the trained weights."""

    decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.999, description="Decay: the share of the average that each step keeps; from 0 to below 1."
    )
    warmup: bool = Field(
        default=True,
        description=(
            "true: limit the decay at step n to (1 + n) / (10 + n), so that the average follows quickly at first."
        ),
    )


def seconds_of(text: str) -> float:
    """Return the seconds of `[D-]H:MM:SS`."""
    days, _, clock = text.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return float(((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds)


class TrainingConfig(Table):
    """What is trained and how. An iteration uses `global_batch` samples for any number of processes."""

    layers: Annotated[tuple[str | LayerGroup, ...], Field(min_length=1)] = Field(
        default=("conv_last",),
        description='Layers to train: names, globs (conv_up*), ranges (body.20-22), "all", or tables: '
        '{ names = ["body.22"], lr_scale = 0.1, weight_decay = 0.0 }, or low-rank adapters on layers: '
        '{ names = ["body.*"], rank = 8, alpha = 8.0 }.',
    )
    global_batch: Positive = Field(default=12, description="Number of samples per iteration, over all processes.")
    micro_batch: MicroBatchKey = Field(
        default=12,
        description=(
            "Maximum number of samples that a process passes through the network at once (gradient accumulation). "
            '"auto": as many as fit, found by a trial before the first iteration.'
        ),
    )
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = Field(
        description="The stages of training, in order, each a table [[training.stages]]."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description='Number type; "fp16" needs a GPU. "auto": the 16-bit type that is closer to fp32 on this '
        "device, and fp32 on CPUs without instructions for bf16.",
    )
    gradient_checkpointing: RecomputeKey = Field(
        default="none",
        description='Gradient checkpointing: parts of the body to recompute in the backward pass. "rrdb": each block; '
        '"rdb": each dense block; 4: 4 blocks at a time (least memory). Not with srvgg.',
    )
    recompute: tuple[str, ...] = Field(
        default=(),
        description='Modules of any network to recompute, by name: ["layers.*"]. Of nested modules the outermost '
        "counts.",
    )
    recompute_losses: bool = Field(default=False, description="Recompute the losses' networks between their poolings.")
    recompute_discriminator: bool = Field(default=False, description='Recompute the discriminator "unet" in steps.')
    channels_last: bool = Field(default=True, description='Use the channels-last memory format. Not with "spandrel".')
    compile: bool = Field(
        default=False,
        description="Compile the generator's blocks by torch.compile, which takes a minute or more at the start. Its "
        "gain on GPUs is not yet measured; on CPUs it is slower. Not for networks without repeated blocks.",
    )
    max_skipped: Positive = Field(
        default=10,
        description="Iterations with a NaN or Inf loss are skipped; this many within 1000 iterations end the run.",
    )
    time_limit: Annotated[str, Field(pattern=r"^((\d+-)?\d+:[0-5]\d:[0-5]\d)?$")] = Field(
        default="",
        description='Maximum time from the start of the process to the end of its last checkpoint: "3:50:00", '
        '"1-12:00:00". The run then exits with code 85; --resume continues it. Empty: no limit.',
    )
    collective_timeout: Annotated[float, Field(gt=0)] = Field(
        default=10.0,
        description="Minutes after which a process that does not join the others, or does not finish its part of an "
        "iteration, counts as hung. All processes then end and write RUN/stacks-rank0.txt, ...",
    )
    clip: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Maximum norm of the generator's gradient (gradient clipping); 0: no limit."
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    ema: EmaConfig = EmaConfig()

    @property
    def seconds(self) -> float | None:
        """The time limit in seconds."""
        return seconds_of(self.time_limit) if self.time_limit else None


class TrainConfig(Table):
    """A training run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="Name of the run. Its folder is runs/name.", examples=["reference"]
    )
    runs: str = Field(default="runs", description="Folder of the run folders.")
    seed: Count = Field(default=0, description="Random seed of sample order, crops, degradation and initial weights.")
    model: ModelConfig = Field(default=RRDBNetConfig(), description="The generator's architecture and weights.")
    discriminator: DiscriminatorConfig = Field(
        default=UNetConfig(), description="The discriminator, used if losses.gan.weight is above 0."
    )
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
        """What chooses the weights, with "auto" resolved."""
        if self.validation.best != "auto":
            return self.validation.best
        learned = ("perceptual", "features", "lpips", "dists", "gan")
        return "balance" if any(name in self.losses.terms() for name in learned) else "psnr"

    @property
    def primary(self) -> str:
        """The primary metric of evaluations, with "auto" resolved: the same on every machine."""
        if self.evaluation.primary != "auto":
            return self.evaluation.primary
        if self.best != "balance":
            return self.best
        return "features" if self.validation.perceptual == "auto" else self.validation.perceptual

    @field_validator("losses")
    @classmethod
    def _targets_follow_the_degradation(cls, losses: LossConfig, info: ValidationInfo) -> LossConfig:
        degrade = info.data.get("degrade")  # absent if its own validation failed
        return losses.decided(sharpened=degrade.sharpen_gt) if isinstance(degrade, DegradeConfig) else losses

    @property
    def problem_with_targets(self) -> str | None:
        """A message if inputs come from plain photographs but targets are sharpened, else an empty string.

        Training would produce a sharpener, so no run may start like that. Older runs did, so their configs can still be
        read and resumed.
        """
        wrong = [name for name, term in self.losses.terms().items() if term.sharpened is True]
        if self.degrade.sharpen_gt or not wrong:
            return None
        return (
            f"losses.{wrong[0]}.sharpened = true, but degrade.sharpen_gt = false (preset {self.degrade.preset!r}), by "
            "which the targets are the photographs themselves; remove the first, or set both to true"
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.data.gt_size % self.model.scale or self.degrade.margin % self.model.scale:
            raise ValueError(f"data.gt_size and degrade.margin must be multiples of model.scale ({self.model.scale})")
        if problem := self.model.problem_with(self.training.gradient_checkpointing):
            raise ValueError(problem)
        if self.training.recompute_discriminator and not self.discriminator.recomputes:
            raise ValueError(
                f"training.recompute_discriminator: {self.discriminator.arch} cannot be recomputed; set false"
            )
        if self.losses.gan.weight and (problem := self.discriminator.problem_with_size(self.data.gt_size)):
            raise ValueError(problem)
        if self.losses.colour.size > self.data.gt_size:
            raise ValueError(f"losses.colour.size ({self.losses.colour.size}) is above data.gt_size")
        if self.losses.ms_ssim.weight and self.losses.ms_ssim.smallest > self.data.gt_size:
            raise ValueError(
                f"losses.ms_ssim.scales ({self.losses.ms_ssim.scales}) need a data.gt_size of at least "
                f"{self.losses.ms_ssim.smallest}; one scale fewer needs half of that"
            )
        return self
