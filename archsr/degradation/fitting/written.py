"""A fitted table as a commented TOML file."""

from collections.abc import Mapping
from typing import Any

from archsr.config import DegradeConfig
from archsr.config.table import Table, described
from archsr.config.written import inner_tables, own_keys
from archsr.degradation.fitting.fitted_table import NUMBERS
from archsr.degradation.fitting.numbers import Interval

# where each number stands in the table: its share, and its range
_PLACES = {
    "blur": (("first.blur", "probability"), ("first.blur", "sigma")),
    "sharpening": (("sharpening", "probability"), ("sharpening", "amount")),
    "noise": (("first.noise", "probability"), ("first.noise", "sigma")),
    "kept": (("second.resize", "down"), ("second.resize", "factor")),
}


def toml_of(config: DegradeConfig, intervals: Mapping[str, Interval], said: Mapping[str, str], head: str) -> str:
    """Return the complete table under the lines of `head`. `said`: comments by the path of a key, instead of its own.

    A number that was fitted has its interval over the images as its comment.
    """
    fitted: dict[str, str] = dict(said)
    for name in NUMBERS:
        (share_at, range_at), share = _PLACES[name], intervals[f"{name} share"]
        low, high = intervals[f"{name} low"], intervals[f"{name} high"]
        fitted[".".join(share_at)] = f"Fitted: share {share.text()}."
        ends = f"low {low.text()}" + ("" if name == "kept" else f", high {high.text()}")
        fitted[".".join(range_at)] = f"Fitted, if the share is above 0: {ends}."
    places = {id(table): path for path, table in _tables(config, "")}

    def remark(table: Table, key: str, _: Any) -> str:  # noqa: ANN401 - whatever a config holds
        path = f"{places.get(id(table), '?')}.{key}".removeprefix(".")
        return fitted.get(path) or described(type(table), key)

    lines = [*(f"# {line}".rstrip() for line in head.splitlines()), "", "[degrade]"]
    return "\n".join([*lines, *own_keys(config, remark), *inner_tables(config, remark, path="degrade.")]) + "\n"


def _tables(table: Table, path: str) -> list[tuple[str, Table]]:
    found = [(path, table)]
    for key, value in table:
        if isinstance(value, Table):
            found += _tables(value, f"{path}.{key}".removeprefix("."))
    return found
