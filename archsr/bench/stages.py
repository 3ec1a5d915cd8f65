"""The stages of archsr, each timed alone on pictures that are drawn, not read: nothing but this machine matters."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import torch
from accelerate import Accelerator
from torch.utils.flop_counter import FlopCounterMode

from archsr.bench.limits import product, types_of
from archsr.bench.timing import Clock, Row
from archsr.config import PrepareConfig, TrainConfig
from archsr.config_file import check
from archsr.degrade.apply import apply
from archsr.degrade.recipe import draw
from archsr.demo_photos import draw_photos
from archsr.images import decode_tensor, encode_webp
from archsr.manifest import Manifest, load
from archsr.models.build import build
from archsr.prepare.pipeline import prepare
from archsr.seeds import generator
from archsr.stream.loader import Stream, StreamOptions
from archsr.stream.plan import Slice
from archsr.training.data import Data
from archsr.training.plan import option
from archsr.training.processes import end
from archsr.training.setup import make_run
from archsr.training.step import micro_step, update
from archsr.upscale.passes import forward
from archsr.upscale.upscaler import Upscaler
from archsr.world import World

LAYERS = {"all layers": ["all"], "last layer": ["conv_last"]}


@dataclass(frozen=True)
class Work:
    """How much is done at a time: networks, batches and crops. The default is the true x4plus."""

    blocks: int = 23
    features: int = 64
    growth: int = 32
    batch: int = 12
    gt: int = 256
    picture: tuple[int, int] = (256, 384)  # height, width that are enlarged

    @property
    def model(self) -> dict[str, object]:
        """The generator's table in a config."""
        return {
            "arch": "rrdbnet", "weights": "scratch", "blocks": self.blocks, "features": self.features,
            "growth": self.growth,
        }  # fmt: skip


SMALL = Work(blocks=1, features=16, growth=8, batch=2, gt=64, picture=(48, 64))


def sized(work: Work, device: torch.device) -> Work:
    """On CPUs batches of two, which take seconds already."""
    return work if device.type == "cuda" else dataclasses.replace(work, batch=min(2, work.batch))


def decode(clock: Clock, work: Work) -> Iterator[Row]:
    """Pictures per second that one core decodes."""
    pixels = (torch.rand(work.gt + 64, work.gt + 64, 3, generator=generator(0, "bench")) * 255).byte().numpy()
    encoded = encode_webp(pixels)
    case = f"lossless WebP of {work.gt + 64}², one core"
    yield clock.rate("decode", case, lambda: [decode_tensor(encoded) for _ in range(20)], amount=20, unit="pictures/s")


def stream(clock: Clock, work: Work) -> Iterator[Row]:
    """Pictures per second out of shards on this disk, beside decoding the same ones alone with one core a worker."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_photos(folder / "photos", seed=0)
        config = check(PrepareConfig, {}, where="bench")
        prepare(str(folder / "photos"), folder / "shards", config, workers=2)
        made = load(folder / "shards").splits["train"]
        options = StreamOptions(folder / "shards", made.shards, seed=0, window=8, size=work.gt, hflip=True)
        for workers in (1, 2):
            with_workers = Stream(options, Slice(0, work.batch, 1, 0, 1), workers=workers, pin_memory=False)
            try:
                for _ in range(2 * workers + 2):
                    with_workers.next()
                yield clock.rate(
                    "stream", f"{workers} workers, crops of {work.gt}²", with_workers.next, amount=work.batch,
                    unit="pictures/s",
                )  # fmt: skip
            finally:
                with_workers.close()


def degrade(clock: Clock, work: Work) -> Iterator[Row]:
    """Pictures per second through Real-ESRGAN's two-stage degradation."""
    config = check(TrainConfig, tables(work, ["all"], "fp32"), where="bench").degrade
    gt = torch.rand(work.batch, 3, work.gt + 32, work.gt + 32, generator=generator(0, "bench")).to(clock.device)

    def once(number: list[int] = [0]) -> None:  # noqa: B006 - the count of its calls
        number[0] += 1
        recipe = draw(config, generator(number[0], "bench"), work.batch, scale=4, gt_size=work.gt)
        apply(gt, recipe)

    yield clock.rate("degrade", f"batch {work.batch}, gt {work.gt}", once, amount=work.batch, unit="pictures/s")


