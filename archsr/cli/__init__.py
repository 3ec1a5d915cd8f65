"""The `archsr` command: a short function per verb next to its flags, without logic."""

import os
import signal
import sys
from collections.abc import Sequence

from archsr import __version__
from archsr.cli import data, machine, results, runs
from archsr.cli.arguments import Parser, parsed
from archsr.errors import UserError, print_error
from archsr.utils.allocation import let_segments_grow, reuse_large_blocks

_DESCRIPTION = """\
Fine-tune Real-ESRGAN for photographs of architecture.

The usual way: init, preview, prepare, doctor, train, evaluate, upscale, export.
`archsr VERB --help` has each verb's flags and examples."""


def main(words: Sequence[str] | None = None) -> int:
    """Run a verb. An error that the user can fix gives one line on stderr and exit code 2."""
    reuse_large_blocks()
    let_segments_grow()
    os.environ["MPLBACKEND"] = "agg"  # a notebook kernel's backend may not be installed here
    try:
        args = parsed(parser(), (sys.argv[1:] if words is None else words) or ["--help"])
        code = args.verb(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # e.g. `head` closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # ignore further Ctrl-C while exiting
        print("archsr: stopped", file=sys.stderr)
        return 130


def parser() -> Parser:
    """Return the whole command, with verbs in the order in which they are usually needed."""
    examples = ["archsr demo", "archsr init photos", "archsr train archsr.toml"]
    made = Parser(prog="archsr", description=_DESCRIPTION, examples=examples)
    made.add_argument("--version", action="version", version=f"archsr {__version__}")
    verbs = made.add_subparsers(required=True, metavar="VERB")
    for group in (data, runs, results, machine):
        group.add(verbs)
    return made
