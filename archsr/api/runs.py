"""Train, evaluate and export, with results for notebooks."""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from archsr.api.model import Model, load_model
from archsr.api.settings import load_config
from archsr.api.tables import Table, as_html, image_html, table_of
from archsr.checkpoint import strength_of
from archsr.config import TrainConfig
from archsr.errors import UserError
from archsr.evaluation.card import EvaluationRequest, evaluate_models
from archsr.evaluation.compared_models import Options
from archsr.evaluation.metrics import NO_REFERENCE
from archsr.evaluation.photos.card import CROP, PhotoRequest, evaluate_photos
from archsr.evaluation.report.words import about
from archsr.evaluation.statistics.verdicts import findings
from archsr.evaluation.suite import Scores
from archsr.evaluation.summary import compared_networks, figure, in_words, mean, titles_of
from archsr.exporting import Exported
from archsr.exporting import export as export_model
from archsr.exporting.card import Rights
from archsr.runs.folders import folder_of
from archsr.runs.records import read_log
from archsr.upscaling.devices import Precision
from archsr.utils.stopping import Stopped, StopRequest, handling_signals
from archsr.utils.world import launched_world

_KINDS = ("train", "validation")


@dataclass(frozen=True)
class Trained:
    """A training: its run's `folder`, the last `step`, and `stopped`, the reason for an early stop (else "")."""

    folder: Path
    step: int
    stopped: str

    @property
    def best_step(self) -> int | None:
        """The step of the chosen weights: 0 if nothing was better than the start, None before a validation."""
        chosen = [int(event["step"]) for event in read_log(self.folder) if event.get("chosen") is True]
        return chosen[-1] if chosen else None

    @property
    def strength(self) -> float:
        """The share of the fine-tuning that the run chose."""
        return strength_of(str(self.folder))

    @property
    def history(self) -> Table:
        """The log: a row per logged iteration and validation, a column per value."""
        return table_of([event for event in read_log(self.folder) if event["event"] in _KINDS])

    @property
    def validations(self) -> Table:
        """The validations, by step, without times."""
        found = [event for event in read_log(self.folder) if event["event"] == "validation"]
        return table_of([{k: v for k, v in e.items() if k not in ("event", "time")} for e in found], index="step")

    def load_model(
        self, *, device: str = "auto", precision: Precision = "auto", strength: float | None = None
    ) -> Model:
        """Load the model with the weights that the run chose, or the last ones if none was better than the start."""
        return load_model(self.folder, device=device, precision=precision, strength=strength)

    def __repr__(self) -> str:
        end = f"stopped at step {self.step} ({self.stopped})" if self.stopped else f"finished at step {self.step}"
        best = "no weights chosen yet" if self.best_step is None else f"best step {self.best_step}"
        return f"<archsr run {self.folder}: {end}, {best}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>{as_html(self.validations)}{image_html(self.folder / 'curves.png')}"


def train(
    config: str | os.PathLike[str] | Mapping[str, Any] | TrainConfig,
    *,
    resume: bool = False,
    **settings: Any,  # noqa: ANN401 - keys of TrainConfig
) -> Trained:
    """Train in this process, on one device; `archsr train` and `accelerate launch` use several.

    `config` is a TOML file, its tables, or a `TrainConfig`; `settings` override it, as in `load_config`
    (`data={"shards": "shards/photos"}`, `training={"global_batch": 4}`). `resume` continues from the newest checkpoint,
    if there is one. Interrupting the kernel (Ctrl-C) stops after the iteration and saves. Raises `UserError`, also as
    `ConfigError`, `DataError` or `WeightsError`.
    """
    from archsr.training import launch  # late: it imports accelerate and all of training

    given = load_config(config, **settings)
    stop_request = StopRequest(started=time.time())  # `training.time_limit` counts from this call
    at_home = threading.current_thread() is threading.main_thread()  # other threads cannot catch signals
    stopped = ""
    try:
        with handling_signals(stop_request) if at_home else nullcontext():
            launch.run(given, resume=resume, stop_request=stop_request)
    except Stopped as reason:
        stopped = reason.reason
    folder = folder_of(given)
    return Trained(folder, max((int(event["step"]) for event in read_log(folder)), default=0), stopped)


# ---------------------------------------------------------------- evaluating


