"""The same work by realesrgan 0.3.0 and basicsr 1.4.2, in their own environment, alternating with archsr.

On a CPU both sides use one thread and processor time, so other programs affect neither. On a GPU the wall time until it
has finished counts.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator

from archsr.bench.stages import LAYERS, Workload, iteration, tables
from archsr.bench.timing import Timing
from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.errors import UserError
from archsr.exporting import export
from archsr.models.download import cache_folder
from archsr.training.processes import end
from archsr.upscaling.upscaler import Upscaler, open_model

PEERS = ("realesrgan",)
_LIBRARIES = (
    "torch", "torchvision", "scipy", "opencv-python-headless", "pyyaml", "requests", "tqdm", "lmdb", "addict", "future",
    "yapf", "scikit-image", "tb-nightly", "facexlib", "gfpgan",
)  # fmt: skip
_RELEASES = ["--no-deps", "--use-pep517", "basicsr==1.4.2", "realesrgan==0.3.0"]
_X4PLUS = "ncnn:realesrgan-x4plus"


@dataclass(frozen=True)
class Terms:
    """What both sides do: device, batch, iterations and image size, and `half`, the precision besides fp32."""

    device: torch.device
    batch: int
    iterations: int
    image: tuple[int, int]  # height and width of the upscaled image
    half: Literal["bf16", "fp16"]  # for upscaling; iterations use bf16

    def timed(self, work: Callable[[], object]) -> float:
        """Return the seconds of one call."""
        if self.device.type == "cpu":
            begun = time.process_time()
            work()
            return time.process_time() - begun
        torch.cuda.synchronize(self.device)
        begun = time.perf_counter()
        work()
        torch.cuda.synchronize(self.device)
        return time.perf_counter() - begun


def terms() -> Terms:
    """Return the terms for this machine: on a GPU the reference's batch, on a CPU work of a few seconds."""
    if torch.cuda.is_available():
        return Terms(torch.device("cuda"), 12, 20, (768, 1024), "fp16")
    return Terms(torch.device("cpu"), 2, 1, (128, 160), "bf16")


def against(*, rounds: int = 3, work: Workload | None = None, weights: str = _X4PLUS) -> list[Timing]:
    """Return rows of both sides: degradation, whole iterations, and upscaling one image with the true x4plus.

    Raises `UserError` if the environment cannot be created.
    """
    agreed = terms()
    python = environment()
    threads = torch.get_num_threads()
    if agreed.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            sized = replace(work or Workload(), batch=agreed.batch)
            compared_models = {**_iterations(python, sized, agreed), **_enlarging(python, Path(name), agreed, weights)}
            return _in_turns(compared_models, rounds)
    finally:
        torch.set_num_threads(threads)


def _in_turns(compared_models: dict[tuple[str, str], Callable[[], float]], rounds: int) -> list[Timing]:
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in compared_models}
    for number in range(rounds):
        for key, work in compared_models.items():
            seconds[key].append(work())
            print(f"round {number + 1} of {rounds}: {', '.join(key)}: {seconds[key][-1]:.2f} s", file=sys.stderr)
    rows: list[Timing] = []
    for (who, what), taken in seconds.items():
        plain = what.removesuffix(", bf16").removesuffix(", fp16")
        theirs = statistics.median(seconds["realesrgan", what if ("realesrgan", what) in seconds else plain])
        mine = statistics.median(taken)
        rows.append(
            Timing("against", f"{what}: {who}", mine, "s", taken, limit="realesrgan's speed", share=theirs / mine)
        )
    return rows


def environment() -> str:
    """Return the Python with the peers. Create the environment if needed; ARCHSR_PEER_PYTHON names another."""
    if given := os.environ.get("ARCHSR_PEER_PYTHON"):
        return given
    folder = cache_folder().with_name("peers") / "realesrgan"
    python, done = folder / "bin" / "python", folder / "complete"
    if done.is_file():
        return str(python)
    print(f"{folder}: creating an environment with realesrgan and basicsr (5 GB, only once)", file=sys.stderr)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    _run([str(python), "-m", "pip", "install", "--quiet", *_LIBRARIES])
    _run([str(python), "-m", "pip", "install", "--quiet", *_RELEASES])
    done.touch()
    return str(python)


def _run(command: list[str]) -> str:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "?").splitlines()[-1]
        raise UserError(f"{' '.join(command[:6])} ...: failed: {last}")
    return done.stdout


def _script(name: str) -> str:
    """Return a script for the peers: inside the package in an installed wheel, among the tests in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "peers" / name
    return str(inside if inside.is_file() else package.parent / "tests" / "peers" / name)


def _iterations(python: str, work: Workload, agreed: Terms) -> dict[tuple[str, str], Callable[[], float]]:
    found: dict[tuple[str, str], Callable[[], float]] = {}
    for layers, short in (("all layers", "all"), ("last layer", "last")):
        what = f"iteration, {layers}, batch {work.batch}, gt 256"
        found["realesrgan", what] = lambda s=short: _their_iteration(python, s, agreed)
        found["archsr", what] = lambda n=layers: _our_iteration(work, n, "fp32", agreed)
        found["archsr", f"{what}, bf16"] = lambda n=layers: _our_iteration(work, n, "bf16", agreed)
    return found


def _their_iteration(python: str, layers: str, agreed: Terms) -> float:
    how = [layers, str(agreed.batch), str(agreed.iterations), agreed.device.type]
    said: dict[str, list[float]] = json.loads(_run([python, _script("official_iteration.py"), *how]))
    return statistics.median(f + s for f, s in zip(said["feed"], said["step"], strict=True)) / 1000


def _our_iteration(work: Workload, layers: str, precision: str, agreed: Terms) -> float:
    config = check(TrainConfig, tables(work, LAYERS[layers], precision), where="bench")
    kind = {"fp32": "no"}.get(precision, precision)
    accelerator = Accelerator(cpu=agreed.device.type == "cpu", mixed_precision=kind)
    try:
        once = iteration(config, accelerator)
        once()
        return statistics.median(agreed.timed(once) for _ in range(agreed.iterations))
    finally:
        end()


def _enlarging(python: str, folder: Path, agreed: Terms, weights: str) -> dict[tuple[str, str], Callable[[], float]]:
    height, width = agreed.image
    pixels = (np.random.default_rng(0).random((height, width, 3)) * 255).astype(np.uint8)
    np.save(folder / "in.npy", pixels)
    export(weights, folder / "x.pth")
    what = f"upscaling {width}×{height}"
    net, _ = open_model(weights)

    def theirs(precision: str) -> float:
        files = [str(folder / name) for name in ("x.pth", "in.npy", "out.npy")]
        how = ["0", agreed.device.type, precision]
        return float(_run([python, _script("official_upscale.py"), *files, *how]).splitlines()[-1])

    def ours(precision: str) -> float:
        upscaler = Upscaler(net, device=agreed.device, precision=precision)  # pyright: ignore[reportArgumentType]
        upscaler.pixels(pixels[:32, :32])
        return agreed.timed(lambda: upscaler.pixels(pixels))

    found = {("realesrgan", what): lambda: theirs("fp32"), ("archsr", what): lambda: ours("fp32")}
    if agreed.half == "fp16":
        found["realesrgan", f"{what}, fp16"] = lambda: theirs("fp16")
    found["archsr", f"{what}, {agreed.half}"] = lambda: ours(agreed.half)
    return found
