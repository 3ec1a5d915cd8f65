"""`archsr config KEY`: explain a key or table with its meaning, values, default, and presets."""

import difflib
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from archsr.config.degrade import DegradeConfig
from archsr.config.generated import KINDS
from archsr.config.presets import PRESETS
from archsr.config.table import Table, described, summary, tables_in
from archsr.config.types_in_words import in_words
from archsr.config.written import beside, inner_tables, is_list_of_tables, is_table, own_keys, value_text
from archsr.errors import ConfigError, did_you_mean

_PLACES = {"train": "training config", "prepare": "preparation config", "study": "study config"}


@dataclass(frozen=True)
class Key:
    """A key at its `path`, which `owner` declares under `name`, with its default or an example value."""

    path: str
    owner: type[Table]
    name: str
    value: Any

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.owner.model_fields[self.name].is_required()

    @property
    def tables(self) -> list[Table]:
        """The tables that it may be or contain, each with defaults; empty for values on one line."""
        if isinstance(self.value, Table) and not is_table(self.value):
            return []
        found = tables_in(self.owner.model_fields[self.name].annotation)
        return [self.value if type(self.value) is t else t.sample() for t in found if issubclass(t, Table)]


def keys_of(table: Table, path: str = "") -> Iterator[Key]:
    """Return all keys of the table and its subtables. The keys of alternative tables share one path."""
    for name in type(table).model_fields:
        key = Key(f"{path}{name}", type(table), name, getattr(table, name))
        yield key
        for inner in key.tables:
            yield from keys_of(inner, f"{key.path}.")


def explain(path: str) -> str:
    """Return the explanation of a key or table (`training.stages.0.lr`; list indices may be left out).

    Raises `ConfigError` with suggestions.
    """
    plain = re.sub(r"\.\d+(?=\.|$)", "", path.strip())
    places: dict[str, list[str]] = {}
    for kind, word in _PLACES.items():
        for key in keys_of(KINDS[kind].sample()):
            if key.path == plain:
                places.setdefault(_text(key), []).append(word + _arch(key))
    if not places:
        raise ConfigError(f"{path}: unknown key{_meant(plain)} (archsr config lists the tables)")
    return "\n\n".join(f"{plain} ({', '.join(where)})\n{text}" for text, where in places.items())


def _arch(key: Key) -> str:
    arch = vars(key.owner.sample()).get("arch")
    return f" with arch = {value_text(arch)}" if arch else ""


def _meant(path: str) -> str:
    """Suggest the same key in another table, else the closest in this table, else a similar one in another table."""
    known = [k.path for kind in KINDS.values() for k in keys_of(kind.sample()) if not k.path.startswith("train.")]
    paths = dict.fromkeys(known)
    above, _, name = path.rpartition(".")
    if elsewhere := [p for p in paths if p.split(".")[-1] == name]:
        return f"; did you mean {' or '.join(map(repr, elsewhere[:3]))}?"
    if beside := did_you_mean(path, [p for p in paths if p.rpartition(".")[0] == above], likeness=0.7):
        return beside
    like = difflib.get_close_matches(name, {p.split(".")[-1] for p in paths}, n=1, cutoff=0.7)
    return _meant(like[0]) if like else ""


def _text(key: Key) -> str:
    about = textwrap.wrap(described(key.owner, key.name), 106, initial_indent="  ", subsequent_indent="  ")
    tables = [line for table in key.tables for line in _table(table, key)]
    return "\n".join([*about, *([] if _has_header(key) else _facts(key)), *tables])


def _has_header(key: Key) -> bool:
    return is_table(key.value) or is_list_of_tables(key.value)


def _facts(key: Key) -> list[str]:
    default = "none (required)" if key.required else value_text(key.value)
    if key.value is None:
        default = "left out"
    presets = [_line("" if n else "presets", text) for n, text in enumerate(_presets(key))]
    return [_line("is", in_words(key.owner, key.name)), _line("default", default), *presets]


def _line(title: str, text: str) -> str:
    return textwrap.fill(text, 108, initial_indent=f"  {title:<8}  ", subsequent_indent=" " * 12)


def _presets(key: Key) -> list[str]:
    """Return the values that presets give a key of [degrade]."""
    if not key.path.startswith("degrade.") or key.name == "preset":
        return []
    values = {preset: _at(DegradeConfig(preset=preset), key.path.split(".")[1:]) for preset in PRESETS}
    return [f"{preset}: {value_text(value)}" for preset, value in values.items() if value != key.value]


def _at(table: Any, names: list[str]) -> Any:  # noqa: ANN401
    return _at(getattr(table, names[0]), names[1:]) if names else table


def _table(table: Table, key: Key) -> list[str]:
    said = inspect.cleandoc(type(table).__doc__ or "").splitlines()
    about = said[2:] if summary(type(table)) == described(key.owner, key.name) else said
    lines = own_keys(table, lambda owner, name, _: described(type(owner), name))
    inner = [k for k in keys_of(table, f"{key.path}.") if _has_header(k)]
    deeper = [line for k in inner for line in beside(f"# [{k.path}]", described(k.owner, k.name))]
    return ["", *about, *([""] if about else []), *lines, *deeper]


def tables() -> str:
    """Return a line for each table of each kind of config."""
    lines: list[str] = []
    for kind, word in _PLACES.items():
        elsewhere = {"prepare": "degrade.", "study": "train."}.get(kind, " ")
        found = [k for k in keys_of(KINDS[kind].sample()) if _has_header(k) and not k.path.startswith(elsewhere)]
        texts = {k.path: textwrap.shorten(described(k.owner, k.name), 88, placeholder=" ...") for k in found}
        width = max(map(len, texts))
        lines += [f"In a {word}:", *(f"  {path:<{width}}  {text}" for path, text in texts.items()), ""]
    return "\n".join([*lines, "`archsr config TABLE` says more, and so does `archsr config KEY` (training.clip)."])


def preset(name: str) -> str:
    """Return the table [degrade] with every value of the preset, and the default beside each changed one."""
    if name not in PRESETS:
        raise ConfigError(f"{name}: no such preset{did_you_mean(name, PRESETS) or '; there are ' + ', '.join(PRESETS)}")
    made = DegradeConfig.model_validate({"preset": name})
    usual = {id(table): default for table, default in _side_by_side(made, DegradeConfig())}

    def default(table: Table, key: str, value: Any) -> str:  # noqa: ANN401
        other = getattr(usual[id(table)], key) if id(table) in usual else value
        return "" if key == "preset" or is_table(value) or other == value else f"default {value_text(other)}"

    return "\n".join(["[degrade]", *own_keys(made, default), *inner_tables(made, default, path="degrade.")])


def _side_by_side(a: Table, b: Table) -> Iterator[tuple[Table, Table]]:
    yield a, b
    for name, value in a:
        if isinstance(value, Table):
            yield from _side_by_side(value, getattr(b, name))
