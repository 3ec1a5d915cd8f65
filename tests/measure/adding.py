"""By hand: what adding 1 % of photographs to a prepared dataset costs, beside preparing all of them anew.

    python tests/measure/adding.py FOLDER --photos 20000

Prints time and disk of each. The photographs are drawn, 512 x 384: real ones take longer to decode and
as long to compare, so that the ratio gets smaller with them.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import beside  # noqa: F401
from large_set import PER_FOLDER, SETTINGS, make

from archsr.data.prepare.worker_pool import init_worker


def draw(folder: Path, numbers: range) -> None:
    missing = [(folder, n, "photo") for n in numbers if not _path(folder, n).exists()]
    with ProcessPoolExecutor(os.cpu_count(), initializer=init_worker) as pool:
        list(pool.map(make, missing, chunksize=64))


def _path(folder: Path, number: int) -> Path:
    """Where `make` writes it."""
    return folder / f"project {number // PER_FOLDER:06d}" / f"{number:07d} photo.jpg"


def disk(folder: Path) -> float:
    """Megabytes, files that are linked counted once."""
    files = {p.stat().st_ino: p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    return sum(files.values()) / 1e6


def prepared(photos: Path, out: Path) -> float:
    """Seconds."""
    began = time.monotonic()
    overrides = [part for setting in SETTINGS for part in ("--set", setting)]
    subprocess.run([sys.executable, "-m", "archsr", "prepare", str(photos), str(out), *overrides], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=20000)
    args = parser.parse_args()
    photos, out, anew = (args.folder / name for name in ("photos", "shards", "anew"))
    draw(photos, range(args.photos))
    rows = [("first", prepared(photos, out), disk(out))]
    draw(photos, range(args.photos, args.photos + args.photos // 100))
    before = disk(out)
    rows.append((f"{args.photos // 100} more", prepared(photos, out), disk(out) - before))
    rows.append(("all anew", prepared(photos, anew), disk(anew)))
    for name, seconds, megabytes in rows:
        print(f"{name:12} {seconds:7.1f} s {megabytes:8.1f} MB of disk")


if __name__ == "__main__":
    main()
