"""Which checkpoint a run goes on from."""

from pathlib import Path

from archsr.checkpoint.folder import Loaded, load, newest
from archsr.checkpoint.keeping import Keep
from archsr.checkpoint.mirror import Mirror
from archsr.checkpoint.run_folder import ident_of
from archsr.errors import UserError
from archsr.utils.world import World


def load_newest(run: Path, *, world: World, mirror: str = "", mend: bool = False) -> tuple[Loaded | None, list[str]]:
    """The newest checkpoint that verifies, the same on all ranks, and a line about each one skipped.

    Where the run folder holds none, the newest of its `mirror` is brought. With `mend`, damaged ones are set aside. A
    collective. Raises `UserError` where the mirror cannot be read, or the folder not be written.
    """

    def look() -> tuple[str | None, list[str]]:
        if world.rank != 0:
            return None, []
        try:
            folder, skipped = newest(run, mend=mend)
            if folder is None and mirror:
                skipped += Mirror(mirror, keep=Keep()).get(run, ident=ident_of(run))
                folder, more = newest(run, mend=mend)
                skipped += more
        except OSError as error:
            raise UserError(f"{run}: a damaged checkpoint cannot be set aside: {error.strerror}") from None
        return (str(folder) if folder else None), skipped

    chosen, skipped = world.broadcast(world.on_all_ranks(look))  # all ranks
    return (load(Path(chosen)) if chosen else None), skipped
