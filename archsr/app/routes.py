"""Routes beside gradio's: tiles of images, and all results of an order as one zip."""

import shutil
import zipfile
from asyncio import to_thread
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from archsr.app.pixel_tiles import preview_path, tile_png
from archsr.app.storage import Storage, is_token, touch
from archsr.app.visits import Visits

_CACHE = {"Cache-Control": "private, max-age=3600"}
_MISSING = PlainTextResponse("not found; it may have been removed", status_code=404)


def page_routes(storage: Storage, visits: Visits) -> list[Route]:
    """Return the routes. Each path contains a token that nobody can guess."""

    def tile(request: Request) -> Response:
        params = request.path_params
        folder = _folder(storage, params["folder"])
        size, place = (params["width"], params["height"]), (params["column"], params["row"])
        data = tile_png(folder, size, *place) if folder and max(*size, *place) < 2**31 else None
        return Response(data, media_type="image/png", headers=_CACHE) if data else _MISSING

    def preview(request: Request) -> Response:
        folder = _folder(storage, request.path_params["folder"])
        if folder is None or not preview_path(folder).is_file():
            return _MISSING
        return FileResponse(preview_path(folder), headers=_CACHE)

    async def archive(request: Request) -> Response:
        visit = visits.with_token(request.path_params["token"])
        paths = [p for p in visit.results() if p.is_file()] if visit else []
        if visit is None or not paths:
            return _MISSING
        path = await to_thread(write_zip, paths, storage, visit.token)
        if path is None:
            return PlainTextResponse("the server has no room for a zip; download the files one by one", status_code=507)
        return FileResponse(path, filename="enlarged.zip", media_type="application/zip")

    return [
        Route("/crop/{folder}/whole", preview),
        Route("/crop/{folder}/{width:int}x{height:int}/{column:int}_{row:int}", tile),
        Route("/zip/{token}", archive),
    ]


def write_zip(paths: list[Path], storage: Storage, token: str) -> Path | None:
    """Return an uncompressed zip of the files, written once per number of files; None if there is no room."""
    target = storage.folder / "results" / token / f"{len(paths)}.zip"
    if target.is_file():
        touch(target)
        return target
    if storage.used_bytes() + sum(p.stat().st_size for p in paths) > storage.max_bytes:
        return None
    part = storage.new_folder() / "part.zip"
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for path in paths:
            entry = zipfile.ZipInfo.from_file(path, path.name)
            with path.open("rb") as source, archive.open(entry, "w") as copy:
                shutil.copyfileobj(source, copy, 2**20)
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)
    return target


def _folder(storage: Storage, name: str) -> Path | None:
    return storage.folder / "results" / name if is_token(name) else None
