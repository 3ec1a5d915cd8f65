"""What every table of a config file shares: strictness, ranges, and types of numbers."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Unit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class Table(BaseModel):
    """A table of a config file: frozen, strict about types, unknown keys refused.

    `moved`: keys that it once had, and what to write now.
    """

    moved: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Span(Table):
    """A closed range to draw from uniformly."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self


class PositiveSpan(Span):
    """A range of numbers above zero."""

    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]


class SpanFromZero(Span):
    """A range of numbers that are not negative."""

    low: Annotated[float, Field(ge=0)]
    high: Annotated[float, Field(ge=0)]
