"""The additions that CONTRIBUTING.md shows apply to the code as it is, and the commands after each succeed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ADDITIONS = re.findall(
    r"^## Add (.+?)\n.*?^```diff\n(.*?)^```$.*?^```sh\n(.*?)^```$",
    (ROOT / "CONTRIBUTING.md").read_text(),
    re.DOTALL | re.MULTILINE,
)


def patched(folder, diff, *options):
    done = subprocess.run(["git", "apply", *options, "-"], cwd=folder, input=diff, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_three_additions_are_shown():
    assert [name for name, _, _ in ADDITIONS] == ["a loss", "a degradation", "a network"]


@pytest.mark.parametrize(("name", "diff", "commands"), ADDITIONS, ids=[name for name, _, _ in ADDITIONS])
def test_an_addition_applies_to_the_code_as_it_is(name, diff, commands):
    patched(ROOT, diff, "--check")
    files = re.findall(r"^\+\+\+ b/(.+)$", diff, re.MULTILINE)
    tests = [file for file in files if file.startswith("tests/")]
    assert tests
    assert all(file in commands for file in tests), "the commands do not run its tests"


def test_a_network_is_a_table_a_module_an_entry_and_a_test():
    (diff,) = [diff for name, diff, _ in ADDITIONS if name == "a network"]
    assert len(re.findall(r"^\+\+\+ b/", diff, re.MULTILINE)) <= 4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "diff", "commands"), ADDITIONS, ids=[name for name, _, _ in ADDITIONS])
def test_an_addition_works(name, diff, commands, tmp_path):
    if shutil.which("pyright", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") is None:
        pytest.skip("ruff and pyright are not here: pip install -e '.[dev]'")
    for folder in ("archsr", "configs", "launch", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", ".no-cache"))
    for file in ("pyproject.toml", "README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / file, tmp_path)
    patched(tmp_path, diff)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{commands}\nruff check .\npyright"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "every stage passed" in done.stdout
