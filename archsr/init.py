"""`archsr init`: a training config for these photographs and this machine, with a reason beside each choice."""

import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import tomli
import torch
from PIL import Image

from archsr import config_file
from archsr.atomic import write_bytes
from archsr.config import TrainConfig
from archsr.errors import UserError
from archsr.models.download import cached
from archsr.models.ncnn import ncnn_at_hand
from archsr.training.fit import available
from archsr.training.plan import fitting

_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif"}
_LOOKED_AT = 400  # pictures whose sizes are read
_SCENES = 8  # test scenes: six are the least for a verdict
_FEW, _MANY = 300, 3000  # photographs
_OFFLINE = "ncnn:realesrgan-x4plus"


@dataclass(frozen=True)
class Photos:
    """What lies in a folder: `count` pictures, `folders` of projects, the median of their smaller `side`, pixels."""

    count: int
    folders: int
    side: int


@dataclass(frozen=True)
class Machine:
    """What would train: `gpus` (0: the CPU), `memory` bytes of one, whether it computes in bf16, and `cores`."""

    gpus: int
    memory: int
    bf16: bool
    cores: int


def init(
    photos: Path, out: Path, *, shards: str, memory: int | None = None, force: bool = False, dry_run: bool = False
) -> str:
    """Write the config to `out`; returns what to do next, or with `dry_run` the config itself.

    Raises `UserError` where there are no photographs, or `out` is there and not `force`.
    """
    if out.exists() and not force and not dry_run:
        raise UserError(f"{out}: is there already; --force overwrites it, --dry-run only prints")
    found = look_at(photos)
    text = config_for(found, machine(memory), name=out.stem, shards=shards)
    if dry_run:
        return text
    write_bytes(out, text.encode())
    share = share_for_testing(found.folders)
    prepare = f"archsr prepare {photos} {shards}" + (f" --set test={share:g}" if share > 0.1 else "")
    return (
        f"{out}: written for {found.count} photographs in {found.folders} folders\n\nnext:\n"
        f"  {prepare}\n  archsr doctor {out}\n  archsr plan {out}\n"
        f"  accelerate launch archsr/train.py --config {out}\n  archsr evaluate runs/{out.stem}"
    )


