"""The scripts of launch/ without a SLURM: its programs and archsr's are scripts that write down what they are told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import archsr
from archsr.cli import main
from archsr.config import TrainConfig, configs_folder
from archsr.config.config_file import load
from archsr.errors import UserError
from archsr.training.slurm import Resources, script_of

ROOT = Path(archsr.__file__).resolve().parents[1]
LAUNCH = ROOT / "launch"
FAKES = {
    "srun": 'echo "srun $*"; echo "threads $OMP_NUM_THREADS"',
    "scontrol": """case "$1 $2" in
"show hostnames") echo n1;;
"show node") echo NodeAddr=127.0.0.1;;
*) echo "scontrol $*";;
esac""",
    "sleep": 'exec /bin/sleep 0.1',
    # stops as asked, at $PLACE; where there is none it had nothing to say yet
    "archsr": """echo "archsr $*"
trap '[ -z "${PLACE:-}" ] || echo "85 $PLACE" >"$ARCHSR_EXIT_FILE"; exit 130' TERM
echo begun
for _ in $(seq 200); do /bin/sleep 0.05; done""",
}  # fmt: skip
ARRAYS = {"prepare_array.sbatch": ("photos", "out"), "study_array.sbatch": ("study.toml",)}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SLURM is not for Windows")


@pytest.fixture
def job(tmp_path):
    """The environment of a job, in an empty folder of submission, with fake programs in its virtual environment."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f"PATH={programs}:$PATH\n")
    for name, body in {**FAKES, "python": f'exec {sys.executable} "$@"'}.items():
        (programs / name).write_text(f"#!/bin/bash\n{body}\n")
        (programs / name).chmod(0o755)
    (tmp_path / "submitted").mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "ARCHSR_"))}
    return {
        **kept, "SLURM_JOB_ID": "42", "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "n1", "PYTHONPATH": str(ROOT),
        "SLURM_SUBMIT_DIR": str(tmp_path / "submitted"), "ARCHSR_VENV": str(tmp_path / "venv"),
    }  # fmt: skip


def ended(script, *words, env):
    return subprocess.run(
        ["bash", str(LAUNCH / script), *words], env=env, capture_output=True, text=True, check=False, timeout=60
    )


