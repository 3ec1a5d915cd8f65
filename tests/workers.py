"""What the workers of one test run make once for all of them."""

import contextlib
import fcntl
import os


@contextlib.contextmanager
def shared(tmp_path_factory, name):
    """A folder for all workers of a test run, and whether this one is to fill it; the others wait meanwhile."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = base / name
        yield folder, not folder.exists()
