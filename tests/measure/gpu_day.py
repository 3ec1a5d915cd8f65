"""Figures of this machine's GPU for the README, or a profile of an iteration; tests/gpu_day.sh runs both.

    python tests/measure/gpu_day.py figures OUT [--small]   # OUT/figures.json and OUT/figures.md
    python tests/measure/gpu_day.py profile OUT [--small]   # OUT/profile.json: ten largest kernels, gaps, waits

Networks are untrained and images synthetic, so that nothing is read: batch 12, ground truth 256, x4plus, VGG19 and the
U-Net discriminator. `--small` takes tiny networks, to rehearse on a CPU.
"""

import argparse
import datetime
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.profiler import ProfilerActivity, profile

from archsr.bench.stages import SMALL, Workload, iteration, tables
from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.degradation.apply import apply
from archsr.degradation.recipe import draw
from archsr.models.build import build
from archsr.training.memory.forecast import forecast
from archsr.training.processes import end
from archsr.upscaling.upscaler import Upscaler
from archsr.utils.seeds import generator

CASES = {
    "all layers, bf16": (["all"], "bf16", "none", 40.0),
    "all layers, fp16": (["all"], "fp16", "none", None),
    "all layers, fp32 (TF32)": (["all"], "fp32", "none", None),
    "all layers, bf16, blocks recomputed": (["all"], "bf16", "rrdb", None),
    "last layer, bf16": (["conv_last"], "bf16", "none", 25.0),
}  # layers, precision, what is recomputed, aim in ms
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def milliseconds(work: Callable[[], object], *, rounds: int, warm: int) -> float:
    """The median over rounds of ten calls, so that the host can run ahead as in training."""
    for _ in range(warm):
        work()
    wait()
    calls, times = (10 if DEVICE.type == "cuda" else 1), []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(calls):
            work()
        wait()
        times.append((time.perf_counter() - started) / calls * 1e3)
    return statistics.median(times)


def warm_up(work: Workload) -> int:
    """Iterations before the first that counts: on a GPU until the pair pool is full."""
    return 180 // work.batch + 2 if DEVICE.type == "cuda" else 1


def training(work: Workload, *, rounds: int) -> list[dict[str, Any]]:
    rows = []
    for name, (layers, precision, pieces, aim) in CASES.items():
        if precision == "fp16" and DEVICE.type == "cpu":
            continue
        config = check(TrainConfig, tables(work, layers, precision, pieces), where="gpu day")
        once = iteration(config, Accelerator(mixed_precision={"fp32": "no"}.get(precision, precision)))
        found = milliseconds(once, rounds=rounds, warm=warm_up(work))
        peak = 0
        if DEVICE.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            once()
            wait()
            peak = torch.cuda.max_memory_allocated()
        del once
        end()
        rows.append({
            "what": f"iteration, {name}", "ms": found, "aim_ms": aim, "images_per_second": work.batch / found * 1e3,
            "peak_gib": peak / 2**30, "forecast_gib": forecast(config).total / 2**30,
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def degrading(work: Workload, *, rounds: int) -> dict[str, Any]:
    config = check(TrainConfig, tables(work, ["all"], "fp32"), where="gpu day").degrade
    side = work.gt + config.margin
    gt = torch.rand(work.batch, 3, side, side, generator=generator(0, "gpu day")).to(DEVICE)
    numbers = iter(range(10**9))

    def once() -> None:
        apply(gt, draw(config, generator(next(numbers), "gpu day"), work.batch, scale=4, gt_size=work.gt))

    row = {"what": "degradation", "ms": milliseconds(once, rounds=rounds, warm=warm_up(work)), "aim_ms": 3.0}
    print(row, flush=True)
    return row


def upscaling(work: Workload, *, rounds: int) -> list[dict[str, Any]]:
    net = build(check(TrainConfig, tables(work, ["all"], "fp32"), where="gpu day").model).requires_grad_(False).eval()
    height, width = (1080, 1920) if DEVICE.type == "cuda" else work.image
    pixels = (torch.rand(height, width, 3, generator=generator(0, "gpu day")) * 255).byte().numpy()
    rows = []
    for precision in ("fp16", "bf16", "fp32") if DEVICE.type == "cuda" else ("fp32",):
        upscaler = Upscaler(net, device=DEVICE, precision=precision)
        found = milliseconds(lambda u=upscaler: u.pixels(pixels), rounds=3 if rounds > 3 else 1, warm=1)
        size = f"{width}×{height} to {4 * width}×{4 * height}"
        rows.append({"what": f"upscaling {size}, {precision}", "ms": found, "mpx_s": 16 * height * width / found / 1e3})
        print(rows[-1], flush=True)
    return rows


def figures(out: Path, work: Workload, *, rounds: int) -> None:
    rows = [*training(work, rounds=rounds), degrading(work, rounds=rounds), *upscaling(work, rounds=rounds)]
    hardware = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"CPU, {platform.machine()}"
    about = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "hardware": hardware,
        "torch": torch.__version__,
        "batch": work.batch,
        "gt": work.gt,
    }
    (out / "figures.json").write_text(json.dumps({**about, "rows": rows}, indent=1))
    lines = [
        ", ".join(f"{k} {v}" for k, v in about.items()),
        "",
        "| what | ms | aim | memory, forecast |",
        "|---|---:|---:|---:|",
    ]
    for row in rows:
        memory = f"{row['peak_gib']:.2f}, {row['forecast_gib']:.2f} GiB" if "peak_gib" in row else ""
        lines.append(f"| {row['what']} | {row['ms']:.1f} | {row.get('aim_ms') or ''} | {memory} |")
    (out / "figures.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def profiled(out: Path, work: Workload) -> None:
    found: dict[str, Any] = {}
    for name in ("all layers, bf16", "last layer, bf16"):
        layers, precision, pieces, _ = CASES[name]
        config = check(TrainConfig, tables(work, layers, precision, pieces), where="gpu day")
        once = iteration(config, Accelerator(mixed_precision=precision))
        for _ in range(warm_up(work)):
            once()
        wait()
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if DEVICE.type == "cuda" else [])]
        with profile(activities=kinds) as profiler:
            for _ in range(3):
                once()
            wait()
        end()
        kind = "CUDA" if DEVICE.type == "cuda" else "CPU"
        events = [e for e in profiler.events() if str(e.device_type).endswith(kind)]
        totals: dict[str, list[float]] = {}
        for event in events:
            each = totals.setdefault(event.name, [0.0, 0.0])
            each[0] += event.device_time_total if DEVICE.type == "cuda" else event.self_cpu_time_total
            each[1] += 1
        spans = sorted((e.time_range.start, e.time_range.end) for e in events)
        idle, last = 0.0, spans[0][1]
        for start, stop in spans:
            idle, last = idle + max(0.0, start - last), max(last, stop)
        largest = sorted(totals.items(), key=lambda item: -item[1][0])[:10]
        found[name] = {
            "milliseconds": (last - spans[0][0]) / 3e3,
            "idle_milliseconds": idle / 3e3,
            "kernels": len(events) / 3,
            "largest": [{"kernel": k, "ms": t / 3e3, "launches": n / 3} for k, (t, n) in largest],
        }
        print(name, json.dumps(found[name], indent=1), flush=True)
    (out / "profile.json").write_text(json.dumps(found, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["figures", "profile"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--small", action="store_true", help="tiny networks and few rounds")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True
    work = SMALL if args.small else Workload()
    if args.what == "figures":
        figures(args.out, work, rounds=1 if args.small else 7)
    else:
        profiled(args.out, work)


if __name__ == "__main__":
    main()
