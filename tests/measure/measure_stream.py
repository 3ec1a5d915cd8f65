"""How fast the stream is beside decoding alone, and what a resumed run on a huge dataset costs to start. Prints.

    python tests/measure/measure_stream.py SHARDS [--workers 2] [--samples 1500] [--rounds 5]
    python tests/measure/measure_stream.py --huge [--shards 50000]

Decoding alone: as many processes as workers, each with its share of the same samples, encoded, in memory. The rounds of
both take turns, so that what else the machine does falls on both. Where it is busy, believe the processor time.
"""

import argparse
import hashlib
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch

from archsr.data import manifest as mf
from archsr.data.stream.loader import Stream, StreamOptions, make_plan
from archsr.data.stream.plan import Slice
from archsr.images.pixels import decode_tensor

MICRO = 12


def options_of(folder, size):
    return StreamOptions(folder, mf.load(folder).splits["train"].shards, seed=0, window=8, size=size, hflip=True)


def stream_rate(options, workers, samples):
    """Samples per second of the whole stream, and per second of processor time of all its processes.

    Counted after a first round of batches, which starts the workers.
    """
    stream = Stream(options, Slice(0, MICRO, 1, 0, 1), workers=workers, pin_memory=False)
    for _ in range(2 * workers + 2):
        stream.next()
    began, used = time.perf_counter(), _processor_time()
    for _ in range(samples // MICRO):
        stream.next()
    wall, used = time.perf_counter() - began, _processor_time() - used
    stream.close()
    taken = samples // MICRO * MICRO
    return taken / wall, taken / used


def _processor_time():
    """Seconds of this process and of its children that live."""
    this = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in [this, *this.children()])


def _decode(data, ready, out):
    torch.set_num_threads(1)
    for one in data[:20]:
        decode_tensor(one)
    ready.wait()
    began, used = time.perf_counter(), time.process_time()
    for one in data:
        decode_tensor(one)
    out.put((began, time.perf_counter(), time.process_time() - used))


def decode_rate(options, workers, samples):
    """As `stream_rate`, of `workers` processes that do nothing but decode."""
    plan, data = make_plan(options), []
    indexes = {}
    for position in range(samples):
        place = plan.place(position)
        shard = options.shards[place.shard]
        index = indexes.setdefault(place.shard, mf.read_index(options.folder, shard))
        member = index[place.index].members["gt"]
        with (options.folder / shard.file).open("rb") as file:
            file.seek(member.offset)
            data.append(file.read(member.size))
    fork = multiprocessing.get_context("fork")
    ready, out = fork.Barrier(workers), fork.Queue()
    workers_pool = [fork.Process(target=_decode, args=(data[w::workers], ready, out)) for w in range(workers)]
    for process in workers_pool:
        process.start()
    times = [out.get() for _ in workers_pool]
    for process in workers_pool:
        process.join()
    wall = max(t for _, t, _ in times) - min(t for t, _, _ in times)
    return samples / wall, samples / sum(used for _, _, used in times)


def compare(folder, *, workers, samples, rounds, size):
    options = options_of(folder, size)
    rates = [(decode_rate(options, workers, samples), stream_rate(options, workers, samples)) for _ in range(rounds)]
    for which, name in enumerate(("by the clock", "by processor time")):
        pairs = [(alone[which], stream[which]) for alone, stream in rates]
        alone, stream = (statistics.median(r) for r in zip(*pairs, strict=True))
        shares = sorted(s / a for a, s in pairs)
        print(
            f"{name}, medians of {rounds}, {workers} workers: decoding {alone:.0f}/s, stream {stream:.0f}/s, "
            f"share {statistics.median(shares):.1%} ({shares[0]:.1%} to {shares[-1]:.1%})"
        )


# ---------------------------------------------------------------- start of a resumed run


def huge_manifest(folder, shards, per_shard):
    """A manifest whose tars are holes of the right size; the shards of one window have indexes, so that it can open."""
    digest = lambda *name: hashlib.sha256(repr(name).encode()).hexdigest()
    train = [
        {"file": f"train-{n:05d}.tar", "samples": per_shard, "bytes": 10240, "sha256": digest(n),
         "index": f"train-{n:05d}.jsonl", "index_sha256": digest("index", n)}
        for n in range(shards)
    ]  # fmt: skip
    splits = {"train": {"photos": 1, "scenes": 1, "samples": shards * per_shard, "shards": train}}
    splits |= {side: {"photos": 0, "scenes": 0, "samples": 0, "shards": []} for side in ("val", "test")}
    sources = {"origin": "", "file": "", "sha256": "", "same": "", "same_sha256": "", "found": 0, "kept": 0, "leaks": 0}
    models = {k: mf.Split.model_validate(v) for k, v in splits.items()}
    made = {"schema": mf.SCHEMA, "scale": 4, "fingerprint": mf.fingerprint(models), "prepare": {}, "sources": sources,
            "left_out": [], "splits": splits}  # fmt: skip
    (folder / mf.NAME).write_text(json.dumps(made, indent=1))
    for shard in train:
        with (folder / shard["file"]).open("wb") as file:
            file.truncate(shard["bytes"])


START = """
import resource, sys, time
began = time.perf_counter()
from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.training.data import open_data
from archsr.training.pairs import options_of
from archsr.data.stream.loader import Stream, make_plan
from archsr.data.stream.plan import Slice
from archsr.errors import UserError
imported = time.perf_counter()
config = check(TrainConfig, {"name": "huge", "data": {"shards": sys.argv[1]},
    "training": {"stages": [{"iterations": 1, "lr": 1e-4}]}}, where="here")
data = open_data(config)
opened = time.perf_counter()
options = options_of(config, data, 1.0)
place = make_plan(options).place(10_000_000)
placed = time.perf_counter()
stream = Stream(options, Slice(10_000_000, 12, 1, 0, 1), workers=int(sys.argv[2]), pin_memory=False)
try:
    stream.next()
except UserError as error:
    assert "cannot be read: No such file" in str(error), error  # the first index: the whole way to it has been gone
ended = time.perf_counter()
stream.close()
own, theirs = (resource.getrusage(w).ru_maxrss / 2**20 for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(f"imports {imported - began:.2f} s, manifest and sizes {opened - imported:.2f} s, "
      f"first place {placed - opened:.2f} s, "
      f"stream until its first file {ended - placed:.2f} s; after the imports {ended - imported:.2f} s; "
      f"peak memory {own:.2f} GiB, of a worker {theirs:.2f} GiB")
"""


def huge(shards, workers):
    per_shard = 50_000_000 // shards
    with tempfile.TemporaryDirectory() as name:
        huge_manifest(Path(name), shards, per_shard)
        size = (Path(name) / mf.NAME).stat().st_size / 1e6
        print(f"{shards:,} shards of {per_shard:,} samples, manifest {size:.1f} MB, resumed at sample 10,000,000:")
        for _ in range(3):
            subprocess.run([sys.executable, "-c", START, name, str(workers)], check=True)


def main():
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--huge", action="store_true")
    parser.add_argument("--shards", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=288)
    args = parser.parse_args()
    if args.huge:
        huge(args.shards, args.workers)
    else:
        compare(args.folder, workers=args.workers, samples=args.samples, rounds=args.rounds, size=args.size)


if __name__ == "__main__":
    main()
