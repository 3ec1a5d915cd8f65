"""The run folder: checkpoints for resuming, snapshots for use, and how both are written and verified.

    RUN/config.toml                              the resolved config
    RUN/log.jsonl, RUN/samples/, RUN/tensorboard/
    RUN/snapshots/{initial,best,best_raw,last,last_raw}.safetensors
    RUN/checkpoints/step-00000500/               tensors, state.json, one file per rank, MANIFEST.json

A folder is a good checkpoint if its MANIFEST.json lists every file with its size and SHA-256. It is written under a
temporary name, flushed and renamed, so a crash leaves the older checkpoints and no partial new one.
"""

from archsr.checkpoint.folder import Loaded, problem_with
from archsr.checkpoint.keeping import Keep
from archsr.checkpoint.mirror import Mirror
from archsr.checkpoint.run_folder import load_newest, new_ident, set_aside, start_run
from archsr.checkpoint.saver import Saver, save
from archsr.checkpoint.snapshots import about_snapshot, strength_of, weights_of, write_snapshot
from archsr.checkpoint.writing import Contents

__all__ = [
    "Contents", "Keep", "Loaded", "Mirror", "Saver", "about_snapshot", "load_newest", "new_ident", "problem_with",
    "save", "set_aside", "start_run", "strength_of", "weights_of", "write_snapshot",
]  # fmt: skip
