"""What a page shows from elsewhere: files as copies, so that no other folder is given away, and words as mere words."""

import re
import shutil
from hashlib import blake2b
from pathlib import Path

from archsr.app.storage import Storage, touch


def copied(path: Path, storage: Storage) -> Path:
    """A copy of a file as it is now, in the temporary folder; made once as long as the file does not change."""
    about = path.stat()
    key = blake2b(f"{path.resolve()} {about.st_mtime_ns} {about.st_size} {storage.folder}".encode(), digest_size=16)
    target = storage.folder / "results" / key.hexdigest() / path.name
    if target.is_file():
        touch(target)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = storage.new() / path.name
    shutil.copyfile(path, part)
    part.replace(target)
    return target


def plain(text: str) -> str:
    """One line of Markdown that shows a text as it is."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~$&])", r"\\\1", " ".join(text.split()))
