"""Settings of the degradation. The default numbers are Real-ESRGAN's training options."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archsr.config.table import Count, PositiveSpan, Span, Table, Unit


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
