"""`archsr evaluate`: measure models on the same fixed images and write the report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from archsr.checkpoint import about_snapshot, weights_of
from archsr.config import DataConfig
from archsr.data.remote import place_of
from archsr.errors import UserError
from archsr.evaluation.architecture import architecture
from archsr.evaluation.compared_models import (
    ComparedModel,
    Options,
    baseline_of,
    check_sources,
    open_models,
    paths_of,
    run_labels,
    scale_of,
    short_name,
)
from archsr.evaluation.metrics import check_names, extra, perceptual, standard
from archsr.evaluation.pairs import Pairs, ShardPairs, open_pairs
from archsr.evaluation.people import VOTES_FOLDER, VOTES_IN_RUN, identity_of, vote_sentences
from archsr.evaluation.report.advice import advise, situation_of
from archsr.evaluation.report.figures import choose_images, figure_crops, representative_image, write_figures
from archsr.evaluation.report.html import page
from archsr.evaluation.report.markdown import as_json, markdown
from archsr.evaluation.report.parquet import write_images, write_verdicts
from archsr.evaluation.report.verdict_table import HOW
from archsr.evaluation.seen import Fresh, unseen
from archsr.evaluation.statistics.seeds_pooled import groups_of, seed_sentences, with_pooled
from archsr.evaluation.statistics.strata import NO_RECIPE
from archsr.evaluation.statistics.verdicts import findings, without_verdicts
from archsr.evaluation.suite import PRIMARY, Scores, evaluate
from archsr.evaluation.summary import in_words, main_model, main_models
from archsr.runs.folders import CONFIG, is_run, run_config
from archsr.utils import console
from archsr.utils.atomic import write_bytes
from archsr.utils.progress import tracked
from archsr.utils.world import World


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate: `models` on the images `on` (default: the first run's dataset).

    `models` are run folders, files, official names or interpolations. `metrics` are further ones of lpips and pyiqa.
    `channel` is "rgb", or "y" as in tables of benchmarks. `border` is the number of pixels cropped, by default the
    scale. The other models are compared with `baseline`.
    """

    models: tuple[str, ...]
    on: str = ""
    split: str = "test"
    limit: int | None = None
    metrics: tuple[str, ...] = ()
    channel: str = "rgb"
    border: int | None = None
    baseline: str = ""
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class EvaluationResult:
    """The report's `folder`, the `scores`, and the `summary` that the command prints.

    Only rank 0 writes the report and has a summary.
    """

    folder: Path
    scores: Scores
    summary: str = ""


def evaluate_models(
    request: EvaluationRequest, *, out: Path | None = None, world: World | None = None
) -> EvaluationResult:
    """Write the report, figures and per-image scores. A collective: every rank calls it.

    Raises `UserError` if models or pairs are missing or do not fit each other.
    """
    world = world or World()
    scale, fresh, compared_models = world.on_all_ranks(lambda: _opened(request))  # all ranks
    pairs = fresh.pairs
    for note in fresh.notes if world.rank == 0 else ():
        console.warn(note)
    baseline = baseline_of(compared_models, request.baseline)
    border = scale if request.border is None else request.border
    check_names(request.metrics)
    if world.rank == 0:
        console.aside(f"{len(pairs.numbers())} images, {len(compared_models)} models: loading the metrics")
    found, missing = extra(request.metrics)
    try:
        features = perceptual()
    except UserError as error:
        features, missing["features"] = [], str(error)
    metrics = [*standard(border, channel=request.channel), *found, *features, *architecture()]
    scores = evaluate(pairs, compared_models, metrics, baseline=baseline, world=world)  # all ranks
    if isinstance(pairs, ShardPairs) and all(math.isnan(row.strength) for row in scores.rows):
        missing["strength of the degradation"] = NO_RECIPE
    scores = replace(scores, missing=missing, primary=_primary(request), unit=pairs.unit,
                     unjudged=without_verdicts(compared_models, pairs), paths=paths_of(compared_models))  # fmt: skip
    groups = groups_of(request.models)
    scores = with_pooled(scores, groups)
    folder = out or _folder(request)
    if world.rank != 0:
        return EvaluationResult(folder, scores)
    console.aside("computing intervals and drawing the report")
    for name in tracked(scores.challengers, "computing intervals", unit="model"):
        findings(scores, name, baseline)
    seed_notes = seed_sentences(scores, groups)
    new = main_model(scores)
    slider_model = groups.get(new, [new])[0]  # with several seeds, the first is shown
    summary = _write(
        folder, request, scores, fresh, compared_models, border=border, seed_notes=seed_notes, slider_model=slider_model
    )
    return EvaluationResult(folder, scores, summary)


