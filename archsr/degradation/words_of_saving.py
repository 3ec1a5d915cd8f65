"""Describes in words what saving does to a sample: generations of JPEG, an encoder, levels."""

from archsr.config import MOST_SAVES
from archsr.degradation.codecs import CODECS
from archsr.degradation.jpeg import TABLES
from archsr.degradation.saving import Saving

MODE_NAMES = ("area", "bilinear", "bicubic", "MATLAB's bicubic", "Lanczos", "nearest")  # by number
CODEC_NAMES = dict(zip(CODECS, ("none", "WebP", "AVIF", "HEIC", "H.264", "HEVC"), strict=True))
_VIDEO = ("h264", "hevc")


def saving_words(step: str, saving: Saving, sample: int) -> str:
    """Describe the step "saves", "codec" or "levels" of a sample."""
    return {"saves": _saves, "codec": _codec, "levels": _levels}[step](saving, sample)


def _codec(saving: Saving, sample: int) -> str:
    name = CODECS[int(saving.codec[sample])]
    if name == "none":
        return "no encoder"
    unit = "crf " if name in _VIDEO else ""
    return f"{CODEC_NAMES[name]} {unit}{float(saving.codec_quality[sample]):.0f}"


def _saves(saving: Saving, sample: int) -> str:
    count = int(saving.saves[sample])
    if not count:
        return "not saved again"
    return "saved: " + ", ".join(_generation(saving, sample, n) for n in range(MOST_SAVES - count, MOST_SAVES))


def _generation(saving: Saving, sample: int, number: int) -> str:
    factor = float(saving.save_factor[sample, number])
    resized = f"× {factor:.2f} {MODE_NAMES[int(saving.save_mode[sample, number])]} " if factor != 1 else ""
    table = TABLES[int(saving.save_table[sample, number])]
    other = "" if table == "standard" else f" {table}"
    return f"{resized}JPEG {float(saving.save_quality[sample, number]):.0f}{other}"


def _levels(saving: Saving, sample: int) -> str:
    count = int(saving.levels[sample])
    if not count:
        return "all levels"
    return f"{count} levels" + (", dithered" if saving.dithered[sample] else "")
