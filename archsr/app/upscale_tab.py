"""Upscale: photographs in, enlarged ones out, with what they carry; before and after to look at."""

import os
from asyncio import to_thread
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from archsr.app.desk import Desk, divider_of, name_of, tell
from archsr.app.limits import check_count, check_upload
from archsr.app.models import Shelf
from archsr.app.storage import touch
from archsr.app.turns import Job
from archsr.app.uploads import Upload, photographs
from archsr.app.views import cut, detail_of, make_view, shown_size
from archsr.errors import UserError
from archsr.picture_files import BadImageError
from archsr.upscale.picture import ENDINGS, Wanted, upscale_picture
from archsr.upscale.source import open_source

OWN, SAME, FITTING, BEFORE = "model's own", "original's", "what memory allows", "original"
_FORMATS = {SAME: "", "PNG": ".png", "JPEG": ".jpg", "WebP": ".webp", "TIFF": ".tif"}
_TILES = (128, 256, 384, 512, 1024)
_SCALES = ("1", "1.5", "2", "3", "4")
_MODELS = 4  # side by side
_PROGRESS = gr.Progress()


@dataclass(frozen=True)
class Order:
    """One photograph through one model. `photo` is a link that no other visitor can remove."""

    photo: Path
    model: str
    strength: float
    tile: int | None
    wanted: Wanted
    target: Path


@dataclass
class Done:
    """A photograph and what became of it, for the page. Paths by the name of the model, and `BEFORE`."""

    name: str
    results: dict[str, str] = field(default_factory=dict[str, str])
    views: dict[str, str] = field(default_factory=dict[str, str])
    details: dict[str, str] = field(default_factory=dict[str, str])


def add_upscale_tab(desk: Desk) -> None:
    """The page and its interface `/upscale`. Call inside `gr.Tab`."""
    names = list(desk.shelf.offers)
    with gr.Row():
        with gr.Column(min_width=320):
            files = photographs("Photographs: drop one or many here")
            models = gr.Dropdown(names, value=names[:1], multiselect=True, label="Models", max_choices=_MODELS,
                                 info="Several are shown side by side")  # fmt: skip
            with gr.Row():
                scale = gr.Dropdown([OWN, *_SCALES], value=OWN, label="Scale", min_width=130)
                ending = gr.Dropdown(list(_FORMATS), value=SAME, label="Format", min_width=130)
            with gr.Accordion("More", open=False):
                strength = gr.Slider(0, 1, 1, step=0.05, label="Strength",
                                     info="of runs: 0 is the model it began with, 1 what it found best")  # fmt: skip
                tile = gr.Dropdown([FITTING, *map(str, _TILES)], value=FITTING, label="Tile",
                                   info="side in pixels of the photograph; smaller takes less memory")  # fmt: skip
            with gr.Row():
                start = gr.Button("Enlarge", variant="primary", min_width=120)
                cancel = gr.Button("Cancel", variant="stop", min_width=120)
        with gr.Column(scale=2, min_width=320):
            said = gr.Markdown(_invitation(desk), container=False, min_height=70)
            downloads = gr.File(label="Download", file_count="multiple", interactive=False, visible=False)
            slider = gr.ImageSlider(label="Before and after", interactive=False, type="filepath", visible=False,
                                    max_height=640, elem_classes="crisp", buttons=["fullscreen"])  # fmt: skip
            with gr.Row(visible=False) as choice:
                photo = gr.Dropdown([], label="Photograph", min_width=150)
                left = gr.Dropdown([], label="Left", min_width=120)
                right = gr.Dropdown([], label="Right", min_width=120)
                divider_of(slider)
            gallery = gr.Gallery(label="Side by side: the busiest detail, pixel by pixel", visible=False, columns=2,
                                 object_fit="contain", buttons=["fullscreen"])  # fmt: skip
    state = gr.State([])
    shown = [slider, gallery]
    run = start.click(
        _Enlarging(desk).run,
        [files, models, scale, strength, tile, ending],
        [downloads, said, state, choice, photo, left, right, *shown],
        api_name="upscale",
        api_description="Enlarge photographs; the first output are the results. " + _invitation(desk),
        concurrency_limit=desk.limits.waiting,
        show_progress_on=[said],
        scroll_to_output=True,
    )
    cancel.click(None, cancels=[run])
    cancel.click(lambda: "Cancelled.", None, said, queue=False, api_visibility="private")
    for chooser in (photo, left, right):
        chooser.input(_show, [state, photo, left, right], shown, queue=False, api_visibility="private")


def _invitation(desk: Desk) -> str:
    limits = desk.limits
    return (
        f"Up to {limits.files} photographs at a time, each of at most {limits.size // 2**20} MB and "
        f"{limits.pixels / 1e6:.3g} megapixels (who started the page can allow more: archsr app --max-bytes, "
        "--max-pixels): JPEG, PNG, WebP, TIFF, BMP, AVIF. EXIF, colour profile and name are kept. What you send and "
        f"what comes out is removed {limits.keep / 60:.0f} minutes after its last use."
    )


# ---------------------------------------------------------------- the work


