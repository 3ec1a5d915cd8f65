"""The import arrows of the house: who may import whom. Inference never sees training code."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import archsr

PACKAGE = Path(archsr.__file__).parent
SHARDS = {"data.manifest", "data.versions", "data.remote", "data.stream"}
INFERENCE = {"config", "images", "models", "checkpoint", "runs.folders", "upscaling"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "utils": set(),
    "config": set(),
    "images": set(),
    "metrics": {"images"},
    "runs.folders": {"config"},
    "runs.run_lock": set(),
    "data.remote": {"config"},
    "data.cache": {"data.remote"},
    "data.versions": set(),
    "data.manifest": {"config", "data.remote", "data.cache"},
    "data.drawn_photos": {"images"},
    "data.prepare": {"config", "images", "metrics", "data.manifest", "degradation"},
    "data.stream": {"config", "images", "data.manifest", "data.remote", "data.cache"},
    "degradation": {"config", "images", "metrics"},
    "models": {"config"},
    "checkpoint": {"config", "models", "runs.folders", "runs.run_lock"},
    "upscaling": INFERENCE,
    "exporting": INFERENCE,
    "evaluation": {*INFERENCE, *SHARDS, "metrics", "degradation"},
    "app": {*INFERENCE, "metrics", "degradation", "evaluation", "runs"},
    "vote": {*INFERENCE, "evaluation"},
    "training": {*INFERENCE, *SHARDS, "data.prepare", "metrics", "degradation", "evaluation", "runs", "runs.run_lock"},
}
EVERYONE = {"errors", "utils", "data.versions"}  # they know nothing of archsr
# what is started, and what looks at everything; the last four are commands beside the training loop
TOP = {"__main__", "api", "bench", "cli", "demo", "doctor", "init", "runs", "study", "train"}
TOP |= {"training.debug", "training.preview", "training.slurm", "training.start"}


def _stage(dotted):
    """The stage of a module, the longest name that the tables above have."""
    parts = dotted.removeprefix("archsr.").split(".")
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((n for n in names if n in ALLOWED or n in TOP), names[-1])


def _modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, _stage(".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"))


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "archsr":
            for alias in node.names:
                yield _stage(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("archsr."):
                    yield _stage(alias.name)


@pytest.mark.parametrize(("path", "stage"), [pytest.param(p, s, id=str(p.relative_to(PACKAGE))) for p, s in _modules()])
def test_a_module_imports_only_what_its_stage_may(path, stage):
    if stage in TOP or path.name == "__init__.py":
        return
    allowed = ALLOWED[stage] | EVERYONE | {stage}
    assert set(_imported(path)) <= allowed, f"{stage} may import {sorted(allowed)}"


def test_few_modules_lie_loose_beside_the_folders_of_the_stages():
    assert len(list(PACKAGE.glob("*.py"))) <= 5


def test_no_module_is_named_like_a_library():
    taken = {"datasets", "lpips", "queue", "random", "types", "torch", "timm", "einops", "tomli", "accelerate", "toml"}
    assert not {path.stem for path, _ in _modules()} & taken


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["upscale", "--help"], ["doctor", "--nothing"]])
def test_help_and_mistyped_words_come_without_a_wait(words):
    """torch alone takes seconds; pydantic, numpy and PIL together another half."""
    code = f"import sys; from archsr.cli import main\ntry: main({words})\nexcept SystemExit: pass\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.splitlines()[-1].split())
    assert "archsr.cli" in modules
    assert not modules & {"torch", "numpy", "PIL", "pydantic", "accelerate", "torchvision", "shtab"}


def test_help_and_config_errors_need_no_torch():
    light = {
        "archsr",
        "archsr.utils.allocation",
        "archsr.cli.arguments",
        "archsr.cli",
        "archsr.config",
        "archsr.errors",
        "archsr.utils.stopping",
    }
    for path in (*(PACKAGE / "cli").glob("*.py"), PACKAGE / "train.py"):
        names = {n.module for n in ast.parse(path.read_text()).body if isinstance(n, ast.ImportFrom)}
        assert {n for n in names if n.startswith("archsr")} <= light, path


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)]
)
def test_threads_wait_asleep_unless_the_user_says_otherwise(given, spins):
    """Before torch, and with it libgomp, is loaded."""
    code = "import archsr, os, sys; assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **given}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(spins)
