"""The model card beside an exported model: what it is, its origin, quality and licence."""

import datetime
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archsr.checkpoint import about_snapshot, strength_of, weights_of
from archsr.checkpoint.ancestry import Ancestor
from archsr.config import ModelConfig
from archsr.models.base import Generator
from archsr.models.download import OFFICIAL
from archsr.models.ncnn import NCNN
from archsr.runs.folders import CONFIG, is_run, run_config
from archsr.utils.atomic import sha256

_HOW = {
    ".pth": "Real-ESRGAN's own scripts, chaiNNer, ComfyUI and other tools with spandrel: into their models' folder.",
    ".safetensors": "ComfyUI, chaiNNer and other tools with spandrel; `archsr upscale --model` too.",
    ".onnx": "onnxruntime, OpenVINO and others: the only input is (batch, 3, height, width), RGB in [0, 1]; the output "
    "is to be clamped.",
    ".pt": "`torch.jit.load`: (1, 3, h, w), RGB in [0, 1], to the same form, to be clamped.",
    ".param": "Upscayl (folder of custom models; both files named alike; it reads the scale from the name) and "
    "realesrgan-ncnn-vulkan (`-n NAME`).",
    ".bin": "",
    ".dtmodel": "darktable: preferences, AI, import from file.",
}
_OFFICIAL = "Real-ESRGAN's weights are under the BSD 3-Clause licence (Copyright (c) 2021, Xintao Wang)."
_OWNER = (
    "Whoever trained this model chooses its licence, in accordance with the licence of the weights that the "
    "training began with and with the rights in the photographs."
)
_UNKNOWN = "archsr does not know the licence of the file; ask whoever published it."
_DRAWN = (
    "The network draws detail that the input does not have. It looks right, but need not be what was there: results "
    "are no evidence, and signs, faces and small ornaments may be wrong."
)
_OFFICIAL_DATA = (
    "Its authors trained it on DIV2K, Flickr2K and OutdoorSceneTraining with synthetic degradation (Wang et al., "
    "Real-ESRGAN, 2021), the anime models on drawings. These collections have no common licence."
)


@dataclass(frozen=True)
class Rights:
    """The author of a model and its licence (an SPDX identifier), as its owner states them; empty if unknown."""

    author: str = ""
    licence: str = ""


def card_path(file: Path) -> Path:
    """Return the path of an exported file's card: NAME.onnx.md."""
    return file.with_name(f"{file.name}.md")


def card_of(
    source: str,
    net: Generator,
    config: ModelConfig,
    files: Sequence[Path],
    *,
    said: str,
    strength: float | None,
    rights: Rights,
) -> str:
    """Return the card as Markdown, with the metadata that model hubs read."""
    run = Path(source)
    about = about_of(source)
    licence, terms = _terms(source, about, rights)
    parts = [
        f"---\nlibrary_name: archsr\npipeline_tag: image-to-image\nlicense: {licence}\n"
        f"tags: [{', '.join(('super-resolution', *net.tags, 'architecture'))}]\n---",
        f"# {files[0].stem}",
        f"Enlarges photographs {config.scale} times. Network: {_network(net, config)}. Made "
        f"{datetime.datetime.now(datetime.UTC).date()} by archsr {importlib.metadata.version('archsr')}.",
        "## Files\n\n" + "\n".join(_line(file) for file in files) + f"\n\nCompared when written: {said}.",
        "## Origin\n\n" + "\n".join(_origin(source, about, strength)),
        f"## Data\n\n{_data(source, about)}",
        f"## Limits\n\n{limits_of(source, config.scale)}",
    ]
    if is_run(run):
        parts += _score(run, strength)
        parts.append(f"## Config\n\n```toml\n{(run / CONFIG).read_text().strip()}\n```")
    parts.append(f"## Licence\n\n{terms}")
    return "\n\n".join(parts) + "\n"


def about_of(source: str) -> dict[str, Any]:
    """Return what a snapshot's file says about its training; {} for other files."""
    path = Path(weights_of(source))
    return about_snapshot(path) if path.is_file() else {}


def licence_of(source: str, rights: Rights) -> str:
    """Return the SPDX identifier of the licence, or "" if it is unknown or not chosen."""
    if rights.licence or "run" in about_of(source):
        return rights.licence
    return "BSD-3-Clause" if _is_official(source) else ""


def limits_of(source: str, scale: int) -> str:
    """Return what the model is for, and what it cannot do."""
    what = f"Enlarges photographs {scale} times. {_DRAWN}"
    if not is_run(source):
        return what
    config = run_config(source)
    return (
        f"{what} It was trained on photographs of buildings; other subjects may come out worse. It expects damage like "
        f"that of its training (degradation {config.degrade.preset}, crops of {config.data.gt_size} pixels)."
    )


