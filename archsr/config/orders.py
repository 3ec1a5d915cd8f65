"""Settings of one order of the degradation: blur, resize, noise and JPEG. The numbers are Real-ESRGAN's."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archsr.config.table import PositiveSpan, Span, SpanFromZero, Table, Unit


class Shares(Table):
    """Shares that add up to 1."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = sum(self.model_dump().values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the probabilities add up to {total:g}, not 1")
        return self


class Families(Shares):
    """Shares of the blur kernels' families, which add up to 1. `aniso`: wider in one direction than in the other."""

    iso: Unit = Field(default=0.45, description="Share of round Gaussian kernels.")
    aniso: Unit = Field(default=0.25, description="Share of Gaussian kernels wider in one direction.")
    generalized_iso: Unit = Field(default=0.12, description="Share of round generalised Gaussian kernels.")
    generalized_aniso: Unit = Field(
        default=0.03, description="Share of generalised Gaussian kernels wider in one direction."
    )
    plateau_iso: Unit = Field(default=0.12, description="Share of round plateau-shaped kernels.")
    plateau_aniso: Unit = Field(default=0.03, description="Share of plateau-shaped kernels wider in one direction.")


class DiscRadius(PositiveSpan):
    """A range of the radius of a disc, in pixels."""

    high: Annotated[float, Field(gt=0, le=12)]


class LineLength(PositiveSpan):
    """A range of the length of a line, in pixels."""

    high: Annotated[float, Field(gt=0, le=24)]


class Blur(Table):
    """A random blur."""

    probability: Unit = Field(default=1.0, description="Share of samples that it is applied to.")
    sigma: PositiveSpan = Field(
        default=PositiveSpan(low=0.2, high=3.0), description="Standard deviation of the kernels, in pixels."
    )
    variance: SpanFromZero = Field(
        default=SpanFromZero(low=0.0, high=0.0),
        description="Variance (sigma²) of the kernels that are wider in one direction, in square pixels; "
        "0 to 0: use sigma.",
    )
    taps: Literal[7, 9, 11, 13, 15, 17, 19, 21, 23, 25] = Field(
        default=21, description="Side of the largest kernel in pixels. All odd sides from 7 on are equally likely."
    )
    sinc: Unit = Field(default=0.1, description="Share of sinc kernels. The rest is divided among the families.")
    families: Families = Families()
    generalized_beta: PositiveSpan = Field(
        default=PositiveSpan(low=0.5, high=4.0), description="Exponent of generalised Gaussian kernels."
    )
    plateau_beta: PositiveSpan = Field(
        default=PositiveSpan(low=1.0, high=2.0), description="Exponent of plateau-shaped kernels."
    )
    defocus: Unit = Field(
        default=0.0, description="Share of kernels replaced by a disc: a lens out of focus. Includes sinc kernels."
    )
    defocus_radius: DiscRadius = Field(
        default=DiscRadius(low=1.0, high=4.0), description="Radius of the disc, in pixels, at most 12."
    )
    motion: Unit = Field(
        default=0.0,
        description="Share of kernels replaced by a line: a moved camera. defocus + motion is at most 1.",
    )
    motion_length: LineLength = Field(
        default=LineLength(low=2.0, high=12.0), description="Length of the line, in pixels, at most 24."
    )

    @model_validator(mode="after")
    def _one_kernel_each(self) -> Self:
        if self.defocus + self.motion > 1 + 1e-6:
            raise ValueError(f"defocus + motion is {self.defocus + self.motion:g}, above 1")
        return self


class OtherModes(Table):
    """Shares of resizes by methods that the reference lacks. The rest is divided equally: area, bilinear, bicubic."""

    lanczos: Unit = Field(
        default=0.0, description="Share of Lanczos (a = 3), antialiased like PIL's when downsampling."
    )
    nearest: Unit = Field(default=0.0, description="Share of the nearest pixel: lines break, edges become stairs.")

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.lanczos + self.nearest > 1 + 1e-6:
            raise ValueError(f"lanczos + nearest is {self.lanczos + self.nearest:g}, above 1")
        return self


class Resize(Table):
    """A random resize. The shares add up to 1."""

    up: Unit = Field(default=0.2, description="Share of samples that are upsampled.")
    down: Unit = Field(default=0.7, description="Share of samples that are downsampled.")
    keep: Unit = Field(default=0.1, description="Share of samples that keep their size.")
    factor: PositiveSpan = Field(
        default=PositiveSpan(low=0.15, high=1.5),
        description="Range of the resize factor, from at most 1 to at least 1.",
    )
    reciprocal: bool = Field(
        default=False,
        description=(
            "true: when downsampling, draw 1 / factor uniformly, so that strong downsampling is as frequent as weak; "
            "false: draw factor uniformly."
        ),
    )
    modes: OtherModes = OtherModes()

    def shares(self) -> dict[str, float]:
        """Return the shares of the possible outcomes by name."""
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
    """The resize of the first order. The shares, including `decimate`, add up to 1."""

    decimate: Unit = Field(
        default=0.0,
        description=(
            "Share of samples that are blurred and reduced to every n-th pixel; n is the scale, or half of it after "
            "halving."
        ),
    )
    decimate_sigma: PositiveSpan = Field(
        default=PositiveSpan(low=0.1, high=2.4), description="Standard deviation of the blur before it, in pixels."
    )

    def shares(self) -> dict[str, float]:
        """Return the shares of the possible outcomes by name."""
        return {**super().shares(), "decimate": self.decimate}


