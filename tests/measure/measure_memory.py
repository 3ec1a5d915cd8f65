"""What the generator keeps and holds, forecast from shapes and measured on this CPU: python measure_memory.py

Kept: bytes that autograd saves for the backward pass, through torch's hooks on saved tensors, each storage once. Most
at once: the peak of all allocations of one pass forward and back, which torch's profiler reports from its allocator,
and which knows nothing of how the forecast counts. The network is the whole x4plus; `--size` may be small because what
is kept grows exactly in proportion to batch and pixels (test_measured_memory.py). The last lines are whole iterations
with VGG19 and the discriminator, without what lasts: weights, optimisers and pool.
"""

import argparse
import gc
from itertools import product

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.profiler import ProfilerActivity, profile

from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.degradation.apply import Pair
from archsr.models.build import build, build_discriminator
from archsr.training.layers import select
from archsr.training.losses.feature_losses import feature_losses
from archsr.training.memory.forecast import forecast
from archsr.training.memory.ledger import saved_bytes
from archsr.training.memory.passes import generator_pass
from archsr.training.step import Parts, micro_step

TAIL = ["conv_body", "conv_up*", "conv_hr", "conv_last"]
LAYERS = {
    "last layer": ["conv_last"],
    "tail": TAIL,
    "body.20-22": ["body.20-22"],
    "body.2.rdb3.conv5": ["body.2.rdb3.conv5"],
    "all": ["all"],
}
PIECES = ["none", "rrdb", "rdb", 4]
PRECISIONS = ["fp32", "bf16"]


def config_for(layers, pieces, precision, *, size=64, again=False, **model):
    """A config whose generator learns `layers` on images of `size` ground-truth pixels.

    `again`: losses and discriminator are recomputed, too.
    """
    training = {"layers": layers, "gradient_checkpointing": pieces, "precision": precision}
    training |= {"recompute_losses": again, "recompute_discriminator": again}
    training["stages"] = [{"iterations": 1, "lr": 1e-4}]
    tables = {"name": "m", "model": {"arch": "rrdbnet", **model}, "data": {"gt_size": size}, "training": training}
    tables["losses"] = {"perceptual": {"weights": "scratch"}}
    return check(TrainConfig, tables, where="measure")


def made(config):
    """The generator, its layers chosen, and a pass of it under autocast."""
    net = build(config.model)
    select(net, config.training.layers)
    net.recompute(config.training.gradient_checkpointing)
    narrow = config.training.precision != "fp32"

    def run(x):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
            return net(x).float()

    return net, run


def measured_kept(config, batch):
    """Bytes saved for the backward pass."""
    net, run = made(config)
    side = config.data.gt_size // config.model.scale
    x = torch.rand(batch, 3, side, side)
    return saved_bytes(lambda: run(x), net)


def measured_peak(config, batch):
    """The most bytes that one pass forward and back has allocated at once, by the profiler."""
    run = made(config)[1]
    side = config.data.gt_size // config.model.scale
    x = torch.rand(batch, 3, side, side)
    run(x).backward(torch.ones(batch, 3, side * config.model.scale, side * config.model.scale))  # makes the gradients

    def there_and_back():
        out = run(x)
        out.backward(torch.ones_like(out))

    return peak_of(there_and_back)


def peak_of(work):
    """The most bytes that `work` has allocated at once on the CPU, by the profiler.

    What earlier measurements left in cycles is freed before, or its end would be taken from this one's sum.
    """
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def iteration(config, batch):
    """Forecast and measured peak of a micro-batch's whole iteration: generator, losses, discriminator."""
    accelerator = Accelerator(cpu=True, mixed_precision="no" if config.training.precision == "fp32" else "bf16")
    net, _ = made(config)
    net_d = build_discriminator(config.discriminator)
    net_d.recompute = config.training.recompute_discriminator
    size, again = config.data.gt_size, config.training.recompute_losses
    features = feature_losses(config.losses, size=size, recompute=again)
    scalers = [torch.amp.GradScaler("cpu", enabled=False) for _ in range(2)]
    net_g, raw_d = accelerator.prepare_model(net), net_d
    parts = Parts(accelerator, net_g, accelerator.prepare_model(net_d), raw_d, config.losses, *scalers, features)
    gt = torch.rand(batch, 3, size, size)
    pair = Pair(F.avg_pool2d(gt, config.model.scale), gt)
    micro_step(parts, pair, share=1.0, last=True)  # makes the gradients
    peak = peak_of(lambda: micro_step(parts, pair, share=1.0, last=True)) + gt.nbytes + pair.lq.nbytes
    config = config.model_copy(update={"training": config.training.model_copy(update={"micro_batch": batch})})
    found = forecast(config)
    lasting = found.moments["update"] - max(v // 4 for k, v in found.parts.items() if "gradients" in k)
    moments = {k: v - lasting for k, v in found.moments.items() if k != "update"}
    AcceleratorState._reset_state(reset_partial_state=True)
    when = max(moments, key=moments.get)
    return moments[when], peak, when


def row(name, layers, pieces, precision, *, size, batch):
    """One line of the table: forecast and measured, and by how much the forecast is off."""
    config = config_for(layers, pieces, precision, size=size)
    found = generator_pass(config, batch)
    kept, peak = measured_kept(config, batch), measured_peak(config, batch)
    mib = 2**20
    return (
        f"| {name} | {precision} | {pieces} | {found.kept / mib:.1f} | {kept / mib:.1f} | {found.kept / kept - 1:+.1%} "
        f"| {found.peak / mib:.1f} | {peak / mib:.1f} | {found.peak / peak - 1:+.1%} |"
    )


def iteration_row(pieces, precision, *, size, batch):
    """One line of the second table."""
    config = config_for(["all"], pieces, precision, size=size, again=pieces != "none")
    found, peak, when = iteration(config, batch)
    return f"| {precision} | {pieces} | {found / 2**20:.1f} | {peak / 2**20:.1f} | {found / peak - 1:+.1%} | {when} |"


def main():
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=64, help="ground-truth pixels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--trained", choices=LAYERS, nargs="*", default=list(LAYERS))
    args = parser.parse_args()
    print(f"x4plus, batch {args.batch}, gt {args.size}, MiB\n")
    print("| trained | precision | recomputed | kept: forecast | measured | off | most: forecast | measured | off |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, precision, pieces in product(args.trained, PRECISIONS, PIECES):
        print(row(name, LAYERS[name], pieces, precision, size=args.size, batch=args.batch), flush=True)
    print("\n| iteration of all layers | recomputed, losses too | most at once: forecast | measured | off | when |")
    print("|---|---|---|---|---|---|")
    for precision, pieces in product(PRECISIONS, ["none", 4]):
        print(iteration_row(pieces, precision, size=args.size, batch=args.batch), flush=True)


if __name__ == "__main__":
    main()
