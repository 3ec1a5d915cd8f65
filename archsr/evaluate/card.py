"""`archsr evaluate`: bicubic, the original and the fine-tuned model of a run, on the run's fixed pairs."""

from collections.abc import Sequence
from pathlib import Path

from archsr import checkpoint, config_file
from archsr import manifest as mf
from archsr.atomic import write_bytes
from archsr.config import TrainConfig
from archsr.errors import UserError
from archsr.evaluate.figures import write_patches
from archsr.evaluate.measures import check_names, extra, standard
from archsr.evaluate.report import as_json, markdown
from archsr.evaluate.suite import bicubic, evaluate, model
from archsr.remote import Place, place_of
from archsr.upscale.upscaler import Upscaler, open_model


def _variant(split: str, which: str, shards: Place | None, limit: int | None) -> str:
    """The report's folder: another question does not overwrite the answer to the plain one."""
    parts = [split, "" if which == "best" else which, f"on-{shards.name}" if shards else ""]
    return "-".join(p for p in [*parts, "" if limit is None else f"first-{limit}"] if p)


def evaluate_run(
    run: Path,
    *,
    shards: Path | str | None = None,
    split: str = "test",
    which: str = "best",
    metrics: Sequence[str] = ("lpips",),
    limit: int | None = None,
    out: Path | None = None,
    tile: int = 0,
) -> Path:
    """Write `report.md`, `scores.json` and `patches.png` and return their folder.

    `which` names the snapshot (`best`, `last`, `best_raw`, `last_raw`); `metrics` are wanted besides PSNR, SSIM and
    NIQE, through lpips and pyiqa. Raises `UserError` if the run or the pairs are missing.
    """
    if not (run / "config.toml").is_file():
        raise UserError(f"{run}: no run folder: it has no config.toml")
    config = config_file.load(TrainConfig, run / "config.toml")
    elsewhere = shards is not None
    place = place_of(str(shards or config.data.shards), config.data)
    if (scale := mf.load(place).scale) != config.model.scale:
        raise UserError(f"{place}: pairs of scale {scale}, but {run} is a model of scale {config.model.scale}")
    source = checkpoint.weights_of(str(run), which=which)
    about = checkpoint.about_snapshot(Path(source))
    original, _ = open_model(checkpoint.weights_of(str(run), which="initial"))
    tuned, _ = open_model(source)
    contenders = [
        bicubic(config.model.scale),
        model("original", f"original ({Path(config.model.weights).name})", Upscaler(original, tile=tile)),
        model("fine-tuned", f"fine-tuned ({config.name}, step {about['step']})", Upscaler(tuned, tile=tile)),
    ]
    check_names(metrics)
    found, missing = extra(metrics)
    measures = [*standard(config.model.scale), *found]
    scores = evaluate(place, split, contenders, measures, limit=limit)
    some = f" (only {len(scores.rows)} of them: --limit)" if limit is not None else ""
    protocol = (
        f"Protocol: the fixed {split} pairs of {place.name}{some}, results rounded to 8 bits. PSNR and SSIM on RGB "
        f"without {config.model.scale} pixels of border; NIQE on MATLAB's Y without the same border. Weights: "
        f"{Path(source).name}."
    )
    folder = out or run / "evaluation" / _variant(split, which, place if elsewhere else None, limit)
    text = markdown(scores, title=f"{config.name} on {split}", protocol=protocol, missing=missing)
    try:
        write_bytes(folder / "report.md", text.encode())
        write_bytes(folder / "scores.json", as_json(scores, protocol=protocol, missing=missing).encode())
        if scores.patches:
            write_patches(folder / "patches.png", scores.patches)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    print(text.split("## Per picture")[0].strip())
    print(f"\nwritten: {folder}/report.md, scores.json, patches.png")
    return folder
