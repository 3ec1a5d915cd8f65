"""Compare: the score cards and figures of runs."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from archsr.app.context import AppContext
from archsr.app.file_copies import copied, plain
from archsr.app.runs.run_watcher import runs_in
from archsr.evaluation.report.words import FIGURES

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


_FILES = (
    "report.html",
    "report.md",
    "scores.json",
    "scores.parquet",
    "verdicts.parquet",
    "comparison.pdf",
    "differences.pdf",
)
_FIGURES = {
    **{f"{name}.png": title for name, title in FIGURES.items()},
    "study.png": "Layers",
}


def add_cards_tab(context: AppContext, runs: Path, blocks: gr.Blocks) -> None:
    """The page and its interface `/card`. Call inside `gr.Tab`."""
    page = _Page(context, runs)
    names = page.names()
    chosen = gr.Dropdown(
        names,
        value=names[0] if names else None,
        label="Score card",
        allow_custom_value=True,
        info="made by archsr evaluate",
    )
    found = gr.Markdown(elem_classes="found")
    figures = gr.Gallery(label="Figures", preview=True, object_fit="contain", height=560, visible=False,
                         elem_classes="figures", buttons=["fullscreen"])  # fmt: skip
    text = gr.Markdown(elem_classes="card")
    files = gr.File(label="Download", file_count="multiple", interactive=False, visible=False)
    with gr.Accordion(
        "How certain it is: intervals, p-values, and what the metrics mean", open=False, visible=False
    ) as fold:
        certainty = gr.Markdown(elem_classes="card")
    outputs = [found, figures, text, certainty, files, fold]
    blocks.load(page.choices, None, chosen, api_visibility="private", show_progress="hidden").then(
        page.show, chosen, outputs, api_visibility="private", show_progress="hidden"
    )
    chosen.input(page.show, chosen, outputs, api_name="card", api_description="A score card, its figures and files.")


class _Page:
    def __init__(self, context: AppContext, folder: Path) -> None:
        self._context = context
        self._folder = folder

    def names(self) -> list[str]:
        return list(self._cards())

    def choices(self) -> gr.Dropdown:
        names = self.names()
        return gr.Dropdown(names, value=names[0] if names else None)

    def show(self, name: str | None) -> list[Any]:
        """The report without its list of images, which is in the files; figures and files of a card."""
        if not name:
            return [f"No score card in {plain(str(self._folder))}/ yet: archsr evaluate RUN makes one.", *_nothing()]
        card = self._cards().get(name)
        if card is None:
            raise gr.Error(f"{name}: no such score card here", print_exception=False)
        figures = [
            (str(copied(p, self._context.storage)), title) for n, title in _FIGURES.items() if (p := card / n).is_file()
        ]
        files = [str(copied(card / n, self._context.storage)) for n in _FILES if (card / n).is_file()]
        parts = card_of((card / "report.md").read_text(encoding="utf-8"))
        return [
            parts.found,
            gr.Gallery(figures, selected_index=0 if figures else None, visible=bool(figures)),
            parts.text,
            parts.certainty,
            gr.File(files, visible=bool(files)),
            gr.Accordion(visible=bool(parts.certainty)),
        ]

    def _cards(self) -> dict[str, Path]:
        found = runs_in(self._folder, [o.run for o in self._context.shelf.offers.values() if o.run is not None])
        cards = {f"{name}: {p.parent.name}": p.parent
                 for name, run in found.items() for p in sorted(run.glob("evaluation/*/report.md"))}  # fmt: skip
        others = sorted(self._folder.glob("*/report.md"))  # of several models together
        return cards | {p.parent.name: p.parent for p in others}


def _nothing() -> list[Any]:
    """All outputs but the first, where there is no card."""
    return [gr.Gallery(visible=False), "", "", gr.File(visible=False), gr.Accordion(visible=False)]