def _terms(source: str, about: dict[str, Any], rights: Rights) -> tuple[str, str]:
    """Return the licence as hubs write it, and in words."""
    began = str(about.get("model", {}).get("weights", "")) if "run" in about else source
    every = [began, *(str(one.get("began", "")) for one in about.get("ancestors", []))]
    based = f"{_OFFICIAL} " if any(map(_is_official, every)) else ""
    by = f" by {rights.author}" if rights.author else ""
    if rights.licence:
        return rights.licence.lower(), f"{rights.licence}{by}. {based if 'run' in about else ''}".strip()
    if "run" in about:
        return "other", f"{based}{_OWNER}"
    return ("bsd-3-clause", _OFFICIAL) if based else ("unknown", _UNKNOWN)


def _is_official(weights: str) -> bool:
    """Return whether these are Real-ESRGAN's own weights, by name or hash."""
    path = Path(weights)
    if weights in OFFICIAL or weights in NCNN or not path.is_file():
        return weights in OFFICIAL or weights in NCNN
    digest = sha256(path)
    return any(known.sha256 and digest.startswith(known.sha256) for known in OFFICIAL.values())


def _network(net: Generator, config: ModelConfig) -> str:
    plain = config.model_dump(exclude={"weights", "file", "arch", "scale"})
    return ", ".join([net.title, *(f"{k} {v}" for k, v in plain.items() if not isinstance(v, dict | list | None))])


def _line(file: Path) -> str:
    return f"- `{file.name}`, SHA-256 `{sha256(file)}`. {_HOW[file.suffix]}".rstrip()


def _origin(source: str, about: dict[str, Any], strength: float | None) -> list[str]:
    """Return the origin, as lines of a list."""
    lines: list[str] = []
    if "run" not in about:
        lines.append(f"- {Path(source).name}, unchanged: nothing was trained")
    else:
        lines.append(
            f"- Fine-tuned from: {Path(str(about['model'].get('weights') or about['model'].get('file'))).name}"
        )
        run = Path(source).resolve().name if is_run(source) else about["run"]
        ident = f", id {about['ident']}" if about.get("ident") else ""
        lines.append(f"- Run: {run}{ident}, step {about.get('step', '?')}, {about.get('weights', '')} weights")
    lines += [_ancestor(Ancestor.of(plain)) for plain in reversed(about.get("ancestors", []))]
    used = strength_of(source) if strength is None else strength
    if used != 1:
        lines.append(f"- Strength {used:g}: between the original (0) and the fine-tuned weights (1)")
    file = Path(weights_of(source, which="chosen" if strength is None else "best"))
    if file.is_file():
        lines.append(f"- Exported from: {file.name}, SHA-256 `{sha256(file)}`")
    return lines


def _ancestor(one: Ancestor) -> str:
    """Return the line about a run that this one continues from."""
    return (
        f"- Continues from: run {one.run}, id {one.ident or 'not recorded'}, step {one.step}, weights with SHA-256 "
        f"`{one.sha256}`, trained on {one.shards or 'shards'} with fingerprint `{one.fingerprint}`, which began with "
        f"{Path(one.began).name or 'weights that nobody recorded'}"
    )


def _data(source: str, about: dict[str, Any]) -> str:
    """Return the origin of the training data, as far as it is recorded."""
    if "fingerprint" in about:
        return (
            f"Shards with fingerprint `{about['fingerprint']}`: photographs of buildings, split by scene. The rights "
            "in the photographs are their owners'."
        )
    return _OFFICIAL_DATA if _is_official(source) else "archsr does not know it; ask whoever published the file."


def _score(run: Path, strength: float | None) -> list[str]:
    """Return the verdicts of the run's score card on the test split, if it evaluated the exported weights."""
    file = run / "evaluation" / "test" / "scores.json"
    if not file.is_file():
        return ["## Score\n\nNot evaluated yet (`archsr evaluate`)."]
    scores = json.loads(file.read_text(encoding="utf-8"))
    exported = Path(weights_of(str(run), which="chosen" if strength is None else "best"))
    if strength not in (None, 1) or scores.get("judged", {}).get("fine-tuned") != sha256(exported):
        return ["## Score\n\nThese weights were not evaluated: the score card is about others (`archsr evaluate`)."]
    baseline = scores["models"][scores["baseline"]]
    titles = scores.get("titles", {})
    rows = [
        f"| {titles.get(metric, metric)} | {_signed(found['mean'])} | {_interval(found)} | {found['verdict']} |"
        for metric, found in scores["differences"].get("fine-tuned", {}).items()
    ]
    if not rows:
        return []
    table = "\n".join(["| measure | difference | 95 % interval | verdict |", "|---|---:|---:|---|", *rows])
    return [f"## Score\n\nOn test scenes, against {baseline}.\n\n{table}\n\n{scores['protocol']}"]


def _interval(found: dict[str, Any]) -> str:
    """Format the interval; the score card has null if there are too few scenes."""
    low, high = found["low"], found["high"]
    return f"too few scenes ({found['scenes']})" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"


def _signed(figure: float | None) -> str:
    """Format a mean; null means NaN or Inf, as for a perfect image."""
    return "–" if figure is None else f"{figure:+.4f}"
