"""Completion of the command's words in shells, by shtab."""

import argparse
from pathlib import Path

import shtab


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script that a shell (`bash`, `zsh` or `tcsh`) reads to complete what `parser` takes, with files by name."""
    _prepare(parser)
    return shtab.complete(parser, shell=shell)


def _prepare(parser: argparse.ArgumentParser) -> None:
    """Text and paths complete as files: what is no path there (an override, an official name) loses nothing by it."""
    for action in parser._actions:  # pyright: ignore[reportPrivateUsage] - argparse has no other way to them
        if isinstance(action, argparse._SubParsersAction):  # pyright: ignore[reportPrivateUsage]
            for verb in set(action.choices.values()):
                _prepare(verb)
        elif action.choices is not None:
            # an empty list among them is how argparse takes none of `nargs="*"`; shells cannot
            action.choices = [choice for choice in action.choices if isinstance(choice, str)]
        elif action.nargs != 0 and action.type in (None, Path):
            vars(action)["complete"] = shtab.FILE
