"""Shell completion of the command's arguments, by shtab, which only this verb should load."""

import argparse
from pathlib import Path

import shtab


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for a shell (`bash`, `zsh` or `tcsh`) that completes the arguments of `parser`."""
    _prepare(parser)
    return shtab.complete(parser, shell=shell)


def _prepare(parser: argparse.ArgumentParser) -> None:
    """Complete text and paths as files; that does no harm for text that is not a path."""
    for action in parser._actions:  # pyright: ignore[reportPrivateUsage] - argparse has no other way to them
        if isinstance(action, argparse._SubParsersAction):  # pyright: ignore[reportPrivateUsage]
            for verb in set(action.choices.values()):
                _prepare(verb)
        elif action.choices is not None:
            # argparse adds an empty list for none of `nargs="*"`, which shells do not support
            action.choices = [choice for choice in action.choices if isinstance(choice, str)]
        elif action.nargs != 0 and action.type in (None, Path):
            vars(action)["complete"] = shtab.FILE
