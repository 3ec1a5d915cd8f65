"""A score card for people: first what was found, then tables, and last how certain it is."""

import re
from dataclasses import dataclass

_SAID = "In words: "
_CERTAIN = "sign test"  # a column of the tables that say how certain a difference is
_MEANINGS = "What the me"  # metrics, or metrics as reports said before
_IMAGES = re.compile(r"Per \w+\n")  # in the files


@dataclass(frozen=True)
class Card:
    """A report as Markdown: `found`, a line for each model that was judged; `text`; and `certainty`, with p-values."""

    found: str
    text: str
    certainty: str


def card_of(report: str) -> Card:
    """A report's parts. Nothing is left out but the list of images."""
    head, *sections = report.split("\n## ")
    sections = [s for s in sections if not _IMAGES.match(s)]
    folded = [s for s in sections if _CERTAIN in s or s.startswith(_MEANINGS)]
    shown = [s for s in sections if s not in folded]
    headlines = [line for line in head.splitlines() if line.startswith("**")]
    found = headlines or [_first_sentence(line) for line in head.splitlines() if line.startswith(_SAID)]
    found = found or _first_words(head)
    return Card("\n\n".join(found), "\n## ".join([head, *shown]), "".join(f"## {s}\n" for s in folded))


def _first_sentence(line: str) -> str:
    first = line.removeprefix(_SAID).partition(". ")[0].rstrip(".") + "."
    return f"**{first[:1].upper()}{first[1:]}**"


def _first_words(head: str) -> list[str]:
    paragraphs = [p.strip() for p in head.split("\n\n")]
    return [p for p in paragraphs if p and not p.startswith(("#", "|", "*Protocol"))][:1]
