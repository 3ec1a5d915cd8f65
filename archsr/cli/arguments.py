"""Parse command lines: types of values, and one-line errors with the nearest valid words."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from archsr.errors import UserError, did_you_mean

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]

# words for what the config holds, and how to set it instead
_STAGES = "training.stages: --set 'training.stages=[{iterations=200,lr=1e-4}]'"
_KEYS = {
    "--iterations": _STAGES, "--steps": _STAGES, "--epochs": _STAGES, "--lr": _STAGES,
    "--batch-size": "training.global_batch: --set training.global_batch=4",
    "--name": "name: --set name=second",
    "--seed": "seed: --set seed=1",
}  # fmt: skip
_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")


class _MisuseError(UserError):
    """An error of argparse, and the `parser` that raised it: the command's or a verb's."""

    def __init__(self, text: str, parser: argparse.ArgumentParser) -> None:
        super().__init__(text)
        self.parser = parser


class _Given(argparse.Action):
    """Stores a positional word; without one it leaves what the flag of the same name has stored."""

    def __call__(self, *given: Any) -> None:  # noqa: ANN401 - argparse's parser, namespace, value and flag
        """Called by argparse."""
        _, namespace, value, *_ = given
        if value is not None:
            setattr(namespace, self.dest, value)


class Parser(argparse.ArgumentParser):
    """Raises `UserError` instead of exiting; prints examples unchanged in `--help`. Takes no shortened flags."""

    def __init__(self, *, examples: Sequence[str] = (), **rest: Any) -> None:  # noqa: ANN401 - argparse's own
        lines = ["examples:" if examples[1:] else "example:", *(f"  {example}" for example in examples)]
        epilog = "\n".join(lines) if examples else None
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(epilog=epilog, formatter_class=form, allow_abbrev=False, **rest)

    def error(self, message: str) -> NoReturn:
        """Called by argparse with its message."""
        raise _MisuseError(message, self)


def check_text(*, windows: bool, utf8: bool) -> None:
    """Raise `UserError` if files and output would have a local code page, which lacks letters of configs and reports.

    Elsewhere the usual locale is UTF-8, and from Python 3.15 on it is everywhere.
    """
    if windows and not utf8 and sys.version_info < (3, 15):
        raise UserError("on Windows, archsr needs Python's UTF-8 mode: set PYTHONUTF8=1 in the environment first")


def parsed(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse `words`. Raises `UserError` with suggestions."""
    check_text(windows=os.name == "nt", utf8=bool(sys.flags.utf8_mode))
    try:
        return parser.parse_args(words)
    except _MisuseError as error:
        verbs = _verbs(parser)
        if verbs and words and words[0] not in verbs and not words[0].startswith("-"):
            known = did_you_mean(words[0], list(verbs)) or f"; choose one of {', '.join(verbs)}"
            raise UserError(f"archsr {words[0]}: no such command{known} (archsr --help)") from None
        used = verbs.get(words[0], error.parser) if words else error.parser
        flags = [f for action in _actions(used) for f in action.option_strings if f.startswith("--") and f != "--help"]
        given = [word.split("=")[0] for word in words if word.startswith("--") and word != "--"]
        wrong = [word for word in given if word not in (*flags, "--help", "--version")]
        problems = [_no_flag(word, flags) for word in wrong] or [_chosen(str(error))]
        raise UserError(f"{'; '.join(problems)} ({used.prog} --help)") from None


def _no_flag(word: str, flags: Sequence[str]) -> str:
    """Return what is wrong with a word that is no flag, with the nearest flags, or the key of the config."""
    if word in _KEYS and {"--set", "--resume"} <= {*flags}:
        return f"{word} is not a flag but a key of the config, {_KEYS[word]}"
    longer = [flag for flag in flags if flag.startswith(word)]
    meant = f"; did you mean {' or '.join(map(repr, longer[:3]))}?" if longer else ""
    return f"{word} is not a flag{meant or did_you_mean(word, flags, likeness=0.7)}"


def _chosen(text: str) -> str:
    """Shorten argparse's message about an invalid choice, with the nearest choices or else all."""
    if not (found := _CHOICE.search(text)):
        return text
    choices = re.findall(r"[\w.-]+", found[2])
    return text.replace(
        found[0],
        f"invalid choice {found[1]!r}{did_you_mean(found[1], choices) or '; choose one of ' + ', '.join(choices)}",
    )


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # pyright: ignore[reportPrivateUsage] - argparse has no other way to them


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of a command's verbs by name."""
    return next((action.choices for action in _actions(parser) if isinstance(action.choices, dict)), {})


def verb(
    verbs: "Verbs", name: str, text: str, examples: Sequence[str], run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add a parser for the verb `name`, which calls `run`."""
    made = verbs.add_parser(name, help=text, description=text, examples=examples)
    made.set_defaults(verb=run)
    return made


def announce(text: str) -> None:
    """Say on stderr what begins, before the imports that take seconds. Of a launcher's processes only rank 0 does."""
    if os.environ.get("RANK", "0") == "0":
        print(f"archsr: {text}", file=sys.stderr, flush=True)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the flag `--set a.b=c`, which may be repeated."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a.b.c=value")


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a training, for `archsr/train.py` and `archsr train`, which starts it."""
    named = parser.add_mutually_exclusive_group(required=True)
    help_ = "a TOML file; configs/ has one per kind of run"
    named.add_argument("config", type=Path, nargs="?", action=_Given, metavar="CONFIG", help=help_)
    named.add_argument("--config", type=Path, dest="config", metavar="CONFIG", help="the same as a flag")
    add_overrides(parser)
    parser.add_argument(
        "--resume", action="store_true", help="continue from the newest good checkpoint, if there is one"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print available files, layers, memory and the whole config, and stop"
    )
    parser.add_argument("--debug", action="store_true", help="a few tiny steps through every stage, then stop")


# ---------------------------------------------------------------- types of values


def count(text: str) -> int:
    """Parse a whole number from 0."""
    return _whole(text, 0, None)


def positive(text: str) -> int:
    """Parse a whole number from 1."""
    return _whole(text, 1, None)


def quality(text: str) -> int:
    """Parse a whole number from 1 to 100."""
    return _whole(text, 1, 100)


def task(text: str) -> tuple[int, int]:
    """Parse `I/N`: part I of N."""
    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected I/N with I from 1 to N, for example 2/4")
    return int(number), int(of)


def size(text: str) -> int:
    """Parse bytes: `16GB` or `11.5GiB`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", text, re.IGNORECASE)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a size, for example 16GB or 11.5GiB")
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def above_zero(text: str) -> float:
    """Parse a number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")
    return value


def factor(text: str) -> float:
    """Parse a number above 0 and at most 16."""
    value = above_zero(text)
    if value > 16:
        raise argparse.ArgumentTypeError(f"{text!r}: expected at most 16")
    return value


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
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
