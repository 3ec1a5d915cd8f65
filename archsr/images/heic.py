"""HEIC and HEIF, which phones write: read through pillow-heif, where it is installed (`archsr[phone]`)."""

import importlib
import importlib.util
from typing import Any

from archsr.images.image_files import BadImageError

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_ANY = (b"mif1", b"msf1")  # HEIF of any coding
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273


def is_heic(head: bytes) -> bool:
    """Whether a file that begins so is HEIC or HEIF, other than AVIF."""
    if head[4:8] != b"ftyp":
        return False
    box = head[8 : int.from_bytes(head[:4], "big")]
    return box[:4] in _BRANDS or (box[:4] in _ANY and b"avif" not in box and b"avis" not in box)


def heif_library() -> Any:  # noqa: ANN401 - a module that may be missing
    """The module pillow_heif, known to PIL. Raises `BadImageError` where it is not installed."""
    try:
        library: Any = importlib.import_module("pillow_heif")
    except ImportError:
        raise BadImageError('a HEIC image; pip install "archsr[phone]" to read it') from None
    library.register_heif_opener()
    return library


def heic_at_hand() -> bool:
    """Whether HEIC can be read here."""
    return importlib.util.find_spec("pillow_heif") is not None


def refuse_hdr(info: dict[Any, Any]) -> None:
    """Raise `BadImageError` for an image whose values are HDR light, by what pillow-heif says of it.

    A gain map beside a standard image is no reason: the standard image is used.
    """
    profile: dict[str, Any] = info.get("nclx_profile") or {}
    name = _HDR.get(int(profile.get("transfer_characteristics", 0)))
    if name:
        raise BadImageError(f"an HDR image ({name}) without a standard one; export it as JPEG or TIFF")