def train(clock: Clock, work: Work, limits: list[Row]) -> Iterator[Row]:
    """Pictures per second of whole iterations of Real-ESRGAN's objective: degradation, both networks, averages."""
    for layers, names in LAYERS.items():
        for precision in types_of(clock.device):
            config = check(TrainConfig, tables(work, names, precision), where="bench")
            kind = {"fp32": "no"}.get(precision, precision)
            accelerator = Accelerator(cpu=clock.device.type == "cpu", mixed_precision=kind)
            try:
                yield clock.rate(
                    "train", f"{layers}, {precision}, batch {work.batch}, gt {work.gt}",
                    iteration(config, accelerator), amount=work.batch, unit="pictures/s",
                    limit=f"product, {precision}", of=product(limits, precision), arithmetic=option(config).flops,
                )  # fmt: skip
            finally:
                end()


def iteration(config: TrainConfig, accelerator: Accelerator) -> Callable[[], None]:
    """A function that does one whole iteration on drawn pictures, decoding left out."""
    unread = cast(Manifest, SimpleNamespace(paired=False))  # nothing is read from shards here
    run = make_run(config, accelerator, World(), Data(Path(), unread, None))
    size, batch = config.data.gt_size + 32, config.training.global_batch
    gt = torch.rand(batch, 3, size, size, generator=generator(0, "bench")).to(accelerator.device)
    count = [0]

    def once() -> None:
        count[0] += 1
        recipe = draw(config.degrade, generator(count[0], "bench"), batch, scale=4, gt_size=config.data.gt_size)
        pair = run.pool.swap(apply(gt, recipe), generator(count[0], "pool"))
        micro_step(run.parts, pair, share=1.0, last=True)
        update(run.optimizer_g, run.parts.scaler_g)
        if run.optimizer_d:
            update(run.optimizer_d, run.parts.scaler_d)
        run.ema.update(count[0])

    return once


def tables(work: Work, layers: list[str], precision: str) -> dict[str, object]:
    """A training config of this size, all networks untrained."""
    return {
        "name": "bench",
        "model": work.model,
        "data": {"gt_size": work.gt},
        "discriminator": {"weights": "scratch"},
        "losses": {"perceptual": {"weights": "scratch"}},
        "training": {
            "layers": layers, "precision": precision, "global_batch": work.batch, "micro_batch": work.batch,
            "stages": [{"iterations": 10, "lr": 1e-4}],
        },
        "degrade": {"pool_batches": max(1, 180 // work.batch)},
    }  # fmt: skip


def upscale(clock: Clock, work: Work, limits: list[Row]) -> Iterator[Row]:
    """Input pixels per second that x4plus enlarges, uint8 to uint8, whole and in tiles."""
    config = check(TrainConfig, tables(work, ["all"], "fp32"), where="bench").model
    net = build(config).requires_grad_(False).eval()
    height, width = work.picture
    pixels = (torch.rand(height, width, 3, generator=generator(0, "bench")) * 255).byte().numpy()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device("meta"):
        forward(build(config), torch.empty(1, 3, height, width))
    for precision in types_of(clock.device):
        upscaler = Upscaler(net, device=clock.device, tile=0, precision=precision)  # pyright: ignore[reportArgumentType]
        yield clock.rate(
            "upscale", f"{width}×{height}, {precision}", lambda u=upscaler: u.pixels(pixels),
            amount=height * width / 1e6, unit="Mpixel/s",
            limit=f"product, {precision}", of=product(limits, precision), arithmetic=counter.get_total_flops(),
        )  # fmt: skip