def look_at(photos: Path) -> Photos:
    """Count a folder's pictures, and read the sizes of some evenly spread ones."""
    if not photos.is_dir():
        raise UserError(f"{photos}: no such folder")
    paths = sorted(p for p in photos.rglob("*") if _is_picture(p))
    if not paths:
        raise UserError(f"{photos}: no pictures in it (looked for {', '.join(sorted(_ENDINGS))})")
    folders = Counter(p.relative_to(photos).parts[0] if p.parent != photos else "." for p in paths)
    sides: list[int] = []
    for path in paths[:: max(1, len(paths) // _LOOKED_AT)]:
        try:
            with Image.open(path) as image:
                sides.append(min(image.size))
        except (OSError, Image.DecompressionBombError):
            continue  # archsr prepare reports each
    if not sides:
        raise UserError(f"{photos}: none of its {len(paths)} picture files can be read")
    return Photos(len(paths), len(folders), sorted(sides)[len(sides) // 2])


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _ENDINGS and not path.name.startswith("._") and path.is_file()


def machine(memory: int | None = None) -> Machine:
    """This machine, or one with a GPU of `memory` bytes."""
    gpus = torch.cuda.device_count()
    device = torch.device("cuda" if gpus else "cpu")
    if memory is not None and not gpus:
        return Machine(1, memory, True, os.cpu_count() or 1)
    bf16 = not gpus or torch.cuda.is_bf16_supported(including_emulation=False)
    return Machine(gpus, memory or available(device), bf16, os.cpu_count() or 1)


def share_for_testing(folders: int) -> float:
    """The share of scenes to set aside so that a verdict is possible, a tenth if that is enough, a half at most."""
    return min(0.5, max(0.1, math.ceil(100 * _SCENES / max(1, folders)) / 100))


def config_for(photos: Photos, on: Machine, *, name: str, shards: str) -> str:
    """The config as commented TOML. Loads as it is."""
    layers, why_layers = _layers(photos.count)
    gt = 256 if on.gpus and photos.side >= 288 else 128
    batch = on.gpus * math.ceil(12 / on.gpus) if on.gpus else 4  # equally for all
    objective, why_objective = _objective(on)
    weights = "RealESRGAN_x4plus" if cached("RealESRGAN_x4plus") or not ncnn_at_hand(_OFFLINE) else _OFFLINE
    iterations = max(500, min(40_000, 20 * photos.count)) if on.gpus else 300
    precision = "bf16" if on.bf16 and on.gpus else "fp16" if on.gpus else "fp32"
    why_gt = "a CPU: a quarter of the work" if not on.gpus else "small pictures" if gt < 256 else "Real-ESRGAN's own"
    why_weights = "inside the installed wheel" if weights == _OFFLINE else "downloaded once, SHA-256 checked"
    text = _TEMPLATE.format(
        name=name, count=photos.count, folders=photos.folders, side=photos.side, shards=shards, gt=gt, weights=weights,
        why_gt=why_gt, why_weights=why_weights,
        objective=objective, why_objective=why_objective, layers=layers, why_layers=why_layers, batch=batch,
        precision=precision, pool=max(1, 180 // batch), workers=max(1, min(8, on.cores // max(1, on.gpus))),
        stages=f"{{ iterations = {iterations}, lr = 1e-4 }}, {{ iterations = {iterations // 2}, lr = 1e-5 }}",
        recompute='"none"', why_recompute="everything fits",
        micro=batch // max(1, on.gpus), every=max(50, min(500, iterations // 6)),
        total=iterations + iterations // 2, seen=1.5 * iterations * batch / photos.count,
    )  # fmt: skip
    return _within(text, on)


def _within(text: str, on: Machine) -> str:
    """The same with a micro-batch and recomputing that fit into the memory."""
    config = config_file.check(TrainConfig, tomli.loads(text), where="init")
    option = fitting(config, on.memory, processes=max(1, on.gpus))
    size = f"{on.memory / 2**30:.1f} GiB"
    if option is None:
        return text.replace("everything fits", f"nothing fits into {size}: choose fewer layers or a smaller gt_size")
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
        return f"{tail}]", f"{count} photographs are few: the enlarging part alone, which cannot forget much"
    if count < _MANY:
        return f'{tail}, {{ names = ["body.22"], lr_scale = 0.1 }}]', "and its last block slowly"
    return '["all"]', f"{count} photographs are enough for the whole network"


def _objective(on: Machine) -> tuple[str, str]:
    """The losses: all of Real-ESRGAN's where a GPU carries them and their weights can be had."""
    if on.gpus:
        return (
            "pixel = { weight = 1.0, sharpened = true }\n"
            'perceptual = { weight = 1.0, sharpened = true, weights = "vgg19" }\n'
            "gan = { weight = 0.1, sharpened = false }",
            "Real-ESRGAN's own; without internet set the last two weights to 0",
        )
    return (
        "pixel = { weight = 1.0, sharpened = true }\nperceptual = { weight = 0.0 }\ngan = { weight = 0.0 }",
        "a CPU: the pixel loss alone, which raises PSNR and softens",
    )


_TEMPLATE = """\
# Made by archsr init for {count} photographs in {folders} folders, smaller side about {side} pixels.
# configs/reference.toml explains every key; archsr plan shows what else would fit.
name = "{name}"
seed = 0

[model]
arch = "rrdbnet"
scale = 4
blocks = 23
weights = "{weights}"  # {why_weights}

[losses]  # {why_objective}
{objective}

[data]
shards = "{shards}"
gt_size = {gt}  # {why_gt}
workers = {workers}  # decoding processes per GPU

[degrade]
preset = "realesrgan"  # archsr preview shows it on your photographs; "camera" and "web" are others
pool_batches = {pool}  # 180 pairs, as in the reference

[training]
layers = {layers}  # {why_layers}
global_batch = {batch}  # of all processes together; 12 in the reference
micro_batch = {micro}  # {why_recompute}
precision = "{precision}"
gradient_checkpointing = {recompute}
# {total} iterations of {batch} crops: {seen:.0f} for each photograph
stages = [{stages}]

[validation]
every = {every}
samples = 64
best = "psnr"

[checkpoint]
every = {every}
keep = 2

[log]
every = 20
"""
