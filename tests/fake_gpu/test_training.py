"""An iteration on a GPU that is not there: every tensor is where it should be, and the host does not wait."""

import json
from typing import Any

import pytest
from workers import shared

# the only waits within an iteration, by the file whose line waits; each with its reason
ALLOWED = {"training/step.py"}  # whether the iteration was finite, and whether to stop

CASES = [{}, {"layers": ["conv_last"], "set": ["training.micro_batch=1"]}, {"set": ["training.optimizer.name=lion"]}]
FURTHER = [
    {"set": ["losses.gan.weight=0", "losses.perceptual.weight=0"]},
    {"set": ["losses.ldl.weight=1", "losses.gradient.weight=0.1", "losses.frequency.weight=1"]},
    {"set": ["losses.ms_ssim.weight=1", "losses.ms_ssim.scales=2", "losses.colour.weight=1"]},
    {"set": ["losses.features.weight=1"]},
    {"set": ["losses.gan.objective=relativistic", "discriminator.arch=patch"]},
    {"set": ["losses.gan.objective=hinge", "discriminator.arch=vgg", "discriminator.input_size=128", "data.gt_size=128",
             "discriminator.pause=0.9"]},
    {"set": ["training.optimizer.name=sgd", "training.clip=0.1", "discriminator.clip=1"]},
    {"precision": "fp16"},
    {"precision": "fp32"},
    {"pieces": "rdb", "set": ["training.recompute_losses=true", "training.recompute_discriminator=true"]},
]  # fmt: skip


@pytest.fixture(scope="module")
def counted(on_fake_gpu: Any, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the counts of all cases of this module, made by one process for all workers."""
    with shared(tmp_path_factory, "fake-gpu-training") as (folder, missing):
        file = folder / "counts.json"
        if missing:
            counts = on_fake_gpu(*CASES)
            folder.mkdir()
            file.write_text(json.dumps(counts))
        return json.loads(file.read_text())


def waits_as_allowed(counts, cases):
    """Only optimisers that are not fused, and fp16, read the verdict before the update; all else waits for nothing."""
    for case, found in zip(cases, counts, strict=True):
        files = {line.split(":")[0] for _, _, line, _ in found["waits"]}
        assert files <= (ALLOWED if waits_for_verdict(case) else set()), (case, found["waits"])
        assert found["expanded"] == [], "a gradient without memory of its own enters a convolution"


def test_the_host_waits_only_where_allowed(counted):
    waits_as_allowed(counted, CASES)


@pytest.mark.slow
def test_with_other_losses_optimisers_and_precisions_too(on_fake_gpu):
    waits_as_allowed(on_fake_gpu(*FURTHER), FURTHER)


@pytest.mark.slow
def test_the_degradation_waits_only_for_real_encoders(on_fake_gpu):
    """Its step "codec" works on the host. The others of saving wait for nothing."""
    steps = '"blur1","saves","levels","reduce"'
    with_codec, without = on_fake_gpu(
        {"set": [f'degrade.steps=[{steps},"codec"]']}, {"set": [f"degrade.steps=[{steps}]"]}
    )
    assert {line.split(":")[0] for _, _, line, _ in with_codec["waits"]} == {"degradation/codecs.py"}
    assert without["waits"] == []


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
