"""An image's bytes are known again, by the digests of now and of the first datasets."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsr.utils.digests import agrees, digest_of


def test_the_published_value_of_nothing():
    """XXH3's specification gives the hash of no bytes."""
    assert digest_of(b"") == "99aa06d3014798d86001c324468d497f"


@pytest.mark.parametrize("digest", [digest_of, lambda data: hashlib.sha256(data).hexdigest()])
@given(data=st.binary(min_size=1, max_size=2000), where=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_changed_bit_is_seen(digest, data, where, bit):
    changed = bytearray(data)
    changed[where % len(data)] ^= 1 << bit
    assert agrees(memoryview(data), digest(data))
    assert not agrees(bytes(changed), digest(data))
    assert not agrees(data[:-1], digest(data))
