"""Training processes without a launcher: forked from a server that imports torch and archsr once for all tests.

They get the environment that a launcher gives them and run a script as a file. What a launcher adds (starting again,
passing signals on) is tested with a real one in training/test_launch.py, test_restarts.py and test_start.py.
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ROOT / "archsr" / "train.py"
MAIN = ROOT / "archsr" / "__main__.py"
LAUNCHERS = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
)

_server = multiprocessing.get_context("forkserver")
# what training imports, also late: torch's optimisers ask for its compiler, accelerate for sharded tensors
_server.set_forkserver_preload([
    "archsr.training.launch", "archsr.training.debug", "archsr.cli", "archsr.evaluation.card", "accelerate", "timm",
    "torch._dynamo", "torch.distributed.tensor", "torch.utils.tensorboard", "matplotlib.backends.backend_agg",
])  # fmt: skip


def free_port():
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def _run(script, words, environment, folder, out):
    """In the forked process."""
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # may be another in this environment
    os.chdir(folder)
    for handle, path in zip((1, 2), out, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), handle)
    for number in (signal.SIGINT, signal.SIGTERM):  # the server ignores the first
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    from archsr.training import hooks

    hooks.draw_curves = lambda run: None  # as in the tests' own process (conftest.py)
    sys.argv = [str(script), *words]
    sys.path.insert(0, str(Path(script).parent))
    sys.stdout.reconfigure(line_buffering=True)
    runpy.run_path(str(script), run_name="__main__")


class Ranks:
    """`size` processes of a script. `returncode`: the first that is not 0, None while any runs."""

    def __init__(self, size, script, *words, folder, **environment):
        kept = {k: v for k, v in os.environ.items() if k not in LAUNCHERS}
        kept |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", **environment}
        if size > 1:
            kept |= {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
                     "MASTER_PORT": str(free_port()), "ACCELERATE_MIXED_PRECISION": "no"}  # fmt: skip
        self._out = [
            [Path(folder) / f"said-{time.monotonic_ns()}-{rank}-{n}.txt" for n in (1, 2)] for rank in range(size)
        ]
        self.processes = []
        for rank in range(size):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if size > 1 else {}
            args = (str(script), [str(w) for w in words], {**kept, **own}, str(folder), self._out[rank])
            process = _server.Process(target=_run, args=args)
            process.start()
            self.processes.append(process)

    @property
    def pids(self):
        return [p.pid for p in self.processes]

    @property
    def stdout(self):
        return "".join(out.read_text() for out, _ in self._out if out.exists())

    @property
    def stderr(self):
        return "".join(err.read_text() for _, err in self._out if err.exists())

    @property
    def returncode(self):
        codes = [p.exitcode for p in self.processes]
        return None if None in codes else next((c for c in codes if c), 0)

    def send(self, number, rank=0):
        os.kill(self.processes[rank].pid, number)

    def kill(self):
        for process in self.processes:
            process.kill()
            process.join()

    def wait(self, seconds=240, together=True):
        """Until all have ended; as a launcher does, the others are asked to end when one has failed."""
        end = time.monotonic() + seconds
        while self.returncode is None and time.monotonic() < end:
            if together and any(p.exitcode for p in self.processes):
                time.sleep(0.3)
                for process in self.processes:
                    with contextlib.suppress(OSError):
                        process.terminate()
                together = False
            time.sleep(0.02)
        if self.returncode is None:
            said = self.stdout[-2000:] + self.stderr[-2000:]
            self.kill()
            raise AssertionError(f"still running after {seconds} s: {said}")
        return self


def train(size, path, *words, folder, **environment):
    """A training with `--config path`, waited for; it must succeed."""
    done = Ranks(size, TRAIN, "--config", path, *words, folder=folder, **environment).wait()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout
