"""`archsr init`: write a training config for these photographs and this machine, with a reason for each choice."""

import contextlib
import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli
import torch
from PIL import Image

from archsr.config import PrepareConfig, TrainConfig, config_file
from archsr.config.prepare import FEWEST_SCENES
from archsr.data.prepare.scenes import Scenes, assign, unite
from archsr.errors import UserError
from archsr.images.image_files import READ, is_image
from archsr.init.text import TEMPLATE
from archsr.models.weights import local_file
from archsr.training.data import FEW_SCENES
from archsr.training.memory.auto_batch import available
from archsr.training.memory.plan import fitting, ways
from archsr.training.precision import cpu_has_bf16
from archsr.utils.atomic import write_bytes
from archsr.utils.progress import progress

_MAX_SIZES = 400  # images whose sizes are read, at most
_SCENES = FEWEST_SCENES + 2  # test scenes: some may turn out to show the same building
_FEW, _MANY = 300, 3000  # photographs
_OFFLINE = "ncnn:realesrgan-x4plus"
_LAST_BLOCK = "body.22"  # of x4plus


@dataclass(frozen=True)
class PhotoFolder:
    """Statistics of a folder: numbers of images and scenes, and the median of the images' shorter sides in pixels.

    `val` and `test` are the shares to set aside.
    """

    count: int
    scenes: int
    side: int
    val: float
    test: float


@dataclass(frozen=True)
class Machine:
    """The training hardware: `gpus` (0: the CPU), bytes of `memory` of one, whether it has bf16, and CPU `cores`."""

    gpus: int
    memory: int
    bf16: bool
    cores: int

    @property
    def words(self) -> str:
        """Describe the devices and the memory of one."""
        chips = {0: "the CPU", 1: "a GPU"}.get(self.gpus, f"{self.gpus} GPUs")
        return f"{chips} with {self.memory / 2**30:.1f} GiB free"


def init(
    photos: Path, out: Path, *, shards: str, memory: int | None = None, force: bool = False, dry_run: bool = False
) -> str:
    """Write the config to `out` and return the next commands; with `dry_run` only return the config.

    Raises `UserError` if there are no photographs, or if `out` exists and `force` is false.
    """
    found = scan_folder(photos)
    if out.exists() and not force and not dry_run:
        raise UserError(f"{out}: already exists; --force overwrites it, --dry-run only prints")
    text = config_for(found, machine(memory), name=out.stem, shards=shards)
    if dry_run:
        return text
    write_bytes(out, text.encode())
    usual, given, run = PrepareConfig(), shlex.quote(str(out)), shlex.quote(f"runs/{out.stem}")
    prepare = f"archsr prepare {shlex.quote(str(photos))} {shlex.quote(shards)}"
    prepare += f" --set val={found.val:g}" if found.val != usual.val else ""
    prepare += f" --set test={found.test:g}" if found.test != usual.test else ""
    return (
        f"{out}: written for {found.count} photographs of {found.scenes} scenes, by their names (some may turn "
        "out to be copies or drawings)\n\nnext:\n"
        f"  archsr preview {given} --photos {shlex.quote(str(photos))}"
        "  # preview/sheet.png: does this look like what you will enlarge?\n"
        f"  {prepare}\n  archsr doctor {given} --launch\n  archsr train {given}\n"
        f"  archsr evaluate {run}\n  archsr upscale PHOTOS enlarged/ --model {run}\n  archsr export {run} --to pth"
    )


