"""How long every verb is silent on real photographs: `python tests/measure/first_lines.py PHOTOS OUT`.

Runs each verb in its usual order in the folder OUT, with as few images and iterations as a verb allows, without a
terminal. Prints a table: seconds to the first line, to the end, and of the longest silence in between; seconds of
processor time. `--only plan evaluate` runs only these verbs on what an earlier call has left in OUT. `app` and `vote`
are stopped when they print their address.
"""

import argparse
import os
import resource
import select
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs"
# on a CPU, without internet
SMALL = (
    "--set training.stages=[{iterations=2,lr=1e-4}] --set data.gt_size=128 --set training.global_batch=2 "
    "--set training.micro_batch=1 --set validation.samples=4 --set validation.every=2 --set log.every=1"
)
WEIGHTS = "ncnn:realesrgan-x4plus"


@dataclass(frozen=True)
class Told:
    """What was measured of a command, in seconds; `code`: its exit code."""

    words: str
    first: float
    whole: float
    silence: float
    processor: float
    code: int


def commands(photos: Path) -> dict[str, str]:
    """Return the words of every verb, in an order in which each finds what it needs."""
    one = next(p for p in sorted(photos.rglob("*")) if p.suffix.lower() in (".jpg", ".png"))
    where = shlex.quote(str(photos))
    study = f"{CONFIG / 'layer_study.toml'} --set shards=shards/photos --dry-run"
    return {
        "config": "config degrade",
        "weights": "weights",
        "init": f"init {where} --force",
        "init 3GB": f"init {where} --memory 3GB --dry-run",
        "preview": f"preview archsr.toml --photos {where} --samples 8",
        "prepare": f"prepare {where} shards/photos",
        "inspect": "inspect shards/photos",
        "doctor": "doctor archsr.toml",
        "doctor --launch": f"doctor archsr.toml --launch {SMALL}",
        "plan": "plan archsr.toml",
        "plan 4GB": f"plan {CONFIG / 'full.toml'} --memory 4GB",
        "train --dry-run": f"train archsr.toml --dry-run {SMALL}",
        "train": f"train archsr.toml {SMALL}",
        "train --resume": f"train archsr.toml --resume {SMALL.replace('iterations=2', 'iterations=3')}",
        "runs": "runs",
        "evaluate": "evaluate runs/archsr --limit 6 --offline",
        "evaluate --photos": f"evaluate runs/archsr --photos {shlex.quote(str(one.parent))} --limit 2 --crop 96",
        "vote": "vote original runs/archsr --limit 2 --crop 96 --port 7999",
        "blend": f"blend {WEIGHTS} runs/archsr --alpha 0.5 --out half.safetensors",
        "upscale": f"upscale {shlex.quote(str(one))} large/ --model runs/archsr --existing overwrite",
        "export": "export runs/archsr --to pth",
        "app": "app runs/archsr --port 7998",
        "submit": f"submit archsr.toml --dry-run {SMALL}",
        "study": f"study {study}",
        "bench": "bench decode --small --seconds 0.2",
        "completion": "completion bash",
        "demo": "demo",
    }


def measure(words: str, folder: Path) -> Told:
    """Run a command in `folder`, and time what it prints."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = last = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "archsr", *shlex.split(words)], cwd=folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    first, silence = None, 0.0
    with (folder / "said.txt").open("ab") as log:
        log.write(f"\n$ archsr {words}\n".encode())
        while True:
            select.select([process.stdout], [], [])
            part = os.read(process.stdout.fileno(), 65536)
            now = time.monotonic()
            silence = max(silence, now - last)
            last = now
            if not part:
                break
            first = first or now - begun
            log.write(b"%7.2f " % (now - begun) + part)
            if b": http://" in part:
                process.send_signal(signal.SIGINT)
    code = process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Told(words, first or float("nan"), time.monotonic() - begun, silence, used, code)


def main() -> None:
    """Print a row for each verb as soon as it is measured."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", default=[], metavar="VERB")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    print("| verb | first line, s | longest silence, s | end, s | processor, s | exit code |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, words in commands(args.photos.resolve()).items():
        if args.only and name.split()[0] not in args.only and name not in args.only:
            continue
        told = measure(words, args.out)
        seconds = f"{told.first:.2f} | {told.silence:.1f} | {told.whole:.1f} | {told.processor:.1f}"
        print(f"| {name} | {seconds} | {told.code} |", flush=True)


if __name__ == "__main__":
    main()
