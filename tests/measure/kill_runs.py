"""By hand: runs killed at random moments, resumed each time, and compared with the unbroken run at the end.

    python tests/measure/kill_runs.py [--kills 100] [--launched 6] [--seed 0]

Two processes, a small network, a checkpoint every second iteration. SIGKILL goes to one rank, to all, or, for the
`--launched` ones, to `accelerate launch` itself; the moment is random, and for half of the kills one at which a
checkpoint is being written. The other processes must leave by themselves, but for those that still wait for the dead
one to join: a launcher ends them, and so does this script. Prints how often which happened.
"""

import argparse
import collections
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import beside  # noqa: F401
import psutil
import tomli_w
import torch
from test_launch import command, environment

from archsr.checkpoint import problem_with
from archsr.config import PrepareConfig, TrainConfig
from archsr.config.config_file import check
from archsr.data.drawn_photos import draw_photos
from archsr.data.prepare.pipeline import prepare
from archsr.training import launch

LEAVE = 20  # seconds in which the others must be gone
STEPS = 40


def tables(folder):
    return {
        "name": "unbroken",
        "runs": str(folder / "runs"),
        "model": {"arch": "rrdbnet", "features": 8, "growth": 4, "blocks": 2, "weights": "scratch"},
        "discriminator": {"features": 4, "weights": "scratch"},
        "data": {"shards": str(folder / "shards"), "gt_size": 32, "workers": 0},
        "degrade": {"pool_batches": 2},
        "losses": {"perceptual": {"weight": 0.0}},
        "training": {
            "layers": ["all"], "global_batch": 4, "micro_batch": 2, "precision": "fp32",
            "stages": [{"iterations": STEPS, "lr": 1e-3}],
        },
        "validation": {"every": 10, "samples": 3, "images": 0},
        "checkpoint": {"every": 2, "keep": 2},
        "log": {"every": 10, "trackers": []},
    }  # fmt: skip


def rank_main(config, rank, port, output):
    """One rank, in a child that has everything imported already."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    with output.open("a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        torch.set_num_threads(1)
        launch.run(config, resume=True)


def start(config, output):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=rank_main, args=(config, r, port, output)) for r in range(2)]
    for process in ranks:
        process.start()
    return ranks


def wait_for_moment(folder, alive, rng):
    """A random moment after the start; for half of them the next at which a checkpoint is half written."""
    inside = rng.random() < 0.5
    time.sleep(rng.uniform(0.3, 6))
    while inside and alive():
        if list((folder / "checkpoints").glob(".step-*.tmp")):
            return "inside a save"
        time.sleep(0.001)
    return "anywhere"


def kill_forked(config, folder, output, rng, counts):
    output.write_text("")
    ranks = start(config, output)
    moment = wait_for_moment(folder, lambda: all(p.is_alive() for p in ranks), rng)
    victims = rng.choice([ranks[:1], ranks[1:], ranks])
    if all(p.is_alive() for p in ranks):
        for process in victims:
            os.kill(process.pid, signal.SIGKILL)
        counts["all ranks" if len(victims) == 2 else f"rank {ranks.index(victims[0])}"] += 1
        counts[moment] += 1
    started = time.perf_counter()
    for process in ranks:
        process.join(LEAVE)
        if process.is_alive():
            joined = "memory forecast" in output.read_text()  # what is said once all are there
            counts["did not leave" if joined else "ended while waiting for the dead one to join"] += 1
            process.kill()
            process.join()
    counts["checkpoints skipped"] += output.read_text().count(": skipped, ")
    return time.perf_counter() - started


def kill_launched(path, folder, output, rng, counts):
    with output.open("w") as out:
        launcher = psutil.Popen(
            command(2, path, "--resume"), env=environment(ACCELERATE_USE_CPU="true"), stdout=out, stderr=out
        )
    while launcher.poll() is None and "memory forecast" not in output.read_text():  # until then it is importing
        time.sleep(0.05)
    moment = wait_for_moment(folder, lambda: launcher.poll() is None, rng)
    family = []
    if launcher.poll() is None:
        family = launcher.children(recursive=True)
        launcher.kill()
        counts["launcher"] += 1
        counts[moment] += 1
    launcher.wait()
    started = time.perf_counter()
    _, left = psutil.wait_procs(family, timeout=LEAVE)
    counts["did not leave"] += len(left)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return time.perf_counter() - started


def whole(folder):
    return folder / "checkpoints" / f"step-{STEPS:08d}"


def main():
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--launched", type=int, default=6, help="of these, so many through accelerate launch")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, counts, leaving = random.Random(args.seed), collections.Counter(), []
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        draw_photos(base / "photos", projects=8, views=1, plans=0)
        sizes = {"val": 0.15, "test": 0.08, "tile": 160, "min_side": 120, "pair_size": 64, "samples_per_shard": 16}
        prepare(base / "photos", base / "shards", PrepareConfig(**sizes))
        plain = tables(base)
        for process in start(check(TrainConfig, plain, where="kill"), base / "unbroken.log"):
            process.join()
        wanted = {p.name: p.read_bytes() for p in whole(base / "runs" / "unbroken").glob("*.safetensors")}
        same = finished = torn = 0
        while sum(counts[k] for k in ("rank 0", "rank 1", "all ranks", "launcher")) < args.kills:
            name = f"killed-{finished}"
            config = check(TrainConfig, {**plain, "name": name}, where="kill")
            folder, output, path = base / "runs" / name, base / f"{name}.log", base / f"{name}.toml"
            path.write_text(tomli_w.dumps({**plain, "name": name}))
            while not whole(folder).is_dir():
                seconds = (
                    kill_launched(path, folder, output, rng, counts)
                    if counts["launcher"] < args.launched
                    else kill_forked(config, folder, output, rng, counts)
                )
                leaving.append(seconds)
                torn += sum(bool(problem_with(p)) for p in (folder / "checkpoints").glob("step-*"))
            for process in start(config, output):
                process.join()
            found = {p.name: p.read_bytes() for p in whole(folder).glob("*.safetensors")}
            finished += 1
            same += found == wanted
            print(f"{name}: {'bit-identical' if found == wanted else 'DIFFERENT'}; {dict(counts)}", flush=True)
            shutil.rmtree(folder)
    print(f"\nkills: {dict(counts)}")
    print(f"{finished} runs finished, {same} bit-identical to the unbroken one; {torn} checkpoints that do not verify")
    print(f"the others left within {max(leaving):.1f} s")
    sys.exit(same != finished or torn > 0 or counts["did not leave"] > 0)


if __name__ == "__main__":
    main()
