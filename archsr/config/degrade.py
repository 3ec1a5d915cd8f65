"""Settings of the degradation. The default numbers are Real-ESRGAN's training options."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from archsr.config.camera import Aberration, Sensor, Sharpening
from archsr.config.orders import Degradation, Halving, OtherModes, SecondDegradation
from archsr.config.presets import PRESETS, Preset, laid_over, preset_table, stored_before_halving
from archsr.config.saving import Codec, Levels, Saves
from archsr.config.table import Count, Table, Unit

Quirk = Literal["transposed_luma", "black_border", "shared_grey", "stretched_resize", "batch_choices"]
QUIRKS: tuple[Quirk, ...] = get_args(Quirk)
Step = Literal[
    "aberration", "sensor", "sharpen", "saves", "codec", "levels",
    "halve", "blur1", "resize1", "noise1", "jpeg1", "blur2", "resize2", "noise2", "jpeg2", "reduce", "sinc", "finish",
    "bicubic",
]  # fmt: skip
SECOND_ORDER: tuple[Step, ...] = ("blur1", "resize1", "noise1", "jpeg1", "blur2", "resize2", "noise2", "finish")
# these keep their relative order
RESIZES: tuple[Step, ...] = ("halve", "resize1", "resize2", "reduce", "finish", "bicubic")
_TO_SIZE = ("reduce", "finish", "bicubic")
# lists are converted here: below a validator of mode "before", pydantic no longer accepts JSON lists for tuples
_LISTED = Field(strict=False)


class DegradeConfig(Table):
    """The degradation of ground truth: its steps, their order, probability and strength.

    configs/DEGRADATION.md explains and shows each key.
    """

    preset: Preset = Field(
        default="realesrgan",
        description=(
            "Name of a file in configs/presets whose values become the defaults of this table; other keys override "
            "it. `archsr config --preset NAME` prints all of them."
        ),
    )
    fidelity: Literal["fixed", "faithful"] = Field(
        default="fixed",
        description=(
            '"fixed": what the reference implementation intends; "faithful": what it does, with all its quirks.'
        ),
    )
    quirks: Annotated[tuple[Quirk, ...], _LISTED] = Field(
        default=(),
        validate_default=True,
        description='Quirks of the reference implementation to reproduce. fidelity = "faithful" means all of them.',
    )
    steps: Annotated[tuple[Step, ...], _LISTED] = Field(
        default=SECOND_ORDER,
        description=(
            "The operations, in order. Resizes must keep their order, and exactly one of reduce, finish and bicubic "
            "must bring the input to its size."
        ),
    )
    shuffle: bool = Field(
        default=False,
        description="true: draw another order of the steps for each batch. The last step stays last, and halve stays "
        "first.",
    )
    antialias: Unit = Field(
        default=0.0,
        description="Share of samples whose downsampling uses an antialiasing filter (widened by the factor).",
    )
    margin: Count = Field(
        default=32,
        description="Pixels by which the degraded crop is larger than gt_size before it is cropped at random. So the "
        "grid of the last JPEG is random, and pairs contain less of the mirrored borders of blurs; 0: no margin.",
    )
    pool_batches: Count = Field(default=15, description="Size of the pair pool in global batches; 0: no pool.")
    sharpen_gt: bool = Field(
        default=True, description="true: degrade the sharpened ground truth; false: degrade the ground truth itself."
    )
    halve: Halving = Halving()
    final_modes: OtherModes = Field(
        default=OtherModes(), description="Shares of other methods of the last resize, in reduce and finish."
    )
    sharpening: Sharpening = Sharpening()
    aberration: Aberration = Aberration()
    sensor: Sensor = Sensor()
    saves: Saves = Saves()
    codec: Codec = Codec()
    levels: Levels = Levels()
    first: Degradation = Degradation()
    second: SecondDegradation = SecondDegradation()
    noise_scale: Annotated[float, Field(ge=0, le=100)] = Field(
        default=1.0,
        description="Factor, 0 to 100, applied to the strength of all noise: Gaussian, correlated and Poisson, of both "
        "orders, and the sensor's. 1: as configured; 0: no noise.",
    )
    final_sinc: Unit = Field(default=0.8, description="Share of samples with a final sinc filter.")

    @model_validator(mode="before")
    @classmethod
    def _upon_the_preset(cls, written: Any) -> Any:  # noqa: ANN401 - whatever was written
        if not isinstance(written, dict) or written.get("preset", PRESETS[0]) not in PRESETS:
            return written  # the field's validation will refuse it
        defaults = {"halve": Halving().model_dump(), "first": Degradation().model_dump()}
        defaults["second"] = SecondDegradation().model_dump()
        if stored_before_halving(written):
            return laid_over(defaults, written)
        return laid_over(laid_over(defaults, preset_table(written.get("preset", PRESETS[0]))), written)

    @field_validator("quirks")
    @classmethod
    def _named_once(cls, quirks: tuple[Quirk, ...], info: ValidationInfo) -> tuple[Quirk, ...]:
        if info.data.get("fidelity") != "faithful":
            return tuple(q for q in QUIRKS if q in quirks)
        if quirks and set(quirks) != set(QUIRKS):
            raise ValueError('fidelity = "faithful" means all of them; name some with fidelity = "fixed"')
        return QUIRKS

    @field_validator("steps")
    @classmethod
    def _reach_the_size(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        twice = sorted({s for s in steps if steps.count(s) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} appears twice")
        if "halve" in steps[1:]:
            raise ValueError("'halve' must come first, so that all other steps work on the smaller image")
        ends = [s for s in steps if s in _TO_SIZE]
        if len(ends) != 1:
            raise ValueError(f"exactly one of {', '.join(_TO_SIZE)} must bring lq to its size, got {ends}")
        resizes = [s for s in steps if s in RESIZES]
        if resizes != sorted(resizes, key=RESIZES.index):
            raise ValueError(f"resizes must come in the order resize1, resize2, {ends[0]}, got {', '.join(resizes)}")
        if ends[0] == "bicubic" and len(resizes) > 1:
            raise ValueError(f"{resizes[0]!r} before 'bicubic', which downsamples by the scale; use 'reduce' instead")
        own = [s for s in steps if s in ("jpeg2", "sinc")]
        if ends[0] == "finish" and own:
            raise ValueError(f"{own[0]!r} is part of 'finish'; use 'reduce' instead")
        return steps
