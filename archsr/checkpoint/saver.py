"""Save in the background: training waits only for a copy in host memory, and a thread writes the files."""

import contextlib
import copy
import shutil
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from archsr.checkpoint.folder import Verified, prune
from archsr.checkpoint.keeping import Keep
from archsr.checkpoint.mirror import Mirror
from archsr.checkpoint.writing import Contents, HostCopies, commit, gathered, write_part
from archsr.errors import UserError
from archsr.runs.folders import checkpoints_folder, name_of
from archsr.utils.world import World


@dataclass(frozen=True)
class Saved:
    """A complete checkpoint: `paused` is how long training paused, `seconds` how long writing took in all."""

    folder: Path
    paused: float
    seconds: float


@dataclass(frozen=True)
class _Underway:
    """A checkpoint being written: this rank's part, and on rank 0 the rest."""

    final: Path
    temporary: Path
    part: Future[None]
    rest: Future[None] | None


class Saver:
    """Writes a run's checkpoints and snapshots in the background, one checkpoint at a time.

    The next `begin`, `check` or `settle` raises an error of the thread as `UserError` on every rank; older checkpoints
    are then untouched. The constructor is a collective. Always call `close` at the end. `ident` identifies the run in
    every manifest and in the mirror's paths.
    """

    def __init__(
        self, run: Path, *, world: World, keep: Keep, mirror: Mirror | None = None, ident: str = "run"
    ) -> None:
        self.finished: list[Saved] = []
        self.notes: list[str] = []  # messages from the thread
        self._run = run
        self._world = world
        self._keep = keep
        self._mirror = mirror
        self._ident = ident
        self._verified = Verified()
        self._token = world.broadcast(uuid.uuid4().hex[:8])  # all ranks
        self._copies = HostCopies()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="saver")
        self._underway: _Underway | None = None
        self._others: list[Future[None]] = []
        self._given_up = False

    def begin(self, step: int, contents: Contents, *, score: float | None = None) -> None:
        """Start writing a checkpoint of the current tensors, after settling the previous one. A collective."""
        started = time.perf_counter()
        self.settle()  # all ranks
        copied = self._copied(contents)
        final = checkpoints_folder(self._run) / name_of(step)
        temporary = final.with_name(f".{final.name}.{self._token}.tmp")
        paused = time.perf_counter() - started
        about = {"step": step, "run": self._ident, "world": self._world.size, "score": score}

        def part() -> None:
            self._copies.ready()
            temporary.mkdir(parents=True, exist_ok=True)
            write_part(temporary, copied, rank=self._world.rank)

        def rest() -> None:
            table = gathered(temporary, world=self._world.size, wanted=lambda: not self._given_up)
            if table is None:
                return
            commit(temporary, final, {**about, "files": table})
            self._verified.add(final)
            self.notes += prune(final.parent, self._keep, verified=self._verified)
            self.finished.append(Saved(final, paused, time.perf_counter() - started))
            if self._mirror is not None:
                self.notes += self._mirror.put(self._run, final, ident=self._ident)

        wrote = self._thread.submit(part)
        self._underway = _Underway(
            final, temporary, wrote, self._thread.submit(rest) if self._world.rank == 0 else None
        )

    def submit(self, work: Callable[[], None]) -> None:
        """Run other writing (snapshots) in the same thread, in order."""
        self._others.append(self._thread.submit(work))

    def check(self) -> None:
        """Raise if anything has failed so far, without waiting. A collective."""
        self._raise(self._own_problem(wait=False))  # all ranks

    def settle(self) -> None:
        """Wait until all writing is complete, and raise if it failed. A collective."""
        self._raise(self._own_problem(wait=True))  # all ranks
        underway = self._underway
        problem = _problem(underway.rest, wait=True) if underway and underway.rest else ""
        self._raise(self._named(problem))  # all ranks
        self._underway = None

    def close(self) -> None:
        """End the thread. A checkpoint that other ranks have not finished is abandoned."""
        self._given_up = True
        self._thread.shutdown(wait=True)
        if self._underway is not None and self._world.rank == 0:
            shutil.rmtree(self._underway.temporary, ignore_errors=True)

    def _copied(self, contents: Contents) -> Contents:
        files = contents.files if self._world.rank == 0 else {}
        return Contents(
            files={name: self._copies.take(name, tensors) for name, tensors in files.items()},
            state=copy.deepcopy(dict(contents.state)),
            own=self._copies.take("own", contents.own),
        )

    def _own_problem(self, *, wait: bool) -> str:
        """Return what failed on this rank: its part of the checkpoint, or a snapshot."""
        for work in self._others:
            if problem := _problem(work, wait=wait):
                return problem
        self._others = [w for w in self._others if not w.done()]
        problem = _problem(self._underway.part, wait=wait) if self._underway else ""
        return self._named(problem)

    def _named(self, problem: str) -> str:
        name = self._underway.final.name if self._underway else ""
        return f"checkpoint {name} (rank {self._world.rank}): {problem}" if problem else ""

    def _raise(self, problem: str) -> None:
        problems = [p for p in self._world.gather(problem) if p]  # all ranks
        if not problems:
            return
        self._given_up = True
        if (underway := self._underway) is not None:
            if underway.rest is not None:
                with contextlib.suppress(Exception):
                    underway.rest.result()
            if self._world.rank == 0:
                shutil.rmtree(underway.temporary, ignore_errors=True)
        raise UserError(
            f"{self._run}: could not be written: {'; '.join(problems)}. The last good checkpoint is untouched: free "
            "some disk space and run the same command with --resume"
        )


def _problem(work: Future[None], *, wait: bool) -> str:
    if not wait and not work.done():
        return ""
    error = work.exception()
    return "" if error is None else str(getattr(error, "strerror", None) or error)


def save(run: Path, step: int, contents: Contents, *, world: World, keep: Keep) -> Path:
    """Write one checkpoint and wait for it. A collective. Raises `UserError` on every rank if any could not write."""
    saver = Saver(run, world=world, keep=keep)
    try:
        saver.begin(step, contents)
        saver.settle()  # all ranks
    finally:
        saver.close()
    return checkpoints_folder(run) / name_of(step)
