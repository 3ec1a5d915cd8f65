"""Console output through `logging.getLogger("archsr")`, and whether to show progress bars.

Without a handler of its own, that logger writes lines where a command prints them, in a notebook and in a terminal.
`logging.getLogger("archsr").setLevel("WARNING")` leaves only warnings.
"""

import logging
import sys

LOGGER = logging.getLogger("archsr")


class _Console(logging.Handler):
    """Writes lines to stdout; warnings (with the program's name) and asides to stderr. Write errors are raised."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print to the current `sys.stdout` or `sys.stderr`."""
        warning = record.levelno >= logging.WARNING
        stream = sys.stderr if warning or getattr(record, "aside", False) else sys.stdout
        print(f"{'archsr: ' if warning else ''}{self.format(record)}", file=stream, flush=True)


if not LOGGER.handlers:
    LOGGER.addHandler(_Console())
    LOGGER.propagate = False
if LOGGER.level == logging.NOTSET:
    LOGGER.setLevel(logging.INFO)


def say(text: str) -> None:
    """Log a line about progress or a result."""
    LOGGER.info("%s", text)


def aside(text: str) -> None:
    """Log a line that is no result: the command line prints it to stderr."""
    LOGGER.info("%s", text, extra={"aside": True})


def warn(text: str) -> None:
    """Log a warning to the user."""
    LOGGER.warning("%s", text)


def is_interactive() -> bool:
    """Return whether somebody can see a progress bar: at a terminal or in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules
