"""Messages that quote another library's error."""

import pytest

from archsr.errors import first_line


@pytest.mark.parametrize(
    ("error", "line", "with_kind"),
    [
        (ValueError("  one\ntwo"), "one", "ValueError: one"),
        (ValueError("\n\none"), "one", "ValueError: one"),
        (ValueError(), "ValueError", "ValueError"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError"),
    ],
)
def test_an_error_is_its_first_line_or_its_kind(error, line, with_kind):
    assert first_line(error) == line
    assert first_line(error, kind=True) == with_kind
