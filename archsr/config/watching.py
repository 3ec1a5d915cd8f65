"""Settings of what is measured, kept and shown of a run."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from archsr.config.table import Count, Positive, Table


class ValidationConfig(Table):
    """Validation on the fixed pairs of the dataset."""

    renamed: ClassVar[Mapping[str, str]] = {"pictures": "images"}

    every: Positive = Field(default=500, description="Iterations between validations; there is one before the first.")
    samples: Positive = Field(default=64, description="Validate on at most so many pairs, spread over the split.")
    best: Literal["auto", "balance", "psnr", "ssim", "features", "lpips", "dists", "niqe_distance"] = Field(
        default="auto",
        description='What chooses the weights: "balance" (the smallest perceptual distance among what keeps PSNR and '
        'NIQE), or a metric; "auto": "balance" where a loss is perceptual or adversarial, else "psnr".',
    )
    fidelity_floor: Annotated[float, Field(ge=0)] = Field(
        default=0.5, description='How far PSNR may fall below the start\'s for "balance", in dB.'
    )
    perceptual: Literal["auto", "features", "lpips", "dists"] = Field(
        default="auto",
        description='The perceptual distance. "auto": "lpips" or "dists" where their files are here, else "features" '
        "(EfficientNet-Lite0 out of a wheel).",
    )
    strength: bool = Field(
        default=True,
        description="Whether a run looks, at its end, for the share of its fine-tuning that is best by the same rule. "
        "`archsr upscale` uses it.",
    )
    images: Count = Field(default=4, description="Pairs on the image sheet in RUN/samples.")


class EvaluationConfig(Table):
    """What `archsr evaluate` says of the run."""

    primary: Literal["auto", "psnr", "ssim", "features", "lpips", "dists", "niqe_distance"] = Field(
        default="auto",
        description='The metric on which the verdicts of `archsr evaluate` hang, fixed before training. "auto": what '
        'chooses the weights; of "balance" it is validation.perceptual, or "features" if that is "auto".',
    )


class CheckpointConfig(Table):
    """When checkpoints are written, and which are kept. They are written beside training."""

    every: Positive = Field(default=500, description="Iterations between checkpoints.")
    keep: Annotated[int, Field(ge=2)] = Field(default=2, description="So many of the newest are kept, at least 2.")
    keep_best: bool = Field(default=False, description="Whether the one with the best validation is kept, too.")
    keep_hours: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="One per so many hours is kept, too; 0: none."
    )
    mirror: str = Field(
        default="",
        description="A second place for copies of them: a folder, s3://bucket/folder, hf://... A run whose folder is "
        "lost is resumed from there.",
    )


class LogConfig(Table):
    """What a run writes down while it trains."""

    every: Positive = Field(default=50, description="Iterations between lines of the log.")
    keys: bool = Field(
        default=False, description="Whether the key of every sample trained on is written too, for each process."
    )
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = Field(
        default=("tensorboard",),
        description="Where curves and images go besides the run folder; [] for nowhere. wandb and trackio are to be "
        "installed with pip.",
    )
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        default="archsr", description="The project under which W&B and trackio file the run."
    )

    moved: ClassVar[Mapping[str, str]] = {"tensorboard": 'trackers = ["tensorboard"], or [] for none'}
