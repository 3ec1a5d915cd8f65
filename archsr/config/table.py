"""What every table of a config file shares: strictness, ranges, types of numbers, and how its keys are described."""

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

Unit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class Table(BaseModel):
    """A table of a config file: frozen, strict about types, unknown keys refused.

    Each key is described where it is declared, by `Field(description=...)`; a key that is a table may leave that to the
    first paragraph of the table's docstring. Users read these words (`archsr config`, configs/reference.toml).
    `moved`: keys that it once had, and what to write now. `renamed`: former names of keys, which are still read.
    """

    moved: ClassVar[Mapping[str, str]] = {}
    renamed: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def sample(cls) -> Self:
        """The table at its defaults, unchecked; keys that have none hold an example."""
        missing = {name: _example(field) for name, field in cls.model_fields.items() if field.is_required()}
        return cls.model_construct(**missing)


def _example(field: FieldInfo) -> Any:  # noqa: ANN401
    if field.examples:
        return field.examples[0]
    if typing.get_origin(field.annotation) is typing.Literal:
        return typing.get_args(field.annotation)[0]
    [table] = [table for table in tables_in(field.annotation) if issubclass(table, Table)]
    return table.sample() if field.annotation is table else (table.sample(),)


class Span(Table):
    """A closed range to draw from uniformly."""

    low: float = Field(description="Lowest value that is drawn.")
    high: float = Field(description="Highest value that is drawn.")

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


def tables_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - a type annotation
    """The tables that a value of this type may be, or may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple, list, dict, typing.Annotated):
        return [table for inner in typing.get_args(annotation) for table in tables_in(inner)]
    return []


def summary(table: type[BaseModel]) -> str:
    """The first paragraph of the table's docstring, on one line."""
    return " ".join(inspect.cleandoc(table.__dict__.get("__doc__") or "").partition("\n\n")[0].split())


def described(table: type[BaseModel], key: str) -> str:
    """What a key means: the nearest description in the table and those that it derives from, or its own table's."""
    for owner in table.__mro__:
        field = owner.model_fields.get(key) if issubclass(owner, BaseModel) else None
        if field is not None and field.description:
            return field.description
    annotation = table.model_fields[key].annotation
    return summary(annotation) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else ""
