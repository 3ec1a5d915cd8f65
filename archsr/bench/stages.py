"""The stages of archsr, each timed alone on synthetic images, so that only this machine matters."""

import dataclasses
import itertools
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import torch
from accelerate import Accelerator
from torch.utils.flop_counter import FlopCounterMode

from archsr.bench.limits import Traffic, copied, product, types_of
from archsr.bench.timing import Clock, Timing
from archsr.config import PrepareConfig, TrainConfig
from archsr.config.config_file import check
from archsr.data.drawn_photos import draw_photos
from archsr.data.manifest import Manifest, load, read_index
from archsr.data.prepare.pipeline import prepare
from archsr.data.stream.loader import Stream, StreamOptions
from archsr.data.stream.plan import Slice
from archsr.data.versions import current
from archsr.degradation.apply import Pair, apply
from archsr.degradation.recipe import draw
from archsr.images.pixels import decode_tensor
from archsr.models.build import build
from archsr.training.data import Data
from archsr.training.memory.forecast import micro_batch_of
from archsr.training.memory.plan import option
from archsr.training.processes import end
from archsr.training.setup import make_run
from archsr.training.step import train_step
from archsr.upscaling.passes import forward
from archsr.upscaling.upscaler import Upscaler
from archsr.utils.seeds import generator
from archsr.utils.world import World

_TURN = 16  # recipes per call, because their costs differ
LAYERS = {"all layers": ["all"], "last layer": ["conv_last"]}
_TAIL = ["conv_body", "conv_up*", "conv_hr", "conv_last"]
# further modes, in the precision in which they would be used
_MODES: dict[str, tuple[list[str], str]] = {
    "all layers, recomputed": (["all"], "rrdb"),
    "tail": (_TAIL, "none"),
    "mid layer": (["body.2.rdb3.conv5"], "none"),
}


@dataclass(frozen=True)
class Workload:
    """The amount of work at a time: networks, batches and crops. The default is the true x4plus."""

    blocks: int = 23
    features: int = 64
    growth: int = 32
    batch: int = 12
    gt: int = 256
    image: tuple[int, int] = (256, 384)  # height and width of the upscaled image

    @property
    def model(self) -> dict[str, object]:
        """The generator's table in a config."""
        return {
            "arch": "rrdbnet", "weights": "scratch", "blocks": self.blocks, "features": self.features,
            "growth": self.growth,
        }  # fmt: skip


SMALL = Workload(blocks=3, features=16, growth=8, batch=2, gt=64, image=(48, 64))


@dataclass(frozen=True)
class Dataset:
    """Shards of synthetic photographs, and their images as encoded in the files."""

    folder: Path
    encoded: tuple[bytes, ...]
    side: int  # pixels of an image


@contextmanager
def dataset(count: int = 120) -> Generator[Dataset]:
    """Create shards in a temporary folder, with `count` of their training images in order, repeated if needed."""
    with tempfile.TemporaryDirectory() as name:
        photos, folder = Path(name) / "photos", Path(name) / "shards"
        draw_photos(photos, seed=0, projects=10, views=1, plans=0)
        prepare(str(photos), folder, check(PrepareConfig, {}, where="bench"), workers=2)
        folder = current(folder)
        found: list[bytes] = []
        for shard in load(folder).splits["train"].shards:
            content = (folder / shard.file).read_bytes()
            members = [sample.members["gt"] for sample in read_index(folder, shard)]
            found += [content[m.offset : m.offset + m.size] for m in members]
        encoded = tuple(found[n % len(found)] for n in range(count))
        yield Dataset(folder, encoded, decode_tensor(encoded[0]).shape[-1])


def processes() -> list[int]:
    """Return 1, 2, 4 ... up to this machine's cores, at most 16."""
    return [n for n in (1, 2, 4, 8, 16) if n <= max(2, os.cpu_count() or 1)]


