"""One run folder, one run: RUN/lock.json says who uses it, and its time of change is a heartbeat.

Made with O_EXCL, which is atomic on shared file systems too. A holder whose process is gone from this machine, or that
was not heard of for `STALE` seconds, is dead, and its lock is taken over. Ages are differences of the file system's own
times, so that clocks of machines need not agree.
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

if TYPE_CHECKING:  # it brings torch, and `archsr runs` shall be quick
    from archsr.utils.world import World

NAME = "lock.json"
BEAT = 20.0  # seconds between heartbeats
STALE = 300.0  # without one for so long, the holder is dead


def machine() -> str:
    """Where process numbers mean the same: the kernel's boot and the process namespace (containers have their own)."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. `process`: when its process was made; `job`, `start`: SLURM's number and count of starts."""

    pid: int = field(default_factory=os.getpid)
    process: float = field(default_factory=lambda: psutil.Process().create_time())
    host: str = field(default_factory=socket.gethostname)
    machine: str = field(default_factory=machine)
    job: str = field(default_factory=lambda: os.environ.get("SLURM_JOB_ID", ""))
    start: str = field(default_factory=lambda: os.environ.get("SLURM_RESTART_COUNT", "0"))
    since: float = field(default_factory=time.time)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def words(self) -> str:
        """For people."""
        job = f", SLURM job {self.job}" if self.job else ""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}{job}, since {since}"


def read(folder: Path) -> Holder | None:
    """The holder of a folder's lock; None where there is no lock, or one just being written."""
    try:
        return Holder(**json.loads((folder / NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def silence(folder: Path, *, now: float | None = None) -> float | None:
    """Seconds since the last heartbeat, None without a lock. `now`: the file system's time (else this machine's)."""
    try:
        return (time.time() if now is None else now) - (folder / NAME).stat().st_mtime
    except OSError:
        return None


def why_dead(holder: Holder | None, silent: float, me: Holder) -> str:
    """Why a lock is not held any more, or an empty string."""
    if holder is not None and holder.machine == me.machine and not _lives(holder):
        return "its process is gone"
    if holder is not None and holder.job and holder.job == me.job and holder.start != me.start:
        return "it was an earlier start of this SLURM job"
    if silent > STALE:
        return f"it was not heard of for {silent:.0f} seconds"
    return ""


def _lives(holder: Holder) -> bool:
    try:
        return abs(psutil.Process(holder.pid).create_time() - holder.process) < 2
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


class Lock:
    """The lock of a run folder. `take` it, and `release` it at the end; `lost` is called where another run takes it."""

    def __init__(self, folder: Path, *, lost: Callable[[], None]) -> None:
        self._folder = folder
        self._path = folder / NAME
        self._lost = lost
        self._me = Holder()
        self._over = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="lock", daemon=True)

    def take(self) -> str:
        """Returns what to tell the user, or an empty string. Raises `UserError` where another run holds the folder."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            word = "" if self._create(self._path) else self._take_over()
        except OSError as error:
            raise UserError(f"{self._folder}: the run folder cannot be written: {error.strerror}") from None
        self._beats.start()
        return word

    def release(self) -> None:
        """Give it back, if it is still this run's. A folder in which nothing came to be goes with it."""
        self._over.set()
        if self._beats.is_alive():
            self._beats.join()
        if self._mine():
            self._path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty, as usual
                self._folder.rmdir()

    def _take_over(self) -> str:
        guard = self._path.with_name(f".{NAME}.guard")
        if not self._create(guard):  # one run at a time may look and replace; a crash leaves this guard behind
            if self._now() - guard.stat().st_mtime > STALE:
                guard.unlink(missing_ok=True)
            raise UserError(f"{self._folder}: another run is just beginning here; try again, or choose another name")
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
        who = holder.words() if holder else "a process that has not said its name"
        return (
            f"{self._folder}: in use by {who}, heard of {max(0.0, silent):.0f} seconds ago. After Ctrl-C it may still "
            "be saving: give the same command again in a moment. A second run needs a name of its own: --set name=... "
            f"(if that process is dead, the folder is free {STALE:.0f} seconds after its last sign of life)"
        )

    def _create(self, path: Path) -> bool:
        """Make a file that names this run; False where it exists."""
        try:
            with path.open("x") as out:
                json.dump(asdict(self._me), out)
                out.flush()
                os.fsync(out.fileno())
        except FileExistsError:
            return False
        return True

    def _now(self) -> float:
        """The file system's time."""
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
            with contextlib.suppress(OSError):  # a file system that is away for a while
                if self._mine():
                    os.utime(self._path)
                elif silence(self._folder) is not None or not self._create(self._path):
                    self._lost()
                    return


@contextlib.contextmanager
def run_lock(folder: Path, world: "World", *, lost: Callable[[], None]) -> Generator[None]:
    """Rank 0 holds the folder's lock meanwhile. A collective. Raises `UserError` on all ranks where it is not free."""
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