def _opened(request: EvaluationRequest) -> tuple[int, Fresh, list[ComparedModel]]:
    check_sources(request.models)
    runs = [s for s in request.models if is_run(s)]
    scale = scale_of(request.models)
    if not request.on and not runs:
        raise UserError("no images to evaluate on: only a run has its own dataset; give --on SHARDS or --on FOLDER")
    data = run_config(runs[0]).data if runs else DataConfig()
    pairs = open_pairs(request.on or data.shards, data, split=request.split, scale=scale, limit=request.limit)
    fresh = unseen(pairs, request.models, which=request.options.which)
    return scale, fresh, open_models(request.models, scale, request.options)


def _folder(request: EvaluationRequest) -> Path:
    images = request.split if not request.on else f"on-{Path(request.on).name}-{request.split}"
    own = ["y"] if request.channel == "y" else []
    return report_folder(images, request.models, request.options, limit=request.limit, own=own)


def report_folder(
    images: str, models: Sequence[str], options: Options, *, limit: int | None, own: Sequence[str]
) -> Path:
    """Return the default output folder. Its name holds all options, so that it does not overwrite another report.

    `images` names what the models are measured on, `own` the options that only this kind of report has.
    """
    runs = [s for s in models if is_run(s)]
    parts = [images, *([options.which] if options.which != "chosen" else []), *own]
    parts += ["blends"] if options.blends else []
    parts += [f"first-{limit}"] if limit is not None else []
    parts += [Path(m).stem for m in models if m not in runs[:1]]
    home = Path(runs[0]) / "evaluation" if runs else Path("evaluation")
    return home / "-".join(parts)


def write_data(folder: Path, scores: Scores, *, text: str, plain: str) -> None:
    """Write the report as Markdown `text`, as JSON `plain`, and as two Parquet files."""
    write_bytes(folder / "report.md", text.encode())
    write_bytes(folder / "scores.json", plain.encode())
    write_images(folder / "scores.parquet", scores)
    write_verdicts(folder / "verdicts.parquet", scores)


def _primary(request: EvaluationRequest) -> str:
    """Return the primary metric of the first run's config, which was set before training, else the default."""
    runs = [s for s in request.models if is_run(s)]
    return run_config(runs[0]).primary if runs else PRIMARY


def _protocol(request: EvaluationRequest, pairs: Pairs, scores: Scores, *, border: int) -> str:
    some = f" (only {len(pairs.numbers())} of them: --limit)" if request.limit is not None else ""
    channel = "MATLAB's Y of" if request.channel == "y" else "RGB of"
    unit = scores.unit
    inner = f"the {unit} without {border} pixels of border" if border else f"the whole {unit}"
    similar = f"MS-SSIM on Y of the whole {unit}; " if any(m.name == "ms_ssim" for m in scores.metrics) else ""
    titles = {m.name: m.title.split(",")[0] for m in scores.metrics}
    return (
        f"Protocol: {pairs.name}{some}; every model restores the same pixels, each of the {unit} by itself; results "
        f"are rounded to 8 bits, values are 0 to 255. PSNR and SSIM (Gaussian window 11, σ 1.5) on {channel} {inner}; "
        f"NIQE on MATLAB's Y of the same; {similar}all other metrics (LPIPS and DISTS, too) on the whole {unit}. "
        f"Primary metric: {titles.get(scores.primary, scores.primary)}."
    )