def decode(clock: Clock, data: Dataset) -> Iterator[Timing]:
    """Measure images per second of processes that only decode."""
    counts, spawn = processes(), multiprocessing.get_context("spawn")
    with spawn.Pool(max(counts), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for count in counts:
            shares = [data.encoded[n::count] for n in range(count)]
            yield clock.rate(
                "decode", f"images of {data.side}², processes: {count}",
                lambda shares=shares: pool.map(_decode, shares, chunksize=1),
                amount=len(data.encoded), unit="images/s",
            )  # fmt: skip


def _decode(images: Sequence[bytes]) -> None:
    for one in images:
        decode_tensor(one)


def stream(clock: Clock, work: Workload, data: Dataset, decoding: list[Timing]) -> Iterator[Timing]:
    """Measure images per second from shards on this disk, against as many processes that only decode."""
    made = load(data.folder).splits["train"]
    options = StreamOptions(data.folder, made.shards, seed=0, window=8, size=work.gt, hflip=True)
    for workers, alone in zip(processes(), decoding, strict=True):
        with_workers = Stream(options, Slice(0, work.batch, 1, 0, 1), workers=workers, pin_memory=False)
        try:
            for _ in range(2 * workers + 2):
                with_workers.next()
            yield clock.rate(
                "stream", f"crops of {work.gt}², workers: {workers}", with_workers.next, amount=work.batch,
                unit="images/s", limit="decode alone", of=alone.value,
            )  # fmt: skip
        finally:
            with_workers.close()


def degrade(clock: Clock, work: Workload, limits: list[Timing]) -> Iterator[Timing]:
    """Measure images per second of Real-ESRGAN's two-stage degradation. Its limit is the memory traffic."""
    config = check(TrainConfig, tables(work, ["all"], "fp32"), where="bench").degrade
    gt = torch.rand(work.batch, 3, work.gt + 32, work.gt + 32, generator=generator(0, "bench")).to(clock.device)

    def once(number: int) -> None:
        recipe = draw(config, generator(number, "bench"), work.batch, scale=4, gt_size=work.gt)
        apply(gt, recipe)

    with Traffic() as traffic:
        for number in range(_TURN):
            once(number)
    yield clock.rate(
        "degrade", f"batch {work.batch}, gt {work.gt}", lambda: [once(n) for n in range(_TURN)],
        amount=_TURN * work.batch, unit="images/s", limit="copy", of=copied(limits), arithmetic=traffic.bytes,
    )  # fmt: skip


def train(clock: Clock, work: Workload, limits: list[Timing]) -> Iterator[Timing]:
    """Measure images per second of whole iterations of Real-ESRGAN's objective: degradation, networks, averages.

    On CPUs the batch is two, which already takes seconds.
    """
    if clock.device.type == "cpu":
        work = dataclasses.replace(work, batch=2)
    modes = [(name, layers, "none", kind) for name, layers in LAYERS.items() for kind in types_of(clock.device)]
    modes += [(name, layers, pieces, "bf16") for name, (layers, pieces) in _MODES.items()]
    for name, layers, pieces, precision in modes:
        config = check(TrainConfig, tables(work, layers, precision, pieces), where="bench")
        kind = {"fp32": "no"}.get(precision, precision)
        accelerator = Accelerator(cpu=clock.device.type == "cpu", mixed_precision=kind)
        try:
            yield clock.rate(
                "train", f"{name}, {precision}, batch {work.batch}, gt {work.gt}",
                iteration(config, accelerator), amount=work.batch, unit="images/s",
                limit=f"product, {precision}", of=product(limits, precision), arithmetic=option(config).flops,
            )  # fmt: skip
        finally:
            end()


def iteration(config: TrainConfig, accelerator: Accelerator) -> Callable[[], None]:
    """Return a function that runs one whole iteration on synthetic images, without decoding."""
    unread = cast(Manifest, SimpleNamespace(degrades=True))  # no shards are read
    run = make_run(config, accelerator, World(), Data(Path(), unread, None))
    size, batch = config.data.gt_size + 32, micro_batch_of(config)
    gt = torch.rand(batch, 3, size, size, generator=generator(0, "bench")).to(accelerator.device)

    def degraded() -> Iterator[Pair]:
        for number in itertools.count(1):
            recipe = draw(config.degrade, generator(number, "bench"), batch, scale=4, gt_size=config.data.gt_size)
            yield run.pool.swap(apply(gt, recipe), generator(number, "pool"))

    pairs, steps = degraded(), itertools.count()

    def once() -> None:
        train_step(run, pairs, step=next(steps), count=run.accumulation)

    return once


def tables(work: Workload, layers: list[str], precision: str, pieces: str = "none") -> dict[str, object]:
    """Return a training config of this size with untrained networks. `pieces` of the body are recomputed."""
    return {
        "name": "bench",
        "model": work.model,
        "data": {"gt_size": work.gt},
        "discriminator": {"weights": "scratch"},
        "losses": {"perceptual": {"weights": "scratch"}},
        "training": {
            "layers": layers, "precision": precision, "global_batch": work.batch, "micro_batch": work.batch,
            "gradient_checkpointing": pieces,
            "stages": [{"iterations": 10, "lr": 1e-4}],
        },
        "degrade": {"pool_batches": max(1, 180 // work.batch)},
    }  # fmt: skip


def upscale(clock: Clock, work: Workload, limits: list[Timing]) -> Iterator[Timing]:
    """Measure output pixels per second of x4plus, uint8 to uint8."""
    config = check(TrainConfig, tables(work, ["all"], "fp32"), where="bench").model
    net = build(config).requires_grad_(False).eval()
    height, width = work.image
    pixels = (torch.rand(height, width, 3, generator=generator(0, "bench")) * 255).byte().numpy()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device("meta"):
        forward(build(config), torch.empty(1, 3, height, width))
    sizes = f"{width}×{height} to {4 * width}×{4 * height}"
    for precision in types_of(clock.device):
        upscaler = Upscaler(net, device=clock.device, precision=precision)  # pyright: ignore[reportArgumentType]
        yield clock.rate(
            "upscale", f"{sizes}, {precision}", lambda u=upscaler: u.pixels(pixels),
            amount=16 * height * width / 1e6, unit="Mpixel/s",
            limit=f"product, {precision}", of=product(limits, precision), arithmetic=counter.get_total_flops(),
        )  # fmt: skip
