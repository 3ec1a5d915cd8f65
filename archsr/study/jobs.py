"""The runs of a study: their configs, and which of them are done."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from archsr.config import TrainConfig, config_file
from archsr.config.study import Candidate, StudyConfig
from archsr.errors import UserError
from archsr.runs.folders import folder_of
from archsr.runs.records import Events, read_lines
from archsr.training.memory.plan import changed, fitting
from archsr.utils.atomic import write_bytes
from archsr.utils.stopping import EXIT_FILE, REQUEUE, Stopped, interrupted_by_sigterm, write_exit_file

_TIMED = 12  # iterations of a run that measures the time of one
_WARM = 4  # iterations at its start that are not measured
GIGABYTE = 10**9


@dataclass(frozen=True)
class StudyRun:
    """One run of a study: a candidate and a seed."""

    candidate: str
    seed: int
    config: TrainConfig

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return folder_of(self.config)

    @property
    def place(self) -> str:
        """The step at which it last stopped, for comparison."""
        steps = [e["step"] for e in events(self.folder, "stop")]
        return f"{self.config.name}:{steps[-1] if steps else '-'}"

    @property
    def done(self) -> bool:
        """Whether it is finished."""
        return bool(events(self.folder, "end"))


def study_folder(study: StudyConfig) -> Path:
    """Return the folder of a study."""
    return Path(study.runs) / study.name


def jobs_of(study: StudyConfig, *, launch: Sequence[str] = ()) -> tuple[list[StudyRun], dict[str, str]]:
    """Return all runs, by candidate, and the candidates that do not fit the budget, with the reason.

    With a time budget, each candidate is first measured once by a short run.
    """
    jobs: list[StudyRun] = []
    left_out: dict[str, str] = {}
    for candidate in study.candidates:
        config = _config(study, candidate)
        if study.budget.gigabytes is not None:
            found = fitting(config, int(study.budget.gigabytes * GIGABYTE))
            if found is None:
                left_out[candidate.name] = f"not even one sample fits {study.budget.gigabytes:g} GB"
                continue
            config = found.config
        if study.budget.minutes is not None:
            config = _scaled(config, study.budget.minutes * 60 / _seconds(study, config, candidate.name, launch))
        for seed in study.seeds:
            named = config.model_copy(update={"name": f"{candidate.name}-seed{seed}", "seed": seed})
            jobs.append(StudyRun(candidate.name, seed, named))
    return jobs, left_out


def _config(study: StudyConfig, candidate: Candidate) -> TrainConfig:
    stages = tuple(s.model_copy(update={"lr": s.lr * candidate.lr_scale, "lr_end": s.lr_end * candidate.lr_scale})
                   for s in study.train.training.stages)  # fmt: skip
    config = changed(study.train, layers=candidate.layers, stages=stages)
    return config.model_copy(update={"runs": str(study_folder(study))})


def _scaled(config: TrainConfig, iterations: float) -> TrainConfig:
    stages = config.training.stages
    factor = iterations / sum(s.iterations for s in stages)
    changes = [{"iterations": max(1, round(s.iterations * factor)), "warmup": int(s.warmup * factor),
                "milestones": tuple(max(1, round(m * factor)) for m in s.milestones)} for s in stages]  # fmt: skip
    return changed(config, stages=tuple(s.model_copy(update=c) for s, c in zip(stages, changes, strict=True)))


def _seconds(study: StudyConfig, config: TrainConfig, name: str, launch: Sequence[str]) -> float:
    path = study_folder(study) / "seconds" / f"{name}.json"
    if not path.exists():
        short = _scaled(config, _TIMED).model_copy(
            update={
                "name": f"timing-{name}",
                "validation": config.validation.model_copy(update={"every": 10**9, "samples": 1, "images": 0}),
                "checkpoint": config.checkpoint.model_copy(update={"every": 10**9}),
                "log": config.log.model_copy(update={"every": 1, "trackers": ()}),
            }
        )
        job = StudyRun(f"timing-{name}", config.seed, short)
        if not job.done:
            train(job, launch=launch)
        times = [float(e["time"]) for e in events(job.folder, "train")]
        if len(times) <= _WARM:
            raise UserError(f"{job.folder}: too short to measure an iteration; give the stages more iterations")
        write_bytes(path, json.dumps((times[-1] - times[_WARM - 1]) / (len(times) - _WARM)).encode())
    return float(json.loads(path.read_text()))


def train(job: StudyRun, *, launch: Sequence[str] = ()) -> None:
    """Train one run to its end in a subprocess, from where it stopped. `launch`: words before `train.py`.

    Raises `Stopped` if it was asked to stop, `UserError` if it failed.
    """
    path = job.folder.parent / "configs" / f"{job.config.name}.toml"
    write_bytes(path, config_file.dump(job.config).encode())
    script = str(files("archsr") / "train.py")
    command = [*(launch or [sys.executable]), script, "--config", str(path), "--resume"]
    print(f"\n$ {shlex.join(command)}", flush=True)
    code = _ended(subprocess.Popen(command, env=_environment()))
    if code == REQUEUE:
        write_exit_file(REQUEUE, job.place)
        raise Stopped("asked to stop", None)
    if code != 0:
        raise UserError(f"{job.folder}: training failed with exit code {code}; run the same command again to continue")


def _ended(process: "subprocess.Popen[bytes]") -> int:
    """Return the exit code. Pass Ctrl-C and SIGTERM on, and let the run save."""
    with interrupted_by_sigterm():
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            return process.wait()


def _environment() -> dict[str, str]:
    """Return the environment without variables that a launcher of this process set for its own workers."""
    left_out = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", EXIT_FILE)
    return {k: v for k, v in os.environ.items() if k not in left_out}


def events(run: Path, kind: str) -> Events:
    """Return the events of a kind in a run's log, in the order of writing."""
    return [e for e in read_lines(run) if e["event"] == kind]
