"""`archsr evaluate --photos`: measure models on photographs without ground truth, without verdicts."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from archsr.errors import UserError
from archsr.evaluation.card import EvaluationResult, report_folder, write_data
from archsr.evaluation.compared_models import (
    INTERPOLATIONS,
    ComparedModel,
    Options,
    baseline_of,
    check_sources,
    open_models,
    paths_of,
    scale_of,
)
from archsr.evaluation.metrics import check_names
from archsr.evaluation.people import VOTES_FOLDER, VOTES_IN_RUN, identity_of, vote_sentences
from archsr.evaluation.photos.agreement import metrics_without_truth
from archsr.evaluation.photos.figures import photo_crops
from archsr.evaluation.photos.measured import NAME, MeasurementCache, PhotoRow, measure_photo
from archsr.evaluation.photos.page import photo_page
from archsr.evaluation.photos.photos import ClientPhotos, open_photos
from archsr.evaluation.photos.words import NO_TRUTH, as_lines, first_line, photo_headline, photo_markdown
from archsr.evaluation.report.figures import write_figures
from archsr.evaluation.report.markdown import as_json
from archsr.evaluation.suite import Scores, measure_all
from archsr.evaluation.summary import main_model
from archsr.runs.folders import is_run
from archsr.utils.atomic import write_bytes
from archsr.utils.world import World

CROP = 512  # default side of the measured crop in pixels; at scale 4 the result is 2048²


@dataclass(frozen=True)
class PhotoRequest:
    """What to evaluate: `models`, as for the score card, on the photographs in the folder `photos`.

    `crop` is the side of the measured middle of each photograph, 0 for the whole. `metrics` are further ones of pyiqa.
    `border` is the number of pixels of the result cropped before NIQE, by default the scale.
    """

    models: tuple[str, ...]
    photos: str
    limit: int | None = None
    metrics: tuple[str, ...] = ()
    border: int | None = None
    baseline: str = ""
    crop: int = CROP
    options: Options = field(default_factory=Options)


def evaluate_photos(request: PhotoRequest, *, out: Path | None = None, world: World | None = None) -> EvaluationResult:
    """Write the report, figures and per-photograph scores. A collective: every rank calls it.

    Measurements that the folder already has are reused. Raises `UserError` if models or photographs are missing, or a
    photograph cannot be read.
    """
    world = world or World()
    folder = out or _folder(request)
    photos, compared_models = world.on_all_ranks(lambda: _opened(request, folder))  # all ranks
    baseline = baseline_of(compared_models, request.baseline)
    border = photos.scale if request.border is None else request.border
    metrics, missing = metrics_without_truth(border, request.metrics)
    kept = MeasurementCache(folder / NAME, compared_models, metrics, border=border, baseline=baseline)
    rows = measure_all(
        photos,
        lambda photo: kept.of(photo, lambda one: measure_photo(one, compared_models, metrics, baseline=baseline)),
        world=world,
    )  # all ranks
    names = [c.name for c in compared_models]
    scores = Scores(list(rows), [(c.name, c.title) for c in compared_models], metrics, baseline, missing=missing,
                    primary="", unjudged=dict.fromkeys(names, NO_TRUTH), unit=photos.unit,
                    paths=paths_of(compared_models), truth=False)  # fmt: skip
    summary = _write(folder, request, scores, rows, photos, compared_models, border=border) if world.rank == 0 else ""
    return EvaluationResult(folder, scores, summary)


def _opened(request: PhotoRequest, folder: Path) -> tuple[ClientPhotos, list[ComparedModel]]:
    check_sources(request.models)
    check_names(request.metrics)
    scale = scale_of(request.models)
    photos = open_photos(request.photos, scale=scale, crop=request.crop, limit=request.limit)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    options = replace(request.options, tile=request.options.tile or None)  # whole photographs may be large
    return photos, open_models(request.models, scale, options)


def _folder(request: PhotoRequest) -> Path:
    images = f"photos-{Path(request.photos).resolve().name}"
    own = [f"crop-{request.crop}"] if request.crop != CROP else []
    return report_folder(images, request.models, request.options, limit=request.limit, own=own)


def _protocol(request: PhotoRequest, photos: ClientPhotos, rows: Sequence[PhotoRow], *, border: int) -> str:
    which = f"of each the middle, at most {request.crop} pixels a side" if request.crop else "each whole"
    cut = sum(row.window[2:] != row.size for row in rows)
    some = f" ({cut} of {len(rows)} are larger)" if request.crop else ""
    left_out = (
        f" Left out, because their endings are not those of images: {', '.join(photos.left_out)}."
        if photos.left_out
        else ""
    )
    return (
        f"Protocol: {photos.name} as they are, {which}{some}; every model enlarges the same pixels {photos.scale} "
        "times; results are rounded to 8 bits. Agreement: the result reduced by MATLAB's bicubic with antialiasing, in "
        "8 bits, against the photograph; PSNR on MATLAB's Y, without a border. NIQE on MATLAB's Y of results of 192 "
        f"pixels a side and more, without {border} pixels of border. A scene is a sub-folder, or a photograph that "
        f"lies in none.{left_out}"
    )


def _write(
    folder: Path,
    request: PhotoRequest,
    scores: Scores,
    rows: Sequence[PhotoRow],
    photos: ClientPhotos,
    compared_models: Sequence[ComparedModel],
    *,
    border: int,
) -> str:
    protocol = _protocol(request, photos, rows, border=border)
    title = f"{', '.join(Path(m).name for m in request.models)} on {photos.name}"
    votes = [Path(s) / VOTES_IN_RUN for s in request.models if is_run(s)]
    notes = vote_sentences([*votes, VOTES_FOLDER], compared_models, photos)
    judged = {c.name: identity_of(c.weights) for c in compared_models if c.weights}
    lines = {name: photo_headline(scores, name, scores.baseline) for name in scores.challengers}
    try:
        text = photo_markdown(scores, title=title, protocol=protocol, vote=_vote(request), notes=notes)
        plain = as_json(scores, protocol=protocol, judged=judged, headlines=lines)
        write_data(folder, scores, text=text, plain=plain)
        crops = photo_crops(rows, photos, compared_models, scores, new=main_model(scores))
        figures = write_figures(folder, crops, truth=False) if crops else []
        html = photo_page(scores, title=title, protocol=protocol, crops=crops, figures=[folder / f for f in figures],
                          vote=_vote(request), notes=notes)  # fmt: skip
        write_bytes(folder / "report.html", html.encode())
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    files = "report.html, report.md, scores.json, scores.parquet, verdicts.parquet, comparison (png, pdf, svg)"
    said = [first_line(scores), "", *as_lines(scores), "", f"{NO_TRUTH} {_vote(request)}"]
    return "\n".join([*said, f"written: {folder}/{files}"])


def _vote(request: PhotoRequest) -> str:
    """Return the command for a vote on these photographs."""
    runs = [s for s in request.models if is_run(s)]
    named = [s for s in request.models if s not in INTERPOLATIONS]
    pair = ["original", runs[0]] if runs else ["bicubic", *named][-2:]
    limit = [] if request.limit is None else ["--limit", str(request.limit)]
    return f"Ask people: `{shlex.join(['archsr', 'vote', *pair, '--photos', request.photos, *limit])}`."
