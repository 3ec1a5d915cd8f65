"""Settings of the degradation. The default numbers are Real-ESRGAN's training options."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from archsr.config.orders import Degradation, Halving, SecondDegradation
from archsr.config.presets import PRESETS, Preset, laid_over, preset_table, stored_before_halving
from archsr.config.table import Count, Table, Unit

Quirk = Literal["transposed_luma", "black_border", "shared_grey", "stretched_resize", "batch_choices"]
QUIRKS: tuple[Quirk, ...] = get_args(Quirk)
Step = Literal[
    "halve", "blur1", "resize1", "noise1", "jpeg1", "blur2", "resize2", "noise2", "jpeg2", "reduce", "sinc", "finish",
    "bicubic",
]  # fmt: skip
SECOND_ORDER: tuple[Step, ...] = ("blur1", "resize1", "noise1", "jpeg1", "blur2", "resize2", "noise2", "finish")
RESIZES: tuple[Step, ...] = ("halve", "resize1", "resize2", "reduce", "finish", "bicubic")  # these keep their order
_TO_SIZE = ("reduce", "finish", "bicubic")
_LISTED = Field(strict=False)  # lists are taken for tuples: below a validator of mode "before", JSON's leave is gone


class DegradeConfig(Table):
    """The degradation: what happens to ground truth, in which order, how often and how strongly.

    configs/DEGRADATION.md explains and shows each key.
    """

    preset: Preset = Field(
        default="realesrgan",
        description="File of configs/presets whose values are the defaults of this table; keys written beside it win. "
        "`archsr config --preset NAME` prints them all.",
    )
    fidelity: Literal["fixed", "faithful"] = Field(
        default="fixed",
        description='"fixed": what the reference implementation means; "faithful": what it does, with all its quirks.',
    )
    quirks: Annotated[tuple[Quirk, ...], _LISTED] = Field(
        default=(),
        validate_default=True,
        description='Quirks of the reference implementation to repeat. fidelity = "faithful" means all of them.',
    )
    steps: Annotated[tuple[Step, ...], _LISTED] = Field(
        default=SECOND_ORDER,
        description="The operations in their order. Resizes keep theirs, and exactly one of reduce, finish and bicubic "
        "brings the input to its size.",
    )
    shuffle: bool = Field(
        default=False,
        description="true: another order of the steps is drawn for each batch; the last one stays last, and halve "
        "first.",
    )
    antialias: Unit = Field(
        default=0.0, description="Share of samples whose reductions use a filter widened by the factor."
    )
    margin: Count = Field(
        default=32,
        description="Pixels by which the degraded crop is wider than gt_size before it is cropped at random. So the "
        "grid of the last JPEG is random, and fewer of the mirrored borders of blurs are in the pairs; 0: all are.",
    )
    pool_batches: Count = Field(
        default=15, description="Global batches that the pair pool holds over all processes; 0: there is none."
    )
    sharpen_gt: bool = Field(
        default=True, description="true: the sharpened ground truth is degraded; false: the ground truth as it is."
    )
    halve: Halving = Halving()
    first: Degradation = Degradation()
    second: SecondDegradation = SecondDegradation()
    final_sinc: Unit = Field(default=0.8, description="Share of samples with a sinc filter at the end.")

    @model_validator(mode="before")
    @classmethod
    def _upon_the_preset(cls, written: Any) -> Any:  # noqa: ANN401 - whatever was written
        if not isinstance(written, dict) or written.get("preset", PRESETS[0]) not in PRESETS:
            return written  # refused by the check of the fields
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
            raise ValueError(f"{twice[0]!r} is there twice")
        if "halve" in steps[1:]:
            raise ValueError("'halve' must come first: it is there so that all that follows is done to less")
        ends = [s for s in steps if s in _TO_SIZE]
        if len(ends) != 1:
            raise ValueError(f"exactly one of {', '.join(_TO_SIZE)} must bring lq to its size, got {ends}")
        resizes = [s for s in steps if s in RESIZES]
        if resizes != sorted(resizes, key=RESIZES.index):
            raise ValueError(f"resizes must come in the order resize1, resize2, {ends[0]}, got {', '.join(resizes)}")
        if ends[0] == "bicubic" and len(resizes) > 1:
            raise ValueError(
                f"{resizes[0]!r} before 'bicubic', which reduces by the scale; take 'reduce' instead of it"
            )
        own = [s for s in steps if s in ("jpeg2", "sinc")]
        if ends[0] == "finish" and own:
            raise ValueError(f"{own[0]!r} is a part of 'finish'; take 'reduce' instead of it")
        return steps
