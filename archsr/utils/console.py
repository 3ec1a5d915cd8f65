"""What archsr says while it works: lines through `logging.getLogger("archsr")`, and whether anybody watches a bar.

Until that logger is given a handler by who uses archsr, it has one that writes lines where a command prints them, in a
notebook as in a terminal. `logging.getLogger("archsr").setLevel("WARNING")` leaves only warnings.
"""

import logging
import sys

LOGGER = logging.getLogger("archsr")


class _Console(logging.Handler):
    """Lines to stdout; warnings, with the program's name, and asides to stderr. What cannot be written raises."""

    def emit(self, record: logging.LogRecord) -> None:
        """As `print` does, to what `sys.stdout` and `sys.stderr` are now."""
        warning = record.levelno >= logging.WARNING
        stream = sys.stderr if warning or getattr(record, "aside", False) else sys.stdout
        print(f"{'archsr: ' if warning else ''}{self.format(record)}", file=stream, flush=True)


if not LOGGER.handlers:
    LOGGER.addHandler(_Console())
    LOGGER.propagate = False
if LOGGER.level == logging.NOTSET:
    LOGGER.setLevel(logging.INFO)


def say(text: str) -> None:
    """A line on what is done."""
    LOGGER.info("%s", text)


def aside(text: str) -> None:
    """A line that is no result: on the command line it goes to stderr."""
    LOGGER.info("%s", text, extra={"aside": True})


def warn(text: str) -> None:
    """Something that the user should know of."""
    LOGGER.warning("%s", text)


def watched() -> bool:
    """Whether somebody sees a progress bar: at a terminal, or in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules
