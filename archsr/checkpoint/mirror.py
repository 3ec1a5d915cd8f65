"""A second place for checkpoints: a folder, or any address that fsspec opens (`s3://`, `hf://`, ...)."""

import json
import random
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import fsspec

from archsr.checkpoint.folder import MANIFEST, home, problem_with
from archsr.checkpoint.keeping import Keep, Stamp, staying
from archsr.errors import UserError

TRIES = 4


class Mirror:
    """Copies of a run's newest checkpoints under `url`/RUN. The manifest goes last: without it nothing is trusted.

    A copy that fails is reported and training goes on: the checkpoint itself is good.
    """

    def __init__(self, url: str, *, keep: Keep, pause: float = 2.0) -> None:
        self.url = url
        self._keep = keep
        self._pause = pause  # seconds before the second try; doubled before each further one

    def put(self, run: Path, checkpoint: Path) -> list[str]:
        """Copy a checkpoint, the run's config and its snapshots; afterwards old copies go. Lines about what failed."""
        problem = ""
        for attempt in range(TRIES):
            try:
                self._put(run, checkpoint)
            except Exception as error:  # every file system has errors of its own
                problem = f"{type(error).__name__}: {error}"
                if attempt + 1 < TRIES:
                    time.sleep(self._pause * 2**attempt * (0.5 + random.random()))
            else:
                return []
        return [f"{checkpoint.name} could not be copied to {self.url} in {TRIES} tries ({problem}); training goes on"]

    def _put(self, run: Path, checkpoint: Path) -> None:
        there, root = self._open(run)
        target = f"{root}/checkpoints/{checkpoint.name}"
        names = sorted(p.name for p in checkpoint.iterdir() if p.name != MANIFEST)
        there.makedirs(target, exist_ok=True)
        there.makedirs(f"{root}/snapshots", exist_ok=True)
        for name in [*names, MANIFEST]:
            there.put_file(str(checkpoint / name), f"{target}/{name}")
        there.put_file(str(run / "config.toml"), f"{root}/config.toml")
        for snapshot in sorted((run / "snapshots").glob("*.safetensors")):
            if not snapshot.name.startswith("."):
                there.put_file(str(snapshot), f"{root}/snapshots/{snapshot.name}")
        manifests = self._manifests(there, root)
        stamps = [Stamp(int(m["step"]), m.get("saved", 0.0), m.get("score")) for m in manifests.values()]
        stay = staying(stamps, self._keep)
        for name, manifest in manifests.items():
            if manifest["step"] not in stay:
                there.rm(f"{root}/checkpoints/{name}", recursive=True)

    def get(self, run: Path) -> list[str]:
        """Bring the newest copy that verifies, for a run whose folder holds no checkpoint. Lines about those skipped.

        Raises `UserError` where the place cannot be read.
        """
        try:
            there, root = self._open(run)
            found = sorted(self._manifests(there, root), reverse=True) if there.exists(root) else []
            skipped: list[str] = []
            for name in found:
                problem = self._fetch(there, f"{root}/checkpoints/{name}", home(run) / name)
                if not problem:
                    if not (run / "config.toml").exists():
                        there.get_file(f"{root}/config.toml", str(run / "config.toml"))
                    return skipped
                skipped.append(f"{self.url}: {name}: skipped, {problem}")
        except Exception as error:  # every file system has errors of its own
            raise UserError(
                f"checkpoint.mirror: {self.url}: cannot be read ({type(error).__name__}: {error}); mend it, or resume "
                'without it: --set checkpoint.mirror=""'
            ) from None
        return skipped

    def _fetch(self, there: Any, source: str, final: Path) -> str:  # noqa: ANN401 - fsspec is untyped
        temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.tmp")
        temporary.mkdir(parents=True)
        try:
            for path in there.ls(source, detail=False):
                there.get_file(path, str(temporary / Path(path).name))
            if problem := problem_with(temporary):
                return problem
            temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return ""

    def _open(self, run: Path) -> tuple[Any, str]:
        there, root = fsspec.core.url_to_fs(self.url)
        return there, f"{str(root).rstrip('/')}/{run.name}"

    def _manifests(self, there: Any, root: str) -> dict[str, dict[str, Any]]:  # noqa: ANN401
        there.invalidate_cache()
        return {
            Path(path).parent.name: json.loads(there.cat_file(path))
            for path in there.glob(f"{root}/checkpoints/step-*/{MANIFEST}")
        }
