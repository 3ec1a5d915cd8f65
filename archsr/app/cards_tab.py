"""Compare: the score cards and figures of runs."""

from pathlib import Path
from typing import Any

import gradio as gr

from archsr.app.desk import Desk
from archsr.app.shown import copied
from archsr.app.watch import runs_in
from archsr.evaluate.words import FIGURES

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


def add_cards_tab(desk: Desk, runs: Path, blocks: gr.Blocks) -> None:
    """The page and its interface `/card`. Call inside `gr.Tab`."""
    page = _Page(desk, runs)
    names = page.names()
    chosen = gr.Dropdown(
        names,
        value=names[0] if names else None,
        label="Score card",
        allow_custom_value=True,
        info="made by archsr evaluate",
    )
    text = gr.Markdown(elem_classes="card")
    figures = gr.Gallery(label="Figures", preview=True, object_fit="contain", height=560, buttons=["fullscreen"])
    files = gr.File(label="Download", file_count="multiple", interactive=False)
    outputs = [text, figures, files]
    blocks.load(page.choices, None, chosen, api_visibility="private", show_progress="hidden").then(
        page.show, chosen, outputs, api_visibility="private", show_progress="hidden"
    )
    chosen.input(page.show, chosen, outputs, api_name="card", api_description="A score card, its figures and files.")


class _Page:
    def __init__(self, desk: Desk, folder: Path) -> None:
        self._desk = desk
        self._folder = folder

    def names(self) -> list[str]:
        return list(self._cards())

    def choices(self) -> gr.Dropdown:
        names = self.names()
        return gr.Dropdown(names, value=names[0] if names else None)

    def show(self, name: str | None) -> tuple[Any, Any, Any]:
        """The report without its list of pictures, which is in the files; figures and files of a card."""
        if not name:
            return f"No score card in {self._folder}/ yet: archsr evaluate RUN makes one.", gr.skip(), gr.skip()
        card = self._cards().get(name)
        if card is None:
            raise gr.Error(f"{name}: no such score card here", print_exception=False)
        figures = [
            (str(copied(p, self._desk.storage)), title) for n, title in _FIGURES.items() if (p := card / n).is_file()
        ]
        files = [str(copied(card / n, self._desk.storage)) for n in _FILES if (card / n).is_file()]
        text = (card / "report.md").read_text(encoding="utf-8")
        shown = gr.Gallery(figures, selected_index=0 if figures else None)
        return text.partition("\n## Per ")[0], shown, files

    def _cards(self) -> dict[str, Path]:
        found = runs_in(self._folder, [o.run for o in self._desk.shelf.offers.values() if o.run is not None])
        cards = {f"{name}: {p.parent.name}": p.parent
                 for name, run in found.items() for p in sorted(run.glob("evaluation/*/report.md"))}  # fmt: skip
        others = sorted(self._folder.glob("*/report.md"))  # of several models together
        return cards | {p.parent.name: p.parent for p in others}