def scan_folder(photos: Path) -> PhotoFolder:
    """Count a folder's images and scenes by their names, and read the sizes of up to 400 images.

    Raises `UserError` if there are none.
    """
    if not photos.is_dir():
        raise UserError(f"{photos}: no such folder")
    paths = sorted(_images(photos))
    if not paths:
        raise UserError(f"{photos}: no images found (expected {', '.join(READ)})")
    sides = _sides(paths[:: math.ceil(len(paths) / _MAX_SIZES)])
    if not sides:
        raise UserError(f"{photos}: none of its {len(paths)} image files can be read")
    names = [p.relative_to(photos).as_posix() for p in paths]
    scenes = unite(names, (), PrepareConfig())
    val, test = shares(scenes)
    return PhotoFolder(len(paths), len(scenes.parts), sorted(sides)[len(sides) // 2], val, test)


def _images(photos: Path) -> list[Path]:
    """Return the image files of a folder tree by their suffixes, without linked and unreadable folders."""
    found, folders = list[Path](), [photos]
    with progress("looking for images", None) as advance:
        while folders:
            with contextlib.suppress(PermissionError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry))
                        continue
                    found += [Path(entry)] if _is_image_file(entry) else []
                    advance(1)
    return found


def _is_image_file(entry: os.DirEntry[str]) -> bool:
    """Only links are asked of the file system: a stat of each file is slow in large network folders."""
    return is_image(Path(entry)) and (entry.is_file(follow_symlinks=False) or Path(entry).is_file())


def _sides(paths: Sequence[Path]) -> list[int]:
    sides: list[int] = []
    with progress("reading sizes", len(paths)) as advance:
        for path in paths:
            # archsr prepare reports each unreadable file
            with contextlib.suppress(OSError, Image.DecompressionBombError), Image.open(path) as image:
                sides.append(min(image.size))
            advance(1)
    return sides


def machine(memory: int | None = None) -> Machine:
    """Describe this machine, or one with a GPU of `memory` bytes."""
    gpus = torch.cuda.device_count()
    device = torch.device("cuda" if gpus else "cpu")
    if memory is not None and not gpus:
        return Machine(1, memory, True, os.cpu_count() or 1)
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if gpus else cpu_has_bf16()
    return Machine(gpus, memory or available(device), bf16, os.cpu_count() or 1)


def shares(scenes: Scenes) -> tuple[float, float]:
    """Return the smallest shares for `val` and `test`, at least a tenth each, that give each split enough scenes.

    The split depends on names only (`data/prepare/scenes.py`), so it is known beforehand, except for scenes that turn
    out to show the same building. The test split gets enough scenes for a verdict, or a third of all. Raises
    `UserError` if there are too few scenes.
    """
    enough, some = min(_SCENES, len(scenes.parts) // 3), min(FEW_SCENES + 1, len(scenes.parts) // 6)
    problem: UserError | None = None
    for test in range(10, 51):
        for val in range(10, 41, 5):
            try:
                sides = assign(scenes, {}, PrepareConfig(val=val / 100, test=test / 100))
            except UserError as error:
                problem = error
                continue
            if sum(s == "test" for s in sides.values()) >= enough and sum(s == "val" for s in sides.values()) >= some:
                return val / 100, test / 100
    raise problem or UserError(f"{len(scenes.parts)} scenes cannot be split; add projects")


def config_for(photos: PhotoFolder, on: Machine, *, name: str, shards: str) -> str:
    """Return the config as commented TOML that loads without changes."""
    objective, why_objective = _objective(on)
    layers, why_layers = _layers(photos.count)
    batch = on.gpus * math.ceil(12 / on.gpus) if on.gpus else 4  # the same for all GPUs
    chosen = {
        "name": name, "shards": shards, "objective": objective, "why_objective": why_objective, "layers": layers,
        "why_layers": why_layers, "batch": batch, "micro": batch // max(1, on.gpus), "pool": max(1, 180 // batch),
        "count": photos.count, "scenes": photos.scenes, "side": photos.side, "machine": on.words, "cores": on.cores,
        "workers": max(1, min(8, on.cores // max(1, on.gpus))),
    }  # fmt: skip
    text = TEMPLATE.format(**chosen, **_sizes(photos, on, batch), **_with_weights(on))
    return _within(text, on)


def _sizes(photos: PhotoFolder, on: Machine, batch: int) -> dict[str, object]:
    """Choose crop size and iterations by the number of photographs; on a CPU by what an hour or two allows."""
    gt = 256 if on.gpus and photos.side >= 288 else 128
    why_gt = "a CPU: a quarter of the work" if not on.gpus else "small images" if gt < 256 else "as the reference"
    first = max(500, min(40_000, 20 * photos.count)) if on.gpus else 300
    seen = round(1.5 * first * batch / max(1, photos.count * (1 - photos.val - photos.test)))
    return {
        "gt": gt, "why_gt": why_gt, "first": first, "second": first // 2, "total": first + first // 2, "seen": seen,
        # on a CPU a validation costs as much as twenty iterations
        "every": max(50, min(500, first // 6)) if on.gpus else 100, "samples": 64 if on.gpus else 8,
    }  # fmt: skip


def _with_weights(on: Machine) -> dict[str, object]:
    offline = local_file("RealESRGAN_x4plus") is None and local_file(_OFFLINE) is not None
    precision = "bf16" if on.bf16 else "fp16" if on.gpus else "fp32"
    reasons = {"bf16": "half the memory, and no loss scale", "fp16": "this GPU has no bf16", "fp32": "a CPU"}
    why = reasons[precision] if on.gpus or not on.bf16 else "this processor has instructions for it"
    return {
        "weights": _OFFLINE if offline else "RealESRGAN_x4plus",
        "why_weights": "on this machine" if offline else "downloaded once, SHA-256 checked",
        "precision": precision, "why_precision": why,
    }  # fmt: skip


def _within(text: str, on: Machine) -> str:
    """Set a micro-batch and recomputation that fit into memory. Raises `UserError` if nothing fits."""
    config = config_file.check(TrainConfig, tomli.loads(text), where="init")
    with progress("forecasting memory", len(list(ways(config))), unit="way") as advance:
        option = fitting(config, on.memory, processes=max(1, on.gpus), advance=advance)
    size = f"{on.memory / 2**30:.1f} GiB"
    if option is None:
        side = config.data.gt_size
        raise UserError(f"{size} free: not even one image of {side} pixels fits; end other programs that use memory")
    training = option.config.training
    pieces = training.gradient_checkpointing
    shown = str(pieces) if isinstance(pieces, int) else f'"{pieces}"'
    lines = text.replace('gradient_checkpointing = "none"', f"gradient_checkpointing = {shown}")
    lines = lines.replace(f"micro_batch = {config.training.micro_batch} ", f"micro_batch = {training.micro_batch} ")
    extra = [f"{k} = true" for k in ("recompute_losses", "recompute_discriminator") if getattr(training, k)]
    lines = lines.replace("stages = [", "\n".join([*extra, "stages = ["]), 1)
    return lines.replace("everything fits", f"{option.memory / 2**30:.1f} of {size} forecast")


def _layers(count: int) -> tuple[str, str]:
    tail = '["conv_body", "conv_up*", "conv_hr", "conv_last"'
    if count < _FEW:
        return f"{tail}]", "few photographs: training only the upsampling layers forgets little"
    if count < _MANY:
        return (
            f'{tail}, {{ names = ["{_LAST_BLOCK}"], lr_scale = 0.1 }}]',
            "the upsampling layers, and the last block slowly",
        )
    return '["all"]', "enough photographs for the whole network"


def _objective(on: Machine) -> tuple[str, str]:
    """Choose the losses: all of Real-ESRGAN's on a GPU, cheaper ones on a CPU."""
    if on.gpus:
        return (
            "pixel = { weight = 1.0 }\n"
            'perceptual = { weight = 1.0, weights = "vgg19" }\n'
            "gan = { weight = 0.1, sharpened = false }",
            "Real-ESRGAN's own; without internet set the last two weights to 0",
        )
    return (
        "pixel = { weight = 1.0 }\nfeatures = { weight = 0.15 }\ncolour = { weight = 2.0 }\n"
        "perceptual = { weight = 0.0 }\ngan = { weight = 0.0 }",
        "a CPU: pixels, and the features of a small network (EfficientNet-Lite0), which keep results sharp",
    )
