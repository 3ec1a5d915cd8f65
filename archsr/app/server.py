"""`archsr app`: the pages behind one door, on loopback unless told otherwise, and nothing left when it ends."""

import hmac
import importlib.util
import os
import socket
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyvips

from archsr.app.models import RUNS, Shelf, offers_of
from archsr.app.security.upload_limits import Limits
from archsr.app.security.uvicorn_limits import ImpatientProtocol, Places, Shortened
from archsr.app.storage import Storage
from archsr.app.style import CSS as LOOK
from archsr.app.work_queue import Worker
from archsr.errors import UserError
from archsr.upscaling.devices import devices_of
from archsr.utils.web import is_loopback, stop_event

if TYPE_CHECKING:
    import gradio as gr
    from starlette.routing import Route

# gradio asks for words that none of its languages has, and then shows their key
_WORDS = {"common.upload": "Add files"}
_CSS = """
footer { justify-content: center }
.plain .html-container { padding: 0 !important }
.invitation { opacity: 0.75 }
.invitation p { font-size: 13px !important }
"""


@dataclass(frozen=True)
class Settings:
    """How a page is served. `models`: run folders, files and official names; `runs`: the folder of the page of runs.

    `names`: what it is called besides `host`.
    """

    models: Sequence[str] = ()
    runs: Path = RUNS
    host: str = "127.0.0.1"
    port: int = 7860
    password: str = ""
    device: str = "all"
    limits: Limits = field(default_factory=Limits)
    names: Sequence[str] = ()


def serve_until_told(settings: Settings) -> None:
    """Serve, and end with SIGINT or SIGTERM. Raises `UserError`."""
    with stop_event() as over, served(settings) as address:
        print(f"archsr app: {address} (Ctrl-C ends it)", flush=True)
        if not is_loopback(settings.host) and not settings.password:
            print("archsr: anybody who can reach this machine can use the page; --password asks for one",
                  file=sys.stderr)  # fmt: skip
        over.wait()


@contextmanager
def served(settings: Settings) -> Generator[str]:
    """The pages at the address that is yielded; afterwards no thread and no file is left. Raises `UserError`."""
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the page needs gradio, which is not installed; run: pip install -e '.[app]'")
    devices = devices_of(settings.device)
    offers = offers_of(settings.models, runs=settings.runs)
    _check_port(settings.host, settings.port)
    storage = Storage(keep=settings.limits.keep, room=settings.limits.room)
    worker = Worker()
    try:
        _set_up_vips()
        _set_up_gradio(storage)
        shelf = Shelf(offers, devices=devices, most=settings.limits.models)
        blocks, routes = _pages(settings, storage, shelf, worker)
        with redirect_stderr(Shortened(sys.stderr)):  # gradio's tracebacks quote what was sent
            yield _launch(blocks, settings, storage, routes)
            blocks.close(verbose=False)
    finally:
        worker.close()
        storage.close()


def _set_up_vips() -> None:
    """No cache of operations: it would keep images and open files of visitors who have long gone."""
    pyvips.cache_set_max(0)


def _set_up_gradio(storage: Storage) -> None:
    """Before gradio is imported: its files in our folder, no reports to anybody, no questions to other hosts."""
    os.environ["GRADIO_TEMP_DIR"] = str(storage.folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def _pages(settings: Settings, storage: Storage, shelf: Shelf, worker: Worker) -> "tuple[gr.Blocks, list[Route]]":
    """The pages, and what they fetch besides gradio's own."""
    import gradio as gr

    from archsr.app.cards.tab import add_cards_tab
    from archsr.app.compare.tab import add_trial_tab
    from archsr.app.context import AppContext
    from archsr.app.routes import page_routes
    from archsr.app.runs.tab import add_runs_tab
    from archsr.app.upscale.tab import add_upscale_tab
    from archsr.app.visits import Visits

    context = AppContext(settings.limits, storage, shelf, worker)
    visits = Visits(most=4 * settings.limits.waiting, keep=settings.limits.keep)
    with gr.Blocks(title="archsr", analytics_enabled=False, fill_width=True) as blocks:
        gr.Markdown("# archsr\nReal-ESRGAN, fine-tuned for photographs of architecture")
        with gr.Tab("Upscale"):
            add_upscale_tab(context, visits, blocks)
        with gr.Tab("Compare"):
            add_trial_tab(context)
        with gr.Tab("Score cards"):
            add_cards_tab(context, settings.runs, blocks)
        with gr.Tab("Runs"):
            add_runs_tab(context, settings.runs, blocks)
    waiting = settings.limits.waiting
    return blocks.queue(max_size=waiting, default_concurrency_limit=8), page_routes(storage, visits)


def _launch(blocks: "gr.Blocks", settings: Settings, storage: Storage, routes: "list[Route]") -> str:
    from gradio import I18n
    from gradio.themes import Default
    from starlette.middleware import Middleware

    from archsr.app import viewer, visit_words
    from archsr.app.security.admission import Door
    from archsr.app.security.guard import Guard

    theme = Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    password = settings.password

    def knows(_: str, said: str) -> bool:
        return hmac.compare_digest(said.encode(), password.encode())

    door = Door(settings.host, tuple(settings.names), bool(password))
    guard: Any = Middleware(Guard, limits=settings.limits, full=storage.full, door=door)
    _, address, _ = blocks.launch(
        server_name=settings.host,
        server_port=settings.port,
        auth=knows if password else None,
        auth_message="Any user name, and the password you were given." if password else None,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        show_error=False,
        theme=theme,
        css=_CSS + LOOK + viewer.CSS + visit_words.CSS,
        i18n=I18n(en=_WORDS),
        footer_links=["api"],
        run_history=False,
        max_file_size=settings.limits.size,
        state_session_capacity=4 * settings.limits.waiting,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        app_kwargs={"middleware": [guard], "routes": routes},
    )
    _come_first(blocks.app)
    # of every line from now on
    protocol: Any = partial(ImpatientProtocol, places=Places(settings.limits.lines))
    blocks.server.config.http_protocol_class = protocol
    return address


def _come_first(app: Any) -> None:  # noqa: ANN401 - gradio's FastAPI
    """Put the door before what gradio adds, which answers a browser's preflight whatever it asks for."""
    from archsr.app.security.guard import Guard

    layers: list[Any] = app.user_middleware
    app.user_middleware = sorted(layers, key=lambda layer: layer.cls is not Guard)
    app.middleware_stack = app.build_middleware_stack()


def _check_port(host: str, port: int) -> None:
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, number) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise UserError(
            f"{host}:{port}: cannot listen there: {error.strerror}; choose another --host or --port"
        ) from None
