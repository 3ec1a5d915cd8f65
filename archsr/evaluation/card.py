"""`archsr evaluate`: models on the same fixed pixels, what the figures say, and images to look at."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from archsr.checkpoint import about_snapshot, weights_of
from archsr.config import DataConfig
from archsr.data.remote import place_of
from archsr.errors import UserError
from archsr.evaluation import compared_models as who
from archsr.evaluation.architecture import architecture
from archsr.evaluation.metrics import check_names, extra, perceptual, standard
from archsr.evaluation.pairs import Pairs, ShardPairs, open_pairs
from archsr.evaluation.people import HOME, IN_RUN, asked_people, identity_of
from archsr.evaluation.report.figures import choose, show, telling, write_figures
from archsr.evaluation.report.html import page
from archsr.evaluation.report.markdown import as_json, markdown
from archsr.evaluation.report.parquet import write_images, write_verdicts
from archsr.evaluation.report.verdict_table import HOW
from archsr.evaluation.statistics.seeds_pooled import groups_of, seeds_told, with_pooled
from archsr.evaluation.statistics.strata import NO_RECIPE
from archsr.evaluation.statistics.verdicts import unjudged
from archsr.evaluation.suite import PRIMARY, Scores, evaluate
from archsr.evaluation.summary import foremost, in_words, told_first
from archsr.runs.folders import CONFIG, is_run, run_config
from archsr.utils import console
from archsr.utils.atomic import write_bytes
from archsr.utils.world import World


@dataclass(frozen=True)
class EvaluationRequest:
    """What is asked: `models` (runs, files, official names, interpolations) on `on` (default: the run's dataset).

    `metrics`: metrics besides ours, by lpips and pyiqa. `channel`: "rgb", or "y" as benchmarks are measured;
    `border`: pixels cropped, the scale by default. `baseline`: the model that the others are compared with.
    """

    models: tuple[str, ...]
    on: str = ""
    split: str = "test"
    limit: int | None = None
    metrics: tuple[str, ...] = ()
    channel: str = "rgb"
    border: int | None = None
    baseline: str = ""
    options: who.Options = field(default_factory=who.Options)


@dataclass(frozen=True)
class Answer:
    """What was written into `folder`, the `scores`, and what the command says; nothing is written and said but on
    rank 0."""

    folder: Path
    scores: Scores
    said: str = ""


def evaluate_models(question: EvaluationRequest, *, out: Path | None = None, world: World | None = None) -> Answer:
    """Write the report, figures and per-image scores. A collective: every rank calls it.

    Raises `UserError` where models or pairs are missing or do not fit each other.
    """
    world = world or World()
    scale, pairs, compared_models = world.on_all_ranks(lambda: _opened(question))  # all ranks
    baseline = who.baseline_of(compared_models, question.baseline)
    border = scale if question.border is None else question.border
    check_names(question.metrics)
    found, missing = extra(question.metrics)
    try:
        seen = perceptual()
    except UserError as error:
        seen, missing["features"] = [], str(error)
    metrics = [*standard(border, channel=question.channel), *found, *seen, *architecture()]
    scores = evaluate(pairs, compared_models, metrics, baseline=baseline, world=world)  # all ranks
    if isinstance(pairs, ShardPairs) and all(math.isnan(row.strength) for row in scores.rows):
        missing["strength of the degradation"] = NO_RECIPE
    scores = replace(scores, missing=missing, primary=_primary(question), unit=pairs.unit,
                     unjudged=unjudged(compared_models, pairs), paths=who.paths_of(compared_models))  # fmt: skip
    groups = groups_of(question.models)
    scores = with_pooled(scores, groups)
    folder = out or _folder(question)
    if world.rank != 0:
        return Answer(folder, scores)
    told = seeds_told(scores, groups)
    seen = groups.get(new := foremost(scores), [new])[0]  # of several seeds the first is looked at
    said = _write(folder, question, scores, pairs, compared_models, border=border, told=told, seen=seen)
    return Answer(folder, scores, said)


def _opened(question: EvaluationRequest) -> tuple[int, Pairs, list[who.ComparedModel]]:
    who.check_sources(question.models)
    runs = [s for s in question.models if is_run(s)]
    scale = who.scale_of(question.models)
    if not question.on and not runs:
        raise UserError("--on SHARDS|FOLDER: which images? Only a run has a dataset of its own")
    data = run_config(runs[0]).data if runs else DataConfig()
    pairs = open_pairs(question.on or data.shards, data, split=question.split, scale=scale, limit=question.limit)
    return scale, pairs, who.contenders_of(question.models, scale, question.options)


def _folder(question: EvaluationRequest) -> Path:
    """Another question does not overwrite the answer to the plain one."""
    runs = [s for s in question.models if is_run(s)]
    parts = [question.split if not question.on else f"on-{Path(question.on).name}-{question.split}"]
    parts += [question.options.which] if question.options.which != "chosen" else []
    parts += ["y"] if question.channel == "y" else []
    parts += ["blends"] if question.options.blends else []
    parts += [f"first-{question.limit}"] if question.limit is not None else []
    parts += [Path(m).stem for m in question.models if m not in runs[:1]]
    home = Path(runs[0]) / "evaluation" if runs else Path("evaluation")
    return home / "-".join(parts)


def _primary(question: EvaluationRequest) -> str:
    """What the first run's config fixed before it was trained; the default's where there is no run."""
    runs = [s for s in question.models if is_run(s)]
    return run_config(runs[0]).primary if runs else PRIMARY


def _protocol(question: EvaluationRequest, pairs: Pairs, scores: Scores, *, border: int) -> str:
    some = f" (only {len(pairs.numbers())} of them: --limit)" if question.limit is not None else ""
    channel = "MATLAB's Y of" if question.channel == "y" else "RGB of"
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
    question: EvaluationRequest,
    scores: Scores,
    pairs: Pairs,
    compared_models: Sequence[who.ComparedModel],
    *,
    border: int,
    told: Sequence[str],
    seen: str,
) -> str:
    unlike = _unlike(question, pairs)
    for line in unlike:
        console.warn(line)
    protocol = " ".join([*unlike, _protocol(question, pairs, scores, border=border)])
    title = f"{', '.join(Path(m).name for m in question.models)} on {pairs.name}"
    new = foremost(scores)
    asked = [
        *told,
        *asked_people([Path(s) / IN_RUN for s in question.models if is_run(s)] + [HOME], compared_models, pairs),
    ]
    judged = {c.name: identity_of(c.weights) for c in compared_models if c.weights}
    text = markdown(scores, title=title, protocol=protocol, asked=asked)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "report.md", text.encode())
        write_bytes(folder / "scores.json", as_json(scores, protocol=protocol, judged=judged).encode())
        write_images(folder / "scores.parquet", scores)
        write_verdicts(folder / "verdicts.parquet", scores)
        metric = next((m for m in scores.metrics if m.name == scores.primary), scores.metrics[0])
        chosen = [*telling(scores, metric, pairs, compared_models, new=new, seen=seen), *choose(scores, metric, new)]
        shown = show(chosen, pairs, compared_models, scores, new=seen)
        figures = write_figures(folder, shown) if shown else []
        html = page(scores, title=title, protocol=protocol, shown=shown, figures=[folder / f for f in figures],
                    extras=_curves(question), config=_config(question), asked=asked, seen=seen)  # fmt: skip
        write_bytes(folder / "report.html", html.encode())
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    lines = [text.split(f"\n{HOW}")[0].strip(), ""]
    lines += [in_words(scores, name, scores.baseline) for name in told_first(scores)]
    files = "report.html, report.md, scores.json, scores.parquet, verdicts.parquet"
    return "\n".join([*lines, f"written: {folder}/{files}, comparison and differences (png, pdf, svg)"])


def _curves(question: EvaluationRequest) -> dict[str, Path]:
    runs = [Path(s) for s in question.models if is_run(s)]
    return {f"Training of {run.name}": run / "curves.png" for run in runs if (run / "curves.png").is_file()}


def _unlike(question: EvaluationRequest, pairs: Pairs) -> list[str]:
    """Runs that were trained on an earlier state of the dataset of `pairs`, in words."""
    said: list[str] = []
    for source in filter(is_run, question.models):
        data = run_config(source).data
        trained = about_snapshot(Path(weights_of(source, which=question.options.which))).get("fingerprint")
        if isinstance(pairs, ShardPairs) and place_of(data.shards, data) == pairs.place:
            now = pairs.fingerprint
            if trained not in (None, now):
                said.append(
                    f"WARNING: {source} was trained on an earlier {data.shards} (fingerprint {trained[:16]}, now "
                    f"{now[:16]}): it may have been trained on what is a test image now"
                )
    return said


def _config(question: EvaluationRequest) -> str:
    runs = [Path(s) for s in question.models if is_run(s)]
    return "\n".join((run / CONFIG).read_text() for run in runs)
