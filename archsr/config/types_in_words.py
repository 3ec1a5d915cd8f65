"""Describe the possible values of a key in words, from its JSON schema."""

from functools import cache
from typing import Any

from archsr.config.table import Table
from archsr.config.written import value_text

_NAMES = {"integer": "whole number", "string": "text", "boolean": "true or false", "null": "left out"}


def in_words(table: type[Table], key: str) -> str:
    """Return the possible values of the key: `number from 0 to 1`, `"fixed" or "faithful"`, `list of texts`."""
    made = _schema(table)
    return _words(made["properties"][key], made.get("$defs", {}))


@cache
def _schema(table: type[Table]) -> dict[str, Any]:
    return table.model_json_schema()


def _words(entry: dict[str, Any], tables: dict[str, Any]) -> str:
    if "$ref" in entry:
        return _fields(tables[entry["$ref"].split("/")[-1]], tables)
    if choices := entry.get("enum", [entry["const"]] if "const" in entry else []):
        return _either([value_text(choice) for choice in choices])
    if several := entry.get("anyOf") or entry.get("oneOf"):
        words = [_words(one, tables) for one in several]
        both = ["true", "false"]
        return _either([part for word in words for part in (both if word == " or ".join(both) else [word])])
    if entry.get("type") == "array":
        return _list(entry, tables)
    if entry.get("type") == "object":
        return _mapping(entry, tables)
    return _NAMES.get(entry["type"], str(entry["type"])) + _limits(entry)


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def _fields(table: dict[str, Any], tables: dict[str, Any]) -> str:
    if set(table["properties"]) != set(table.get("required", [])):
        return "table with the keys below"
    keys = [f"{name} ({_words(entry, tables)})" for name, entry in table["properties"].items()]
    return f"table with {', '.join(keys)}"


def _list(entry: dict[str, Any], tables: dict[str, Any]) -> str:
    if fixed := entry.get("prefixItems"):
        kinds = dict.fromkeys(_words(item, tables) for item in fixed)
        return f"list of {len(fixed)}, each {' and '.join(kinds)}"
    least = f", at least {entry['minItems']}" if entry.get("minItems") else ""
    return f"list, each {_words(entry.get('items', {}), tables)}{least}"


def _mapping(entry: dict[str, Any], tables: dict[str, Any]) -> str:
    inner = entry.get("additionalProperties") or next(iter(entry.get("patternProperties", {}).values()), {})
    names = " or ".join(f"fitting {pattern}" for pattern in entry.get("patternProperties", {}))
    return f"table of names{f' {names}' if names else ''}, each {_words(inner, tables)}"


def _limits(entry: dict[str, Any]) -> str:
    parts = [
        (" from {}", entry.get("minimum")),
        (" above {}", entry.get("exclusiveMinimum")),
        (" to {}", entry.get("maximum")),
        (" to below {}", entry.get("exclusiveMaximum")),
        (", a multiple of {}", entry.get("multipleOf")),
        (" fitting {}", entry.get("pattern")),
        (", not empty", entry.get("minLength")),
    ]
    return "".join(text.format(limit) for text, limit in parts if limit is not None)
