"""The component that takes photographs: gradio's, without what would leave files or fetch from other hosts."""

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData, ListFiles

from archsr.app.limits import READ, safe_name

# what the page of the interface shows
_EXAMPLE = {"path": "facade.jpg", "url": "facade.jpg", "meta": {"_type": "gradio.FileData"}}


class Upload(str):
    """The path of an uploaded file; `name` is what it is called at home."""

    name: str


def photographs(label: str, *, single: bool = False) -> gr.File:
    """A box for photographs, which arrive as a list of `Upload`, undecoded.

    What they are is decided by their bytes, not by their names. Methods of this one box are replaced: gradio writes
    an interface file beside the source of every subclass.
    """
    box = gr.File(label=label, file_count="single" if single else "multiple", file_types=list(READ), height=220)
    changed: Any = box
    changed.preprocess = _uploads
    changed.async_move_resource_to_block_cache = partial(_local_only, box.async_move_resource_to_block_cache)
    changed.example_payload = changed.example_value = lambda: _EXAMPLE if single else [_EXAMPLE]
    return box


def _uploads(payload: ListFiles | FileData | None) -> list[Upload]:
    if payload is None:
        return []
    return [_upload(f) for f in (payload.root if isinstance(payload, ListFiles) else [payload])]


def _upload(file: FileData) -> Upload:
    upload = Upload(file.path)
    upload.name = safe_name(file.orig_name or Path(file.path).name)
    return upload


async def _local_only(move: Any, path: str | Path | None) -> str | None:  # noqa: ANN401 - gradio's own method
    """Refuses URLs, which gradio would fetch for the visitor."""
    if str(path or "").lower().startswith(("http://", "https://")):
        raise gr.Error("send the file itself: this server fetches nothing", print_exception=False)
    return await move(path)
