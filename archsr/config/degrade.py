"""Settings of the degradation. The default numbers are Real-ESRGAN's training options."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from archsr.config.presets import PRESETS, Preset, laid_over, preset_table, stored_before_halving
from archsr.config.table import Count, PositiveSpan, Span, SpanFromZero, Table, Unit

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
    """One random blur. `sigma` in pixels; `sinc` is the share of sinc kernels instead of the families.

    `variance`: the range of σ² of kernels that are not equally wide in all directions; 0 to 0: they take `sigma`.
    `taps`: the most of a kernel; each odd number from 7 on is equally likely.
    """

    probability: Unit = 1.0
    sigma: PositiveSpan = PositiveSpan(low=0.2, high=3.0)
    variance: SpanFromZero = SpanFromZero(low=0.0, high=0.0)
    taps: Literal[7, 9, 11, 13, 15, 17, 19, 21, 23, 25] = 21
    sinc: Unit = 0.1
    families: Families = Families()
    generalized_beta: PositiveSpan = PositiveSpan(low=0.5, high=4.0)
    plateau_beta: PositiveSpan = PositiveSpan(low=1.0, high=2.0)


class Resize(Table):
    """Probabilities of enlarging, reducing and keeping (they add up to 1), and the range of the factor.

    `reciprocal`: of a reduction not the factor but one over it is drawn uniformly, so that strong ones are as frequent
    as weak ones.
    """

    up: Unit = 0.2
    down: Unit = 0.7
    keep: Unit = 0.1
    factor: PositiveSpan = PositiveSpan(low=0.15, high=1.5)
    reciprocal: bool = False

    def shares(self) -> dict[str, float]:
        """What may happen, and how often."""
        return {"up": self.up, "down": self.down, "keep": self.keep}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        shares = self.shares()
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"{' + '.join(shares)} is {sum(shares.values()):g}, not 1")
        if not self.factor.low <= 1 <= self.factor.high:
            raise ValueError("factor must reach from at most 1 to at least 1")
        return self


class FirstResize(Resize):
    """The resize of the first order. `decimate` is the share of samples of which, after a Gaussian of
    `decimate_sigma` pixels, every n-th pixel is taken, n being the scale (or what halving left of it)."""

    decimate: Unit = 0.0
    decimate_sigma: PositiveSpan = PositiveSpan(low=0.1, high=2.4)

    def shares(self) -> dict[str, float]:
        """What may happen, and how often."""
        return {**super().shares(), "decimate": self.decimate}


class Noise(Table):
    """Gaussian (sigma in 0-255 units) or Poisson (scale of the shot noise); `grey` is the share of grey noise.

    `correlated`: the share of Gaussian noise whose channels are correlated, differently in each sample; none of it is
    grey, and it is as strong as `sigma` allows.
    """

    probability: Unit = 1.0
    gaussian: Unit = 0.5
    sigma: SpanFromZero = SpanFromZero(low=1.0, high=30.0)
    poisson_scale: SpanFromZero = SpanFromZero(low=0.05, high=3.0)
    grey: Unit = 0.4
    correlated: Unit = 0.0

    @model_validator(mode="after")
    def _one_kind_each(self) -> Self:
        if self.grey + self.correlated > 1 + 1e-6:
            raise ValueError(f"grey + correlated is {self.grey + self.correlated:g}, above 1")
        return self


class Quality(Span):
    """JPEG quality, drawn as a real number, and the share of samples that are compressed."""

    probability: Unit = 1.0
    low: Annotated[float, Field(ge=1, le=100)] = 30.0
    high: Annotated[float, Field(ge=1, le=100)] = 95.0


class Degradation(Table):
    """One order of the degradation: blur, resize, noise and JPEG."""

    blur: Blur = Blur()
    resize: FirstResize = FirstResize()
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

    sigma: SpanFromZero = SpanFromZero(low=1.0, high=25.0)
    poisson_scale: SpanFromZero = SpanFromZero(low=0.05, high=2.5)


class SecondDegradation(Table):
    """The second order. Its JPEG comes before or after the last resize and sinc filter, one half each."""

    blur: SecondBlur = SecondBlur()
    resize: SecondResize = SecondResize()
    noise: SecondNoise = SecondNoise()
    jpeg: Quality = Quality()


class Halving(Table):
    """The step `halve`: the share of samples that are reduced to the half before all else, for models of scale 4.

    They go on as if the scale were 2: the lowest reciprocal factor is doubled, the highest `decimate_sigma` halved, and
    the widths of their blurs are multiplied by `sigma`, or `variance` where variances are drawn.
    """

    probability: Unit = 0.0
    sigma: Annotated[float, Field(gt=0)] = 1.0
    variance: Annotated[float, Field(gt=0)] = 1.0


class DegradeConfig(Table):
    """The degradation: what happens to ground truth, in which order, how often and how strongly.

    `preset` names a file of configs/presets: its values are the defaults of this table, and keys written beside it
    win. `quirks`: differences of the reference implementation to repeat; `fidelity = "faithful"` means all of them.
    `steps`: the operations in their order; `shuffle` draws an order per batch, the last step staying last, and `halve`
    first. `antialias`: share of samples whose reductions use a widened filter. configs/DEGRADATION.md explains each.
    `margin`: the degraded crop is `gt_size + margin` wide and then cropped at random, so that the last JPEG's 8×8
    grid has a random phase, and less of the mirrored borders of blurs and resizes is inside of the pairs; with 0 all is
    (the reference: 400 for 256, margin 144). `pool_batches`: how many global batches the pair
    pool holds over all ranks (the reference: 180 pairs for a batch of 12, so 15); 0 turns it off.
    """

    preset: Preset = "realesrgan"
    fidelity: Literal["fixed", "faithful"] = "fixed"
    quirks: Annotated[tuple[Quirk, ...], _LISTED, Field(validate_default=True)] = ()
    steps: Annotated[tuple[Step, ...], _LISTED] = SECOND_ORDER
    shuffle: bool = False
    antialias: Unit = 0.0
    margin: Count = 32
    pool_batches: Count = 15
    sharpen_gt: bool = True
    halve: Halving = Halving()
    first: Degradation = Degradation()
    second: SecondDegradation = SecondDegradation()
    final_sinc: Unit = 0.8

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
