"""An iteration on a GPU that is not there: every tensor is where it should be, and the host does not wait."""

from typing import Any

import pytest

ALL, LAST = {"layers": ["all"]}, {"layers": ["conv_last"]}
# the only waits within an iteration, by the file whose line waits; each with its reason
ALLOWED = {"training/step.py"}  # whether the iteration was finite, and whether to stop

OBJECTIVES = [
    {},
    {"set": ["losses.gan.weight=0", "losses.perceptual.weight=0"]},
    {"set": ["losses.ldl.weight=1", "losses.gradient.weight=0.1", "losses.frequency.weight=1"]},
    {
        "set": [
            "losses.ms_ssim.weight=1",
            "losses.ms_ssim.scales=2",
            "losses.colour.weight=1",
            "losses.features.weight=1",
        ]
    },
    {"set": ["losses.gan.objective=relativistic", "discriminator.arch=patch"]},
    {
        "set": [
            "losses.gan.objective=hinge",
            "discriminator.arch=vgg",
            "discriminator.input_size=128",
            "data.gt_size=128",
            "discriminator.pause=0.9",
        ]
    },
    {"set": ["training.optimizer.name=sgd", "training.clip=0.1", "discriminator.clip=1"]},
    {"set": ["training.optimizer.name=lion"]},
    {"pieces": "rdb", "set": ["training.recompute_losses=true", "training.recompute_discriminator=true"]},
    {"set": ["training.micro_batch=1"], "layers": ["conv_last"]},
]


@pytest.fixture(scope="module")
def counted(on_fake_gpu: Any) -> list[dict[str, Any]]:
    """Return the counts of all cases of this module, from one process."""
    return on_fake_gpu(*OBJECTIVES)


def test_the_host_waits_only_where_allowed(counted):
    waits = {(kind, line) for case in counted for _, kind, line, _ in case["waits"]}
    assert {line.split(":")[0] for _, line in waits} <= ALLOWED, waits
