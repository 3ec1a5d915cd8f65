"""Runs: a live page of a training run, from its files."""

from itertools import islice
from pathlib import Path
from typing import Any

import gradio as gr

from archsr.app.context import AppContext
from archsr.app.file_copies import copied, plain
from archsr.app.runs.run_watcher import CURVES, RunWatcher, curve, is_line, runs_in, samples_of, words

_EVERY = 5.0  # seconds


def add_runs_tab(context: AppContext, runs: Path, blocks: gr.Blocks) -> None:
    """The page and its interface `/run`. Call inside `gr.Tab`."""
    page = _Page(context, runs)
    names = page.names()
    chosen = gr.Dropdown(
        names,
        value=names[0] if names else None,
        label="Run",
        allow_custom_value=True,
        info=f"looked at again every {_EVERY:.0f} seconds",
    )
    said = gr.Markdown(elem_classes="card")
    plots: list[gr.LinePlot] = []
    for pair in (islice(CURVES, 0, 2), islice(CURVES, 2, 4)):
        with gr.Row():
            plots += [_plot(title) for title in pair]
    samples = gr.Gallery(
        label="Validation images, the newest first", preview=True, object_fit="contain", height=480,
        buttons=["fullscreen"], visible=False, elem_classes="figures",
    )  # fmt: skip
    known = gr.State("")
    outputs = [said, *plots, samples, known]
    blocks.load(page.choices, None, chosen, api_visibility="private", show_progress="hidden").then(
        page.show, [chosen, known], outputs, api_visibility="private", show_progress="hidden"
    )
    chosen.input(page.show, [chosen, known], outputs, api_name="run", concurrency_limit=4, show_progress="hidden",
                 api_description="State, curves and images of a training run.")  # fmt: skip
    timer = gr.Timer(_EVERY)
    timer.tick(page.show, [chosen, known], outputs, api_visibility="private", show_progress="hidden",
               concurrency_limit=4, trigger_mode="once")  # fmt: skip


def _plot(title: str) -> gr.LinePlot:
    return gr.LinePlot(x="iteration", y="value", color="series", title=title, height=260, min_width=300,
                       x_title="iteration", y_title=" ", tooltip="all", visible=False)  # fmt: skip


class _Page:
    def __init__(self, context: AppContext, folder: Path) -> None:
        self._context = context
        self._folder = folder
        self._watch = RunWatcher()

    def names(self) -> list[str]:
        return list(self._runs())

    def choices(self) -> gr.Dropdown:
        names = self.names()
        return gr.Dropdown(names, value=names[0] if names else None)

    def show(self, name: str | None, known: str) -> list[Any]:
        """All outputs; images and curves only where they have changed since `known`."""
        if not name:
            return [
                f"No run in {plain(str(self._folder))}/ yet: archsr train makes one.",
                *[gr.skip()] * (len(CURVES) + 2),
            ]
        run = self._runs().get(name)
        if run is None:
            raise gr.Error(f"{name}: no such run here", print_exception=False)
        look = self._watch.look(run)
        sheets = samples_of(run)
        stamp = f"{run} {len(look.events)} {sheets}"
        if stamp == known:
            return [words(look), *[gr.skip()] * (len(CURVES) + 1), known]
        images = [(str(copied(p, self._context.storage)), f"iteration {int(p.stem[5:]):,}") for p in sheets]
        # the first is large, the others below it
        shown = gr.Gallery(images, selected_index=0 if images else None, visible=bool(images))
        curves = [curve(look.events, title) for title in CURVES]
        return [words(look), *(gr.LinePlot(c, visible=is_line(c)) for c in curves), shown, stamp]

    def _runs(self) -> dict[str, Path]:
        return runs_in(self._folder, [o.run for o in self._context.shelf.offers.values() if o.run is not None])
