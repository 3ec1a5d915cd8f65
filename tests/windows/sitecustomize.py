"""A process that lacks what Windows lacks, as far as Python can pretend: put this folder on PYTHONPATH.

archsr finds no fcntl and no resource, no signals and functions of POSIX, and no fork: workers are spawned, and each of
them reads this file too.
"""

import builtins
import importlib
import multiprocessing
import os
import signal
from types import SimpleNamespace

_ABSENT = {"fcntl", "resource", "pwd", "grp", "termios"}
_import = builtins.__import__


def _from_archsr(name, scope=None, *args, **kwargs):
    if name in _ABSENT and str((scope or {}).get("__name__", "")).startswith("archsr"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return _import(name, scope, *args, **kwargs)


def _with_msvcrt(name, package=None, found=importlib.import_module):
    """The module itself would make Python's own modules believe that they are on Windows."""
    if name != "msvcrt":
        return found(name, package)
    return SimpleNamespace(LK_LOCK=1, LK_NBLCK=2, locking=lambda handle, mode, count: None)


builtins.__import__ = _from_archsr
importlib.import_module = _with_msvcrt
for owner, names in (
    (signal, ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGHUP", "SIGKILL", "alarm")),
    (os, ("pread", "sched_getaffinity", "geteuid", "getuid")),
):
    for name in names:
        delattr(owner, name)
multiprocessing.set_start_method("spawn")
multiprocessing.get_all_start_methods = lambda: ["spawn"]

psutil = importlib.import_module("psutil")
_memory = psutil.Process.memory_info
psutil.Process.memory_info = lambda process: SimpleNamespace(
    peak_wset=_memory(process).rss, **_memory(process)._asdict()
)
