"""Short digests by which an image's bytes are known again each time training reads them."""

import hashlib

import xxhash

_SHA256_DIGITS = 64


def digest_of(data: bytes | memoryview) -> str:
    """XXH3 of 128 bits, as 32 hexadecimal digits.

    It finds damage as surely as SHA-256 in a tenth of the time, which matters for each image of each epoch. It is no
    protection against somebody who means to deceive: whole files have SHA-256.
    """
    return xxhash.xxh3_128_hexdigest(data)


def agrees(data: bytes | memoryview, digest: str) -> bool:
    """Whether `data` has this `digest_of`, or this SHA-256, which is longer and which the first datasets have."""
    found = hashlib.sha256(data).hexdigest() if len(digest) == _SHA256_DIGITS else digest_of(data)
    return found == digest
