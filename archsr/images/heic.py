"""HEIC and HEIF, the formats of phones. They are read through pillow-heif if it is installed (`archsr[phone]`)."""

import importlib
import importlib.util
from typing import Any

from archsr.images.image_files import BadImageError

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_ANY = (b"mif1", b"msf1")  # HEIF with any codec
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273


def is_heic(head: bytes) -> bool:
    """Return whether a file with these first bytes is HEIC or HEIF (but not AVIF)."""
    if head[4:8] != b"ftyp":
        return False
    box = head[8 : int.from_bytes(head[:4], "big")]
    return box[:4] in _BRANDS or (box[:4] in _ANY and b"avif" not in box and b"avis" not in box)


def heif_library() -> Any:  # noqa: ANN401 - a module that may be missing
    """Return the module pillow_heif, registered with PIL. Raises `BadImageError` if it is not installed."""
    try:
        library: Any = importlib.import_module("pillow_heif")
    except ImportError:
        raise BadImageError('a HEIC image; pip install "archsr[phone]" to read it') from None
    library.register_heif_opener()
    return library


def heic_is_available() -> bool:
    """Return whether HEIC can be read here."""
    return importlib.util.find_spec("pillow_heif") is not None


def refuse_hdr(info: dict[Any, Any]) -> None:
    """Raise `BadImageError` if an image holds HDR values, judged by the metadata from pillow-heif.

    A standard image with a gain map is accepted: the standard image is used.
    """
    profile: dict[str, Any] = info.get("nclx_profile") or {}
    name = _HDR.get(int(profile.get("transfer_characteristics", 0)))
    if name:
        raise BadImageError(f"an HDR image ({name}) without a standard image; export it as JPEG or TIFF")
