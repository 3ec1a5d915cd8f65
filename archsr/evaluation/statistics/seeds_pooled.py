"""Pool runs of one config that differ only in their seed into one model: their mean."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from archsr.config import TrainConfig
from archsr.evaluation.compared_models import run_labels
from archsr.evaluation.report.words import about
from archsr.evaluation.statistics.bootstrap import pooled
from archsr.evaluation.statistics.verdicts import by_scene
from archsr.evaluation.suite import ImageScores, Scores
from archsr.evaluation.summary import figure
from archsr.runs.folders import is_run, run_config

_OWN = {"name", "runs", "seed", "log"}  # keys that may differ


def groups_of(models: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of two or more runs of one config with different seeds, by a name for the group."""
    labels = run_labels(models)
    alike: list[dict[str, TrainConfig]] = []
    for source in filter(is_run, models):
        config = run_config(source)
        same = next((g for g in alike if _common(next(iter(g.values()))) == _common(config)), None)
        if same is None:
            alike.append({labels[source]: config})
        elif config.seed not in [c.seed for c in same.values()]:
            same[labels[source]] = config
    found = [list(group) for group in alike if len(group) > 1]
    return {f"{len(g)} seeds" + (f" of {g[0]}" if len(found) > 1 else ""): g for g in found}


def _common(config: TrainConfig) -> dict[str, object]:
    return config.model_dump(exclude=_OWN)


def with_pooled(scores: Scores, groups: dict[str, list[str]]) -> Scores:
    """Add a model for each group, whose values are the means over its seeds.

    Its interval counts scenes, not seeds times scenes. The seeds themselves get no verdicts, so that the same question
    is not tested several times.
    """
    for name, seeds in groups.items():
        title = f"{name} of one config, mean of {', '.join(seeds)}"
        place = 1 + [n for n, _ in scores.compared_models].index(scores.baseline)
        compared_models = [*scores.compared_models[:place], (name, title), *scores.compared_models[place:]]
        known = [scores.unjudged[s] for s in seeds if s in scores.unjudged]
        told = {
            s: f"{s} has no verdict of its own; the runs of its config are evaluated together: {name}." for s in seeds
        }
        unjudged = {**scores.unjudged, **({name: known[0]} if known else told)}
        rows = [_with_mean(row, name, seeds) for row in scores.rows]
        scores = replace(scores, rows=rows, compared_models=compared_models, unjudged=unjudged)
    return scores


def _with_mean(row: ImageScores, name: str, seeds: Sequence[str]) -> ImageScores:
    metrics = row.values[seeds[0]]
    means = {m: statistics.fmean(row.values[s][m] for s in seeds) for m in metrics}
    return replace(row, values={**row.values, name: means})


def seed_sentences(scores: Scores, groups: dict[str, list[str]]) -> list[str]:
    """Return a sentence per group: each seed's primary metric, and an interval for other scenes and seeds."""
    metric = next((m for m in scores.metrics if m.name == scores.primary), None)
    said: list[str] = []
    for name, seeds in groups.items():
        if metric is None or any(not by_scene(scores, metric, seed, scores.baseline) for seed in seeds):
            continue
        found = pooled([by_scene(scores, metric, seed, scores.baseline) for seed in seeds])
        digits = about(metric.name).digits + 1
        each = ", ".join(f"{s} {figure(v, digits, signed=True)}" for s, v in zip(seeds, found.of_seeds, strict=True))
        span = f"{figure(found.low, digits, signed=True)} to {figure(found.high, digits, signed=True)}"
        interval = "" if math.isnan(found.low) else f"; for other scenes and other seeds the 95 % interval is {span}"
        said.append(f"{name}, {metric.title} against {scores.baseline}: {each}{interval}.")
    return said
