"""Generate the files in configs/ that come from the models: complete references, and schemas for editors."""

import json
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from archsr.config.prepare import PrepareConfig
from archsr.config.presets import configs_folder
from archsr.config.study import StudyConfig
from archsr.config.table import Table, described, summary, tables_in
from archsr.config.training import TrainConfig
from archsr.config.written import inner_tables, own_keys, value_text

KINDS: dict[str, type[Table]] = {"train": TrainConfig, "prepare": PrepareConfig, "study": StudyConfig}
REFERENCES = {"train": "reference.toml", "prepare": "prepare.toml"}
SCHEMAS = {"train": "archsr.schema.json", "prepare": "prepare.schema.json", "study": "study.schema.json"}
_TITLES = {
    "train": """\
# Every key of a training config, at its default if it has one. Copy what you need; unknown keys are errors.
# Override any key on the command line: --set training.micro_batch=4 --set training.stages.0.lr=5e-5""",
    "prepare": """\
# Every key of a preparation config: archsr prepare PHOTOS shards/NAME --config configs/prepare.toml
# All keys are at their defaults. [degrade] has the same keys as in reference.toml.""",
}
_MADE = "# Generated from archsr/config by `archsr config --write`. `archsr config KEY` explains a key in full."


def reference(kind: str) -> str:
    """Return a config with every key of the kind ("train" or "prepare") at its default, explained."""
    told: set[str] = set()

    def once(table: Table, key: str, _: Any) -> str:  # noqa: ANN401
        text = explained(type(table), key)
        new = text not in told
        told.add(text)
        return text if new else ""

    sample = KINDS[kind].sample()
    headers_only = frozenset({"degrade"} if kind == "prepare" else ())
    lines = [*own_keys(sample, once), *inner_tables(sample, once, headers_only=headers_only)]
    return "\n".join([f"#:schema ./{SCHEMAS[kind]}", _TITLES[kind], _MADE, *lines])


def explained(table: type[Table], key: str) -> str:
    """Return the key's description, with the possible values if the description does not name them."""
    text, choices = described(table, key), choices_of(table.model_fields[key].annotation)
    if len(choices) < 2 or all(value_text(choice) in text for choice in choices):
        return text
    many = "Any" if get_origin(table.model_fields[key].annotation) is tuple else "One"
    return f"{text} {many} of {', '.join(map(value_text, choices))}."


def choices_of(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a type annotation
    """Return the values that a type allows, itself or in a list."""
    if str(get_origin(annotation)) == "typing.Literal":
        return get_args(annotation)
    if tables_in(annotation):
        return ()
    return tuple(choice for inner in get_args(annotation) for choice in choices_of(inner))


class _Untitled(GenerateJsonSchema):
    """Omit titles, which would only repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 - pydantic's own
        return False


def schema(kind: str) -> str:
    """Return the JSON schema of a kind of config ("train", "prepare" or "study"), in draft 7 for TOML editors."""
    made = KINDS[kind].model_json_schema(schema_generator=_Untitled, ref_template="#/definitions/{model}")
    definitions = made.pop("$defs")
    for table in _all_tables(KINDS[kind]):
        _describe(made if table is KINDS[kind] else definitions[table.__name__], table)
    draft = {"$schema": "http://json-schema.org/draft-07/schema#"}
    return json.dumps(_draft_7({**draft, **made, "definitions": definitions}), indent=1, ensure_ascii=False)


def _describe(definition: dict[str, Any], table: type[Table]) -> None:
    """Add descriptions inherited from base tables. Remove defaults of tables, which the tables contain themselves."""
    definition["description"] = summary(table)
    definition.pop("title", None)
    for key, entry in definition["properties"].items():
        entry["description"] = described(table, key)
        if isinstance(table.model_fields[key].default, Table):
            entry.pop("default", None)


def _all_tables(table: type[BaseModel]) -> list[type[Table]]:
    inner = [t for f in table.model_fields.values() for each in tables_in(f.annotation) for t in _all_tables(each)]
    return list(dict.fromkeys([table, *inner])) if issubclass(table, Table) else []


def _draft_7(node: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Express fixed-length lists in draft 7, and refuse names that do not match a pattern."""
    if isinstance(node, list):
        return [_draft_7(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {"additionalProperties": False} if "patternProperties" in node else {}
    return {"items" if key == "prefixItems" else key: _draft_7(value) for key, value in node.items()} | closed


def write() -> list[str]:
    """Write all generated files to the shipped configs. Return their paths."""
    texts = {name: reference(kind) for kind, name in REFERENCES.items()}
    texts |= {name: schema(kind) for kind, name in SCHEMAS.items()}
    for name, text in texts.items():
        (configs_folder() / name).write_text(f"{text}\n", encoding="utf-8")
    return [str(configs_folder() / name) for name in texts]
