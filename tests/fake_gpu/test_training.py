"""An iteration on a GPU that is not there: every tensor is where it should be, and the host does not wait."""

from typing import Any

import pytest

# the only waits within an iteration, by the file whose line waits; each with its reason
ALLOWED = {"training/step.py"}  # whether the iteration was finite, and whether to stop

CASES = [
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
    {"precision": "fp16"},
    {"precision": "fp32"},
    {"pieces": "rdb", "set": ["training.recompute_losses=true", "training.recompute_discriminator=true"]},
    {"set": ["training.micro_batch=1"], "layers": ["conv_last"]},
]


@pytest.fixture(scope="module")
def counted(on_fake_gpu: Any) -> list[dict[str, Any]]:
    """Return the counts of all cases of this module, from one process."""
    return on_fake_gpu(*CASES)


def test_the_host_waits_only_where_allowed(counted):
    waits = {(kind, line) for case in counted for _, kind, line, _ in case["waits"]}
    assert {line.split(":")[0] for _, line in waits} <= ALLOWED, waits


def test_the_third_iteration_waits_for_nothing(counted):
    """With fused optimisers the device decides whether an iteration counts; fp16 and other optimisers read it first."""
    assert [case["waits"] for case, options in zip(counted, CASES, strict=True) if not waits_for_verdict(options)] == [
        [] for options in CASES if not waits_for_verdict(options)
    ]


def waits_for_verdict(case):
    return case.get("precision") == "fp16" or any("lion" in override for override in case.get("set", []))


def test_everything_trained_is_on_the_device_with_fused_kernels(counted):
    assert all(case["on_gpu"] for case in counted)
    fused = [case["fused"] for case, options in zip(counted, CASES, strict=True) if "lion" not in str(options)]
    assert all(all(each) for each in fused)


# kernels of the third iteration of the first case, by phase; a change that launches more must say why
CEILING = {
    "degrade": 1400, "pool": 20, "step": 60, "generator forward": 90, "losses": 600, "generator backward": 210,
    "discriminator": 640, "check": 30, "update": 10, "EMA": 10, "meter": 2,
}  # fmt: skip


def test_an_iteration_launches_no_more_kernels_than_before(counted):
    launched = counted[0]["by_phase"]
    assert {phase: count for phase, count in launched.items() if count > CEILING[phase]} == {}


def test_no_weight_and_no_activation_is_cast_twice(counted):
    """In the generator only its input and its result are cast, in the discriminator only image, weights and logits."""
    casts = [(phase, change, line.split(":")[0]) for phase, change, line, _ in counted[0]["casts"]]
    forward = {(change, file) for phase, change, file in casts if phase == "generator forward"}
    assert all((change == "bfloat16 to float32" and file == "training/step.py") or change == "float32 to bfloat16"
               for change, file in forward), forward  # fmt: skip
    wide = {file for phase, change, file in casts if phase == "discriminator" and change == "bfloat16 to float32"}
    assert wide <= {"training/step.py", "torch"}, wide  # logits, and the gradients of the float32 weights


def test_no_gradient_without_memory_of_its_own_enters_a_convolution(counted):
    assert [case["expanded"] for case in counted] == [[] for _ in counted]
