"""The Compare tab: degrades a sharp photograph as training does, restores it with every model, and shows metrics."""

import math
from asyncio import to_thread
from collections.abc import AsyncIterator
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from archsr.app.compare.trial import (
    GROUND_TRUTH,
    INPUT,
    Trial,
    degradation_config,
    degradation_names,
    run_trial,
    summary,
)
from archsr.app.context import AppContext, file_name_part, show_progress, visitor_of
from archsr.app.security.upload_limits import check_count, check_upload
from archsr.app.storage import Storage, touch
from archsr.app.style import escape_markdown
from archsr.app.upscale.uploads import Upload, photograph_box
from archsr.app.work_queue import QueuedJob
from archsr.errors import UserError
from archsr.evaluation.metrics import Metric
from archsr.evaluation.report.words import about
from archsr.evaluation.summary import figure
from archsr.images.image_files import BadImageError
from archsr.images.pixels import write_image

_SIDES = ("256", "384", "512", "768")
_PROGRESS = gr.Progress()


def add_compare_tab(context: AppContext) -> None:
    """Add the tab and its API endpoint `/restore`. Call this inside `gr.Tab`."""
    choices = list(context.models.choices.values())
    names, degradations = [choice.name for choice in choices], degradation_names(choices)
    with gr.Row():
        with gr.Column(min_width=320):
            files = photograph_box("A sharp photograph", single=True)
            models = gr.Dropdown(names, value=names[:4], multiselect=True, label="Models", max_choices=8)
            degradation = gr.Dropdown(degradations, value=degradations[0], label="Degradation",
                                      info="the one that a run trains with, or a preset")  # fmt: skip
            with gr.Row():
                side = gr.Dropdown(list(_SIDES), value="384", label="Side, pixels", min_width=130)
                seed = gr.Number(0, precision=0, minimum=0, maximum=2**31, label="Random seed", min_width=130)
            with gr.Row():
                start = gr.Button("Degrade and restore", variant="primary", scale=3, min_width=180)
                cancel = gr.Button("Cancel", size="sm", scale=1, min_width=80, interactive=False)
        with gr.Column(scale=2, min_width=320):
            message = gr.Markdown(
                "The square with the most detail is degraded. Another random seed gives another result.",
                min_height=70,
                elem_classes="message card",
            )
            figures = gr.Dataframe(visible=False)  # for programs; visitors see `table`
            table = gr.HTML(visible=False, elem_classes="scores")
            slider = gr.ImageSlider(label="Left and right", interactive=False, type="filepath", visible=False,
                                    max_height=640, elem_classes="crisp", buttons=["fullscreen"])  # fmt: skip
            with gr.Row(visible=False) as row:
                left = gr.Dropdown([], label="Left", min_width=120)
                right = gr.Dropdown([], label="Right", min_width=120)
                _add_divider(slider)
            gallery = gr.Gallery(label="Side by side at 100 %", visible=False,
                                 height="max-content", elem_classes="exact", buttons=["fullscreen"])  # fmt: skip
            steps = gr.Markdown(elem_classes="card")
    state = gr.State({})
    run = start.click(
        _CompareEvents(context).run,
        [files, models, degradation, side, seed],
        [figures, message, state, row, left, right, slider, gallery, table, steps, cancel],
        api_name="restore",
        api_description="Degrade a sharp photograph as training does and restore it with every model.",
        concurrency_limit=context.limits.max_queued,
        show_progress_on=[message],
        scroll_to_output=True,
    )
    cancel.click(None, cancels=[run])
    cancel.click(
        lambda: ("Cancelled.", _disabled_cancel()), None, [message, cancel], queue=False, api_visibility="private"
    )
    for chooser in (left, right):
        chooser.input(_show_pair, [state, left, right], slider, queue=False, api_visibility="private")


