"""However it is stopped, continued or divided into tasks, the bytes are those of the uninterrupted run."""

import contextlib
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from archsr.cli import main
from archsr.data import manifest as mf
from archsr.data.prepare.pipeline import Task, prepare
from archsr.data.prepare.survey import chunks as survey_module
from archsr.data.versions import current
from archsr.errors import UserError


def content(folder):
    return {p.name: p.read_bytes() for p in sorted(current(folder).iterdir())}


@pytest.mark.parametrize("tasks", [2, 4, 7])
def test_tasks_and_join_are_one_preparation(photos, shards, prepare_config, tmp_path, tasks):
    out = tmp_path / "joined"
    for number in reversed(range(1, tasks + 1)):
        with pytest.raises(UserError, match="parts are missing"):
            prepare(photos, out, prepare_config, join=True)
        assert prepare(photos, out, prepare_config, task=Task(number, tasks)) is None
        assert [p.name for p in out.iterdir()] == [".preparing"]
    prepare(photos, out, prepare_config, join=True)
    assert content(out) == content(shards)
    assert sorted(p.name for p in out.iterdir()) == ["current", "v1"]


@pytest.mark.parametrize("stop", range(1, 13))
def test_an_error_anywhere_loses_nothing_and_leaves_no_dataset(
    photos, shards, prepare_config, tmp_path, monkeypatch, stop
):
    """Fail at the n-th piece that is renamed into place: chunks, shards, indexes, the manifest."""
    out = tmp_path / "stopped"
    real, calls = os.replace, []

    def fragile(self, target):
        calls.append(target)
        if len(calls) == stop:
            raise KeyboardInterrupt
        real(self, target)
        return target

    monkeypatch.setattr("pathlib.Path.replace", fragile)
    with pytest.raises(KeyboardInterrupt):
        prepare(photos, out, prepare_config)
    monkeypatch.undo()
    assert not (out / "current").exists()
    prepare(photos, out, prepare_config)
    assert content(out) == content(shards)


