"""The meaning of each metric in words, its number of digits, and the words for better and worse."""

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """A metric in words. `digits` are decimals in tables, one more for differences.

    `better` and `worse` say what a model does, `short` what it is, in a word or two. An empty `better` leaves the
    metric out of the summary in words, because another metric says the same.
    """

    meaning: str
    digits: int = 3
    better: str = ""
    worse: str = ""
    short: tuple[str, str] = ("better", "worse")


GROUND_TRUTH = "photographs (ground truth)"
FIGURES = {
    "comparison": "The same crops across models",
    "differences": "Differences from the photographs",
}

_ABOUT = {
    "psnr": About(
        "the mean squared error of all pixels against the photograph, in decibels. Blur costs little",
        2, "is nearer to the photographs, pixel by pixel", "is farther from the photographs, pixel by pixel",
        ("truer", "less true"),
    ),
    "ssim": About(
        "how alike means, contrasts and patterns of small windows are; 1 is the photograph itself",
        3, "is truer in structure", "is less true in structure",
        ("truer in structure", "less true in structure"),
    ),
    "ms_ssim": About("SSIM on the image and on smaller and smaller copies of it"),
    "niqe": About(
        "how unlike sharp natural photographs an image's statistics are; nobody looks at the true image. It rewards "
        "crispness, also where it is false: below the photographs' own value is no merit",
        2, "", "",
    ),
    "niqe_distance": About(
        "how far an image's NIQE is from that of its photograph: 0 is as natural as the photograph itself",
        2, "is more natural than before (NIQE)", "is less natural than before (NIQE)",
        ("more natural", "less natural"),
    ),
    "features": About(
        "distance in the features of EfficientNet-Lite0, a network that recognises things, as LPIPS takes it, without "
        "its learned weights and without a download; 0 is the photograph itself",
        3, "looks more like the photographs", "looks less like the photographs",
        ("more like the photographs", "less like the photographs"),
    ),
    "lpips": About(
        "distance in the features of a trained network, near to what people find alike; 0 is the photograph itself",
        3, "looks more like the photographs (LPIPS)", "looks less like the photographs (LPIPS)",
        ("more like the photographs", "less like the photographs"),
    ),
    "dists": About("as LPIPS, more tolerant of texture that is drawn anew"),
    "lines": About(
        "of straight edges: the harmonic mean of those kept and those not invented, less where they wave"
    ),
    "lines_kept": About(
        "the share of the photograph's straight edges that the result has, too, however sharp",
        3, "keeps more straight lines", "loses straight lines",
        ("keeps more lines", "keeps fewer lines"),
    ),
    "lines_invented": About(
        "the straight edges that only the result has, as a share of them and the photograph's together",
        3, "invents fewer lines", "invents more lines",
        ("invents fewer lines", "invents more lines"),
    ),
    "lines_bend": About(
        "how far straight edges wave about a straight line, in pixels; blur, sharpness, contrast and a shift of "
        "the whole do not count, nor do edges that cannot be seen any more",
        2, "bends lines less", "bends lines more",
        ("straighter", "wavier"),
    ),
    "colour": About(
        "how far the mean colours of places (squares of 32 pixels) are from the photograph's, in CIEDE2000: 1 is "
        "just visible",
        2, "is truer in colour", "is less true in colour",
        ("truer in colour", "less true in colour"),
    ),
    "false_texture": About(
        "texture where the photograph is flat, away from straight lines, in levels of 255",
        2, "is cleaner on flat areas", "is rougher on flat areas",
        ("cleaner on flat areas", "rougher on flat areas"),
    ),
    "consistency": About(
        "a result that is reduced again should look like what was given. How far it does is compared with how far the "
        "photograph itself does (the input is degraded): the distance of the two, in levels of 255",
        2, "", "", ("truer to its input", "less true to its input"),
    ),
    "agreement": About(
        "the result is reduced again, by MATLAB's bicubic with antialiasing, and compared with the photograph that was "
        "given: PSNR on Y. What is far from its input was changed: cleaned of noise and JPEG blocks, or invented. "
        "Interpolation changes next to nothing and stands highest; that is no merit by itself",
        2,
    ),
    "agreement_worst": About(
        "the same in the square of 32 pixels of the input where it is lowest: what is invented in one place shows here",
        2,
    ),
    "agreement_colour": About(
        "how far the mean colours of places (squares of 32 pixels of the input) are from the input's, in CIEDE2000: 1 "
        "is just visible. A result should not change them",
        2,
    ),
    "sharpness": About(
        "mean absolute Laplacian of luma, in levels of 255: edges count, and so do noise, halos and invented texture. "
        "Higher is sharper, not better",
        2,
    ),
}  # fmt: skip


def about(name: str) -> About:
    """Return the description of a metric, empty for pyiqa's further metrics."""
    return _ABOUT.get(name, About(""))


def listed(words: list[str]) -> str:
    """Join words: `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
