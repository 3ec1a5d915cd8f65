"""Settings of what lenses and cameras do to a photograph: steps that neither Real-ESRGAN nor BSRGAN has."""

from typing import Annotated

from pydantic import Field

from archsr.config.table import PositiveSpan, SpanFromZero, Table, Unit


class Radius(PositiveSpan):
    """A range of the standard deviation of a Gaussian, in pixels."""

    high: Annotated[float, Field(gt=0, le=4)]


class Sharpening(Table):
    """The step "sharpen": unsharp masking. It leaves light and dark halos along edges, clipped at white and black."""

    probability: Unit = Field(default=1.0, description="Share of samples that are sharpened.")
    radius: Radius = Field(
        default=Radius(low=0.5, high=1.5), description="Width (sigma) of the halos, in pixels, at most 4."
    )
    amount: SpanFromZero = Field(
        default=SpanFromZero(low=0.3, high=1.5), description="Strength: factor of the difference to the blurred image."
    )


class Aberration(Table):
    """The step "aberration": lateral chromatic aberration. Red and blue are a little larger or smaller than green."""

    probability: Unit = Field(default=1.0, description="Share of samples that it is applied to.")
    percent: SpanFromZero = Field(
        default=SpanFromZero(low=0.02, high=0.15),
        description="By how many percent red and blue, each for itself, are larger or smaller than green.",
    )
    away: Annotated[float, Field(ge=0, le=20)] = Field(
        default=3.0,
        description="Largest distance of the optical centre from that of the image, in sides of the image, per "
        "direction: an image is a small part of a photograph. 0: the image's own centre.",
    )


class Sensor(Table):
    """The step "sensor": a camera's noise, which arises in linear light and is developed with the image."""

    probability: Unit = Field(default=1.0, description="Share of samples that get it.")
    shot: PositiveSpan = Field(
        default=PositiveSpan(low=0.0001, high=0.012),
        description="Variance of shot noise per unit of linear light, drawn evenly on a logarithmic scale. The read "
        "noise, white balance and colour matrix are drawn as in Brooks et al. (2019).",
    )
