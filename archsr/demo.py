"""`archsr demo`: run the ordinary commands in sequence on synthetic photographs."""

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from archsr.config import configs_folder
from archsr.data.drawn_photos import draw_photos
from archsr.errors import UserError
from archsr.models.weights import fetch, local_file
from archsr.training.logging.log import clock

WEIGHTS = "ncnn:realesrgan-x4plus"  # initial weights in configs/demo.toml


def demo(folder: Path, *, seed: int = 0) -> int:
    """Run all steps in `folder`. Return the exit code of the first failing command, or 0."""
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; remove an earlier demo, or choose another folder: archsr demo FOLDER")
    began = time.perf_counter()
    print(f"drawing photographs of architecture into {folder / 'photos'}", flush=True)
    count = draw_photos(folder / "photos", seed=seed)
    print(f"{count} files", flush=True)
    if local_file(WEIGHTS) is None:
        print(f"\n$ archsr weights {WEIGHTS}\n{fetch(WEIGHTS)}", flush=True)
    for command in _commands(folder, seed):
        code = _run(command)
        if code:
            print(f"archsr: the last command failed with exit code {code}", file=sys.stderr)
            return code
    print(f"\ndone in {clock(time.perf_counter() - began)}. Look at:")
    for name in (
        "runs/demo/curves.png",
        "runs/demo/evaluation/test/report.md",
        "runs/demo/evaluation/test/report.html",
    ):
        print(f"  {folder / name}")
    print(f"  {folder / 'upscaled'}")
    return 0


def _commands(folder: Path, seed: int) -> list[list[str]]:
    configs = configs_folder()
    shards, runs = folder / "shards", folder / "runs"
    image = sorted((folder / "photos").glob("*/*view 1.jpg"))[0]
    archsr = [sys.executable, "-m", "archsr"]
    train = [*archsr, "train", "--config", str(configs / "demo.toml"), "--processes", "1"]
    train += ["--set", f"data.shards={shards}", "--set", f"runs={runs}", "--set", f"seed={seed}"]
    return [
        [*archsr, "prepare", str(folder / "photos"), str(shards), "--config", str(configs / "demo_prepare.toml")],
        train,
        [*archsr, "evaluate", str(runs / "demo"), "--offline"],
        [*archsr, "upscale", str(image), str(folder / "upscaled"), "--model", str(runs / "demo")],
    ]


def _run(command: list[str]) -> int:
    shown = shlex.join(command).replace(f"{sys.executable} -m archsr", "archsr")
    print(f"\n$ {shown}", flush=True)
    started = subprocess.Popen(command)
    try:
        return started.wait()
    except KeyboardInterrupt:
        # a terminal also sends Ctrl-C to the child; a signal to this process alone does not reach it
        started.send_signal(signal.SIGTERM)
        started.wait()
        raise
