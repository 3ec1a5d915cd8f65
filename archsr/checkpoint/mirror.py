"""Copies of checkpoints in a second place: a folder, or any address that fsspec opens (`s3://`, `hf://`, ...).

Copies are in `url`/NAME/IDENT, where IDENT is unique to the run. So another run of the same name has another folder,
and no run removes or takes copies of another. Earlier versions wrote to `url`/NAME; that is still read, but not
changed.
"""

import json
import random
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from archsr.checkpoint.folder import MANIFEST, manifest_problem, problem_with, set_damaged_aside, stamp_of
from archsr.checkpoint.keeping import Keep, staying
from archsr.errors import UserError
from archsr.runs.folders import CONFIG, checkpoints_folder, name_of, numbered, step_of

TRIES = 4


@dataclass(frozen=True)
class _Copy:
    """A copy with a readable manifest and files of the right sizes. `root` is its run's folder."""

    root: str
    manifest: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.manifest["step"])

    @property
    def place(self) -> str:
        return f"{self.root}/checkpoints/{name_of(self.step)}"

    @property
    def saved(self) -> float:
        return float(self.manifest.get("saved", 0.0))


class Mirror:
    """Copies of a run's newest checkpoints. The manifest is written last; a copy without it is not trusted.

    A failed copy is reported and training continues, because the checkpoint itself is good.
    """

    def __init__(self, url: str, *, keep: Keep, pause: float = 2.0) -> None:
        self.url = url
        self._keep = keep
        self._pause = pause  # seconds before the first retry, doubled before each further one

    def put(self, run: Path, checkpoint: Path, *, ident: str) -> list[str]:
        """Copy a checkpoint, the run's config and its snapshots, then remove the run's old copies.

        Return lines about failures.
        """
        problem = ""
        for attempt in range(TRIES):
            try:
                self._put(run, checkpoint, ident)
            except Exception as error:  # each file system has its own exceptions
                problem = f"{type(error).__name__}: {error}"
                if attempt + 1 < TRIES:
                    time.sleep(self._pause * 2**attempt * (0.5 + random.random()))
            else:
                return []
        return [
            f"{checkpoint.name} could not be copied to {self.url} after {TRIES} tries ({problem}); training continues"
        ]

    def _put(self, run: Path, checkpoint: Path, ident: str) -> None:
        there, base = self._open(run)
        root = f"{base}/{ident}"
        target = f"{root}/checkpoints/{checkpoint.name}"
        names = sorted(p.name for p in checkpoint.iterdir() if p.name != MANIFEST)
        there.makedirs(target, exist_ok=True)
        there.makedirs(f"{root}/snapshots", exist_ok=True)
        for name in [*names, MANIFEST]:
            there.put_file(str(checkpoint / name), f"{target}/{name}")
        there.put_file(str(run / CONFIG), f"{root}/{CONFIG}")
        for snapshot in sorted((run / "snapshots").glob("*.safetensors")):
            if not snapshot.name.startswith("."):
                there.put_file(str(snapshot), f"{root}/snapshots/{snapshot.name}")
        there.invalidate_cache()
        copies, _ = self._copies(there, root)
        stay = staying([stamp_of(c.manifest) for c in copies], self._keep) | {step_of(checkpoint.name)}
        for copy in copies:
            if copy.step not in stay:
                there.rm(copy.place, recursive=True)

    def get(self, run: Path, *, ident: str = "") -> list[str]:
        """Fetch the newest good copy, for a run folder without checkpoints. Return lines about what was done.

        The copy belongs to run `ident`, or to the run that saved last if `ident` is empty (the folder was lost). Raises
        `UserError` if the mirror cannot be read.
        """
        try:
            there, base = self._open(run)
            return self._bring(there, base, run, ident)
        except Exception as error:  # each file system has its own exceptions
            raise UserError(
                f"checkpoint.mirror: {self.url}: cannot be read ({type(error).__name__}: {error}); fix it, or resume "
                'without it: --set checkpoint.mirror=""'
            ) from None

    def _bring(self, there: Any, base: str, run: Path, ident: str) -> list[str]:  # noqa: ANN401 - fsspec is untyped
        runs, told = self._runs(there, base, ident)
        for copies in runs:
            for copy in copies:
                problem = self._fetch(there, copy.place, checkpoints_folder(run) / name_of(copy.step))
                if problem:
                    told.append(f"{self.url}: {copy.place}: skipped, {problem}")
                    continue
                self._fetch_rest(there, copy.root, run)
                others = "".join(
                    f"; {c[0].root} has another run of this name, at step {c[0].step}" for c in runs if c is not copies
                )
                return [*told, f"{checkpoints_folder(run) / name_of(copy.step)}: fetched from {copy.root}{others}"]
        return told

    def _runs(self, there: Any, base: str, ident: str) -> tuple[list[list[_Copy]], list[str]]:  # noqa: ANN401
        """Return each run's copies, newest first, starting with the run that saved last, and lines about damage."""
        there.invalidate_cache()
        if not there.exists(base):
            return [], []
        roots = [f"{base}/{ident}"] if ident else sorted({base, *there.ls(base, detail=False)})
        found, told = [], []
        for root in roots:
            copies, damaged = self._copies(there, str(root).rstrip("/"))
            told += damaged
            found += [sorted(copies, key=lambda c: c.step, reverse=True)] if copies else []
        return sorted(found, key=lambda copies: max(c.saved for c in copies), reverse=True), told

    def _copies(self, there: Any, root: str) -> tuple[list[_Copy], list[str]]:  # noqa: ANN401
        copies: list[_Copy] = []
        damaged: list[str] = []
        for path in there.glob(f"{root}/checkpoints/step-*/{MANIFEST}"):
            folder = str(path).rsplit("/", 1)[0]
            if (step := step_of(folder.rsplit("/", 1)[1])) is None:
                continue
            try:
                manifest = json.loads(there.cat_file(path))
                problem = manifest_problem(manifest, step) or _sizes_problem(there, folder, manifest)
            except ValueError as error:
                manifest, problem = {}, f"{type(error).__name__}: {error}"
            if problem:
                damaged.append(f"{self.url}: {folder}: skipped, {problem}")
            else:
                copies.append(_Copy(root, manifest))
        return copies, damaged

    def _fetch(self, there: Any, source: str, final: Path) -> str:  # noqa: ANN401
        temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            staged = temporary / final.name  # verified under its final name
            staged.mkdir(parents=True)
            for path in there.ls(source, detail=False):
                there.get_file(path, str(staged / Path(path).name))
            if problem := problem_with(staged):
                return problem
            if final in numbered(final.parent):  # the run has no good checkpoint, so this is a damaged one
                set_damaged_aside(final)
            staged.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return ""

    def _fetch_rest(self, there: Any, root: str, run: Path) -> None:  # noqa: ANN401
        """Fetch config and snapshots that the run folder does not have."""
        (run / "snapshots").mkdir(parents=True, exist_ok=True)
        paths = [p for p in (f"{root}/{CONFIG}", *there.glob(f"{root}/snapshots/*.safetensors")) if there.exists(p)]
        for path in paths:
            name = str(path).removeprefix(f"{root}/")
            if not (run / name).exists():
                there.get_file(path, str(run / name))

    def _open(self, run: Path) -> tuple[Any, str]:
        there, root = fsspec.core.url_to_fs(self.url)
        return there, f"{str(root).rstrip('/')}/{run.name}"


def _sizes_problem(there: Any, folder: str, manifest: dict[str, Any]) -> str:  # noqa: ANN401
    sizes = {str(about["name"]).rsplit("/", 1)[-1]: about.get("size") for about in there.ls(folder, detail=True)}
    wrong = [name for name, known in manifest["files"].items() if sizes.get(name) != known["bytes"]]
    return f"{wrong[0]} is damaged" if wrong else ""
