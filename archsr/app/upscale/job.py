"""An order: photographs through models, one job of the worker for each pair; and the results."""

import os
import time
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pyvips

from archsr.app.context import AppContext, file_name_part
from archsr.app.pixel_tiles import busiest_corner, make_view, preview_path, write_crop
from archsr.app.security.upload_limits import check_count, check_upload
from archsr.app.storage import touch
from archsr.app.upscale.forecast import Speeds, computed_pixels
from archsr.app.upscale.uploads import Upload
from archsr.app.work_queue import QueuedJob
from archsr.errors import UserError
from archsr.images.image_files import HEIC_ENDINGS, WRITTEN, BadImageError
from archsr.upscaling.one_image import OutputOptions, upscale_image
from archsr.upscaling.source import open_source

MAX_MODELS = 4  # of one order


@dataclass(frozen=True)
class UpscaleRequest:
    """An order. Defaults: `scale` None is the model's own, `tile` None fits memory, `suffix` "" is the photograph's."""

    photos: Sequence[Upload]
    models: Sequence[str]
    scale: float | None = None
    strength: float = 1.0
    tile: int | None = None
    suffix: str = ""


@dataclass(frozen=True)
class ResultImage:
    """A file with its width and height in pixels. `has_view`: `make_view` has written tiles of it into its folder.

    `lost`: what of the photograph the file could not keep, in words.
    """

    path: Path
    size: tuple[int, int]
    bytes: int
    has_view: bool = False
    detail: Path | None = None
    lost: str = ""


@dataclass
class PhotoResult:
    """A photograph and the results by model, or the `error`. `corner`: left and top of the detail, in the result."""

    name: str
    photo: ResultImage | None = None
    results: dict[str, ResultImage] = field(default_factory=dict[str, ResultImage])
    corner: tuple[int, int] = (0, 0)
    error: str = ""

    @property
    def viewable(self) -> dict[str, ResultImage]:
        """The results that can be compared with the photograph."""
        return {m: p for m, p in self.results.items() if p.has_view and self.photo is not None and self.photo.has_view}


@dataclass
class JobProgress:
    """The job that waits or runs. `started` and `reported` are monotonic times; `started` is None while it waits."""

    name: str
    number: int
    model: str
    share: float = 0.0
    ahead: int = 0
    pixels: int = 0
    tiles: int = 1
    started: float | None = None
    reported: float = 0.0


def result_name(name: str, scale: float, *, suffix: str = "", model: str = "") -> str:
    """Return the name of a result: `front.jpg` upscaled four times is `front_x4.jpg`, or `front_x4_MODEL.jpg`.

    Without `suffix`, formats that cannot be written become PNG. HEIC becomes JPEG, as PNG is forty times as large.
    """
    stem, own = Path(name).stem, Path(name).suffix.lower()
    suffix = suffix or (own if own in WRITTEN else ".jpg" if own in HEIC_ENDINGS else ".png")
    return f"{stem}_x{scale:g}{'_' + file_name_part(model) if model else ''}{suffix}"


def unique_name(name: str, taken: set[str]) -> str:
    """Return the name, numbered if `taken` has it in any case, and add it to `taken`."""
    path, number, free = Path(name), 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{path.stem} ({number}){path.suffix}"
    taken.add(free.casefold())
    return free


def check_order(order: UpscaleRequest, context: AppContext) -> None:
    """Raise `UserError` if the number of photographs or models is not allowed."""
    check_count(len(order.photos), context.limits)
    if not 1 <= len(order.models) <= MAX_MODELS:
        raise UserError(f"choose 1 to {MAX_MODELS} models")


