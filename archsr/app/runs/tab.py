"""The Runs tab: the live state of a training run, from its files."""

from itertools import islice
from pathlib import Path
from typing import Any

import gradio as gr

from archsr.app.context import AppContext
from archsr.app.runs.run_watcher import CURVES, RunWatcher, curve, has_line, runs_in, sample_sheets, status_markdown
from archsr.app.style import escape_markdown

_REFRESH_EVERY = 5.0  # seconds


def add_runs_tab(context: AppContext, runs: Path, blocks: gr.Blocks) -> None:
    """Add the tab and its API endpoint `/run`. Call this inside `gr.Tab`."""
    events = _RunEvents(context, runs)
    names = events.names()
    chosen = gr.Dropdown(
        names,
        value=names[0] if names else None,
        label="Run",
        allow_custom_value=True,
        info=f"refreshed every {_REFRESH_EVERY:.0f} seconds",
    )
    status = gr.Markdown(elem_classes="card")
    plots: list[gr.LinePlot] = []
    for pair in (islice(CURVES, 0, 2), islice(CURVES, 2, 4)):
        with gr.Row():
            plots += [_plot(title) for title in pair]
    samples = gr.Gallery(
        label="Validation images, the newest first", preview=True, object_fit="contain", height=480,
        buttons=["fullscreen"], visible=False, elem_classes="figures",
    )  # fmt: skip
    stamp = gr.State("")
    outputs = [status, *plots, samples, stamp]
    blocks.load(events.choices, None, chosen, api_visibility="private", show_progress="hidden").then(
        events.show, [chosen, stamp], outputs, api_visibility="private", show_progress="hidden"
    )
    chosen.input(events.show, [chosen, stamp], outputs, api_name="run", concurrency_limit=4, show_progress="hidden",
                 api_description="State, curves and images of a training run.")  # fmt: skip
    timer = gr.Timer(_REFRESH_EVERY)
    timer.tick(events.show, [chosen, stamp], outputs, api_visibility="private", show_progress="hidden",
               concurrency_limit=4, trigger_mode="once")  # fmt: skip


def _plot(title: str) -> gr.LinePlot:
    return gr.LinePlot(x="iteration", y="value", color="series", title=title, height=260, min_width=300,
                       x_title="iteration", y_title=" ", tooltip="all", visible=False)  # fmt: skip


class _RunEvents:
    def __init__(self, context: AppContext, folder: Path) -> None:
        self._context = context
        self._folder = folder
        self._watcher = RunWatcher()

    def names(self) -> list[str]:
        return list(self._runs())

    def choices(self) -> gr.Dropdown:
        names = self.names()
        return gr.Dropdown(names, value=names[0] if names else None)

    def show(self, name: str | None, shown: str) -> list[Any]:
        """Return all outputs; images and curves only if the stamp `shown` says that they have changed."""
        if not name:
            return [
                f"No run in {escape_markdown(str(self._folder))}/ yet: archsr train makes one.",
                *[gr.skip()] * (len(CURVES) + 2),
            ]
        run = self._runs().get(name)
        if run is None:
            raise gr.Error(f"{name}: no such run", print_exception=False)
        state = self._watcher.read(run)
        sheets = sample_sheets(run)
        stamp = f"{run} {len(state.events)} {sheets}"
        if stamp == shown:
            return [status_markdown(state), *[gr.skip()] * (len(CURVES) + 1), stamp]
        images = [(str(self._context.storage.copy(p)), f"iteration {int(p.stem[5:]):,}") for p in sheets]
        gallery = gr.Gallery(images, selected_index=0 if images else None, visible=bool(images))
        curves = [curve(state.events, title) for title in CURVES]
        return [status_markdown(state), *(gr.LinePlot(c, visible=has_line(c)) for c in curves), gallery, stamp]

    def _runs(self) -> dict[str, Path]:
        return runs_in(self._folder, self._context.models.runs())
