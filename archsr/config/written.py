"""Write config tables as TOML, with a comment beside each key."""

import json
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from archsr.config.table import Table, summary, tables_in

# returns the comment for a table, key name and value; empty for none
Remark = Callable[[Table, str, Any], str]
_COLUMN, _WIDTH = 40, 120


def value_text(value: Any) -> str:  # noqa: ANN401 - whatever a config holds
    """Return the value as TOML on one line."""
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int):
        return f"{value:_}" if value >= 1_000_000 else str(value)
    if isinstance(value, Table):
        return value_text({name: getattr(value, name) for name in type(value).model_fields})
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(str(k))} = {value_text(v)}" for k, v in value.items() if v is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    return str(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else value_text(name)


def is_table(value: Any) -> bool:  # noqa: ANN401
    """Return whether the value has its own header: all tables except ranges, whose two numbers stay on one line."""
    return isinstance(value, Table) and not all(field.is_required() for field in type(value).model_fields.values())


def is_list_of_tables(value: Any) -> bool:  # noqa: ANN401
    """Return whether the values have their own headers, in double brackets."""
    return isinstance(value, tuple) and bool(value) and all(isinstance(item, Table) for item in value)


def own_keys(table: Table, remark: Remark) -> Iterator[str]:
    """Return a line for each key that is not a table, `arch` first. Keys without a value are comments."""
    for name in sorted(type(table).model_fields, key=lambda name: name != "arch"):
        value = getattr(table, name)
        if not is_table(value) and not is_list_of_tables(value):
            code = f"# {name} = ..." if value is None else f"{name} = {value_text(value)}"
            yield from beside(code, remark(table, name, value))


def inner_tables(
    table: Table, remark: Remark, *, path: str = "", headers_only: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Return all subtables with their contents. Of those whose paths are in `headers_only`, only the header."""
    for name in type(table).model_fields:
        value, inner = getattr(table, name), f"{path}{name}"
        for part in value if is_list_of_tables(value) else [value] if is_table(value) else []:
            yield ""
            yield from beside(f"[{inner}]" if part is value else f"[[{inner}]]", remark(table, name, value))
            if inner not in headers_only:
                yield from own_keys(part, remark)
                yield from _alternatives(table, name, part, remark)
                yield from inner_tables(part, remark, path=f"{inner}.", headers_only=headers_only)


def _alternatives(table: Table, name: str, taken: Table, remark: Remark) -> Iterator[str]:
    """Return comments with the keys that differ for each other `arch` in the place of `taken`."""
    known = {key: value for key, value in taken if key != "arch"}
    for other in tables_in(type(table).model_fields[name].annotation):
        if "arch" not in other.model_fields or type(taken) is other or not issubclass(other, Table):
            continue
        yield "#"
        yield from _wrapped(f"or: {summary(other)}", _WIDTH, indent="# ")
        sample = other.sample()
        values = {"arch": getattr(sample, "arch"), **dict(sample)}  # noqa: B009 - of some tables only
        for key, value in values.items():
            if not is_table(value) and (key not in known or known[key] != value):
                yield from beside(f"# {key} = {value_text(value)}", remark(sample, key, value))


def _wrapped(text: str, width: int, *, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def beside(code: str, text: str) -> list[str]:
    """Return the code with the comment to its right, or above it if there is no room."""
    lines = _wrapped(text, _WIDTH - _COLUMN - 2)
    if not lines:
        return [code]
    if len(code) >= _COLUMN:
        return [*_wrapped(text, _WIDTH, indent="# "), code]
    return [f"{first:<{_COLUMN}}# {line}" for first, line in zip([code] + [""] * len(lines), lines, strict=False)]
