"""The commands for a day with a GPU run to their end, here on the CPU with tiny networks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("gpu_day.sh")


@pytest.mark.slow
def test_figures_and_profile_are_written(tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for what in ("check", "profile"):
        command = ["bash", str(SCRIPT), what, str(tmp_path), "--small"]
        done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    rows = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert all(row["ms"] > 0 for row in rows)
    assert any(row["what"] == "degradation" for row in rows)
    assert len(json.loads((tmp_path / "profile.json").read_text())["all layers, bf16"]["largest"]) == 10