class _CompareEvents:
    def __init__(self, context: AppContext) -> None:
        self._context = context

    async def run(
        self,
        files: list[Upload],
        models: list[str],
        way: str,
        side: str,
        seed: int,
        request: gr.Request,
        progress: gr.Progress = _PROGRESS,
    ) -> AsyncIterator[list[Any]]:
        """Yield all outputs. An error is shown in the message for visitors and raised as `gr.Error` for programs."""
        yield _only_message("", gr.Button(interactive=True, variant="stop"))  # gradio shows its progress there
        try:
            check_count(len(files), self._context.limits)
            if not models:
                raise UserError("choose a model")
            await to_thread(_check, files[0], self._context)
            config = degradation_config(way, list(self._context.models.choices.values()))
            trial_job = partial(self._run_trial, Path(files[0]), models, config=config, side=int(side), seed=seed)
            trial = await self._context.run_job(
                visitor_of(request), trial_job, partial(show_progress, progress, files[0].name)
            )
        except (BadImageError, UserError) as error:
            if isinstance(error, BadImageError):
                Path(files[0]).unlink(missing_ok=True)
            yield _only_message(
                f'<span class="bad">**Not done:** {escape_markdown(str(error))}</span>', _disabled_cancel()
            )
            raise gr.Error(str(error), visible=False, print_exception=False) from None
        paths = await to_thread(_write_images, trial, self._context.storage)
        yield _outputs(trial, paths)

    def _run_trial(self, photo: Path, models: list[str], job: QueuedJob[Trial], **options: Any) -> Trial:  # noqa: ANN401
        job.report(0)
        context = self._context
        return run_trial(
            photo, models, cache=context.models, max_pixels=context.limits.max_pixels, on_progress=job.report, **options
        )


def _check(upload: Upload, context: AppContext) -> None:
    check_upload(Path(upload), context.limits)
    touch(Path(upload))


def _write_images(trial: Trial, storage: Storage) -> dict[str, str]:
    folder = storage.new_folder()
    paths = {name: folder / f"{number} {file_name_part(name)}.png" for number, name in enumerate(trial.images)}
    for name, path in paths.items():
        write_image(path, trial.images[name])
    return {name: str(path) for name, path in paths.items()}


def _disabled_cancel() -> gr.Button:
    return gr.Button(interactive=False, variant="secondary")


def _only_message(text: str, cancel: gr.Button) -> list[Any]:
    return [gr.skip(), text, *[gr.skip()] * 8, cancel]


def _outputs(trial: Trial, paths: dict[str, str]) -> list[Any]:
    models = [n for n in paths if n not in (INPUT, GROUND_TRUTH)]
    steps = "\n".join(f"{number}. {line}" for number, line in enumerate(trial.steps, 1))
    missing = f" There is no perceptual distance: {escape_markdown(trial.missing)}." if trial.missing else ""
    return [
        gr.Dataframe(_scores_frame(trial)),
        summary(trial) + missing,
        paths,
        gr.Row(visible=True),
        gr.Dropdown(list(paths), value=INPUT),
        gr.Dropdown(list(paths), value=models[-1]),
        gr.ImageSlider((paths[INPUT], paths[models[-1]]), visible=True, label=f"{INPUT} | {models[-1]}"),
        gr.Gallery([(path, name) for name, path in paths.items()], visible=True),
        gr.HTML(scores_table(trial), visible=True),
        f"How the photograph was degraded:\n\n{steps}",
        _disabled_cancel(),
    ]


def _scores_frame(trial: Trial) -> pd.DataFrame:
    rows = [[n, *(None if math.isnan(v) else round(v, 4) for v in values)] for n, values in trial.scores.items()]
    return pd.DataFrame(rows, columns=["model", *(column_title(m) for m in trial.metrics)])


def column_title(metric: Metric) -> str:
    """Return a metric's title with an arrow: ↑ if higher is better."""
    return f"{metric.title} {'↑' if metric.higher_is_better else '↓'}"


def scores_table(trial: Trial) -> str:
    """Return the scores as an HTML table. The CSS gives a model's name a row of its own on a phone."""
    heads = "".join(f"<th>{escape(column_title(m))}</th>" for m in trial.metrics)
    rows = [
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td>{figure(v, about(m.name).digits)}</td>" for v, m in zip(values, trial.metrics, strict=True))
        + "</tr>"
        for name, values in trial.scores.items()
    ]
    return f"<table><tr><th>model</th>{heads}</tr>{''.join(rows)}</table>"


def _show_pair(paths: dict[str, str], left: str, right: str) -> gr.ImageSlider:
    touch(*map(Path, paths.values()))
    return gr.ImageSlider((paths[left], paths[right]), label=f"{left} | {right}")


def _add_divider(slider: gr.ImageSlider) -> None:
    """Add a slider that moves the divider of an image slider, since that does not react to the arrow keys."""
    divider = gr.Slider(0, 100, 50, step=1, label="Divider, %", min_width=150)

    def move(percent: float) -> gr.ImageSlider:
        return gr.ImageSlider(slider_position=percent)

    divider.input(
        move,
        divider,
        slider,
        queue=False,
        api_visibility="private",
        show_progress="hidden",
        trigger_mode="always_last",
    )
