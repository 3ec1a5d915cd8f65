"""Results of a study: metrics of every run on the same images, a winner by validation, intervals by test."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from archsr import checkpoint
from archsr.config import SCRATCH
from archsr.config.study import StudyConfig
from archsr.errors import UserError
from archsr.evaluation.compared_models import ComparedModel
from archsr.evaluation.metrics import Metric
from archsr.evaluation.pairs import open_pairs
from archsr.evaluation.selection import BALANCE, Figures, Rule, distance_for, metrics_of
from archsr.evaluation.statistics.bootstrap import Pooled, pooled
from archsr.evaluation.suite import evaluate
from archsr.study.jobs import StudyRun, events, study_folder
from archsr.training.memory.forecast import forecast
from archsr.training.memory.plan import option
from archsr.upscaling.upscaler import Upscaler, open_model
from archsr.utils.atomic import sha256, write_bytes

Values = dict[str, tuple[str, float]]  # scene and value of each image
_WARM = 3  # first iterations, whose time is not counted


@dataclass(frozen=True)
class CandidateResult:
    """A candidate: its cost, and its gains over the original on validation and on test, with an interval.

    `objections`: why the rule would not choose it, whatever its gain (archsr/evaluation/selection.py).
    """

    name: str
    trained: int
    iterations: int
    seconds: float
    memory: int
    val: float
    test: Pooled
    objections: tuple[str, ...] = ()

    @property
    def cost(self) -> tuple[int, float]:
        """Memory, then time, to sort by training cost."""
        return self.memory, self.seconds


@dataclass(frozen=True)
class Findings:
    """All candidates, best on validation first, and the comparison of each with the winner on test."""

    metric: Metric
    outcomes: list[CandidateResult]
    against_winner: dict[str, Pooled]
    images: dict[str, int]

    @property
    def winner(self) -> CandidateResult:
        """The best on validation."""
        return self.outcomes[0]

    @property
    def alike(self) -> list[CandidateResult]:
        """The winner, and those for which the test against it is inconclusive."""
        up = self.metric.higher_is_better
        rest = [o for o in self.outcomes[1:] if self.against_winner[o.name].verdict(higher_is_better=up) != "worse"]
        return [self.winner, *rest]


def findings(study: StudyConfig, jobs: Sequence[StudyRun]) -> Findings:
    """Measure what is missing and combine it. Raises `UserError` if a run is not done."""
    if unfinished := [j.folder.name for j in jobs if not j.done]:
        raise UserError(
            f"{study_folder(study)}: training is not complete: {', '.join(unfinished)}; run the study again"
        )
    metric = _metric(study, study.metric)
    names = list(dict.fromkeys(j.candidate for j in jobs))
    gains = {(j.candidate, j.seed, split): _gains(study, j, split, metric) for j in jobs for split in ("val", "test")}
    by_seed = {n: [gains[n, s, "test"] for s in study.seeds] for n in names}
    outcomes = [_outcome(study, [j for j in jobs if j.candidate == n], gains, by_seed[n]) for n in names]
    sign = 1 if metric.higher_is_better else -1
    outcomes.sort(key=lambda o: (bool(o.objections), -sign * o.val))
    best = by_seed[outcomes[0].name]
    against = {n: pooled([_minus(a, b) for a, b in zip(by_seed[n], best, strict=True)])
               for n in names if n != outcomes[0].name}  # fmt: skip
    images = {split: sum(map(len, gains[names[0], study.seeds[0], split].values())) for split in ("val", "test")}
    return Findings(metric, outcomes, against, images)


Gains = dict[str, list[float]]


def _metric(study: StudyConfig, name: str) -> Metric:
    """Return the metric of that name. For "balance" it is the leading perceptual distance."""
    distance = distance_for(name)
    wanted = distance if name == BALANCE else name
    return next(m for m in metrics_of(study.train.model.scale, distance) if m.name == wanted)


def _objections(study: StudyConfig, jobs: Sequence[StudyRun]) -> tuple[str, ...]:
    if study.metric != BALANCE:
        return ()
    new: Figures = {}
    old: Figures = {}
    for name in ("psnr", "niqe_distance"):
        metric = _metric(study, name)
        for figures, which in ((new, "best"), (old, "initial")):
            for job in jobs:
                for scene, value in measured(study, job, "val", metric, which=which).values():
                    figures.setdefault(name, {}).setdefault(scene, []).append(value)
    rule = Rule(BALANCE, study.train.validation.fidelity_floor, {"psnr": True, "niqe_distance": False})
    return tuple(rule.objections(new, old))


def _gains(study: StudyConfig, job: StudyRun, split: str, metric: Metric) -> Gains:
    old = measured(study, job, split, metric, which="initial")
    new = measured(study, job, split, metric, which="best")
    gains: Gains = {}
    for key, (scene, value) in new.items():
        gains.setdefault(scene, []).append(value - old[key][1])
    return gains


def _finite(gains: Gains) -> list[float]:
    return [v for values in gains.values() for v in values if not math.isnan(v)] or [0.0]


def _minus(a: Gains, b: Gains) -> Gains:
    return {scene: [x - y for x, y in zip(values, b[scene], strict=True)] for scene, values in a.items()}


def measured(study: StudyConfig, job: StudyRun, split: str, metric: Metric, *, which: str) -> Values:
    """Return one model's metrics on one split, measured once and stored.

    The original is measured once, a model from scratch for each seed.
    """
    folder = study_folder(study) / "figures"
    original = f"original-seed{job.seed}" if job.config.model.weights == SCRATCH else "original"
    name = original if which == "initial" else job.folder.name
    limit, weights = study.limit or None, checkpoint.weights_of(str(job.folder), which=which)
    # the digest of the weights is in the name, because retrained weights have other metrics
    path = folder / f"{name}-{split}-{metric.name}-{limit or 'all'}-{sha256(Path(weights))[:16]}.json"
    if not path.exists():
        data = job.config.data
        pairs = open_pairs(data.shards, data, split=split, scale=job.config.model.scale, limit=limit)
        net, _ = open_model(weights)
        print(f"measuring {name} on {split}", flush=True)
        scores = evaluate(pairs, [ComparedModel(name, name, Upscaler(net, tile=0).restore)], [metric])
        values = {row.key: (row.scene, row.values[name][metric.name]) for row in scores.rows}
        write_bytes(path, json.dumps(values).encode())
    return {key: (scene, value) for key, (scene, value) in json.loads(path.read_text()).items()}


def _outcome(
    study: StudyConfig, jobs: Sequence[StudyRun], gains: dict[tuple[str, int, str], Gains], test: list[Gains]
) -> CandidateResult:
    config, name = jobs[0].config, jobs[0].candidate
    found = [v for s in study.seeds for v in _finite(gains[name, s, "val"])]
    # of one iteration: the log's rate excludes validation and saving
    times = [config.training.global_batch / float(e["images_per_second"])
             for j in jobs for e in events(j.folder, "train")[_WARM:]]  # fmt: skip
    return CandidateResult(
        name=name,
        trained=option(config).trained,
        iterations=sum(s.iterations for s in config.training.stages),
        seconds=statistics.median(times) if times else float("nan"),
        memory=forecast(config).total,
        val=statistics.fmean(found),
        test=pooled(test),
        objections=_objections(study, jobs),
    )


def as_json(found: Findings) -> str:
    """Return the findings as JSON."""
    plain = {
        "measure": found.metric.name,
        "winner": found.winner.name,
        "alike": [o.name for o in found.alike],
        "candidates": [asdict(o) for o in found.outcomes],
        "against_winner": {name: asdict(p) for name, p in found.against_winner.items()},
        "pictures": found.images,
    }
    return json.dumps(plain, indent=1).replace("NaN", "null") + "\n"
