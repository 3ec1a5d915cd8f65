"""The entry of a model for OpenModelDB, beside its export; its author completes it and adds it there.

The form is `Model` in `src/lib/schema.ts` of the repository OpenModelDB/open-model-database (August 2026), with the
required properties of its `src/lib/model-props.ts`. Left to the author: `author` and `license` if they are not given,
the `urls` of the file, `images`.
"""

import datetime
import json
import re
from pathlib import Path
from typing import Any

from archsr.config import ModelConfig
from archsr.models.base import Generator
from archsr.models.rrdbnet import RRDBNet
from archsr.models.srresnet import SRResNet
from archsr.models.srvgg import SRVGGNetCompact
from archsr.runs.folders import is_run, run_config
from archsr.utils.atomic import sha256, write_bytes

_ARCHITECTURES: dict[type[Generator], str] = {RRDBNet: "esrgan", SRVGGNetCompact: "compact", SRResNet: "sr-res-net"}
# the database's ids of the networks that a training may begin with
_PRETRAINED = {
    "RealESRGAN_x4plus": "4x-realesrgan-x4plus",
    "RealESRGAN_x2plus": "2x-realesrgan-x2plus",
    "RealESRGAN_x4plus_anime_6B": "4x-realesrgan-x4plus-anime-6b",
    "realesr-general-x4v3": "4x-realesr-general-x4v3",
    "realesr-general-wdn-x4v3": "4x-realesr-general-wdn-x4v3",
    "realesr-animevideov3": "4x-realesr-animevideo-v3",
    "ncnn:realesrgan-x4plus": "4x-realesrgan-x4plus",
    "ncnn:realesrgan-x4plus-anime": "4x-realesrgan-x4plus-anime-6b",
    "ncnn:realesr-animevideov3-x4": "4x-realesr-animevideo-v3",
}
_SIZES = {"features": "nf", "blocks": "nb", "convs": "nc"}
_PLATFORMS = {".pth": "pytorch", ".safetensors": "pytorch", ".onnx": "onnx"}  # the database knows no other kinds


def architecture_of(net: Generator) -> str:
    """Return the database's id of an architecture, such as `esrgan` or `swinir`."""
    return _ARCHITECTURES.get(type(net)) or re.sub(r"[^a-z0-9+]+", "-", net.title.lower()).strip("-")


def write_entry(
    file: Path,
    source: str,
    net: Generator,
    config: ModelConfig,
    about: dict[str, Any],
    *,
    description: str,
    author: str,
    licence: str | None,
) -> Path | None:
    """Write NAME.ENDING.json beside an exported file and return its path; None for kinds that the database lacks."""
    if file.suffix not in _PLATFORMS:
        return None
    plain = config.model_dump(include={"features", "blocks", "convs"})
    size = [f"{plain[key]}{short}" for key, short in _SIZES.items() if key in plain]
    entry: dict[str, Any] = {
        "name": name_of(source),
        "author": author,
        "license": licence,
        "tags": _tags(source),
        "description": description,
        "date": str(datetime.datetime.now(datetime.UTC).date()),
        "architecture": architecture_of(net),
        "size": size or None,
        "scale": config.scale,
        "inputChannels": 3,
        "outputChannels": 3,
        "resources": [
            {
                "platform": _PLATFORMS[file.suffix],
                "type": file.suffix[1:],
                "size": file.stat().st_size,
                "sha256": sha256(file),
                "urls": [],
            }
        ],
        **_training(source, about),
        "images": [],
    }
    path = entry_path(file)
    write_bytes(path, json.dumps(entry, indent=4, ensure_ascii=False).encode())  # the database's own layout
    return path


def entry_path(file: Path) -> Path:
    """Return the path of an exported file's entry: NAME.onnx.json."""
    return file.with_name(f"{file.name}.json")


def name_of(source: str) -> str:
    """Return a model's name in files for others: a run's name, or a file's without ending and precision."""
    if is_run(source):
        return Path(source).resolve().name
    plain = re.sub(r"\.(safetensors|pth|pt|onnx)$", "", Path(source.removeprefix("ncnn:")).name, flags=re.IGNORECASE)
    return re.sub(r"[._-]fp(16|32)$", "", plain, flags=re.IGNORECASE) or "model"


def _tags(source: str) -> list[str]:
    """Return what the model does, by the steps of its degradation; the database has these ids."""
    if not is_run(source):
        return ["restoration"]
    steps = " ".join(run_config(source).degrade.steps)
    kinds = {"jpeg": ("compression-removal", "jpeg"), "noise": ("denoise",), "blur": ("deblur",)}
    found = {"photo", "restoration", *(tag for step, tags in kinds.items() if step in steps for tag in tags)}
    return sorted(found)


def _training(source: str, about: dict[str, Any]) -> dict[str, Any]:
    """Return what is known about the training of a run."""
    if not is_run(source):
        return {}
    config = run_config(source)
    known: dict[str, Any] = {
        "trainingIterations": about.get("step") or None,
        "trainingBatchSize": config.training.global_batch,
        "trainingHRSize": config.data.gt_size,
        "dataset": f"photographs of buildings (shards {about['fingerprint'][:12]})" if "fingerprint" in about else None,
        "pretrainedModelG": _PRETRAINED.get(config.model.weights),
    }
    return {key: value for key, value in known.items() if value is not None}