@dataclass(frozen=True)
class Evaluation:
    """An evaluation: its `folder`, the `scores` of every image, and the `summary` that the command prints."""

    folder: Path
    scores: Scores
    summary: str

    @property
    def report(self) -> Path:
        """The page with the whole report."""
        return self.folder / "report.html"

    @property
    def table(self) -> Table:
        """The mean of each metric: a row per model, and one for the photographs if there is ground truth."""
        models = titles_of(self.scores).items()
        rows = [{"model": title, **{m.name: mean(self.scores, name, m.name) for m in self.scores.metrics}}
                for name, title in models]  # fmt: skip
        return table_of(rows, index="model")

    @property
    def images(self) -> Table:
        """All values: a row per image and model."""
        return table_of([{"image": row.key, "scene": row.scene, "model": name, **values}
                         for row in self.scores.rows for name, values in row.values.items()])  # fmt: skip

    @property
    def verdicts(self) -> Table:
        """Each model against the baseline by each metric: verdict, mean difference, 95 % interval."""
        old = self.scores.baseline
        return table_of([
            {"model": new, "metric": name, "verdict": found.verdict, "difference": found.difference.mean,
             "low": found.difference.low, "high": found.difference.high}
            for new in self.scores.challengers for name, found in findings(self.scores, new, old).items()
        ])  # fmt: skip

    @property
    def words(self) -> list[str]:
        """The result in words, without knowledge of the metrics."""
        return [in_words(self.scores, name, self.scores.baseline) for name in compared_networks(self.scores)]

    def __repr__(self) -> str:
        return self.summary

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{escape(words)}</p>" for words in self.words)
        where = f"<p>{escape(str(self.report))}</p>"
        return f"{said}{_means_html(self.scores)}{where}{image_html(self.folder / 'comparison.png')}"


def evaluate(
    models: "str | os.PathLike[str] | Model | Trained | Sequence[str | os.PathLike[str] | Model | Trained]",
    *,
    on: str | os.PathLike[str] = "",
    photos: str | os.PathLike[str] = "",
    crop: int | None = None,
    split: str = "test",
    limit: int | None = None,
    metrics: Sequence[str] = (),
    offline: bool = False,
    baseline: str = "",
    which: str = "chosen",
    blends: Sequence[float] = (),
    y_channel: bool = False,
    border: int | None = None,
    tile: int = 0,
    out: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Evaluate models on the same fixed images, like `archsr evaluate`, which explains the other options.

    `models` are run folders, weights files, official names, "lanczos", or results of `load_model` and `train`. `on` is
    a dataset, a benchmark's folder, or a folder of photographs (default: the first run's dataset). `photos` is instead
    a folder of small photographs without ground truth, whose middle `crop` pixels are measured (512; 0: the whole),
    without verdicts. `metrics` are further ones of pyiqa, or "all". `offline` skips LPIPS and DISTS, which need
    downloads. Raises `DataError`, `WeightsError`, `UserError`.
    """
    several = [models] if isinstance(models, str | os.PathLike | Model | Trained) else models
    named = tuple(_source(model) for model in several)
    more = [m for name in metrics for m in (NO_REFERENCE if name == "all" else (name,))]
    target = None if out is None else Path(out)
    if photos:
        if on or y_channel or split != "test":
            raise UserError(
                "photos have no ground truth: on (--on), split and y_channel (--y) cannot be used with them"
            )
        asked = PhotoRequest(named, os.fspath(photos), limit, tuple(dict.fromkeys(more)), border, baseline,
                              CROP if crop is None else crop, Options(which, tile, tuple(blends)))  # fmt: skip
        with launched_world() as world:
            answer = evaluate_photos(asked, out=target, world=world)  # all ranks
        return Evaluation(answer.folder, answer.scores, answer.summary)
    if crop is not None:
        raise UserError("crop (--crop) needs photos (--photos)")
    usual = ["ms_ssim"] if offline else ["ms_ssim", "lpips", "dists"]
    request = EvaluationRequest(
        models=named,
        on=os.fspath(on),
        split=split,
        limit=limit,
        metrics=tuple(dict.fromkeys([*usual, *more])),
        channel="y" if y_channel else "rgb",
        border=border,
        baseline=baseline,
        options=Options(which, tile, tuple(blends)),
    )
    with launched_world() as world:
        answer = evaluate_models(request, out=target, world=world)  # all ranks
    return Evaluation(answer.folder, answer.scores, answer.summary)


def _means_html(scores: Scores) -> str:
    """Return the table of means for people: metrics are rows, each with its own digits."""
    models = titles_of(scores).items()
    rows = [
        {"": metric.title + (" ↑" if metric.higher_is_better else " ↓"),
         **{title: figure(mean(scores, name, metric.name), about(metric.name).digits) for name, title in models}}
        for metric in scores.metrics
    ]  # fmt: skip
    return as_html(table_of(rows, index=""))


def export(
    model: "str | os.PathLike[str] | Model | Trained",
    target: str | os.PathLike[str],
    *,
    precision: str = "fp32",
    strength: float | None = None,
    author: str = "",
    licence: str = "",
) -> Exported:
    """Export a model as a file for other tools, compared with the model, with a model card beside it.

    The ending of `target` is the format: .pth, .safetensors, .onnx, .param (ncnn), .dtmodel (darktable) or .pt
    (TorchScript). `precision` is "fp32" or "fp16". `strength` is as in `load_model`, by default that of a loaded model.
    `author` and `licence` (an SPDX identifier) go into the card and the entry for OpenModelDB. Raises `UserError`.
    """
    if strength is None and isinstance(model, Model) and model.strength != strength_of(model.source):
        strength = model.strength
    rights = Rights(author, licence)
    return export_model(_source(model), Path(target), precision=precision, strength=strength, rights=rights)


def _source(model: "str | os.PathLike[str] | Model | Trained") -> str:
    if isinstance(model, Model):
        return model.source
    return str(model.folder) if isinstance(model, Trained) else os.fspath(model)
