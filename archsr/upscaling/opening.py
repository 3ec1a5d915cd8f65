"""Open models by name: run folders, weights files of any kind, official releases."""

from pathlib import Path

from archsr.checkpoint import about_snapshot, weights_of
from archsr.config import ModelConfig, SpandrelConfig
from archsr.errors import UserError
from archsr.models.base import Generator
from archsr.models.blend import blended
from archsr.models.build import build, infer, load_state
from archsr.models.foreign import Foreign, open_foreign
from archsr.models.ncnn import NCNN
from archsr.models.weights import load_weights, read_state
from archsr.runs.folders import is_run


def open_model(source: str, *, strength: float | None = None) -> tuple[Generator, ModelConfig]:
    """Open a generator from a run folder, a weights file or an official name; its tensors determine its kind.

    Files of networks that are not ours are opened by spandrel. `strength` interpolates between a run's initial model
    (0) and the fine-tuned one (1); None is the run's best. Only runs support it. Raises `UserError`.
    """
    weights = weights_of(source, which="chosen" if strength is None else "best")
    if weights in NCNN:
        config = NCNN[weights].config
        net = build(config)
        load_weights(net, weights)
    elif _says_spandrel(Path(weights)):
        net, config = _foreign(weights)
    else:
        net, config = _told_from_tensors(weights, source)
    if strength not in (None, 1):
        _weaken(net, source, strength)
    return net.requires_grad_(False).eval(), config


def _weaken(net: Generator, run: str, strength: float) -> None:
    if not is_run(run):
        raise UserError(
            f"{run}: strength {strength:g} needs a run folder, whose initial and fine-tuned weights it mixes"
        )
    start, _ = open_model(weights_of(run, which="initial"))
    net.load_state_dict(blended(start.state_dict(), net.state_dict(), strength))


def _says_spandrel(path: Path) -> bool:
    """Return whether a snapshot was made with spandrel; its tensors may look like one of our networks."""
    return path.is_file() and about_snapshot(path).get("model", {}).get("arch") == "spandrel"


def _told_from_tensors(weights: str, source: str) -> tuple[Generator, ModelConfig]:
    try:
        state = read_state(weights)
        config = infer(state, where=source)
    except UserError as unknown:
        try:
            return _foreign(weights)
        except UserError:
            raise unknown from None
    net = build(config)
    load_state(net, state, where=source)
    return net, config


def _foreign(weights: str) -> tuple[Foreign, ModelConfig]:
    net = open_foreign(weights)
    return net, SpandrelConfig.model_validate({"arch": "spandrel", "scale": net.scale, "file": weights})
