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
_WARM = 4  # of them not counted
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
        """How far it had come when it last stopped."""
        steps = [e["step"] for e in events(self.folder, "stop")]
        return f"{self.config.name}:{steps[-1] if steps else '-'}"

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return bool(events(self.folder, "end"))


def home(study: StudyConfig) -> Path:
    """Where everything of a study lies."""
    return Path(study.runs) / study.name


def jobs_of(study: StudyConfig, *, launch: Sequence[str] = ()) -> tuple[list[StudyRun], dict[str, str]]:
    """All runs, candidate by candidate, and the candidates that the budget leaves out with the reason.

    With a budget of time this measures each candidate first, once, by a short run.
    """
    jobs: list[StudyRun] = []
    left_out: dict[str, str] = {}
    for candidate in study.candidates:
        config = _config(study, candidate)
        if study.budget.gigabytes is not None:
            found = fitting(config, int(study.budget.gigabytes * GIGABYTE))
            if found is None:
                left_out[candidate.name] = f"not even one sample at a time fits {study.budget.gigabytes:g} GB"
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
    return config.model_copy(update={"runs": str(home(study))})


def _scaled(config: TrainConfig, iterations: float) -> TrainConfig:
    """The stages made longer or shorter by one factor, so that together they have so many iterations."""
    stages = config.training.stages
    factor = iterations / sum(s.iterations for s in stages)
    changes = [{"iterations": max(1, round(s.iterations * factor)), "warmup": int(s.warmup * factor),
                "milestones": tuple(max(1, round(m * factor)) for m in s.milestones)} for s in stages]  # fmt: skip
    return changed(config, stages=tuple(s.model_copy(update=c) for s, c in zip(stages, changes, strict=True)))


def _seconds(study: StudyConfig, config: TrainConfig, name: str, launch: Sequence[str]) -> float:
    """Seconds of one iteration on this machine, measured once and kept."""
    path = home(study) / "seconds" / f"{name}.json"
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
    """Train one run to its end in a process of its own, from where it stopped. `launch`: words before `train.py`.

    Raises `Stopped` where it was asked to stop, `UserError` where it failed.
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
        raise UserError(f"{job.folder}: training failed with exit code {code}; the same command goes on from there")


def _ended(process: "subprocess.Popen[bytes]") -> int:
    """The exit code; Ctrl-C and SIGTERM are passed on, and the run has time to save."""
    with interrupted_by_sigterm():
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            return process.wait()


def _environment() -> dict[str, str]:
    """Ours, without what a launcher of this process would have set for its own workers, and what only we write."""
    left_out = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", EXIT_FILE)
    return {k: v for k, v in os.environ.items() if k not in left_out}


def events(run: Path, kind: str) -> Events:
    """The events of a kind in a run's log, in the order of writing."""
    return [e for e in read_lines(run) if e["event"] == kind]
