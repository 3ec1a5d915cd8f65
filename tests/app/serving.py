"""`archsr app` as a process of its own, for tests and measurements."""

import contextlib
import signal
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psutil
import safetensors.torch
from ranks import MAIN, Ranks, free_port

from archsr.config import RRDBNetConfig
from archsr.models.build import build


@dataclass
class Server:
    """A running page. `temp` is the folder in which the system's temporary files lie for it."""

    url: str
    temp: Path
    process: Ranks

    def memory(self):
        """Resident bytes."""
        return psutil.Process(self.process.pids[0]).memory_info().rss

    def files(self):
        """What lies in its temporary folder, by path."""
        return {p for p in self.temp.rglob("*") if p.is_file()}

    def wait_for_files(self, wanted, seconds=10):
        """The files, as soon as they are `wanted`; a visitor who leaves is noticed a moment later."""
        end = time.monotonic() + seconds
        while self.files() != wanted and time.monotonic() < end:
            time.sleep(0.1)
        return self.files()


def small_network(path, **kind):
    """Random weights of a network that needs milliseconds."""
    net = build(RRDBNetConfig(**{"features": 8, "blocks": 1, "growth": 4, **kind}), seed=1)
    safetensors.torch.save_file(net.state_dict(), path)
    return path


@contextlib.contextmanager
def serving(folder, *models, options=(), **variables):
    """The page with these models until the block ends, which must end the process and remove its files."""
    port, temp = free_port(), folder / "temp"
    temp.mkdir(parents=True)
    home = folder / "home"  # gradio takes no hidden file from below the folder that it was started in
    home.mkdir()
    words = ["app", *models, "--port", port, "--device", "cpu", *options]
    environment = {"TMPDIR": str(temp), "NO_PROXY": "127.0.0.1", **variables}
    # torch's own folder, else among the visitors' files or not, as an earlier test of this process happened to set it
    environment["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}-inductor"
    process = Ranks(1, MAIN, *words, folder=home, **environment)
    server = Server(f"http://127.0.0.1:{port}", temp, process)
    try:
        _wait_until_it_answers(server)
        yield server
    finally:
        process.send(signal.SIGTERM)
        process.wait(30)
    assert process.returncode == 0, process.stdout + process.stderr
    assert not server.files()


def _wait_until_it_answers(server):
    for _ in range(900):
        assert server.process.returncode is None, server.process.stdout + server.process.stderr
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{server.url}/theme.css", timeout=5)
            return
        time.sleep(0.1)
    raise AssertionError(f"no answer: {server.process.stdout}{server.process.stderr}")
