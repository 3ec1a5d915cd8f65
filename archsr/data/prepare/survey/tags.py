"""Sub-domains: tags of a photograph from its path, rules, a CSV, or a source's columns."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from archsr.config.prepare import PrepareConfig, TagsConfig
from archsr.data.prepare.survey.scan import ScannedFile, matches
from archsr.errors import UserError

ZERO_SHOT = "zero-shot label"  # the column that holds CLIP's label
_GLOB = frozenset("*?[")


@dataclass(frozen=True)
class _Listed:
    exact: dict[str, tuple[str, ...]]
    globs: tuple[tuple[str, str], ...]


def tags_of(source: ScannedFile, config: TagsConfig) -> tuple[str, ...]:
    """Return the tags of a photograph, sorted and unique. Raises `UserError` if the CSV cannot be used."""
    found: set[str] = set(PurePosixPath(source.path).parent.parts[: config.folders])
    found |= {rule.tag for rule in config.rules if matches(source.path, (rule.match,))}
    found |= {f"{name}={value}" for name, value in source.columns if name in config.columns and value}
    found |= {label for name, label in source.columns if name == ZERO_SHOT}
    if config.csv:
        listed = _read(config.csv)
        found |= set(listed.exact.get(source.path, ()))
        found |= {tag for glob, tag in listed.globs if matches(source.path, (glob,))}
    return tuple(sorted(found))


def check_csv(config: TagsConfig) -> None:
    """Raise `UserError` if the CSV cannot be used."""
    if config.csv:
        _read(config.csv)


def unmatched(names: Sequence[str], config: PrepareConfig) -> list[str]:
    """Describe every pattern of the config and every path of its CSV that matches none of the `names`."""
    listed = _read(config.tags.csv) if config.tags.csv else _Listed({}, ())
    patterns = [("allow", glob) for glob in config.allow] + [("deny", glob) for glob in config.deny]
    patterns += [(f"tags.rules ({rule.tag})", rule.match) for rule in config.tags.rules]
    patterns += [(config.tags.csv, glob) for glob, _ in listed.globs]
    told = [f"{where}: {g!r} fits no file" for where, g in patterns if not any(matches(n, (g,)) for n in names)]
    lost = sorted(set(listed.exact) - set(names))
    if lost:
        told.append(
            f"{config.tags.csv}: {len(lost)} of {len(listed.exact)} paths are no files here; the first: {lost[0]}"
        )
    return told


@lru_cache(maxsize=4)
def _read(path: str) -> _Listed:
    exact: defaultdict[str, list[str]] = defaultdict(list)
    globs: list[tuple[str, str]] = []
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            if not {"path", "tag"} <= set(rows.fieldnames or ()):
                raise UserError(f"{path}: expected the columns path and tag, got {', '.join(rows.fieldnames or ())}")
            for row in rows:
                name, tag = ((row[column] or "").strip() for column in ("path", "tag"))
                if not name or not tag:
                    raise UserError(f"{path}: line {rows.line_num}: expected path and tag, got {name!r} and {tag!r}")
                if _GLOB & set(name):
                    globs.append((name.replace("\\", "/"), tag))
                else:
                    exact[name.replace("\\", "/")].append(tag)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"tags.csv: {path} cannot be read: {error}") from None
    return _Listed({k: tuple(v) for k, v in exact.items()}, tuple(globs))
