"""The upload component: gradio's, except that it fetches nothing from other hosts and writes no stub files."""

from abc import ABCMeta
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta
from gradio.data_classes import FileData, ListFiles

from archsr.app.security.upload_limits import safe_name
from archsr.images.image_files import READ

# shown on the API page
_EXAMPLE = {"path": "facade.jpg", "url": "facade.jpg", "meta": {"_type": "gradio.FileData"}}


class Upload(str):
    """The path of an uploaded file; `name` is its safe file name on the visitor's computer."""

    name: str


class _NoStub(ComponentMeta):
    """Replaces gradio's metaclass, which writes a stub file (.pyi) beside the source of every component."""

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> type:
        return ABCMeta.__new__(cls, name, bases, attrs)


class PhotographBox(gr.File, metaclass=_NoStub):
    """A file box whose value is a list of `Upload`. It checks nothing: `check_upload` looks at the bytes later.

    This is a class because gradio constructs the box again whenever an event returns a value for it.
    """

    is_template = True  # the browser shows gr.File

    def preprocess(  # pyright: ignore[reportIncompatibleMethodOverride] - gradio's type is that of paths
        self, payload: ListFiles | FileData | None
    ) -> list[Upload]:
        """Convert what the browser sent."""
        if payload is None:
            return []
        return [_upload(f) for f in (payload.root if isinstance(payload, ListFiles) else [payload])]

    def postprocess(  # pyright: ignore[reportIncompatibleMethodOverride] - as above
        self, value: Sequence[Upload] | None
    ) -> ListFiles | None:
        """Convert the uploads of a visit, to show them in the box again."""
        return ListFiles(root=[_file(upload) for upload in value]) if value else None

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> str | None:
        """Raise `gr.Error` for a URL, which gradio would fetch for the visitor."""
        if str(url_or_file_path or "").lower().startswith(("http://", "https://")):
            raise gr.Error("send the file itself: this server fetches nothing", print_exception=False)
        return await super().async_move_resource_to_block_cache(url_or_file_path)

    def example_payload(self) -> Any:  # noqa: ANN401 - as in gradio
        """Return the example of the API page."""
        return _EXAMPLE if self.file_count == "single" else [_EXAMPLE]

    def example_value(self) -> Any:  # noqa: ANN401 - as in gradio
        """Return the example of the API page."""
        return self.example_payload()


def photograph_box(label: str, *, single: bool = False) -> PhotographBox:
    """Return a box for photographs."""
    return PhotographBox(label=label, file_count="single" if single else "multiple", file_types=list(READ), height=220)


def _file(upload: Upload) -> FileData:
    size = Path(upload).stat().st_size if Path(upload).is_file() else 0
    return FileData(path=str(upload), orig_name=upload.name, size=size)


def _upload(file: FileData) -> Upload:
    upload = Upload(file.path)
    upload.name = safe_name(file.orig_name or Path(file.path).name)
    return upload
