"""The two models of a vote: name, identity, and how each restores."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from archsr.checkpoint import weights_of
from archsr.errors import UserError
from archsr.evaluation import compared_models
from archsr.evaluation.people import identity_of
from archsr.runs.folders import check_run, is_run, run_config
from archsr.upscaling.upscaler import Upscaler, open_model

ORIGINAL = "original"
_INTERPOLATIONS = {"bicubic": compared_models.bicubic, "lanczos": compared_models.lanczos}


@dataclass(frozen=True)
class VoteModel:
    """A model: its `name`, the file or official name of its `weights`, and its `identity` (`identity_of`)."""

    name: str
    weights: str
    identity: str

    def restore(self, scale: int, devices: Sequence[torch.device]) -> compared_models.Restore:
        """Return the function that restores (1, 3, h, w)."""
        if self.weights in _INTERPOLATIONS:
            return _INTERPOLATIONS[self.weights](scale).restore
        return Upscaler(open_model(self.weights)[0], devices=devices).restore


def models_of(a: str, b: str) -> tuple[VoteModel, VoteModel]:
    """Open both models, as `archsr evaluate` does; "original" is the initial model of the other one, a run.

    Raises `UserError` if one does not exist, or both are the same.
    """
    found = _model(a, other=b), _model(b, other=a)
    if found[0].identity == found[1].identity:
        raise UserError(f"{a} and {b} are the same weights; name two different models")
    if found[0].name == found[1].name:
        raise UserError(f"both models are named {found[0].name}; rename a file or a run")
    return found


def scale_of(a: str, b: str) -> int:
    """Return the scale of both models. Raises `UserError` if they differ."""
    return compared_models.scale_of([source for source in (a, b) if source != ORIGINAL])


def _model(source: str, *, other: str) -> VoteModel:
    if source == ORIGINAL:
        if not is_run(other):
            raise UserError(f"original: {other} is not a run; give the weights instead")
        return _known(ORIGINAL, weights_of(other, which="initial"))
    weights = weights_of(source)  # raises for a folder without weights
    check_run(source)
    return _known(run_config(source).name if is_run(source) else compared_models.short_name(source), weights)


def _known(name: str, weights: str) -> VoteModel:
    return VoteModel(name, weights, identity_of(weights))
