"""The component that takes photographs: gradio's, without what would leave files or fetch from other hosts."""

from abc import ABCMeta
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta
from gradio.data_classes import FileData, ListFiles

from archsr.app.security.upload_limits import safe_name
from archsr.images.image_files import READ

# what the page of the interface shows
_EXAMPLE = {"path": "facade.jpg", "url": "facade.jpg", "meta": {"_type": "gradio.FileData"}}


class Upload(str):
    """The path of an uploaded file; `name` is what it is called at home."""

    name: str


class _NoStub(ComponentMeta):
    """gradio's own metaclass writes an interface file beside the source of every component."""

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> type:
        return ABCMeta.__new__(cls, name, bases, attrs)


class PhotographBox(gr.File, metaclass=_NoStub):
    """Photographs arrive as a list of `Upload`, undecoded: what they are is decided by their bytes, not by their names.

    A class, as gradio makes a box anew for each visitor to whom it shows something in it.
    """

    is_template = True  # a file box, for the browser

    def preprocess(  # pyright: ignore[reportIncompatibleMethodOverride] - its type is that of the values
        self, payload: ListFiles | FileData | None
    ) -> list[Upload]:
        """What was sent."""
        if payload is None:
            return []
        return [_upload(f) for f in (payload.root if isinstance(payload, ListFiles) else [payload])]

    def postprocess(  # pyright: ignore[reportIncompatibleMethodOverride] - as above
        self, value: Sequence[Upload] | None
    ) -> ListFiles | None:
        """Uploads that were kept, in the box again."""
        return ListFiles(root=[_file(upload) for upload in value]) if value else None

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> str | None:
        """Refuses URLs, which gradio would fetch for the visitor."""
        if str(url_or_file_path or "").lower().startswith(("http://", "https://")):
            raise gr.Error("send the file itself: this server fetches nothing", print_exception=False)
        return await super().async_move_resource_to_block_cache(url_or_file_path)

    def example_payload(self) -> Any:  # noqa: ANN401 - as gradio has it
        """What the page of the interface shows."""
        return _EXAMPLE if self.file_count == "single" else [_EXAMPLE]

    def example_value(self) -> Any:  # noqa: ANN401 - as gradio has it
        """The same."""
        return self.example_payload()


def photographs(label: str, *, single: bool = False) -> PhotographBox:
    """A box for photographs."""
    return PhotographBox(label=label, file_count="single" if single else "multiple", file_types=list(READ), height=220)


def _file(upload: Upload) -> FileData:
    size = Path(upload).stat().st_size if Path(upload).is_file() else 0
    return FileData(path=str(upload), orig_name=upload.name, size=size)


def _upload(file: FileData) -> Upload:
    upload = Upload(file.path)
    upload.name = safe_name(file.orig_name or Path(file.path).name)
    return upload
