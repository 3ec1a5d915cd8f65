"""The import arrows of the house: who may import whom. Inference never sees training code."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import archsr

PACKAGE = Path(archsr.__file__).parent
EVERYONE = {
    "errors",
    "atomic",
    "world",
    "stopping",
    "lock",
    "versions",
    "notes",
}  # an exception, safe writing: nothing of archsr in them
LEAVES = {"config", "seeds", "images", "metrics", "colour", "digests"}
BELOW_TRAINING = LEAVES | {"config_file", "niqe", "manifest", "models", "prepare", "stream", "degrade", "checkpoint"}
ALLOWED = {
    "errors": set(),
    "allocation": set(),
    "arguments": set(),
    "atomic": set(),
    "page": set(),
    "world": set(),
    "stopping": set(),
    "lock": set(),
    "versions": set(),
    "notes": set(),
    "digests": set(),
    "config": set(),
    "seeds": set(),
    "picture_files": set(),
    "tiff_tags": set(),
    "raw_files": {"picture_files", "tiff_tags"},
    "heic": {"picture_files"},
    "images": {"picture_files", "raw_files", "heic"},
    "metrics": set(),
    "colour": set(),
    "config_file": set(),
    "niqe": {"images"},
    "remote": {"config"},
    "cache": {"remote", "digests"},
    "manifest": {"config", "remote", "cache"},
    "models": {"config", "seeds"},
    "degrade": {"config", "seeds", "images"},
    "prepare": {"digests", "config", "config_file", "images", "manifest", "degrade", "seeds", "raw_files"},
    "stream": {"digests", "config", "seeds", "images", "manifest", "remote", "cache"},
    "checkpoint": {"config", "models"},
    "upscale": {"config", "images", "models", "checkpoint", "picture_files", "raw_files", "tiff_tags", "heic"},
    "evaluate": {"config", "config_file", "seeds", "images", "metrics", "niqe", "manifest", "models", "stream",
                 "checkpoint", "upscale", "remote", "world", "colour", "degrade", "picture_files"},
    "app": {"config", "images", "picture_files", "heic", "models", "checkpoint", "upscale", "degrade", "seeds",
            "metrics", "runs", "evaluate", "page"},
    "vote": {"config", "seeds", "images", "checkpoint", "upscale", "evaluate", "page"},
    "export": {"config", "models", "checkpoint", "upscale"},
    "sheet": {"config", "degrade", "images", "metrics"},
    "histograms": {"degrade"},
    "training": BELOW_TRAINING | {"evaluate", "sheet", "remote", "upscale"},
}  # fmt: skip
# may import everything
TOP = {
    "api",
    "bench",
    "completion",
    "doctor",
    "init",
    "init_text",
    "start",
    "cli",
    "train",
    "demo",
    "demo_photos",
    "session",
    "debug",
    "preview",
    "runs",
    "submit",
    "study",
    "__main__",
}


def _modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "archsr":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("archsr."):
                    yield alias.name.split(".")[1]


@pytest.mark.parametrize(("path", "stage"), [pytest.param(p, s, id=str(p.relative_to(PACKAGE))) for p, s in _modules()])
def test_a_module_imports_only_what_its_stage_may(path, stage):
    if stage in TOP or stage == "__init__":
        return
    allowed = ALLOWED[stage] | EVERYONE | {stage}
    assert set(_imported(path)) <= allowed, f"{stage} may import {sorted(allowed)}"


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
    assert not modules & {"torch", "numpy", "PIL", "pydantic", "accelerate", "torchvision"}


def test_help_and_config_errors_need_no_torch():
    light = {
        "archsr",
        "archsr.allocation",
        "archsr.arguments",
        "archsr.cli",
        "archsr.config",
        "archsr.errors",
        "archsr.stopping",
    }
    for path in (*(PACKAGE / "cli").glob("*.py"), PACKAGE / "arguments.py", PACKAGE / "train.py"):
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