def _write(
    folder: Path,
    request: EvaluationRequest,
    scores: Scores,
    fresh: Fresh,
    compared_models: Sequence[ComparedModel],
    *,
    border: int,
    seed_notes: Sequence[str],
    slider_model: str,
) -> str:
    pairs = fresh.pairs
    warnings = _dataset_warnings(request, pairs)
    for line in warnings:
        console.warn(line)
    protocol = " ".join([*warnings, *fresh.notes, _protocol(request, pairs, scores, border=border)])
    title = f"{', '.join(Path(m).name for m in request.models)} on {pairs.name}"
    new = main_model(scores)
    vote_folders = [Path(s) / VOTES_IN_RUN for s in request.models if is_run(s)] + [VOTES_FOLDER]
    notes = [*seed_notes, *vote_sentences(vote_folders, compared_models, pairs)]
    judged = {c.name: identity_of(c.weights) for c in compared_models if c.weights}
    advice = _advice(request, scores, compared_models)
    text = markdown(scores, title=title, protocol=protocol, notes=notes, advice=advice)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_data(folder, scores, text=text, plain=as_json(scores, protocol=protocol, judged=judged))
        metric = next((m for m in scores.metrics if m.name == scores.primary), scores.metrics[0])
        chosen = [
            *representative_image(scores, metric, pairs, compared_models, new=new, shown_model=slider_model),
            *choose_images(scores, metric, new),
        ]
        crops = figure_crops(chosen, pairs, compared_models, scores, new=slider_model)
        console.aside("drawing the figures and the page")
        figures = write_figures(folder, crops) if crops else []
        html = page(scores, title=title, protocol=protocol, crops=crops, figures=[folder / f for f in figures],
                    extras=_curves(request), config=_config(request), notes=notes,
                    slider_model=slider_model, advice=advice)  # fmt: skip
        write_bytes(folder / "report.html", html.encode())
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    lines = [text.split(f"\n{HOW}")[0].strip(), ""]
    lines += [in_words(scores, name, scores.baseline) for name in main_models(scores)]
    files = "report.html, report.md, scores.json, scores.parquet, verdicts.parquet"
    lines.append(f"written: {folder}/{files}, comparison and differences (png, pdf, svg)")
    return "\n".join([*lines, "", "What to do:", *advice])


def _advice(request: EvaluationRequest, scores: Scores, compared_models: Sequence[ComparedModel]) -> list[str]:
    """Return what to do with each main model; with several models their names come first."""
    shares = {c.name: c.share for c in compared_models}
    labels = run_labels(request.models)
    by_name = {**{short_name(s): s for s in request.models}, **{label: s for s, label in labels.items()}}
    by_name |= {"fine-tuned": next(iter(labels), "")} if len(labels) == 1 else {}
    names, said = main_models(scores), list[str]()
    for name in names:
        source = by_name.get(name, name)
        terms = run_config(source).losses.terms() if is_run(source) else {}
        weights = {loss: term.weight for loss, term in terms.items()}
        on = situation_of(scores, name, source=source, shares=shares, is_run=is_run(source), weights=weights)
        said += [f"{name}: {line}" if len(names) > 1 else line for line in advise(on)]
    return said


def _curves(request: EvaluationRequest) -> dict[str, Path]:
    runs = [Path(s) for s in request.models if is_run(s)]
    return {f"Training of {run.name}": run / "curves.png" for run in runs if (run / "curves.png").is_file()}


def _dataset_warnings(request: EvaluationRequest, pairs: Pairs) -> list[str]:
    """Return a warning for each run that was trained on an earlier version of the dataset of `pairs`."""
    warnings: list[str] = []
    for source in filter(is_run, request.models):
        data = run_config(source).data
        trained = about_snapshot(Path(weights_of(source, which=request.options.which))).get("fingerprint")
        if isinstance(pairs, ShardPairs) and place_of(data.shards, data) == pairs.place:
            now = pairs.fingerprint
            if trained not in (None, now):
                warnings.append(
                    f"WARNING: {source} was trained on an earlier {data.shards} (fingerprint {trained[:16]}, now "
                    f"{now[:16]}): its training images may include current test images"
                )
    return warnings


def _config(request: EvaluationRequest) -> str:
    runs = [Path(s) for s in request.models if is_run(s)]
    return "\n".join((run / CONFIG).read_text() for run in runs)
