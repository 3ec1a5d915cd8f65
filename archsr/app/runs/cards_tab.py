"""The Score cards tab: reports of evaluations with their figures and files."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from archsr.app.context import AppContext
from archsr.app.runs.run_watcher import runs_in
from archsr.app.style import escape_markdown
from archsr.evaluation.report.words import FIGURES

_SUMMARY = "In words: "
_P_VALUES = "sign test"  # a column of the tables with p-values
_EXPLANATIONS = "What the me"  # metrics, or measures in older reports
_PER_IMAGE = re.compile(r"Per \w+\n")


@dataclass(frozen=True)
class Card:
    """A report as Markdown: `headline`, a line for each model; `body`; `statistics`, with p-values and explanations."""

    headline: str
    body: str
    statistics: str


def parse_report(report: str) -> Card:
    """Split a report. Only the table of single images is left out, as the files have it."""
    head, *sections = report.split("\n## ")
    sections = [s for s in sections if not _PER_IMAGE.match(s)]
    statistics = [s for s in sections if _P_VALUES in s or s.startswith(_EXPLANATIONS)]
    body = [s for s in sections if s not in statistics]
    bold = [line for line in head.splitlines() if line.startswith("**")]
    headlines = bold or [_first_sentence(line) for line in head.splitlines() if line.startswith(_SUMMARY)]
    headlines = headlines or _first_paragraph(head)
    return Card("\n\n".join(headlines), "\n## ".join([head, *body]), "".join(f"## {s}\n" for s in statistics))


def _first_sentence(line: str) -> str:
    first = line.removeprefix(_SUMMARY).partition(". ")[0].rstrip(".") + "."
    return f"**{first[:1].upper()}{first[1:]}**"


def _first_paragraph(head: str) -> list[str]:
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
    """Add the tab and its API endpoint `/card`. Call this inside `gr.Tab`."""
    events = _CardEvents(context, runs)
    names = events.names()
    chosen = gr.Dropdown(
        names,
        value=names[0] if names else None,
        label="Score card",
        allow_custom_value=True,
        info="written by archsr evaluate",
    )
    headline = gr.Markdown(elem_classes="headline")
    figures = gr.Gallery(label="Figures", preview=True, object_fit="contain", height=560, visible=False,
                         elem_classes="figures", buttons=["fullscreen"])  # fmt: skip
    body = gr.Markdown(elem_classes="card")
    files = gr.File(label="Download", file_count="multiple", interactive=False, visible=False)
    with gr.Accordion("Statistics: intervals, p-values, and what the metrics mean", open=False, visible=False) as fold:
        statistics = gr.Markdown(elem_classes="card")
    outputs = [headline, figures, body, statistics, files, fold]
    blocks.load(events.choices, None, chosen, api_visibility="private", show_progress="hidden").then(
        events.show, chosen, outputs, api_visibility="private", show_progress="hidden"
    )
    chosen.input(events.show, chosen, outputs, api_name="card", api_description="A score card, its figures and files.")


class _CardEvents:
    def __init__(self, context: AppContext, folder: Path) -> None:
        self._context = context
        self._folder = folder

    def names(self) -> list[str]:
        return list(self._cards())

    def choices(self) -> gr.Dropdown:
        names = self.names()
        return gr.Dropdown(names, value=names[0] if names else None)

    def show(self, name: str | None) -> list[Any]:
        """Return all outputs for a card."""
        if not name:
            return [
                f"No score card in {escape_markdown(str(self._folder))}/ yet: archsr evaluate RUN makes one.",
                *_hidden(),
            ]
        card = self._cards().get(name)
        if card is None:
            raise gr.Error(f"{name}: no such score card", print_exception=False)
        figures = [
            (str(self._context.storage.copy(p)), title) for n, title in _FIGURES.items() if (p := card / n).is_file()
        ]
        files = [str(self._context.storage.copy(card / n)) for n in _FILES if (card / n).is_file()]
        parts = parse_report((card / "report.md").read_text(encoding="utf-8"))
        return [
            parts.headline,
            gr.Gallery(figures, selected_index=0 if figures else None, visible=bool(figures)),
            parts.body,
            parts.statistics,
            gr.File(files, visible=bool(files)),
            gr.Accordion(visible=bool(parts.statistics)),
        ]

    def _cards(self) -> dict[str, Path]:
        found = runs_in(self._folder, self._context.models.runs())
        cards = {f"{name}: {p.parent.name}": p.parent
                 for name, run in found.items() for p in sorted(run.glob("evaluation/*/report.md"))}  # fmt: skip
        others = sorted(self._folder.glob("*/report.md"))  # of several models
        return cards | {p.parent.name: p.parent for p in others}


def _hidden() -> list[Any]:
    return [gr.Gallery(visible=False), "", "", gr.File(visible=False), gr.Accordion(visible=False)]
