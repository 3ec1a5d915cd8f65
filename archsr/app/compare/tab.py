"""Compare: degrade a sharp photograph as training does, and see every model restore it, with figures."""

import math
from asyncio import to_thread
from collections.abc import AsyncIterator
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from archsr.app.compare.trial import INPUT, TRUTH, Trial, degradation, degradations, nearest, run_trial
from archsr.app.context import AppContext, divider_of, name_of, tell
from archsr.app.file_copies import plain
from archsr.app.security.upload_limits import check_count, check_upload
from archsr.app.storage import Storage, touch
from archsr.app.upscale.uploads import Upload, photographs
from archsr.app.work_queue import QueuedJob
from archsr.errors import UserError
from archsr.evaluation.metrics import Metric
from archsr.evaluation.report.words import about
from archsr.evaluation.summary import figure
from archsr.images.image_files import BadImageError
from archsr.images.pixels import write_image

_SIDES = ("256", "384", "512", "768")
_PROGRESS = gr.Progress()


def add_trial_tab(context: AppContext) -> None:
    """The page and its interface `/restore`. Call inside `gr.Tab`."""
    offers = list(context.shelf.offers.values())
    names, ways = [o.name for o in offers], degradations(offers)
    with gr.Row():
        with gr.Column(min_width=320):
            files = photographs("A sharp photograph", single=True)
            models = gr.Dropdown(names, value=names[:4], multiselect=True, label="Models", max_choices=8)
            way = gr.Dropdown(ways, value=ways[0], label="Degradation", info="as a run's training does, or a preset")
            with gr.Row():
                side = gr.Dropdown(list(_SIDES), value="384", label="Side, pixels", min_width=130)
                seed = gr.Number(0, precision=0, minimum=0, maximum=2**31, label="Draw", min_width=130)
            with gr.Row():
                start = gr.Button("Degrade and restore", variant="primary", scale=3, min_width=180)
                cancel = gr.Button("Cancel", size="sm", scale=1, min_width=80, interactive=False)
        with gr.Column(scale=2, min_width=320):
            said = gr.Markdown("The square with the most detail is degraded; every number of *Draw* is another chance.",
                               min_height=70, elem_classes="said card")  # fmt: skip
            figures = gr.Dataframe(visible=False)  # for programs; people see it as `table`
            table = gr.HTML(visible=False, elem_classes="scores")
            slider = gr.ImageSlider(label="Left and right", interactive=False, type="filepath", visible=False,
                                    max_height=640, elem_classes="crisp", buttons=["fullscreen"])  # fmt: skip
            with gr.Row(visible=False) as choice:
                left = gr.Dropdown([], label="Left", min_width=120)
                right = gr.Dropdown([], label="Right", min_width=120)
                divider_of(slider)
            gallery = gr.Gallery(label="Side by side at 100 %", visible=False,
                                 height="max-content", elem_classes="exact", buttons=["fullscreen"])  # fmt: skip
            done = gr.Markdown(elem_classes="card")
    state = gr.State({})
    run = start.click(
        _Trying(context).run,
        [files, models, way, side, seed],
        [figures, said, state, choice, left, right, slider, gallery, table, done, cancel],
        api_name="restore",
        api_description="Degrade a sharp photograph as training does and restore it with every model.",
        concurrency_limit=context.limits.waiting,
        show_progress_on=[said],
        scroll_to_output=True,
    )
    cancel.click(None, cancels=[run])
    cancel.click(lambda: ("Cancelled.", _idle()), None, [said, cancel], queue=False, api_visibility="private")
    for chooser in (left, right):
        chooser.input(_slide, [state, left, right], slider, queue=False, api_visibility="private")