class Noise(Table):
    """Random noise, Gaussian or Poisson."""

    probability: Unit = Field(default=1.0, description="Share of samples that it is applied to.")
    gaussian: Unit = Field(default=0.5, description="Share of Gaussian noise; the rest is Poisson.")
    sigma: SpanFromZero = Field(
        default=SpanFromZero(low=1.0, high=30.0),
        description="Standard deviation of Gaussian noise, in levels of 255.",
    )
    poisson_scale: SpanFromZero = Field(
        default=SpanFromZero(low=0.05, high=3.0), description="Strength of Poisson noise, as a factor."
    )
    grey: Unit = Field(default=0.4, description="Share of noise that is equal in all channels (grey).")
    correlated: Unit = Field(
        default=0.0,
        description=(
            "Share of Gaussian noise with correlated channels, at the highest sigma. grey + correlated is at most 1."
        ),
    )

    @model_validator(mode="after")
    def _one_kind_each(self) -> Self:
        if self.grey + self.correlated > 1 + 1e-6:
            raise ValueError(f"grey + correlated is {self.grey + self.correlated:g}, above 1")
        return self


class Sampling(Shares):
    """Shares of JPEG's chroma samplings: colours are stored at a lower resolution than brightness. They add up to 1."""

    yuv420: Unit = Field(default=1.0, description="Share of 4:2:0: colours halved in both directions, the usual one.")
    yuv422: Unit = Field(default=0.0, description="Share of 4:2:2: colours halved horizontally, as in many cameras.")
    yuv440: Unit = Field(default=0.0, description="Share of 4:4:0: colours halved vertically, as after a rotation.")
    yuv444: Unit = Field(default=0.0, description="Share of 4:4:4: colours at full resolution.")


class Quality(Span):
    """JPEG compression. The quality is drawn as a real number from `low` to `high`."""

    probability: Unit = Field(default=1.0, description="Share of samples that are compressed.")
    low: Annotated[float, Field(ge=1, le=100)] = Field(default=30.0, description="Lowest quality, 1 to 100.")
    high: Annotated[float, Field(ge=1, le=100)] = Field(default=95.0, description="Highest quality, 1 to 100.")
    sampling: Sampling = Sampling()
    interpolated: Unit = Field(
        default=0.0,
        description="Share of samples whose halved colours are interpolated, as most programs do. The others are "
        "repeated, as in the reference.",
    )


class Degradation(Table):
    """The first order of the degradation: blur, resize, noise and JPEG."""

    blur: Blur = Blur()
    resize: FirstResize = FirstResize()
    noise: Noise = Noise()
    jpeg: Quality = Quality()


class SecondBlur(Blur):
    """The blur of the second order: weaker, and skipped for one sample in five."""

    probability: Unit = 0.8
    sigma: PositiveSpan = PositiveSpan(low=0.2, high=1.5)


class SecondResize(Resize):
    """The resize of the second order. Its factor applies on top of the downsampling by the model's scale."""

    up: Unit = 0.3
    down: Unit = 0.4
    keep: Unit = 0.3
    factor: PositiveSpan = PositiveSpan(low=0.3, high=1.2)


class SecondNoise(Noise):
    """The noise of the second order: weaker."""

    sigma: SpanFromZero = SpanFromZero(low=1.0, high=25.0)
    poisson_scale: SpanFromZero = SpanFromZero(low=0.05, high=2.5)


class SecondDegradation(Table):
    """The second order. Its JPEG comes before or after the last resize and sinc filter, with equal probability."""

    blur: SecondBlur = SecondBlur()
    resize: SecondResize = SecondResize()
    noise: SecondNoise = SecondNoise()
    jpeg: Quality = Quality()


class Halving(Table):
    """The step "halve", first of steps, for models of scale 4: samples are halved and continue as if the scale were 2.

    The lowest reciprocal factor is then doubled, and the highest `decimate_sigma` halved.
    """

    probability: Unit = Field(default=0.0, description="Share of samples that are halved first.")
    sigma: Annotated[float, Field(gt=0)] = Field(default=1.0, description="Factor applied to the sigma of their blurs.")
    variance: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="Factor applied to the variance of their blurs, if variances are drawn."
    )