def told(script, number, env):
    """Exit code and output of a script of an array that gets a signal once its command has begun."""
    process = subprocess.Popen(
        ["bash", str(LAUNCH / script), *ARRAYS[script]],
        env={"ARCHSR_LAUNCH": str(LAUNCH), **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "begun\n":
            time.sleep(0.1)  # the script sets its traps
            process.send_signal(number)
    return process.wait(timeout=60), "".join(lines)


# ---------------------------------------------------------------- CPUs


@pytest.mark.parametrize(("given", "cpus", "threads"), [
    ({"SLURM_CPUS_PER_TASK": "20", "SLURM_GPUS_ON_NODE": "4"}, 20, 5),
    ({"SLURM_CPUS_ON_NODE": "6", "SLURM_GPUS_ON_NODE": "2"}, 6, 3),
    ({"SLURM_CPUS_PER_TASK": "3", "PROCESSES_PER_NODE": "2"}, 3, 2),
])  # fmt: skip
def test_the_step_of_a_training_has_all_cpus_of_the_job(job, given, cpus, threads):
    """Since SLURM 22.05 a step has one for each task unless srun is told."""
    done = ended("train.sbatch", "c.toml", env={**job, **given, "ARCHSR_LAUNCH": str(LAUNCH)})
    assert done.returncode == 0, done.stderr
    assert f"srun --cpus-per-task={cpus} --kill-on-bad-exit=1 bash" in done.stdout
    assert f"threads {threads}\n" in done.stdout


def test_the_step_of_an_evaluation_has_all_cpus_of_the_job(job):
    done = ended("evaluate.sbatch", "runs/tail", env={**job, "SLURM_CPUS_PER_TASK": "8"})
    assert "srun --cpus-per-task=8 archsr evaluate runs/tail\n" in done.stdout


@pytest.mark.parametrize(("words", "cpus"), [
    (["--gpus", "4"], 20), (["--gpus", "1"], 5), (["--gpus", "0", "--processes", "2"], 10),
    (["--gpus", "4", "--set", "data.workers=1"], 8), (["--gpus", "4", "--nodes", "3", "--cpus", "7"], 7),
])  # fmt: skip
def test_submit_asks_for_a_cpu_for_each_process_and_each_of_its_workers(words, cpus, capsys):
    assert main(["submit", str(configs_folder() / "full.toml"), *words, "--dry-run"]) == 0
    assert f"#SBATCH --cpus-per-task={cpus}\n" in capsys.readouterr().out


# ---------------------------------------------------------------- queued again


@pytest.mark.parametrize("script", ARRAYS)
def test_a_task_that_is_warned_stops_and_is_queued_again(job, script):
    env = {**job, "SLURM_ARRAY_JOB_ID": "40", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1",
           "SLURM_ARRAY_TASK_COUNT": "9", "PLACE": "a:5"}  # fmt: skip
    code, said = told(script, signal.SIGUSR1, env)
    assert "--task 3/9" in said
    assert "scontrol requeue 40_3\n" in said
    assert "job 42: queued again\n" in said
    assert code == 85, "as long as SLURM has not ended it, it is no success"


@pytest.mark.parametrize("script", ARRAYS)
def test_a_task_is_not_queued_again_without_progress(job, script):
    code, said = told(script, signal.SIGUSR1, {**job, "PLACE": "a:5"})
    assert "scontrol requeue 42\n" in said
    code, said = told(script, signal.SIGUSR1, {**job, "PLACE": "a:6", "SLURM_RESTART_COUNT": "1"})
    assert "scontrol requeue 42\n" in said
    code, said = told(script, signal.SIGUSR1, {**job, "PLACE": "a:6", "SLURM_RESTART_COUNT": "2"})
    assert "requeue" not in said
    assert "not queued again: no progress since the last start" in said
    assert code == 85


@pytest.mark.parametrize("script", ARRAYS)
def test_a_task_is_queued_again_a_limited_number_of_times(job, script):
    env = {**job, "PLACE": "a:5", "MAX_REQUEUES": "2", "SLURM_RESTART_COUNT": "2"}
    code, said = told(script, signal.SIGUSR1, env)
    assert "requeue" not in said
    assert "not queued again: MAX_REQUEUES (2) is reached" in said
    assert code == 85


def test_a_warned_task_that_could_not_say_how_far_it_came_is_queued_again_once(job):
    said = [told("study_array.sbatch", signal.SIGUSR1, job)[1] for _ in range(2)]
    assert ["scontrol requeue 42\n" in each for each in said] == [True, False]


@pytest.mark.parametrize("script", ARRAYS)
def test_a_cancelled_task_stops_and_stays_out_of_the_queue(job, script):
    """SLURM queues one that was pre-empted again by itself."""
    code, said = told(script, signal.SIGTERM, {**job, "PLACE": "a:5"})
    assert code == 85
    assert "requeue" not in said


@pytest.mark.parametrize("code", [0, 2])
def test_a_task_that_ends_by_itself_ends_the_job_with_its_code_and_nothing_is_left(job, tmp_path, code):
    (tmp_path / "venv" / "bin" / "archsr").write_text(f"#!/bin/bash\nexit {code}\n")
    done = ended("prepare_array.sbatch", "photos", "out", env=job)
    assert done.returncode == code
    assert not list((tmp_path / "submitted" / ".archsr").iterdir())


@pytest.mark.parametrize("script", [*ARRAYS, "train.sbatch"])
def test_every_job_that_can_be_queued_again_has_a_limit_and_is_warned_before_it(script):
    options = [line.split()[1] for line in (LAUNCH / script).read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"--time=24:00:00", "--signal=B:USR1@300", "--requeue"} <= set(options)


# ---------------------------------------------------------------- what archsr submit writes


@pytest.fixture(scope="module")
def config():
    return load(TrainConfig, configs_folder() / "tail.toml")


def written(config, run, **resources):
    return script_of(config, Resources(**resources), run=run, stored=run / "c.toml").splitlines()


def test_paths_are_quoted_as_sbatch_reads_them(config, tmp_path, monkeypatch):
    here = tmp_path / 'my "runs" $HOME'
    here.mkdir()
    monkeypatch.chdir(here)
    lines = written(config, Path("/scratch/50 %j"), account="a b")
    quoted = str(here).replace('"', '\\"')
    assert f'#SBATCH --chdir="{quoted}"' in lines
    assert '#SBATCH --output="/scratch/50 %%j/slurm/%j.out"' in lines
    assert '#SBATCH --account="a b"' in lines
    assert "#SBATCH --job-name=archsr-tail" in lines


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "a\tb"])
def test_a_name_that_no_line_for_sbatch_can_hold_is_refused(config, name):
    with pytest.raises(UserError, match="rename it"):
        written(config, Path("/scratch") / name)


def test_an_option_of_two_lines_is_refused(config):
    with pytest.raises(UserError, match="not accept line breaks"):
        written(config, Path("/scratch"), options=("--mem=64G\nrm -r x",))


def test_a_submitted_job_finds_what_its_script_sources(job, config, tmp_path):
    """From any folder: only the script is copied to the node."""
    script = tmp_path / "submitted.sh"
    script.write_text("\n".join(written(config, tmp_path / "a b", gpus=2)))
    env = {**job, "SLURM_CPUS_PER_TASK": "10", "SLURM_GPUS_ON_NODE": "2"}
    done = subprocess.run(["bash", str(script)], env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "srun --cpus-per-task=10" in done.stdout