class _Trying:
    """The event of the button."""

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
        """All outputs. Raises `gr.Error`, for programs; people read the reason where the result would be."""
        yield _only_said("", gr.Button(interactive=True, variant="stop"))  # room for the progress
        try:
            check_count(len(files), self._context.limits)
            if not models:
                raise UserError("choose a model")
            await to_thread(_check, files[0], self._context)
            config = degradation(way, list(self._context.shelf.offers.values()))
            trying = partial(self._try, Path(files[0]), models, config=config, side=int(side), seed=seed)
            trial = await self._context.done(request, trying, partial(tell, progress, files[0].name))
        except (BadImageError, UserError) as error:
            if isinstance(error, BadImageError):
                Path(files[0]).unlink(missing_ok=True)
            yield _only_said(f'<span class="bad">**Not done:** {plain(str(error))}</span>', _idle())
            raise gr.Error(str(error), visible=False, print_exception=False) from None
        paths = await to_thread(_written, trial, self._context.storage)
        yield _outputs(trial, paths)

    def _try(self, photo: Path, models: list[str], job: QueuedJob[Trial], **options: Any) -> Trial:  # noqa: ANN401
        job.report(0)
        context = self._context
        return run_trial(
            photo, models, shelf=context.shelf, max_pixels=context.limits.pixels, on_progress=job.report, **options
        )


def _check(upload: Upload, context: AppContext) -> None:
    check_upload(Path(upload), context.limits)
    touch(Path(upload))


def _written(trial: Trial, storage: Storage) -> dict[str, str]:
    folder = storage.new()
    paths = {name: folder / f"{number} {name_of(name)}.png" for number, name in enumerate(trial.images)}
    for name, path in paths.items():
        write_image(path, trial.images[name])
    return {name: str(path) for name, path in paths.items()}


def _idle() -> gr.Button:
    """The button that cancels, while there is nothing to cancel."""
    return gr.Button(interactive=False, variant="secondary")


def _only_said(words: str, cancel: gr.Button) -> list[Any]:
    return [gr.skip(), words, *[gr.skip()] * 8, cancel]


def _outputs(trial: Trial, paths: dict[str, str]) -> list[Any]:
    models = [n for n in paths if n not in (INPUT, TRUTH)]
    words = "\n".join(f"{number}. {line}" for number, line in enumerate(trial.words, 1))
    missing = f" There is no perceptual distance: {plain(trial.missing)}." if trial.missing else ""
    return [
        gr.Dataframe(_for_programs(trial)),
        nearest(trial) + missing,
        paths,
        gr.Row(visible=True),
        gr.Dropdown(list(paths), value=INPUT),
        gr.Dropdown(list(paths), value=models[-1]),
        gr.ImageSlider((paths[INPUT], paths[models[-1]]), visible=True, label=f"{INPUT} | {models[-1]}"),
        gr.Gallery([(path, name) for name, path in paths.items()], visible=True),
        gr.HTML(table_of(trial), visible=True),
        f"What was done to the photograph:\n\n{words}",
        _idle(),
    ]


def _for_programs(trial: Trial) -> pd.DataFrame:
    rows = [[n, *(None if math.isnan(v) else round(v, 4) for v in values)] for n, values in trial.scores.items()]
    return pd.DataFrame(rows, columns=["model", *(headed(m) for m in trial.metrics)])


def headed(metric: Metric) -> str:
    """A metric's title and which way is better."""
    return f"{metric.title} {'↑' if metric.higher_is_better else '↓'}"


def table_of(trial: Trial) -> str:
    """The figures as HTML, for a phone too: there a model's name has a line of its own."""
    heads = "".join(f"<th>{escape(headed(m))}</th>" for m in trial.metrics)
    rows = [
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td>{figure(v, about(m.name).digits)}</td>" for v, m in zip(values, trial.metrics, strict=True))
        + "</tr>"
        for name, values in trial.scores.items()
    ]
    return f"<table><tr><th>model</th>{heads}</tr>{''.join(rows)}</table>"


def _slide(paths: dict[str, str], left: str, right: str) -> gr.ImageSlider:
    touch(*map(Path, paths.values()))
    return gr.ImageSlider((paths[left], paths[right]), label=f"{left} | {right}")
