"""A fake GPU for the tests of this folder; they skip where it cannot be built."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import stub_libraries

Counts = dict[str, Any]
Runner = Callable[..., list[Counts]]


@pytest.fixture(scope="session")
def on_fake_gpu(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Run a worker of this folder with one JSON argument per case, and return what it counted."""
    reason = stub_libraries.missing()
    if reason is not None:
        pytest.skip(f"no fake GPU: {reason}")
    environment = stub_libraries.build(tmp_path_factory.mktemp("stubs") / "lib")

    def run(*cases: dict[str, Any], worker: str = "worker.py") -> list[Counts]:
        command = [sys.executable, str(Path(__file__).with_name(worker)), *(json.dumps(c) for c in cases)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
