"""Words of a command line: what they may be, and one line with the nearest right ones where they are mistyped."""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from archsr.errors import UserError, did_you_mean

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]

_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")


class _MisuseError(UserError):
    """What argparse has against the words, and whose `parser` has it, the command's or a verb's."""

    def __init__(self, text: str, parser: argparse.ArgumentParser) -> None:
        super().__init__(text)
        self.parser = parser


class Parser(argparse.ArgumentParser):
    """Raises `UserError` where argparse prints its usage and exits; examples stand in `--help` as they are."""

    def __init__(self, *, examples: Sequence[str] = (), **rest: Any) -> None:  # noqa: ANN401 - argparse's own
        lines = ["examples:" if examples[1:] else "example:", *(f"  {example}" for example in examples)]
        epilog = "\n".join(lines) if examples else None
        super().__init__(epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter, **rest)

    def error(self, message: str) -> NoReturn:
        """Called by argparse with its complaint."""
        raise _MisuseError(message, self)


def parsed(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The arguments that `words` are. Raises `UserError` with what was perhaps meant."""
    try:
        return parser.parse_args(words)
    except _MisuseError as error:
        verbs = _verbs(parser)
        if verbs and words and words[0] not in verbs and not words[0].startswith("-"):
            known = did_you_mean(words[0], list(verbs)) or f"; there are {', '.join(verbs)}"
            raise UserError(f"archsr {words[0]}: no such command{known} (archsr --help)") from None
        used = verbs.get(words[0], error.parser) if words else error.parser
        flags = [f for action in _actions(used) for f in action.option_strings if f.startswith("--") and f != "--help"]
        given = [word.split("=")[0] for word in words if word.startswith("--") and word != "--"]
        wrong = [word for word in given if not any(flag.startswith(word) for flag in (*flags, "--help"))]
        told = [f"{word} is no flag{did_you_mean(word, flags, likeness=0.7)}" for word in wrong] or [
            _chosen(str(error))
        ]
        raise UserError(f"{'; '.join(told)} ({used.prog} --help)") from None


def _chosen(text: str) -> str:
    """What argparse has against a word that is none of its choices, with the nearest of them or else all."""
    if not (found := _CHOICE.search(text)):
        return text
    choices = re.findall(r"[\w.-]+", found[2])
    return text.replace(
        found[0], f"no {found[1]!r}{did_you_mean(found[1], choices) or '; there are ' + ', '.join(choices)}"
    )


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # pyright: ignore[reportPrivateUsage] - argparse has no other way to them


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a command's verbs by name."""
    return next((action.choices for action in _actions(parser) if isinstance(action.choices, dict)), {})


def verb(
    verbs: "Verbs", name: str, text: str, examples: Sequence[str], run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """A parser for the verb `name`, which does `run`."""
    made = verbs.add_parser(name, help=text, description=text, examples=examples)
    made.set_defaults(verb=run)
    return made


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """`--set a.b=c`, as often as wanted."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a.b.c=value")


def add_training(parser: argparse.ArgumentParser) -> None:
    """The flags of a training: of `archsr/train.py`, and of `archsr train`, which starts it."""
    parser.add_argument("--config", type=Path, required=True, help="a TOML file; configs/ has one per kind of run")
    add_overrides(parser)
    parser.add_argument("--resume", action="store_true", help="go on from the newest good checkpoint, if there is one")
    parser.add_argument("--dry-run", action="store_true", help="print config, layers, memory, what is here, and stop")
    parser.add_argument("--debug", action="store_true", help="a few tiny steps through every stage, then stop")


# ---------------------------------------------------------------- kinds of values


def count(text: str) -> int:
    """A whole number from 0."""
    return _whole(text, 0, None)


def positive(text: str) -> int:
    """A whole number from 1."""
    return _whole(text, 1, None)


def quality(text: str) -> int:
    """A whole number from 1 to 100."""
    return _whole(text, 1, 100)


def task(text: str) -> tuple[int, int]:
    """`I/N`: part I of N."""
    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected I/N with I from 1 to N, for example 2/4")
    return int(number), int(of)


def size(text: str) -> int:
    """Bytes: `16GB` or `11.5GiB`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", text, re.IGNORECASE)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a size, for example 16GB or 11.5GiB")
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def above_zero(text: str) -> float:
    """A number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")
    return value


def factor(text: str) -> float:
    """A number above 0 and at most 16."""
    value = above_zero(text)
    if value > 16:
        raise argparse.ArgumentTypeError(f"{text!r}: expected at most 16")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 to 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def _whole(text: str, low: int, high: int | None) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < low or (high is not None and int(text) > high):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {low}{f' to {high}' if high else ''}")
    return int(text)
