"""The scripts of launch/ on a SLURM of two nodes that runs on this machine alone: `pytest -m slurm tests/slurm`."""

import sys
from pathlib import Path

import psutil
import pytest
import safetensors.torch
import tomli_w
import torch
from cluster import Cluster, why_not

import archsr
from archsr.cli import main
from archsr.data import manifest as mf
from archsr.data.versions import current
from archsr.training.logging.log import read_log

ROOT = Path(archsr.__file__).resolve().parents[1]
LAUNCH = ROOT / "launch"
pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(why_not()), reason=why_not())]
TWO = ("--nodes=2", "--gpus-per-node=0", "--cpus-per-task=1", "--time=10:00")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_a_user(cluster, monkeypatch, tmp_path):
    """Jobs inherit this: no GPUs, this environment, this copy of the project, state beside the test's files."""
    for name, value in {
        **cluster.environment, "ACCELERATE_USE_CPU": "true", "PROCESSES_PER_NODE": "1", "ARCHSR_VENV": sys.prefix,
        "PYTHONPATH": str(ROOT), "ARCHSR_STATE": str(tmp_path / "state"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)


def configured(tmp_path, tiny_tables, name, iterations, **changes):
    """A config file and its run folder; checkpoints at the end and when asked only."""
    training = {**tiny_tables["training"], "stages": [{"iterations": iterations, "lr": 1e-3}]}
    tables = {**tiny_tables, "training": training, "name": name, "checkpoint": {"every": 10_000}, **changes}
    path = tmp_path / f"{name}.toml"
    path.write_text(tomli_w.dumps({**tables, "validation": {"every": 1000, "samples": 2}}))
    return path, Path(tiny_tables["runs"]) / name


def weights(run):
    """All tensors of the newest checkpoint."""
    newest = max((run / "checkpoints").glob("step-*"))
    files = {p.name: safetensors.torch.load_file(p) for p in sorted(newest.glob("*.safetensors"))}
    return newest.name, {(f, k): v for f, tensors in files.items() for k, v in tensors.items()}


def same(a, b):
    (step_a, x), (step_b, y) = weights(a), weights(b)
    assert step_a == step_b
    assert x.keys() == y.keys()
    assert all(torch.equal(x[k], y[k]) for k in x)


def submitted(cluster, tmp_path, script, *words, options=TWO):
    """A job of launch/, and where its output goes. Submitted from the project's folder, as the scripts ask for."""
    name = LAUNCH / script
    number = cluster.do(
        "sbatch", "--parsable", *options, f"--output={tmp_path}/%j.out", str(name), *map(str, words), cwd=ROOT
    ).strip()
    return number, tmp_path / f"{number}.out"


def test_two_nodes_told_by_a_warning_are_queued_again_and_end_as_if_unbroken(cluster, tiny_tables, tmp_path):
    """What `--signal=B:USR1@300` does before the limit, `scancel --batch` does at once."""
    whole, unbroken = configured(tmp_path, tiny_tables, "unbroken", 400)
    broken, run = configured(tmp_path, tiny_tables, "broken", 400)
    first, log = submitted(cluster, tmp_path, "train.sbatch", whole)
    known = cluster.wait_for(first, "COMPLETED", "FAILED", log=log)
    assert known["JobState"] == "COMPLETED", log.read_text()
    assert known["NumNodes"] == "2"
    second, log = submitted(cluster, tmp_path, "train.sbatch", broken)
    cluster.wait_until(lambda: len(trained(run)) > 20, log)
    cluster.do("scancel", "--signal=USR1", "--batch", second)
    cluster.wait_until(lambda: "queued again" in log.read_text(), log)
    known = cluster.wait_for(second, "COMPLETED", "FAILED", log=log)
    assert (known["JobState"], known["Restarts"]) == ("COMPLETED", "1"), log.read_text()
    assert reasons(run) == ["SIGUSR1"]
    assert "resumed at step " in log.read_text()
    same(unbroken, run)
    assert not list((tmp_path / "state").iterdir()), "what the script remembers between starts is gone"


def trained(run):
    return [e for e in read_log(run) if e["event"] == "train"] if (run / "log.jsonl").exists() else []


def test_a_killed_process_is_started_again_on_both_nodes(cluster, tiny_tables, tmp_path):
    path, run = configured(tmp_path, tiny_tables, "killed", 200, checkpoint={"every": 20})
    job, log = submitted(cluster, tmp_path, "train.sbatch", path)
    cluster.wait_until(lambda: len(trained(run)) > 30, log)
    (victim,) = [
        p for p in psutil.process_iter(["cmdline"]) if str(path) in (p.info["cmdline"] or []) and is_rank(p, 1)
    ]
    victim.kill()
    known = cluster.wait_for(job, "COMPLETED", "FAILED", log=log)
    assert (known["JobState"], known["Restarts"]) == ("COMPLETED", "0"), log.read_text()
    assert "resumed at step" in log.read_text()


def is_rank(process, number):
    env = process.environ()
    return env.get("RANK") == str(number) and "TORCHELASTIC_RUN_ID" in env


def test_a_limit_too_short_ends_and_does_not_go_round_for_ever(cluster, tiny_tables, tmp_path):
    path, run = configured(tmp_path, tiny_tables, "limited", 100_000)
    job, log = submitted(cluster, tmp_path, "train.sbatch", path, options=(*TWO, "--export=ALL,MAX_REQUEUES=1"))
    for start in (1, 2):
        cluster.wait_until(lambda start=start: log.exists() and log.read_text().count("2 processes on") == start, log)
        cluster.wait_until(lambda start=start: len(read_starts(run)) == start and trained_since(run), log)
        cluster.do("scancel", "--signal=USR1", "--batch", job)
    known = cluster.wait_for(job, "FAILED", "COMPLETED", log=log)
    assert known["ExitCode"] == "85:0", "dependent jobs must not take it for done"
    assert "not queued again: MAX_REQUEUES (1) is reached" in log.read_text()


def read_starts(run):
    """The events that begin a start: the first validation, or a resume."""
    events = read_log(run) if (run / "log.jsonl").exists() else []
    return [e for e in events if e["event"] == "resume" or (e["event"] == "validation" and e["step"] == 0)]


def reasons(run):
    """Why its starts ended."""
    return [e["reason"] for e in read_log(run) if e["event"] == "stop"]


def trained_since(run):
    events = [e["event"] for e in read_log(run)]
    return events[-1] == "train"


def test_cancelled_it_saves_and_stays_out_of_the_queue(cluster, tiny_tables, tmp_path):
    path, run = configured(tmp_path, tiny_tables, "cancelled", 100_000)
    job, log = submitted(cluster, tmp_path, "train.sbatch", path)
    cluster.wait_until(lambda: len(trained(run)) > 5, log)
    cluster.do("scancel", job)
    known = cluster.wait_for(job, "CANCELLED", "FAILED", "COMPLETED", log=log)
    assert known["JobState"] == "CANCELLED"
    cluster.wait_until(lambda: reasons(run), log)
    step, _ = weights(run)
    assert int(step.removeprefix("step-")) > 5


def test_submit_before_a_true_limit_saves_and_goes_on(cluster, tiny_tables, tmp_path, capsys, monkeypatch):
    """`archsr submit` with one minute of time and SLURM's own warning, twice: no iteration is lost or done again."""
    monkeypatch.chdir(ROOT)
    path, run = configured(tmp_path, tiny_tables, "submitted", 100_000)
    words = ["submit", str(path), "--nodes", "2", "--gpus", "0", "--cpus", "1", "--time", "1:00", "--warning", "25"]
    assert main([*words, "--dry-run"]) == 0
    assert "#SBATCH --signal=B:USR1@25\n" in capsys.readouterr().out
    assert not run.exists()
    assert main(words) == 0
    said = capsys.readouterr().out
    job = said.split()[2].rstrip(":")
    log = run / "slurm" / f"{job}.out"
    assert str(log) in said
    cluster.wait_until(lambda: len(read_starts(run)) == 3 and trained_since(run), log, seconds=300)
    cluster.do("scancel", job)
    cluster.wait_until(lambda: len(reasons(run)) == 3, log)
    assert cluster.job(job)["Restarts"] == "2"
    assert reasons(run)[:2] == ["SIGUSR1", "SIGUSR1"]
    steps = [e["step"] for e in trained(run)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(list((run / "slurm").glob("*.sbatch"))) == 1


def test_the_whole_way_as_dependent_jobs(cluster, photos, tiny_tables, tmp_path):
    """prepare in two parts, join, train, evaluate."""
    table = {"val": 0.15, "test": 0.08, "tile": 160, "min_side": 120, "pair_size": 64, "samples_per_shard": 16}
    (tmp_path / "prepare.toml").write_text(tomli_w.dumps(table))
    path, run = configured(tmp_path, tiny_tables, "piped", 6)
    shards = tmp_path / "made" / "shards"
    few = f"--gpus-per-node=0 --cpus-per-task=1 --time=10:00 --output={tmp_path}/%x-%j.out"
    said = cluster.do(
        str(LAUNCH / "pipeline.sh"), str(photos), str(shards), str(path),
        env={
            "TASKS": "2", "PREPARE_OPTIONS": few, "TRAIN_OPTIONS": f"--nodes=2 {few}", "EVALUATE_OPTIONS": few,
            "PREPARE_ARGUMENTS": f"--config {tmp_path}/prepare.toml", "EVALUATE_ARGUMENTS": "--offline",
        },
    )  # fmt: skip
    jobs = said.splitlines()[-1].split()[3:]
    assert len(jobs) == 4
    output = {job: tmp_path / f"archsr-evaluate-{job}.out" for job in jobs}
    known = cluster.wait_for(jobs[-1], "COMPLETED", "FAILED", "CANCELLED", log=output[jobs[-1]])
    everything = "".join(p.read_text() for p in sorted(tmp_path.glob("*.out")))
    assert known["JobState"] == "COMPLETED", everything
    assert (
        mf.load(current(shards)).splits["train"].samples
        == mf.load(Path(tiny_tables["data"]["shards"])).splits["train"].samples
    )
    assert (run / "evaluation" / "test" / "report.md").is_file()


def test_a_study_in_an_array_one_of_its_tasks_warned_then_joined(cluster, tiny_tables, tmp_path):
    train = {k: v for k, v in tiny_tables.items() if k != "runs"}
    train["training"] = {**tiny_tables["training"], "stages": [{"iterations": 60, "lr": 1e-3}]}
    candidates = [{"name": "last", "layers": ["conv_last"]}, {"name": "all", "layers": ["all"]}]
    path, folder = tmp_path / "study.toml", tmp_path / "runs" / "study"
    tables = {"name": "study", "runs": str(tmp_path / "runs"), "seeds": [0], "limit": 4, "candidates": candidates}
    path.write_text(tomli_w.dumps({**tables, "train": train}))
    one = ("--gpus-per-node=0", "--cpus-per-task=1", "--time=10:00")
    job, _ = submitted(cluster, tmp_path, "study_array.sbatch", path, options=(*one, "--array=1-2"))
    joined, log = submitted(
        cluster, tmp_path, "study_array.sbatch", path, options=(*one, f"--dependency=afterok:{job}")
    )
    cluster.wait_until(lambda: len(trained(folder / "last-seed0")) > 5, log)
    cluster.do("scancel", "--signal=USR1", "--batch", f"{job}_1")
    known = cluster.wait_for(joined, "COMPLETED", "FAILED", "CANCELLED", log=log)
    everything = "".join(p.read_text() for p in sorted(tmp_path.glob("*.out")))
    assert known["JobState"] == "COMPLETED", everything
    assert reasons(folder / "last-seed0") == ["SIGTERM"]
    assert [len(trained(folder / f"{name}-seed0")) for name in ("last", "all")] == [60, 60]
    assert (folder / "study.md").is_file()
    assert (folder / "winner.toml").is_file()


def test_a_failed_part_cancels_what_waits_for_it(cluster, tiny_tables, tmp_path):
    path, run = configured(tmp_path, tiny_tables, "never", 6)
    few = f"--gpus-per-node=0 --cpus-per-task=1 --time=10:00 --output={tmp_path}/%x-%j.out"
    env = dict.fromkeys(("PREPARE_OPTIONS", "TRAIN_OPTIONS", "EVALUATE_OPTIONS"), few)
    said = cluster.do(str(LAUNCH / "pipeline.sh"), "no/such/photos", str(tmp_path / "s"), str(path), env=env)
    for job in said.splitlines()[-1].split()[4:]:
        assert cluster.wait_for(job, "CANCELLED", "COMPLETED", "FAILED")["JobState"] == "CANCELLED"
    assert not run.exists()


def test_pipeline_refuses_a_config_with_mistakes_before_it_submits_anything(cluster, tmp_path):
    (tmp_path / "wrong.toml").write_text('nmae = "x"\n')
    before = cluster.do("squeue", "-h", "-t", "all")
    with pytest.raises(AssertionError, match=r"wrong.toml: name: missing.*nmae"):
        cluster.do(str(LAUNCH / "pipeline.sh"), "photos", "shards", str(tmp_path / "wrong.toml"))
    assert cluster.do("squeue", "-h", "-t", "all") == before
