"""`archsr app`: starts the page, on loopback by default, and removes every thread and file when it ends."""

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

from archsr.app import style
from archsr.app.models import RUNS, ModelCache, model_choices
from archsr.app.security.upload_limits import Limits
from archsr.app.security.uvicorn_limits import ConnectionLimit, LimitedProtocol, TruncatingStream
from archsr.app.storage import Storage
from archsr.app.work_queue import Worker
from archsr.errors import UserError
from archsr.upscaling.devices import devices_of
from archsr.utils.web import is_loopback, stop_event

if TYPE_CHECKING:
    import gradio as gr
    from starlette.routing import Route

# gradio shows this key, since none of its languages translates it
_TRANSLATIONS = {"common.upload": "Add files"}


@dataclass(frozen=True)
class Settings:
    """How the page is served.

    `models`: run folders, files and official names; `runs`: the folder for the tabs of runs and score cards; `names`:
    host names besides `host`.
    """

    models: Sequence[str] = ()
    runs: Path = RUNS
    host: str = "127.0.0.1"
    port: int = 7860
    password: str = ""
    device: str = "all"
    limits: Limits = field(default_factory=Limits)
    names: Sequence[str] = ()


def serve_until_stopped(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises `UserError`."""
    with stop_event() as stopped, serving(settings) as address:
        print(f"archsr app: {address} (Ctrl-C stops it)", flush=True)
        if not is_loopback(settings.host) and not settings.password:
            print("archsr: anybody who can reach this machine can use the page; set --password to prevent that",
                  file=sys.stderr)  # fmt: skip
        stopped.wait()


@contextmanager
def serving(settings: Settings) -> Generator[str]:
    """Serve within the block and yield the address. No thread and no file is left afterwards. Raises `UserError`."""
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the page needs gradio, which is not installed; run: pip install -e '.[app]'")
    devices = devices_of(settings.device)
    choices = model_choices(settings.models, runs=settings.runs)
    _check_port(settings.host, settings.port)
    storage = Storage(keep_seconds=settings.limits.keep_seconds, max_bytes=settings.limits.max_storage)
    worker = Worker()
    try:
        pyvips.cache_set_max(0)  # its cache would keep images and open files of visitors who have left
        _set_up_gradio(storage)
        models = ModelCache(choices, devices=devices, most=settings.limits.max_models)
        blocks, routes = _build_page(settings, storage, models, worker)
        with redirect_stderr(TruncatingStream(sys.stderr)):  # gradio's tracebacks quote what visitors sent
            yield _launch(blocks, settings, storage, routes)
            blocks.close(verbose=False)
    finally:
        worker.close()
        storage.close()


def _set_up_gradio(storage: Storage) -> None:
    """Set gradio's folder and turn its reports off. It reads these variables when it is imported."""
    os.environ["GRADIO_TEMP_DIR"] = str(storage.folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def _build_page(
    settings: Settings, storage: Storage, models: ModelCache, worker: Worker
) -> "tuple[gr.Blocks, list[Route]]":
    import gradio as gr

    from archsr.app.compare.tab import add_compare_tab
    from archsr.app.context import AppContext
    from archsr.app.routes import page_routes
    from archsr.app.runs.cards_tab import add_cards_tab
    from archsr.app.runs.tab import add_runs_tab
    from archsr.app.upscale.tab import add_upscale_tab
    from archsr.app.visits import Visits

    context = AppContext(settings.limits, storage, models, worker)
    visits = Visits(most=4 * settings.limits.max_queued, keep_seconds=settings.limits.keep_seconds)
    with gr.Blocks(title="archsr", analytics_enabled=False, fill_width=True) as blocks:
        gr.Markdown("# archsr\nReal-ESRGAN, fine-tuned for photographs of architecture")
        with gr.Tab("Upscale"):
            add_upscale_tab(context, visits, blocks)
        with gr.Tab("Compare"):
            add_compare_tab(context)
        with gr.Tab("Score cards"):
            add_cards_tab(context, settings.runs, blocks)
        with gr.Tab("Runs"):
            add_runs_tab(context, settings.runs, blocks)
    blocks.queue(max_size=settings.limits.max_queued, default_concurrency_limit=8)
    return blocks, page_routes(storage, visits)


def _launch(blocks: "gr.Blocks", settings: Settings, storage: Storage, routes: "list[Route]") -> str:
    from gradio import I18n
    from gradio.themes import Default
    from starlette.middleware import Middleware

    from archsr.app import viewer, visit_html
    from archsr.app.security.admission import AccessPolicy
    from archsr.app.security.guard import Guard

    theme = Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    password = settings.password

    def is_password(_: str, given: str) -> bool:
        return hmac.compare_digest(given.encode(), password.encode())

    policy = AccessPolicy(settings.host, tuple(settings.names), bool(password))
    guard: Any = Middleware(Guard, limits=settings.limits, is_full=storage.is_full, policy=policy)
    _, address, _ = blocks.launch(
        server_name=settings.host,
        server_port=settings.port,
        auth=is_password if password else None,
        auth_message="Enter any user name and the password that you were given." if password else None,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        show_error=False,
        theme=theme,
        css=style.CSS + viewer.CSS + visit_html.CSS,
        i18n=I18n(en=_TRANSLATIONS),
        footer_links=["api"],
        run_history=False,
        max_file_size=settings.limits.max_bytes,
        state_session_capacity=4 * settings.limits.max_queued,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        app_kwargs={"middleware": [guard], "routes": routes},
    )
    _put_guard_first(blocks.app)
    # uvicorn uses the class for every connection from now on
    protocol: Any = partial(LimitedProtocol, limit=ConnectionLimit(settings.limits.max_connections))
    blocks.server.config.http_protocol_class = protocol
    return address


def _put_guard_first(app: Any) -> None:  # noqa: ANN401 - gradio's FastAPI
    """Move the guard before gradio's CORS middleware, which allows preflight requests from other pages."""
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
