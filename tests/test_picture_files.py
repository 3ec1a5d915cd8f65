"""Which files are taken for images."""

from pathlib import Path

import pytest

from archsr.images.image_files import HEIC_ENDINGS, READ, is_image
from archsr.images.pixels import FORMATS


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a b.Heic", ".a.png", "a.b.tif"])
def test_a_image_by_its_name(name):
    assert is_image(Path("folder.txt") / name)


@pytest.mark.parametrize("name", ["a", "jpg", "a.jpg.txt", "a.svg", "._a.jpg", "Thumbs.db"])
def test_no_image_by_its_name(name):
    assert not is_image(Path("folder.jpg") / name)


def test_every_ending_is_of_a_format_that_is_opened():
    from PIL import Image

    known = Image.registered_extensions()
    assert {known[e] for e in set(READ) - set(HEIC_ENDINGS)} <= set(FORMATS)
