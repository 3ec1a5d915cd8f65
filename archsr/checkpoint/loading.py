"""Which checkpoint a run goes on from."""

from pathlib import Path

from archsr.checkpoint.folder import Loaded, load, newest
from archsr.checkpoint.keeping import Keep
from archsr.checkpoint.mirror import Mirror
from archsr.world import World


def load_newest(run: Path, *, world: World, mirror: str = "") -> tuple[Loaded | None, list[str]]:
    """The newest checkpoint that verifies, the same on all ranks, and a line about each one skipped.

    Where the run folder holds none, the newest of its `mirror` is brought. A collective. Raises `UserError` where the
    mirror cannot be read.
    """

    def look() -> tuple[str | None, list[str]]:
        if world.rank != 0:
            return None, []
        folder, skipped = newest(run)
        if folder is None and mirror:
            skipped += Mirror(mirror, keep=Keep()).get(run)
            folder, _ = newest(run)
            if folder is not None:
                skipped.append(f"{folder}: brought from {mirror}")
        return (str(folder) if folder else None), skipped

    chosen, skipped = world.broadcast(world.together(look))  # all ranks
    return (load(Path(chosen)) if chosen else None), skipped
