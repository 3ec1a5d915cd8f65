"""By hand: enlarging beside realesrgan's own upscaler and ncnn, the true x4plus, on the CPU.

    ARCHSR_PEER_PYTHON=peers/bin/python python tests/measure/upscale_speed.py WEIGHTS.safetensors PHOTO

Processor time, medians over rounds in which the programs take turns; agreement with the whole image in float32.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from archsr.exporting import export
from archsr.images.pixels import read_photo
from archsr.upscaling.upscaler import Upscaler, open_model

PEERS = Path(__file__).resolve().parents[1] / "peers"

ROUNDS = 3
SIDE = 280, 360  # height, width of the crop


def ours(weights, pixels, **options):
    upscaler = Upscaler(open_model(weights)[0], device=torch.device("cpu"), **options)
    upscaler.pixels(pixels[:32, :32])
    begun = time.process_time()
    result = upscaler.pixels(pixels)
    return time.process_time() - begun, result


def theirs(weights, folder, tile):
    script = PEERS / "official_upscale.py"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [os.environ["ARCHSR_PEER_PYTHON"], str(script), weights, str(folder / "in.npy"), str(folder / "out.npy")]
    done = subprocess.run([*command, str(tile)], check=True, capture_output=True, text=True, env=env)
    return float(done.stdout.splitlines()[-1]), np.load(folder / "out.npy")


NCNN = """
import sys, time, ncnn, numpy as np
net = ncnn.Net()
net.load_param(sys.argv[1]); net.load_model(sys.argv[2])
x = np.ascontiguousarray(np.load(sys.argv[3]).transpose(2, 0, 1).astype(np.float32) / 255)
begun = time.process_time()
run = net.create_extractor()
run.input("data", ncnn.Mat(x))
out = np.array(run.extract("output")[1])
print(time.process_time() - begun)
np.save(sys.argv[4], (out.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))
"""


def by_ncnn(folder):
    files = [folder / "x.param", folder / "x.bin", folder / "in.npy", folder / "out.npy"]
    done = subprocess.run([sys.executable, "-c", NCNN, *map(str, files)], check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1]), np.load(folder / "out.npy")


def psnr(a, b):
    return -10 * np.log10(max(1e-12, np.square((a.astype(float) - b) / 255).mean()))


def main(weights, photo):
    whole = read_photo(Path(photo)).pixels
    top, left = (whole.shape[0] - SIDE[0]) // 2, (whole.shape[1] - SIDE[1]) // 2
    pixels = np.ascontiguousarray(whole[top : top + SIDE[0], left : left + SIDE[1]])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "in.npy", pixels)
        for target in ("x.pth", "x.param"):
            export(weights, folder / target, precision="fp16" if target == "x.param" else "fp32")
        compared_models = {
            "realesrgan, whole": lambda: theirs(str(folder / "x.pth"), folder, 0),
            "realesrgan, tiles of 200": lambda: theirs(str(folder / "x.pth"), folder, 200),
            "ncnn, whole": lambda: by_ncnn(folder),
            "archsr, whole": lambda: ours(weights, pixels, tile=0),
            "archsr, tiles of 200": lambda: ours(weights, pixels, tile=200),
            "archsr, whole, bf16": lambda: ours(weights, pixels, tile=0, precision="bf16"),
            "archsr, tiles of 200, bf16": lambda: ours(weights, pixels, tile=200, precision="bf16"),
        }
        seconds = {name: [] for name in compared_models}
        results = {}
        for _ in range(ROUNDS):
            for name, run in compared_models.items():
                took, results[name] = run()
                seconds[name].append(took)
                print(name, round(took, 1), file=sys.stderr, flush=True)
    one = statistics.median(seconds["realesrgan, whole"])
    print(f"{SIDE[1]}×{SIDE[0]} pixels, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| | seconds | realesrgan's speed = 1 | dB against fp32 whole | pixels off by more than a level |")
    print("|---|---:|---:|---:|---:|")
    for name, times in seconds.items():
        best = results["archsr, whole"].astype(int)
        off = (np.abs(results[name] - best).max(2) > 1).mean()
        took = statistics.median(times)
        print(f"| {name} | {took:.1f} | {one / took:.2f} | {psnr(results[name], best):.1f} | {off:.4%} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
