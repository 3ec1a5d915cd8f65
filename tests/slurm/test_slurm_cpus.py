"""Which CPUs the steps of the jobs of launch/ may use, and how sbatch reads what `archsr submit` writes."""

import os
import sys
from pathlib import Path

import pytest
from cluster import Cluster, why_not

import archsr
from archsr.config import TrainConfig, configs_folder
from archsr.config.config_file import load
from archsr.training.slurm import Resources, script_of

ROOT = Path(archsr.__file__).resolve().parents[1]
ALL = os.cpu_count()
SHOWN = f"exec {sys.executable} -c 'import os; print(len(os.sched_getaffinity(0)), flush=True)'"
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.skipif(ALL == 1, reason="one CPU is all there is"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("bound"), 1, bound=True) as running:
        yield running


@pytest.fixture
def env(tmp_path):
    """A virtual environment whose programs say on how many CPUs they may run."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f'PATH="{programs}":$PATH\n')
    for name in ("accelerate", "archsr"):
        (programs / name).write_text(f"#!/bin/bash\n{SHOWN}\n")
        (programs / name).chmod(0o755)
    return {"ARCHSR_VENV": str(tmp_path / "venv"), "ARCHSR_STATE": str(tmp_path / "state"), "PROCESSES_PER_NODE": "2"}


def said(cluster, output, *words, env):
    number = cluster.do("sbatch", "--parsable", *words, env=env, cwd=ROOT).strip()
    log = output / f"{number}.out"
    known = cluster.wait_for(number, "COMPLETED", "FAILED", log=log, seconds=60)
    assert known["JobState"] == "COMPLETED", log.read_text()
    return log.read_text().splitlines()


@pytest.mark.parametrize("script", ["train.sbatch", "evaluate.sbatch"])
def test_a_step_runs_on_all_cpus_of_its_job(cluster, env, tmp_path, script):
    options = ("--gpus-per-node=0", f"--cpus-per-task={ALL}", "--time=10:00", f"--output={tmp_path}/%j.out")
    assert str(ALL) in said(cluster, tmp_path, *options, str(ROOT / "launch" / script), "c.toml", env=env)


def test_sbatch_takes_folders_with_spaces_and_quotes(cluster, env, tmp_path, monkeypatch):
    here = tmp_path / 'my "own" $HOME # 50 %j'
    (here / "slurm").mkdir(parents=True)
    monkeypatch.chdir(here)
    config = load(TrainConfig, configs_folder() / "tail.toml")
    resources = Resources(gpus=0, cpus=ALL, time="10:00", processes=2, options=('--comment="two words"',))
    (tmp_path / "job").write_text(script_of(config, resources, run=here, stored=here / "c.toml"))
    lines = said(cluster, here / "slurm", str(tmp_path / "job"), env=env)
    assert str(ALL) in lines
