"""Lock of a run folder: RUN/lock.json names the process that uses it, and its modification time is a heartbeat.

The file is created with O_EXCL, which is atomic on shared file systems too. A holder is dead if its process no longer
exists on this machine, or if it sent no heartbeat for `STALE` seconds. Its lock is then taken over. Ages are
differences of the file system's own times, so the machines' clocks need not agree.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from archsr.errors import UserError
from archsr.utils import console

if TYPE_CHECKING:  # for types only: it imports torch, and `archsr runs` must be fast
    from archsr.utils.world import World

NAME = "lock.json"
BEAT = 20.0  # seconds between heartbeats
STALE = 300.0  # seconds without a heartbeat after which the holder is dead


def machine() -> str:
    """Return where process ids are valid: the kernel's boot and the process namespace (containers have their own)."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


@dataclass(frozen=True)
class Holder:
    """The holder of a lock. `process`: its start time; `job`, `start`: SLURM's job id and restart count."""

    pid: int = field(default_factory=os.getpid)
    process: float = field(default_factory=lambda: psutil.Process().create_time())
    host: str = field(default_factory=socket.gethostname)
    machine: str = field(default_factory=machine)
    job: str = field(default_factory=lambda: os.environ.get("SLURM_JOB_ID", ""))
    start: str = field(default_factory=lambda: os.environ.get("SLURM_RESTART_COUNT", "0"))
    since: float = field(default_factory=time.time)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def words(self) -> str:
        """Return a description for messages."""
        job = f", SLURM job {self.job}" if self.job else ""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}{job}, since {since}"


def read(folder: Path) -> Holder | None:
    """Return the holder of a folder's lock, or None if there is no lock or it is just being written."""
    try:
        return Holder(**json.loads((folder / NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def silence(folder: Path, *, now: float | None = None) -> float | None:
    """Return the seconds since the last heartbeat at `now` (file system time), or None without a lock."""
    try:
        return (time.time() if now is None else now) - (folder / NAME).stat().st_mtime
    except OSError:
        return None


def why_dead(holder: Holder | None, silent: float, me: Holder) -> str:
    """Return why a lock's holder is dead, or an empty string."""
    if holder is not None and holder.machine == me.machine and not _lives(holder):
        return "its process no longer exists"
    if holder is not None and holder.job and holder.job == me.job and holder.start != me.start:
        return "it was an earlier start of this SLURM job"
    if silent > STALE:
        return f"it sent no heartbeat for {silent:.0f} seconds"
    return ""


def _lives(holder: Holder) -> bool:
    try:
        return abs(psutil.Process(holder.pid).create_time() - holder.process) < 2
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


class Lock:
    """The lock of a run folder. Call `take`, and `release` at the end. `lost` is called if another run takes over."""

    def __init__(self, folder: Path, *, lost: Callable[[], None]) -> None:
        self._folder = folder
        self._path = folder / NAME
        self._lost = lost
        self._me = Holder()
        self._over = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="lock", daemon=True)

    def take(self) -> str:
        """Take the lock. Return a message, or an empty string. Raises `UserError` if another run holds the folder."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            word = "" if self._create(self._path) else self._take_over()
        except OSError as error:
            raise UserError(f"{self._folder}: the run folder cannot be written: {error.strerror}") from None
        self._beats.start()
        return word

    def release(self) -> None:
        """Remove the lock if this run still holds it, and the folder if nothing was written to it."""
        self._over.set()
        if self._beats.is_alive():
            self._beats.join()
        if self._mine():
            self._path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # usually not empty
                self._folder.rmdir()

    def _take_over(self) -> str:
        guard = self._path.with_name(f".{NAME}.guard")
        # only one run at a time may check and replace; a crash leaves this guard file behind
        if not self._create(guard):
            if self._now() - guard.stat().st_mtime > STALE:
                guard.unlink(missing_ok=True)
            raise UserError(f"{self._folder}: another run is just starting here; try again, or choose another name")
        try:
            holder, silent = read(self._folder), silence(self._folder, now=self._now())
            dead = "" if silent is None else why_dead(holder, silent, self._me)
            if silent is not None and not dead:
                raise UserError(self._in_use(holder, silent))
            guard.replace(self._path)
        finally:
            guard.unlink(missing_ok=True)
        who = holder.words() if holder else "an unknown process"
        return f"{self._folder}: took over the lock of {who}: {dead}" if dead else ""

    def _in_use(self, holder: Holder | None, silent: float) -> str:
        who = holder.words() if holder else "an unknown process"
        return (
            f"{self._folder}: in use by {who} (last heartbeat {max(0.0, silent):.0f} s ago). After Ctrl-C it may still "
            "be saving: retry in a moment. A second run needs another name: --set name=... "
            f"(If that process is dead, the folder is free {STALE:.0f} seconds after its last heartbeat)"
        )

    def _create(self, path: Path) -> bool:
        try:
            with path.open("x") as out:
                json.dump(asdict(self._me), out)
                out.flush()
                os.fsync(out.fileno())
        except FileExistsError:
            return False
        return True

    def _now(self) -> float:
        probe = self._path.with_name(f".{NAME}.{self._me.token[:8]}")
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _mine(self) -> bool:
        holder = read(self._folder)
        return holder is not None and holder.token == self._me.token

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with contextlib.suppress(OSError):  # the file system may be unavailable for a while
                if self._mine():
                    os.utime(self._path)
                elif silence(self._folder) is not None or not self._create(self._path):
                    self._lost()
                    return


@contextlib.contextmanager
def run_lock(folder: Path, world: "World", *, lost: Callable[[], None]) -> Generator[None]:
    """Hold the folder's lock on rank 0. A collective. Raises `UserError` on all ranks if another run holds it."""
    lock = Lock(folder, lost=lost)

    def take() -> None:
        if world.rank == 0 and (word := lock.take()):
            console.say(word)

    world.on_all_ranks(take)  # all ranks
    try:
        yield
    finally:
        if world.rank == 0:
            lock.release()
