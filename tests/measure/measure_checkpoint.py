"""By hand: how long training stands still for a checkpoint, beside a plain `torch.save` of the same state.

    python tests/measure/measure_checkpoint.py

The state of a full fine-tune with Real-ESRGAN's networks: generator, its average, discriminator, both Adams, pair pool.
Medians of five, taking turns, in a temporary folder; both are flushed to disk (`torch.save` by an fsync of its file).
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from archsr.checkpoint import Contents, Keep, Saver
from archsr.config import RRDBNetConfig, UNetConfig
from archsr.models.build import build, build_discriminator
from archsr.utils.world import World


def state():
    nets = {"generator": build(RRDBNetConfig()), "discriminator": build_discriminator(UNetConfig())}
    files = {name: net.state_dict() for name, net in nets.items()}
    files["ema"] = {k: v.clone() for k, v in files["generator"].items()}
    for name in nets:
        short = f"optimizer_{name[0]}"
        files[short] = {f"{k}.{m}": v.clone() for k, v in files[name].items() for m in ("exp_avg", "exp_avg_sq")}
    pool = {
        "lq": torch.zeros(180, 3, 64, 64, dtype=torch.uint8),
        "gt": torch.zeros(180, 3, 256, 256, dtype=torch.uint8),
    }
    return Contents(files, {"progress": {"step": 1}}, pool)


def plainly(contents, path):
    started = time.perf_counter()
    with path.open("wb") as out:
        torch.save({"files": contents.files, "state": contents.state, "own": contents.own}, out)
        out.flush()
        os.fsync(out.fileno())
    return time.perf_counter() - started


def main():
    contents = state()
    size = sum(t.nbytes for part in (*contents.files.values(), contents.own) for t in part.values())
    plain, still, whole = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        saver = Saver(Path(folder), world=World(), keep=Keep(2))
        for step in range(6):  # the first makes the copies' memory
            plain.append(plainly(contents, Path(folder) / "plain.pth"))
            saver.begin(step, contents)
            saver.settle()
            still.append(saver.finished[-1].paused)
            whole.append(saver.finished[-1].seconds)
        saver.close()
    print(f"{size / 2**20:.0f} MiB; seconds: median (first)")
    for name, times in (("torch.save and fsync", plain), ("training stands still", still), ("until complete", whole)):
        print(f"{name:24}{np.median(times[1:]):.2f} ({times[0]:.2f})")


if __name__ == "__main__":
    main()
