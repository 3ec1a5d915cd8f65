"""An order: photographs through models, one after the other, each on the worker's thread; and what becomes of them."""

import os
import time
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyvips

from archsr.app.context import AppContext
from archsr.app.pixel_tiles import detail, detail_of, make_view, whole_of
from archsr.app.security.upload_limits import check_count, check_upload
from archsr.app.storage import touch
from archsr.app.upscale.forecast import Speeds, computed_pixels
from archsr.app.upscale.result_names import result_name, unlike
from archsr.app.upscale.uploads import Upload
from archsr.app.work_queue import QueuedJob
from archsr.errors import UserError
from archsr.images.image_files import BadImageError
from archsr.upscaling.one_image import OutputOptions, upscale_image
from archsr.upscaling.source import open_source

MODELS = 4  # of one order


@dataclass(frozen=True)
class UpscaleRequest:
    """What a visitor wants. `scale` None: the model's own; `tile` None: what memory allows; `ending` "": the same."""

    photos: Sequence[Upload]
    models: Sequence[str]
    scale: float | None = None
    strength: float = 1.0
    tile: int | None = None
    ending: str = ""


@dataclass(frozen=True)
class ResultImage:
    """A file: width and height in pixels, and bytes. `viewed`: its folder has a view of it."""

    path: Path
    size: tuple[int, int]
    bytes: int
    viewed: bool = False
    detail: Path | None = None


@dataclass
class Done:
    """A photograph, and what each model made of it; or why nothing."""

    name: str
    photo: ResultImage | None = None
    results: dict[str, ResultImage] = field(default_factory=dict[str, ResultImage])
    corner: tuple[int, int] = (0, 0)
    refused: str = ""

    @property
    def viewed(self) -> dict[str, ResultImage]:
        """The models' results that can be looked at beside the photograph."""
        return {m: p for m, p in self.results.items() if p.viewed and self.photo is not None and self.photo.viewed}


@dataclass
class Now:
    """The piece of work that is being done. `began`, `told_at`: by the monotonic clock, None before it is its turn."""

    name: str
    number: int
    model: str
    share: float = 0.0
    ahead: int = 0
    pixels: int = 0
    tiles: int = 1
    began: float | None = None
    told_at: float = 0.0


def check_order(order: UpscaleRequest, context: AppContext) -> None:
    """Raise `UserError` for no photograph, too many, or a number of models that is not offered."""
    check_count(len(order.photos), context.limits)
    if not 1 <= len(order.models) <= MODELS:
        raise UserError(f"choose 1 to {MODELS} models")


async def enlarged(
    order: UpscaleRequest, context: AppContext, speeds: Speeds, *, visitor: str, hear: Callable[[Now], None]
) -> AsyncIterator[Done]:
    """Each photograph when it is done or refused. `hear` is told often; what it raises ends the order."""
    taken: set[str] = set()
    for number, upload in enumerate(order.photos):
        one = Done(upload.name)
        try:
            link = await to_thread(_admitted, context, upload)
            for model in order.models:
                now = Now(upload.name, number, model)
                hear(now)
                work = partial(_enlarge, context, speeds, order, link, one, now, taken)
                await context.done_for(visitor, work, partial(_tell, now, hear))
        except BadImageError as error:
            Path(upload).unlink(missing_ok=True)
            one.refused = str(error)
        except UserError as error:
            one.refused = str(error)
        except OSError as error:
            one.refused = f"cannot be written: {error.strerror or error}"
        yield one


def _tell(now: Now, hear: Callable[[Now], None], _: float, ahead: int) -> None:
    now.ahead = ahead
    hear(now)


def _admitted(context: AppContext, upload: Upload) -> Path:
    """A link to an upload that is a usable image. Raises `BadImageError`, and `UserError` where there is no room."""
    path = Path(upload)
    if context.storage.full():
        raise UserError("the server has no room just now; try again in some minutes")
    check_upload(path, context.limits)
    touch(path)
    link = context.storage.new() / f"photo{Path(upload.name).suffix}"
    os.link(path, link)
    return link


# ---------------------------------------------------------------- on the worker's thread


def _enlarge(
    context: AppContext,
    speeds: Speeds,
    order: UpscaleRequest,
    photo: Path,
    one: Done,
    now: Now,
    taken: set[str],
    job: QueuedJob[None],
) -> None:
    """The result, and what the page shows of it. `photo` is a link that no other visitor can remove."""
    now.began = now.told_at = time.monotonic()
    job.report(0)
    try:
        upscaler = context.shelf.get(now.model, strength=order.strength, tile=order.tile)
        height, width = open_source(photo, max_pixels=context.limits.pixels).size
        now.pixels, now.tiles = computed_pixels(upscaler, height, width)
        speeds.measure(now.model, upscaler)
        now.began = time.monotonic()
        model = now.model if len(order.models) > 1 else ""
        name = result_name(one.name, order.scale or upscaler.scale, ending=order.ending, model=model)
        target = context.storage.new() / unlike(name, taken)
        wanted = OutputOptions(order.scale, max_pixels=context.limits.pixels)
        upscale_image(photo, target, upscaler, wanted, on_progress=partial(_heard, now, job))
    except BadImageError:
        photo.unlink(missing_ok=True)
        raise
    speeds.learn(now.model, now.pixels / max(1e-3, time.monotonic() - now.began))
    job.report(1)
    _keep(one, photo, target, now.model)


def _heard(now: Now, job: QueuedJob[None], share: float) -> None:
    now.share, now.told_at = share, time.monotonic()
    job.report(share)


def _keep(one: Done, photo: Path, target: Path, model: str) -> None:
    """Note the sizes of both, and make the views; a document of several pages has none."""
    result = _image(target)
    if one.photo is None:
        one.photo = _image(photo)
        if one.photo.viewed:
            left, top = detail_of(whole_of(photo.parent), of=result.size)
            one.corner = left, top
            one.photo = _with_detail(one.photo, result.size, one.corner)
    size = next(iter(one.results.values()), result).size
    one.results[model] = _with_detail(result, size, one.corner) if result.viewed else result


def _image(path: Path) -> ResultImage:
    source = open_source(path)
    height, width = source.size
    viewed = source.pages == 1
    if viewed:
        try:
            make_view(path, path.parent)
        except pyvips.Error:  # a colour profile that nobody can apply: it is there to download
            viewed = False
    return ResultImage(path, (width, height), path.stat().st_size, viewed=viewed)


def _with_detail(image: ResultImage, size: tuple[int, int], corner: tuple[int, int]) -> ResultImage:
    target = image.path.parent / "detail.png"
    detail(image.path.parent, size, corner, target)
    return ResultImage(image.path, image.size, image.bytes, viewed=True, detail=target)
