"""Read config files with tomli, apply `--set a.b=c`, validate, and write configs back completely.

Every error is one line with the file, the key's path, what was found and what was expected.
"""

import functools
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import tomli
import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from archsr.config.table import tables_in
from archsr.errors import ConfigError, did_you_mean
from archsr.utils import console

M = TypeVar("M", bound=BaseModel)


def load(kind: type[M], path: Path, *, overrides: Sequence[str] = ()) -> M:
    """Read `path` as `kind` with `--set` overrides applied. Raises `UserError` if anything does not fit."""
    return check(kind, with_overrides(read(path), overrides), where=str(path))


def read(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file, not validated."""
    try:
        return tomli.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        here = sorted(str(p) for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
        raise ConfigError(f"{path}: no such config file{did_you_mean(str(path), here)}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def check(kind: type[M], data: Mapping[str, Any], *, where: str) -> M:
    """Validate plain data against `kind`. `where` names its origin in errors."""
    try:
        # through JSON, because only there does pydantic's strict mode accept a list for a tuple
        return kind.model_validate_json(json.dumps(_with_new_names(kind, data), default=str))
    except ValidationError as error:
        details = _essential(error.errors(include_url=False))
        more = f" (and {len(details) - 1} more: {', '.join(_path(kind, d) for d in details[1:])})"
        raise ConfigError(f"{where}: {_explain(kind, details[0])}{more if details[1:] else ''}") from None


def _with_new_names(kind: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables with renamed keys under their new names. If both names are present, the new one counts."""
    former: Mapping[str, str] = getattr(kind, "renamed", {})
    result: dict[str, Any] = {}
    for key, value in data.items():
        if (new := former.get(key)) is not None:
            _tell_renamed(key, new)
            if new in data:
                continue
        name = new or key
        inner = tables_in(kind.model_fields[name].annotation) if name in kind.model_fields else []
        for table in inner if isinstance(value, dict) else []:
            value = _with_new_names(table, cast(dict[str, Any], value))
        result[name] = value
    return result


@functools.cache
def _tell_renamed(old: str, new: str) -> None:
    console.aside(f"config key {old} was renamed to {new}; the old name still works")


def with_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of `data` with each `a.b.0.c=value` set. The value is TOML, or else plain text."""
    result: dict[str, Any] = json.loads(json.dumps(data, default=str))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {override}: expected KEY=VALUE, for example training.micro_batch=4")
        _assign(result, key.strip().split("."), _value(text.strip()), override)
    return result


def _value(text: str) -> Any:  # noqa: ANN401 - whatever TOML holds
    try:
        return tomli.loads(f"value = {text}")["value"]
    except tomli.TOMLDecodeError:
        return text


def _assign(tree: dict[str, Any], keys: list[str], value: object, override: str) -> None:
    node: Any = tree
    for key in keys[:-1]:
        node = _step(node, key, override) if isinstance(node, list) else node.setdefault(key, {})
        if not isinstance(node, dict | list):
            raise ConfigError(f"--set {override}: {key!r} is a value, not a table")
    if isinstance(node, list):
        _step(node, keys[-1], override)  # the place must exist
        node[int(keys[-1])] = value
    else:
        node[keys[-1]] = value


def _step(node: list[Any], key: str, override: str) -> Any:  # noqa: ANN401
    if not key.isdigit() or int(key) >= len(node):
        raise ConfigError(f"--set {override}: {key!r} is not an index of a list of {len(node)} (counted from 0)")
    return node[int(key)]


def dump(config: BaseModel) -> str:
    """Return the whole config as TOML, including defaults, as a run stores it."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def differences(a: BaseModel, b: BaseModel) -> list[str]:
    """Return the key paths at which two configs of one kind differ, with both values. Lists are compared as a whole."""
    found = _changes(a.model_dump(mode="json"), b.model_dump(mode="json"), "", into_lists=False)
    return [f"{path}: {_show(there)} there, {_show(here)} here" for path, (there, here) in found.items()]


def changes(old: BaseModel, new: BaseModel) -> dict[str, tuple[Any, Any]]:
    """Return the values of `old` and `new` by the paths of the keys at which they differ.

    Items of lists of equal length are compared one by one: `training.stages.1.lr`.
    """
    return _changes(old.model_dump(mode="json"), new.model_dump(mode="json"), "", into_lists=True)


def _changes(old: Any, new: Any, path: str, *, into_lists: bool) -> dict[str, tuple[Any, Any]]:  # noqa: ANN401
    both_lists = isinstance(old, list) and isinstance(new, list)
    if into_lists and both_lists and len(old) == len(new):  # pyright: ignore[reportUnknownArgumentType]
        old, new = (dict(enumerate(items)) for items in (old, new))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(old, dict) and isinstance(new, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in [*old, *(k for k in new if k not in old)]:
            inner = f"{path}.{key}" if path else str(key)
            found |= _changes(old.get(key), new.get(key), inner, into_lists=into_lists)
        return found
    return {} if old == new else {path: (old, new)}


def in_words(found: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Return a line for each changed key: its old and its new value."""
    return [f"{path}: {_show(old)} -> {_show(new)}" for path, (old, new) in found.items()]


def _show(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _essential(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Remove errors that follow from others: a list "too short" for its bad item, a union's other members."""
    kept = [d for d in details if not (d["type"] == "string_type" and isinstance(d["input"], dict))]
    kept = [d for d in kept if d["type"] != "model_type" or len(kept) == 1]
    inner = [d["loc"] for d in kept]
    return [d for d in kept if not any(len(i) > len(d["loc"]) and i[: len(d["loc"])] == d["loc"] for i in inner)]


def _explain(kind: type[BaseModel], detail: ErrorDetails) -> str:
    path = _path(kind, detail)
    if detail["type"].startswith("union_tag"):
        found = detail["input"].get("arch") if isinstance(detail["input"], dict) else detail["input"]
        known = str(detail.get("ctx", {}).get("expected_tags", "'rrdbnet', 'srvgg'"))
        hint = did_you_mean(str(found), known.replace("'", "").split(", "))
        return f"{path}.arch: {'missing' if found is None else f'got {_show(found)}'}, expected one of {known}{hint}"
    if detail["type"] == "extra_forbidden":
        owner, key = _owners(kind, detail["loc"])[-1], str(detail["loc"][-1])
        if now := getattr(owner, "moved", {}).get(key):
            return f"{path}: this key was removed; write {now}"
        elsewhere = [p for p in _paths_in(kind) if p.split(".")[-1] == key]
        beside = did_you_mean(key, list(owner.model_fields) if owner else [])
        return f"{path}: unknown key{f'; did you mean {_either(elsewhere)}?' if elsewhere else beside}"
    if detail["type"] == "missing":
        return f"{path}: missing; this key is required"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if detail["type"] == "value_error":
        return f"{path}: {message}" if path else message
    suggestion = ""
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        suggestion = did_you_mean(
            detail["input"], str(detail.get("ctx", {}).get("expected", "")).replace("'", "").split(" or ")
        )
    return f"{path}: got {_show(detail['input'])}, expected {message}{suggestion}"


def _either(words: list[str]) -> str:
    return " or ".join(map(repr, words[:3]))


def _paths_in(kind: type[BaseModel], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, field in kind.model_fields.items():
        found.append(prefix + name)
        for table in tables_in(field.annotation):
            found += _paths_in(table, f"{prefix}{name}.")
    return list(dict.fromkeys(found))


def _path(kind: type[BaseModel], detail: ErrorDetails) -> str:
    """Return the key path as the user wrote it, without the names that pydantic adds for members of a union."""
    parts: list[str] = []
    owners = _owners(kind, detail["loc"])
    for part, owner in zip(detail["loc"], owners, strict=True):
        if owner is not None or isinstance(part, int):
            parts.append(str(part))
    return ".".join(parts)


def _owners(kind: type[BaseModel], loc: tuple[int | str, ...]) -> list[type[BaseModel] | None]:
    """Return for each part of `loc` the model with that key, or None for a union's tag."""
    owners: list[type[BaseModel] | None] = []
    models: list[type[BaseModel]] = [kind]
    annotation: Any = kind
    for part in loc:
        owner = next((m for m in models if part in m.model_fields), None)
        if owner is not None:
            annotation = owner.model_fields[str(part)].annotation
            owners.append(owner)
            models = tables_in(annotation)
            continue
        tagged = [m for m in models if part in (m.__name__, _tag(m))]
        is_tag = isinstance(part, str) and (bool(tagged) or part in ("str", "int", "float", "bool"))
        owners.append(None if is_tag or isinstance(part, int) or not models else models[0])
        models = tagged or models
    return owners


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("arch")
    return typing.get_args(field.annotation)[0] if field else None