def test_what_is_done_is_not_done_again(photos, prepare_config, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare(photos, out, prepare_config, task=Task(1, 1))
    monkeypatch.setattr(survey_module, "inspect", None)
    prepare(photos, out, prepare_config, join=True)
    assert out.is_dir()


def test_killed_while_its_pieces_are_removed_the_next_one_works(photos, shards, prepare_config, tmp_path, monkeypatch):
    """Half of the pieces were left once, and every later command failed."""
    out, real = tmp_path / "out", shutil.rmtree

    def killed(folder, **options):
        if "preparing" not in folder.name:
            return real(folder, **options)
        (folder / "job.json").unlink()
        next(folder.glob("chunk-*")).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr("archsr.data.prepare.writing.assemble.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(photos, out, prepare_config)
    monkeypatch.undo()
    again = prepare(photos, out, prepare_config)
    assert again.fingerprint == mf.load(shards).fingerprint
    assert sorted(p.name for p in out.iterdir()) == ["current", "v1"]


def test_two_at_once_do_not_spoil_each_other(photos, prepare_config, tmp_path):
    """The second once failed on files that the first had removed. Only tasks share the folder."""
    out = tmp_path / "out"
    prepare(photos, out, prepare_config, task=Task(1, 2))
    with (tmp_path / "out" / ".preparing" / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)  # as another task
        for restart in (False, True):
            with pytest.raises(UserError, match="another archsr prepare is running"):
                prepare(photos, out, prepare_config, restart=restart)
        prepare(photos, out, prepare_config, task=Task(2, 2))
    assert prepare(photos, out, prepare_config, join=True) is not None


def test_unfinished_work_is_not_mixed_with_other_photographs_or_settings(photos, prepare_config, tmp_path):
    out = tmp_path / "out"
    prepare(photos, out, prepare_config, task=Task(1, 2))
    other = prepare_config.model_copy(update={"tile": 128})
    words = r"unfinished preparation with other settings \(tile: \d+ there, 128 here\).*--restart"
    with pytest.raises(UserError, match=words):
        prepare(photos, out, other)
    prepare(photos, out, other, restart=True)
    assert out.is_dir()


def test_what_the_survey_does_not_ask_for_may_change_before_the_end(photos, prepare_config, tmp_path):
    """The advice for too few scenes is another val and test, which must not require reading all photographs again."""
    changes = {"val_folders": ("03*", "05*"), "test_folders": ("00*",), "samples_per_shard": 7,
               "scenes": prepare_config.scenes.model_copy(update={"title": False})}  # fmt: skip
    other = prepare_config.model_copy(update=changes)
    prepare(photos, tmp_path / "at once", other)
    prepare(photos, tmp_path / "changed", prepare_config, task=Task(1, 1))
    prepare(photos, tmp_path / "changed", other, join=True)
    assert content(tmp_path / "changed") == content(tmp_path / "at once")


def command_for(photos, out, prepare_config, tmp_path):
    config = tmp_path / "prepare.toml"
    lines = [f"{k} = {v}" for k, v in prepare_config.model_dump(include={"val", "test", "tile", "min_side"}).items()]
    lines += [f"pair_size = {prepare_config.pair_size}", f"samples_per_shard = {prepare_config.samples_per_shard}"]
    config.write_text("\n".join(lines))
    return [sys.executable, "-m", "archsr", "prepare", str(photos), str(out), "--config", str(config)]


@pytest.mark.parametrize(("first", "second"), [
    (0.6, 0.0), (0.6, 0.02), *(pytest.param(*when, marks=pytest.mark.slow) for when in ((0.0, 0.3), (0.6, 0.3))),
])  # fmt: skip
def test_ctrl_c_once_or_twice_ends_it_soon_and_quietly(photos, prepare_config, tmp_path, first, second):
    """Signals go to the command and all of its workers, as a terminal sends them."""
    command = [*command_for(photos, tmp_path / "out", prepare_config, tmp_path), "--workers", "2"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, start_new_session=True, **pipes)
    while not (tmp_path / "out" / ".preparing" / "job.json").exists():
        time.sleep(0.01)
    time.sleep(first)
    os.killpg(process.pid, signal.SIGINT)
    if second:
        time.sleep(second)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=20)
    if process.returncode == 0:
        pytest.skip("it was done before")
    assert process.returncode == 130
    assert "Traceback" not in told, told
    assert "stopped" in told


@pytest.mark.parametrize(("part", "finished"), [(["--task", "2/2"], 0), ([], 2)])
def test_sigterm_stops_it_as_ctrl_c_does_and_a_job_is_told_how_far_it_came(
    photos, prepare_config, tmp_path, monkeypatch, part, finished
):
    """A job counts only the pieces of its own task as progress."""
    out, told = tmp_path / "out", tmp_path / "told"
    words = command_for(photos, out, prepare_config, tmp_path)[3:]
    assert main([*words, "--workers", "0", "--task", "1/2"]) == 0
    monkeypatch.setenv("ARCHSR_EXIT_FILE", str(told))
    monkeypatch.setattr(
        "archsr.data.prepare.survey.chunks.inspect", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert main([*words, "--workers", "0", *part]) == 130
    assert told.read_text() == f"85 {finished}\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.slow
def test_killed_at_twenty_random_moments(photos, prepare_config, tmp_path):
    """SIGKILL goes to the command and its workers, at moments spread over its whole runtime."""
    out = tmp_path / "killed"
    command = command_for(photos, out, prepare_config, tmp_path)
    started = time.monotonic()
    subprocess.run([*command, "--workers", "2"], check=True)
    whole = time.monotonic() - started
    unbroken = content(out)
    rng = random.Random(5)
    kills = 0
    while kills < 20:
        shutil.rmtree(out, ignore_errors=True)
        process = subprocess.Popen([*command, "--workers", "2"], start_new_session=True, stdout=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.3, 1) * whole)  # before that it only imports
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    subprocess.run([*command, "--workers", "2"], check=True)
    assert content(out) == unbroken