class _Enlarging:
    """The event of the button; gradio tells the visitor by the annotation `gr.Request`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def run(
        self,
        files: list[Upload],
        models: list[str],
        scale: str,
        strength: float,
        tile: str,
        ending: str,
        request: gr.Request,
        progress: gr.Progress = _PROGRESS,
    ) -> AsyncIterator[list[Any]]:
        """All outputs after each photograph. Raises `gr.Error` where none became anything."""
        _check(files, models, self._desk)
        wanted = Wanted(None if scale == OWN else float(scale), max_pixels=self._desk.limits.pixels)
        side = None if tile == FITTING else int(tile)
        done: list[Done] = []
        lines: list[str] = []
        yield [gr.skip(), "", *[gr.skip()] * 7]  # room for the progress
        for number, upload in enumerate(files):
            one = Done(upload.name)
            try:
                link = await to_thread(_admitted, self._desk, upload)
                for model in models:
                    name = _target_name(upload.name, ending, model if len(models) > 1 else "")
                    order = Order(link, model, strength, side, wanted, self._desk.storage.new() / name)
                    about = f"{upload.name} ({number + 1} of {len(files)}), {model}"
                    enlarge = partial(_enlarge, self._desk.shelf, order, one)
                    await self._desk.done(request, enlarge, partial(tell, progress, about))
            except BadImageError as error:
                Path(upload).unlink(missing_ok=True)
                lines.append(f"- `{_plain(upload.name)}`: {error}")
            except UserError as error:
                lines.append(f"- `{_plain(upload.name)}`: {error}")
            except OSError as error:
                lines.append(f"- `{_plain(upload.name)}`: cannot be written: {error.strerror or error}")
            if one.results:
                done.append(one)
                yield _update(done, lines, left=len(files) - number - 1)
        if not done:
            raise gr.Error("; ".join(line.removeprefix("- ") for line in lines), duration=None, print_exception=False)
        yield _update(done, lines, left=0)


def _check(files: list[Upload], models: list[str], desk: Desk) -> None:
    try:
        check_count(len(files), desk.limits)
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None
    if not 1 <= len(models) <= _MODELS:
        raise gr.Error(f"choose 1 to {_MODELS} models", print_exception=False)


def _admitted(desk: Desk, upload: Upload) -> Path:
    """A link to an upload that is a usable picture. Raises `BadImageError`, and `UserError` where there is no room."""
    path = Path(upload)
    if desk.storage.full():
        raise UserError("the server has no room just now; try again in some minutes")
    check_upload(path, desk.limits)
    touch(path)
    link = desk.storage.new() / f"photo{Path(upload.name).suffix}"
    os.link(path, link)
    return link


def _enlarge(shelf: Shelf, order: Order, one: Done, job: Job[None]) -> None:
    """On the worker's thread: the result, and what the page shows of it."""
    job.report(0)
    try:
        upscaler = shelf.get(order.model, strength=order.strength, tile=order.tile)
        upscale_picture(order.photo, order.target, upscaler, order.wanted, on_progress=job.report)
    except BadImageError:
        order.photo.unlink(missing_ok=True)
        raise
    one.results[order.model] = str(order.target)
    result = open_source(order.target)
    if result.pages > 1:
        return  # a document; it is there to download
    if not one.views:
        size = shown_size(*result.size)
        one.views[BEFORE] = str(make_view(order.photo, order.photo.parent, size))
    height, width = open_source(Path(one.views[BEFORE])).size
    view = make_view(order.target, order.target.parent, shown_size(height, width))
    one.views[order.model] = str(view)
    for name, path in one.views.items():
        left, top = detail_of(Path(one.views[BEFORE]))
        if name not in one.details:
            one.details[name] = str(cut(Path(path), Path(path).parent, left, top))


def _target_name(name: str, ending: str, model: str) -> str:
    stem, suffix = Path(name).stem, Path(name).suffix.lower()
    chosen = _FORMATS[ending] or (suffix if suffix in ENDINGS else ".png")
    return f"{stem} ({name_of(model)}){chosen}" if model else f"{stem}{chosen}"


def _plain(name: str) -> str:
    return name.replace("`", "'")


# ---------------------------------------------------------------- what is shown


def _update(done: list[Done], lines: list[str], *, left: int) -> list[Any]:
    """All outputs, of the last photograph that is done."""
    results = [path for one in done for path in one.results.values()]
    words = f"**{len(results)} ready**" + (f", {left} to go" if left else "")
    if lines:
        words += f", {len(lines)} not:\n\n" + "\n".join(lines)
    viewed = [one for one in done if len(one.views) > 1]
    if not viewed:
        return [gr.File(results, visible=True), words, done, *[gr.skip()] * 6]
    one = viewed[-1]
    names = list(one.views)
    slider, gallery = _shown(one, BEFORE, names[-1])
    return [
        gr.File(results, visible=True),
        words,
        done,
        gr.Row(visible=True),
        gr.Dropdown([(o.name, n) for n, o in enumerate(done) if len(o.views) > 1], value=done.index(one)),
        gr.Dropdown(names, value=BEFORE),
        gr.Dropdown(names, value=names[-1]),
        slider,
        gallery,
    ]


def _show(done: list[Done], number: int, left: str, right: str) -> tuple[Any, Any]:
    return _shown(done[number], left, right)


def _shown(one: Done, left: str, right: str) -> tuple[Any, Any]:
    touch(*map(Path, (*one.results.values(), *one.views.values(), *one.details.values())))
    label = f"{one.name}: {left} | {right}"
    pairs = [(path, name) for name, path in one.details.items()]
    return (
        gr.ImageSlider((one.views[left], one.views[right]), label=label, visible=True),
        gr.Gallery(pairs, visible=True, columns=min(3, len(pairs))),
    )
