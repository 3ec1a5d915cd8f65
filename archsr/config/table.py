"""The base of all config tables: strict validation, ranges, number types, and descriptions of keys."""

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
    """A table of a config file: frozen, strict about types. Unknown keys are errors.

    Each key is described by `Field(description=...)` where it is declared. A key that is a table may use the first
    paragraph of the table's docstring instead. Users read these texts (`archsr config`, configs/reference.toml).
    `moved`: removed keys, and what to write instead. `renamed`: old names of keys, which still work.
    """

    moved: ClassVar[Mapping[str, str]] = {}
    renamed: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def sample(cls) -> Self:
        """Return the table with defaults, not validated. Required keys hold an example."""
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
    """A closed range for uniform draws."""

    low: float = Field(description="Lowest value.")
    high: float = Field(description="Highest value.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self


class PositiveSpan(Span):
    """A range of numbers above 0."""

    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]


class SpanFromZero(Span):
    """A range of numbers from 0 on."""

    low: Annotated[float, Field(ge=0)]
    high: Annotated[float, Field(ge=0)]


def tables_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - a type annotation
    """Return the tables that a value of this type may be or contain."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple, list, dict, typing.Annotated):
        return [table for inner in typing.get_args(annotation) for table in tables_in(inner)]
    return []


def summary(table: type[BaseModel]) -> str:
    """Return the first paragraph of the table's docstring on one line."""
    return " ".join(inspect.cleandoc(table.__dict__.get("__doc__") or "").partition("\n\n")[0].split())


def described(table: type[BaseModel], key: str) -> str:
    """Return a key's description: the nearest in the table and its bases, or its own table's summary."""
    for owner in table.__mro__:
        field = owner.model_fields.get(key) if issubclass(owner, BaseModel) else None
        if field is not None and field.description:
            return field.description
    annotation = table.model_fields[key].annotation
    return summary(annotation) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else ""
