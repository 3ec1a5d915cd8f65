"""Checks of what a run starts from: weights, shards, and how the samples are divided between processes."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from archsr.checkpoint.ancestry import where_is
from archsr.config import TrainConfig
from archsr.data import manifest as mf
from archsr.data.remote import Remote, cache_of
from archsr.data.stream.loader import make_plan
from archsr.data.stream.plan import Slice
from archsr.doctor.line import Line, ok
from archsr.errors import UserError
from archsr.evaluation.statistics.bootstrap import FEWEST_SCENES
from archsr.models.download import OFFICIAL, OFFLINE, cache_folder, cached, verify
from archsr.models.ncnn import NCNN
from archsr.models.weights import local_file, names
from archsr.training.data import Data, open_data
from archsr.training.losses import feature_losses
from archsr.training.memory.forecast import parameters, trained_parameters
from archsr.training.pairs import options_of
from archsr.training.setup import with_micro_batch
from archsr.utils.atomic import sha256
from archsr.utils.progress import tracked
from archsr.utils.world import World

_QUICKLY = 2 * 2**30  # bytes of shards that are hashed by default
_BATCHES = 50  # how many batches are compared between processes


def weights(config: TrainConfig) -> Iterator[Line]:
    """Yield a line for every weights file that the config names."""
    sources = {"generator": config.model.weights}
    if config.losses.gan.weight:
        sources["discriminator"] = config.discriminator.weights
    for name, source in (sources | feature_losses.sources(config.losses)).items():
        yield _weights(f"weights, {name}", source)


def available_weights() -> Iterator[Line]:
    """Yield a line for every official weights file on this machine, and one for what works offline."""
    here = [name for name in OFFICIAL if cached(name)]
    for name in here:
        yield _weights("weights", name)
    offline = [name for name in NCNN if local_file(name)]
    if offline:
        yield ok("weights", f"offline: {', '.join(offline)}")
    elif not here:
        mend = f"archsr weights RealESRGAN_x4plus; without internet: archsr weights {OFFLINE['RealESRGAN_x4plus']}"
        yield Line("weights", "warning", "no official weights on this machine; a run would download them", mend)


def layers(config: TrainConfig) -> Line:
    """Check that the layers to train exist."""
    try:
        trained, total = trained_parameters(config), parameters(config)
    except UserError as error:
        return Line("layers", "wrong", str(error), "archsr plan CONFIG lists the names")
    return ok("layers", f"{trained:,} of {total:,} parameters are trained")


def targets(config: TrainConfig) -> Line:
    """Check that inputs and targets are made from the same photographs."""
    if problem := config.problem_with_targets:
        name = re.findall(r"losses\.\w+\.sharpened", problem)[0]
        return Line("targets", "wrong", problem, f"--set {name}=auto")
    return ok("targets", "inputs and targets are sharpened alike, or as configured")


def _weights(about: str, source: str) -> Line:
    where = where_is(source)
    if source in OFFICIAL:
        path = cached(source)
        if path is None:
            return Line(about, "warning", f"{source}: missing, a run would download it", _ways_to(source))
        try:
            verify(path, OFFICIAL[source])
        except UserError as error:
            return Line(about, "wrong", str(error), f"archsr weights {source}")
        return ok(about, f"{source}: {path}, SHA-256 verified")
    if source in names() and local_file(source) is None:
        return Line(about, "wrong", f"{source}: not on this machine", f"archsr weights {source}")
    if "NOT THERE" in where:
        offline = "--set model.weights=ncnn:realesrgan-x4plus"
        what = where.removeprefix("NOT THERE").removeprefix(": ") or "no such file"
        return Line(about, "wrong", f"{source}: {what}", f"archsr weights lists names; offline: {offline}")
    return ok(about, f"{source}: {where}")


def _ways_to(source: str) -> str:
    ways = [f"archsr weights {source}", f"offline: copy {OFFICIAL[source].file} into {cache_folder()}"]
    ways += [f"or weights = '{OFFLINE[source]}'"] if source in OFFLINE else []
    return "; ".join(ways)


def shards(config: TrainConfig, *, every: bool) -> Iterator[Line]:
    """Check that the dataset exists, has the right scale, is intact and large enough. With `every`, hash all of it."""
    try:
        data = open_data(config)
    except UserError as error:
        mend = "archsr prepare PHOTOS " + config.data.shards if "archsr prepare" not in str(error) else ""
        yield Line("shards", "wrong", str(error), mend)
        return
    yield ok("shards", f"{data.folder}: {data.summary().splitlines()[0]}")
    if isinstance(data.folder, Path):
        yield _hashes(data.folder, data.manifest, every=every)
    else:
        yield ok("shards, hashes", "at a URL: each is verified when it arrives")
    yield _mixed(config, data)
    for what, mend in data.warnings(config):
        yield Line("shards, use", "warning", what, mend)
    test = data.manifest.splits["test"]
    if test.scenes < FEWEST_SCENES:
        what = f"{test.scenes} test scenes: an evaluation gives no verdict on fewer than {FEWEST_SCENES}"
        yield Line("shards, test", "warning", what, "prepare with a larger share: --set test=0.3; archsr init finds it")


def _hashes(folder: Path, manifest: mf.Manifest, *, every: bool) -> Line:
    files = [shard for split in manifest.splits.values() for shard in split.shards]
    budget, seen = _QUICKLY, 0
    for shard in tracked(files, "verifying", unit="shard"):
        if not every and shard.bytes > budget and seen:
            break
        if sha256(folder / shard.file) != shard.sha256:
            what = f"{folder / shard.file}: altered (its SHA-256 differs from the manifest)"
            return Line("shards, hashes", "wrong", what, f"archsr prepare PHOTOS {folder} again, or copy it again")
        budget, seen = budget - shard.bytes, seen + 1
    rest = "" if seen == len(files) else f" of {len(files)} (--verify: all)"
    return ok("shards, hashes", f"{seen}{rest} verified")


def _mixed(config: TrainConfig, data: Data) -> Line:
    """Report how many shards are mixed.

    A small number does no harm in a local folder. From a URL, all of them must arrive before the first batch. Workers
    need no shards of their own: each one reads its positions from any shard.
    """
    count, window = len(data.manifest.splits["train"].shards), config.data.window
    said = f"{data.samples} samples in {count}, {min(count, window)} of them mixed at a time"
    if isinstance(data.folder, Remote) and count <= window:
        mend = f"--set data.window={max(1, count // 4)}, or archsr prepare ... --set samples_per_shard=128"
        return Line("shards, number", "warning", f"{said}: all must arrive before training begins", mend)
    return ok("shards, number", said)


def sharing(config: TrainConfig, processes: int) -> Line:
    """Check that this many processes would see each sample of the first batches exactly once."""
    about = f"samples for {processes}"
    try:
        shared = with_micro_batch(config, World(size=processes))
        data = open_data(config)
    except UserError as error:
        return Line(about, "wrong", str(error), "change the number of processes or training.global_batch")
    micro = int(shared.training.micro_batch)
    plan = make_plan(options_of(config, data, config.training.stages[0].subset))
    accumulation = config.training.global_batch // (micro * processes)
    count = min(_BATCHES * config.training.global_batch, plan.total) // config.training.global_batch
    seen = [
        plan.place(position)
        for rank in range(processes)
        for number in range(count * accumulation)
        for position in Slice(0, micro, accumulation, rank, processes).positions(number)
    ]
    if len(set(seen)) != len(seen):
        what = f"{len(seen) - len(set(seen))} samples of the first {count} batches come twice"
        return Line(about, "wrong", what, "this is a bug in archsr: please report it with the config")
    batch = f"micro-batch {micro}" + (f" × {accumulation}" if accumulation > 1 else "")
    return ok(about, f"{len(seen)} samples of the first {count} batches, each once; {batch} per process")


def batches_in_memory(config: TrainConfig) -> int:
    """Return the bytes of shared memory of one process: three micro-batches of crops for each worker."""
    micro = config.training.global_batch if config.training.micro_batch == "auto" else config.training.micro_batch
    return 3 * max(1, config.data.workers) * micro * 3 * (config.data.gt_size + config.degrade.margin) ** 2


def room(config: TrainConfig) -> Line:
    """Check that the cache has room for shards that come from a URL."""
    cache = cache_of(config.data)
    there = cache.absolute()
    while not there.is_dir():
        there = there.parent
    free = shutil.disk_usage(there).free / 1e9
    if free < config.data.cache_gb:
        what = f"{cache}: {free:.0f} GB free, data.cache_gb is {config.data.cache_gb:g}"
        return Line("cache", "warning", what, "--set data.cache_gb=... or data.cache=... on a larger disk")
    return ok("cache", f"{cache}: {free:.0f} GB free for {config.data.cache_gb:g}")
