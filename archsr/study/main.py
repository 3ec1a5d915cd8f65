"""`archsr study`: train the runs that are not done, then report the result."""

import shlex
from pathlib import Path

from archsr.config import config_file
from archsr.config.study import StudyConfig
from archsr.errors import UserError
from archsr.study.jobs import StudyRun, jobs_of, study_folder, train
from archsr.study.report import markdown, write
from archsr.study.results import findings


def study(
    path: Path, *, overrides: list[str], task: tuple[int, int] | None, join: bool, launch: str, dry: bool
) -> Path | None:
    """Run a study, or its part `task` (I, N), and write the report once all runs are done.

    `join`: do not train, only write the report. Return the folder of the report, or None if there is none yet.
    """
    config = config_file.load(StudyConfig, path, overrides=overrides)
    command = shlex.split(launch)
    jobs, left_out = jobs_of(config, launch=command)
    if len({job.candidate for job in jobs}) < 2:
        raise UserError(f"{path}: fewer than two candidates fit the budget: {left_out}")
    _introduce(jobs, left_out)
    if dry:
        return None
    own = jobs if task is None else jobs[task[0] - 1 :: task[1]]
    for number, job in enumerate(own, start=1):
        if join or job.done:
            continue
        print(f"run {number} of {len(own)}: {job.folder.name}", flush=True)
        train(job, launch=command)
    if task is not None:
        print(f"part {task[0]} of {task[1]} is done; when all parts are, run: archsr study {path} --join", flush=True)
        return None
    found = findings(config, jobs)
    folder = write(config, jobs, found, left_out)
    print(f"\n{markdown(config, found, left_out)}")
    print(f"written: {study_folder(config)}/study.md, study.json, study.png, .pdf, .svg, winner.toml")
    return folder


def _introduce(jobs: list[StudyRun], left_out: dict[str, str]) -> None:
    done = sum(job.done for job in jobs)
    print(f"{len(jobs)} runs, {done} of them done", flush=True)
    for job in jobs:
        iterations = sum(s.iterations for s in job.config.training.stages)
        training = job.config.training
        print(f"  {job.folder.name}: {iterations:,} iterations, micro-batch {training.micro_batch}, recomputing "
              f"{training.gradient_checkpointing}{', done' if job.done else ''}", flush=True)  # fmt: skip
    for name, why in left_out.items():
        print(f"  {name} is left out: {why}", flush=True)
