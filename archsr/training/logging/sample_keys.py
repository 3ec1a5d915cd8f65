"""The record of which samples a run trained on: `log.keys` writes one file per rank, one line per step."""

import json
from pathlib import Path

from archsr.errors import UserError
from archsr.utils.atomic import write_bytes


class SampleKeysFile:
    """`RUN/keys/rank-00000.jsonl`: {"step", "keys"}. Inactive, it does nothing; `close` when done."""

    def __init__(self, run: Path, *, rank: int, active: bool) -> None:
        self.path = run / "keys" / f"rank-{rank:05d}.jsonl"
        self._out = None
        if active:
            self.path.parent.mkdir(exist_ok=True)
            self._out = self.path.open("a", encoding="utf-8")

    def add(self, step: int, keys: list[str]) -> None:
        """The keys of this rank at a step. Raises `UserError` if they cannot be written: a record has no holes."""
        if self._out is None:
            return
        try:
            self._out.write(json.dumps({"step": step, "keys": keys}) + "\n")
            self._out.flush()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}; set log.keys = false") from None

    def close(self) -> None:
        """Close the file."""
        if self._out is not None:
            self._out.close()


def cut_keys(run: Path, step: int) -> None:
    """Forget what was recorded after `step`, also by ranks that are no more: it will be trained again."""
    for path in sorted((run / "keys").glob("rank-*.jsonl")):
        kept = [line for line in path.read_bytes().splitlines(keepends=True) if _whole_until(line, step)]
        write_bytes(path, b"".join(kept))


def _whole_until(line: bytes, step: int) -> bool:
    """Whether a line is complete (a killed run leaves half of its last) and not after `step`."""
    return line.endswith(b"\n") and json.loads(line)["step"] <= step
