"""A study's table, conclusion, figure and winning config."""

import math
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from archsr.config import config_file
from archsr.config.study import StudyConfig
from archsr.evaluation.statistics.bootstrap import FEWEST_SCENES, Pooled
from archsr.study.jobs import StudyRun, study_folder
from archsr.study.results import Findings, as_json
from archsr.utils.atomic import replacing, write_bytes

_PANELS = {"trained": "trained parameters", "memory": "memory, MiB (forecast)", "seconds": "seconds per iteration"}


def markdown(study: StudyConfig, found: Findings, left_out: dict[str, str]) -> str:
    """Return the report: conclusion, table, and method."""
    unit = found.metric.title
    lines = [f"# {study.name}: which layers should be trained?", "", answer(found), ""]
    heads = ["candidate", "trained", "iterations", "s/iteration", "memory", f"{unit} on val", "on test",
             "95 % interval", "seeds", "against the original", "against the winner"]  # fmt: skip
    lines += ["| " + " | ".join(heads) + " |", "|---|---:|---:|---:|---:|---:|---:|---:|---|---|---|"]
    for each in found.outcomes:
        cells = [each.name, f"{each.trained:,}", f"{each.iterations:,}", f"{each.seconds:.2f}",
                 f"{each.memory / 2**20:,.0f} MiB", f"{each.val:+.4f}", f"{each.test.mean:+.4f}", _interval(each.test),
                 ", ".join(f"{v:+.4f}" for v in each.test.of_seeds), _verdict(found, each.test),
                 _against(found, each.name)]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", _method(study, found)]
    lines += [f"- {o.name} would not be chosen: {'; '.join(o.objections)}" for o in found.outcomes if o.objections]
    lines += [f"- {name} was left out: {why}" for name, why in left_out.items()]
    return "\n".join(lines) + "\n"


def answer(found: Findings) -> str:
    """Return the conclusion in one or two sentences."""
    others = [o.name for o in found.alike[1:]]
    said = f"**{found.winner.name}** is best on the validation pairs."
    if not others:
        return f"{said} On the test pairs it is better than every other candidate."
    cheapest = min(found.alike, key=lambda o: o.cost)
    said += f" The test pairs are **inconclusive** between it and {', '.join(others)}."
    return f"{said} The cheapest of these to train is **{cheapest.name}**."


def _method(study: StudyConfig, found: Findings) -> str:
    budget = study.budget
    equal = {"iterations": "as many iterations each", "time": f"{budget.minutes} minutes of iterations each",
             "memory": f"at most {budget.gigabytes} GB each"}[budget.equal]  # fmt: skip
    return (
        f"Budget: {equal}; {len(study.seeds)} seeds, with which the order of samples, the crops, the degradations and "
        "the noise change. Gains are over the model that training began with, on the same pixels "
        f"({found.images['val']} validation and {found.images['test']} test images). The winner is chosen on "
        "validation, so that its figures on test are not flattered by the choice; intervals are for other scenes and "
        "other seeds, from resampling both. Time and memory: medians of the log, and the forecast of `archsr plan`."
    )


def _interval(found: Pooled) -> str:
    return "–" if math.isnan(found.low) else f"{found.low:+.4f} to {found.high:+.4f}"


def _verdict(found: Findings, gain: Pooled) -> str:
    if gain.scenes < FEWEST_SCENES:
        return f"{gain.scenes} scenes show nothing"
    return gain.verdict(higher_is_better=found.metric.higher_is_better)


def _against(found: Findings, name: str) -> str:
    if name == found.winner.name:
        return "the winner"
    gap = found.against_winner[name]
    return f"{gap.mean:+.4f} ({_interval(gap)}): {_verdict(found, gap)}"


def draw(found: Findings) -> Figure:
    """Plot the gain on test with its interval against parameters, memory and time."""
    with mpl.rc_context({"font.size": 8, "svg.hashsalt": "archsr"}):
        figure = Figure(figsize=(10, 3.4), layout="constrained")
        for axes, (name, title) in zip(figure.subplots(1, 3, sharey=True), _PANELS.items(), strict=True):
            for each in found.outcomes:
                x = getattr(each, name) / (2**20 if name == "memory" else 1)
                low, high = (each.test.mean if math.isnan(v) else v for v in (each.test.low, each.test.high))
                span = [[each.test.mean - low], [high - each.test.mean]]
                axes.errorbar(x, each.test.mean, yerr=span, fmt="o", capsize=3, label=each.name)
                axes.plot([x] * len(each.test.of_seeds), each.test.of_seeds, "_", color="0.4")
            axes.axhline(0, color="0.6", linewidth=0.8)
            axes.set_xlabel(title)
            if name == "trained":
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
                axes.xaxis.set_major_formatter(EngFormatter(sep=""))
                axes.xaxis.set_minor_formatter(NullFormatter())
                axes.set_ylabel(f"{found.metric.title} over the original, test")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure


def write(study: StudyConfig, jobs: list[StudyRun], found: Findings, left_out: dict[str, str]) -> Path:
    """Write study.md, study.json, study.png, .pdf and .svg, and winner.toml, and return their folder."""
    folder = study_folder(study)
    write_bytes(folder / "study.md", markdown(study, found, left_out).encode())
    write_bytes(folder / "study.json", as_json(found).encode())
    figure = draw(found)
    for ending in ("png", "pdf", "svg"):
        with replacing(folder / f"study.{ending}") as temporary:
            about = {"png": None, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[ending]
            figure.savefig(temporary, dpi=160, format=ending, metadata=cast(Any, about))
    best = next(j.config for j in jobs if j.candidate == found.winner.name)
    config = best.model_copy(update={"name": f"{study.name}-winner", "runs": study.runs})
    write_bytes(folder / "winner.toml", config_file.dump(config).encode())
    return folder
