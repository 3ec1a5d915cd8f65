"""What the page fetches besides gradio's files: squares of images, and all results of an order as one zip."""

import shutil
import zipfile
from asyncio import to_thread
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from archsr.app.pixel_tiles import crop, whole_of
from archsr.app.storage import Storage, touch
from archsr.app.upscale.result_names import is_token
from archsr.app.visits import Visits

_KEPT = {"Cache-Control": "private, max-age=3600"}
_MISSING = PlainTextResponse("not here any more", status_code=404)


def page_routes(storage: Storage, visits: Visits) -> list[Route]:
    """Each is reached by a name that nobody can guess, as results are."""

    def square(request: Request) -> Response:
        about = request.path_params
        folder = _folder(storage, about["folder"])
        size, place = (about["width"], about["height"]), (about["column"], about["row"])
        data = crop(folder, size, *place) if folder and max(*size, *place) < 2**31 else None
        return Response(data, media_type="image/png", headers=_KEPT) if data else _MISSING

    def whole(request: Request) -> Response:
        folder = _folder(storage, request.path_params["folder"])
        if folder is None or not whole_of(folder).is_file():
            return _MISSING
        return FileResponse(whole_of(folder), headers=_KEPT)

    async def together(request: Request) -> Response:
        visit = visits.with_token(request.path_params["token"])
        paths = [p for p in visit.results() if p.is_file()] if visit else []
        if visit is None or not paths:
            return _MISSING
        path = await to_thread(zipped, paths, storage, visit.token)
        if path is None:
            return PlainTextResponse("the server has no room just now; take them one by one", status_code=507)
        return FileResponse(path, filename="enlarged.zip", media_type="application/zip")

    return [
        Route("/crop/{folder}/whole", whole),
        Route("/crop/{folder}/{width:int}x{height:int}/{column:int}_{row:int}", square),
        Route("/zip/{token}", together),
    ]


def zipped(paths: list[Path], storage: Storage, token: str) -> Path | None:
    """A zip of the files as they are, made once for as many of them, copied piece by piece; None without room."""
    target = storage.folder / "results" / token / f"{len(paths)}.zip"
    if target.is_file():
        touch(target)
        return target
    if storage.used() + sum(p.stat().st_size for p in paths) > storage.room:
        return None
    part = storage.new() / "part.zip"
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for path in paths:
            about = zipfile.ZipInfo.from_file(path, path.name)
            with path.open("rb") as source, archive.open(about, "w") as copy:
                shutil.copyfileobj(source, copy, 2**20)
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)
    return target


def _folder(storage: Storage, name: str) -> Path | None:
    return storage.folder / "results" / name if is_token(name) else None