async def upscale_photos(
    order: UpscaleRequest,
    context: AppContext,
    speeds: Speeds,
    *,
    visitor: str,
    on_progress: Callable[[JobProgress], None],
) -> AsyncIterator[PhotoResult]:
    """Yield each photograph when it is done or has failed. If `on_progress` raises, the order ends."""
    taken: set[str] = set()
    for number, upload in enumerate(order.photos):
        one = PhotoResult(upload.name)
        try:
            link = await to_thread(_accept, context, upload)
            for model in order.models:
                current = JobProgress(upload.name, number, model)
                on_progress(current)
                run = partial(_upscale, context, speeds, order, link, one, current, taken)
                await context.run_job(visitor, run, partial(_on_status, current, on_progress))
        except BadImageError as error:
            Path(upload).unlink(missing_ok=True)
            one.error = str(error)
        except UserError as error:
            one.error = str(error)
        except OSError as error:
            one.error = f"cannot be written: {error.strerror or error}"
        yield one


def _on_status(current: JobProgress, on_progress: Callable[[JobProgress], None], _: float, ahead: int) -> None:
    current.ahead = ahead
    on_progress(current)


def _accept(context: AppContext, upload: Upload) -> Path:
    """Return a hard link to an upload, which no other visitor can remove. Raise an error if it cannot be used."""
    path = Path(upload)
    if context.storage.is_full():
        raise UserError("the server has no room at the moment; try again in a few minutes")
    check_upload(path, context.limits)
    touch(path)
    link = context.storage.new_folder() / f"photo{Path(upload.name).suffix}"
    os.link(path, link)
    return link


# the functions below run on the worker's thread


def _upscale(
    context: AppContext,
    speeds: Speeds,
    order: UpscaleRequest,
    photo: Path,
    one: PhotoResult,
    current: JobProgress,
    taken: set[str],
    job: QueuedJob[None],
) -> None:
    current.started = current.reported = time.monotonic()
    job.report(0)
    try:
        upscaler = context.models.get(current.model, strength=order.strength, tile=order.tile)
        height, width = open_source(photo, max_pixels=context.limits.max_pixels).size
        current.pixels, current.tiles = computed_pixels(upscaler, height, width)
        speeds.measure(current.model, upscaler)
        current.started = time.monotonic()
        model = current.model if len(order.models) > 1 else ""
        name = result_name(one.name, order.scale or upscaler.scale, suffix=order.suffix, model=model)
        target = context.storage.new_folder() / unique_name(name, taken)
        wanted = OutputOptions(order.scale, max_pixels=context.limits.max_pixels)
        lost = upscale_image(photo, target, upscaler, wanted, on_progress=partial(_report, current, job))
    except BadImageError:
        photo.unlink(missing_ok=True)
        raise
    speeds.set(current.model, current.pixels / max(1e-3, time.monotonic() - current.started))
    job.report(1)
    _add_result(one, photo, replace(_result_image(target), lost=lost), current.model)


def _report(current: JobProgress, job: QueuedJob[None], share: float) -> None:
    current.share, current.reported = share, time.monotonic()
    job.report(share)


def _add_result(one: PhotoResult, photo: Path, result: ResultImage, model: str) -> None:
    if one.photo is None:
        one.photo = _result_image(photo)
        if one.photo.has_view:
            one.corner = busiest_corner(preview_path(photo.parent), size=result.size)
            one.photo = _with_detail(one.photo, result.size, one.corner)
    size = next(iter(one.results.values()), result).size
    one.results[model] = _with_detail(result, size, one.corner) if result.has_view else result


def _result_image(path: Path) -> ResultImage:
    """Make the view of an image. There is none of several pages or of a colour profile that cannot be applied."""
    source = open_source(path)
    height, width = source.size
    has_view = source.pages == 1
    if has_view:
        try:
            make_view(path, path.parent)
        except pyvips.Error:
            has_view = False
    return ResultImage(path, (width, height), path.stat().st_size, has_view=has_view)


def _with_detail(image: ResultImage, size: tuple[int, int], corner: tuple[int, int]) -> ResultImage:
    target = image.path.parent / "detail.png"
    write_crop(image.path.parent, size, corner, target)
    return replace(image, detail=target)
