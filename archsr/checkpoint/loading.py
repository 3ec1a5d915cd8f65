"""Choose the checkpoint from which a run resumes."""

from pathlib import Path

from archsr.checkpoint.folder import Loaded, load, newest
from archsr.checkpoint.keeping import Keep
from archsr.checkpoint.mirror import Mirror
from archsr.checkpoint.run_folder import ident_of
from archsr.errors import UserError
from archsr.utils.world import World


def load_newest(run: Path, *, world: World, mirror: str = "", mend: bool = False) -> tuple[Loaded | None, list[str]]:
    """Return the newest good checkpoint, the same on all ranks, and a line about each damaged one.

    If the run folder has none, the newest is fetched from the `mirror`. With `mend`, damaged ones are renamed. A
    collective. Raises `UserError` if the mirror cannot be read or the folder cannot be written.
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
            raise UserError(f"{run}: a damaged checkpoint cannot be renamed: {error.strerror}") from None
        return (str(folder) if folder else None), skipped

    chosen, skipped = world.broadcast(world.on_all_ranks(look))  # all ranks
    return (load(Path(chosen)) if chosen else None), skipped
