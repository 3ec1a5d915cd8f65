"""The `archsr` command: one short function per verb, no logic."""

import argparse
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from archsr import __version__
from archsr.errors import UserError

if TYPE_CHECKING:
    _Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]


_STAGES = ("decode", "stream", "degrade", "train", "upscale")


def main(argv: list[str] | None = None) -> int:
    """Run a verb. Exit code 2 and one line on stderr for what the user can mend."""
    args = _parser().parse_args(argv)
    os.environ["MPLBACKEND"] = "agg"  # started from a notebook, its kernel's would have to be installed here, too
    try:
        return args.verb(args)
    except UserError as error:
        print(f"archsr: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would only break into the farewell
        print("archsr: stopped", file=sys.stderr)
        return 130


def _prepare(args: argparse.Namespace) -> int:
    from archsr import config_file
    from archsr.config import PrepareConfig
    from archsr.prepare.pipeline import Task, prepare
    from archsr.prepare.verify import summary, tag_table

    tables = config_file.read(args.config) if args.config else {}
    data = config_file.with_overrides(tables, args.set)
    config = config_file.check(PrepareConfig, data, where=str(args.config or "prepare"))
    task = Task(*args.task) if args.task else None
    made = prepare(args.photos, args.out, config, workers=args.workers, task=task, join=args.join, restart=args.restart)
    if made is None:
        number, of = args.task
        print(f"task {number} of {of} is done; when all are: archsr prepare {args.photos} {args.out} --join")
    else:
        print("\n".join([summary(made, args.out), *tag_table(args.out, made)]))
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from archsr.prepare.verify import inspect_dataset

    print(inspect_dataset(args.shards, check=not args.no_check))
    return 0


def _plan(args: argparse.Namespace) -> int:
    from archsr import config_file
    from archsr.config import TrainConfig
    from archsr.training.plan import report
    from archsr.training.setup import shared_out
    from archsr.world import World

    config = config_file.load(TrainConfig, args.config, overrides=args.set)
    config = shared_out(config, World(size=args.processes))
    print(report(config, memory=args.memory, tflops=args.tflops, processes=args.processes))
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from archsr.evaluate.card import Question, evaluate_models
    from archsr.evaluate.contenders import Options
    from archsr.evaluate.measures import NO_REFERENCE
    from archsr.world import joined

    metrics = ["ms_ssim"] if args.offline else ["ms_ssim", "lpips", "dists"]
    more = [m for name in args.metric for m in (NO_REFERENCE if name == "all" else (name,))]
    question = Question(
        models=tuple(args.models),
        on=args.on or "",
        split=args.split,
        limit=args.limit,
        metrics=tuple(dict.fromkeys([*metrics, *more])),
        channel="y" if args.y else "rgb",
        border=args.border,
        baseline=args.baseline or "",
        options=Options(args.weights, args.tile, tuple(args.blend)),
    )
    with joined() as world:
        evaluate_models(question, out=args.out, world=world)
    return 0


def _study(args: argparse.Namespace) -> int:
    from archsr.stopping import REQUEUE, Stopped
    from archsr.study.main import study

    try:
        study(args.config, overrides=args.set, task=args.task, join=args.join, launch=args.launch, dry=args.dry_run)
    except Stopped:
        print("archsr: stopped; the same command goes on", file=sys.stderr)
        return REQUEUE
    return 0


def _blend(args: argparse.Namespace) -> int:
    from archsr.evaluate.strength import blend

    blend(args.first, args.second, alpha=args.alpha, out=args.out, choose=args.choose, on=args.on, limit=args.limit)
    return 0


def _runs(args: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from archsr.runs import survey, table

    rows = survey(args.folder)
    print(json.dumps([asdict(row) for row in rows], indent=1) if args.json else table(rows))
    return 0


def _submit(args: argparse.Namespace) -> int:
    from archsr import config_file
    from archsr.config import TrainConfig
    from archsr.submit import Resources, submit
    from archsr.training.setup import shared_out
    from archsr.world import World

    config = config_file.load(TrainConfig, args.config, overrides=args.set)
    names = ("nodes", "gpus", "cpus", "time", "partition", "account", "warning", "processes")
    resources = Resources(**{n: getattr(args, n) for n in names}, options=tuple(args.sbatch))
    shared_out(config, World(size=resources.world))  # a batch that cannot be shared out fails here, not in the queue
    print(submit(config, resources, dry_run=args.dry_run))
    return 0


def _upscale(args: argparse.Namespace) -> int:
    from archsr.upscale.devices import devices_of
    from archsr.upscale.files import joined, plan_files, report, upscale_files, without_existing
    from archsr.upscale.opening import open_model
    from archsr.upscale.picture import Wanted
    from archsr.upscale.upscaler import Upscaler
    from archsr.world import joined as joined_world
    from archsr.world import refuse_lost_processes

    refuse_lost_processes()
    with joined_world() as world:
        pairs, there = without_existing(plan_files(args.source, args.target, ending=f".{args.format}"), args.existing)
        net, _ = open_model(args.model, strength=args.strength)
        devices = devices_of(args.device, rank=world.rank, size=world.size)
        upscaler = Upscaler(
            net, devices=devices, tile=args.tile, halo=args.halo, precision=args.precision, compiled=args.compile
        )
        wanted = Wanted(args.scale, args.quality, args.max_pixels, metadata=not args.no_metadata)
        outcome = upscale_files(pairs[world.rank :: world.size], upscaler, wanted, show=world.rank == 0)
        whole = joined(world.gather(outcome))  # all ranks
        whole.skipped.extend(there)
        return report(whole) if world.rank == 0 else 2 if whole.failed else 0


def _app(args: argparse.Namespace) -> int:
    from archsr.app.limits import Limits
    from archsr.app.server import Settings, serve_until_told

    limits = Limits(size=args.max_bytes, pixels=args.max_pixels)
    password = args.password or os.environ.get("ARCHSR_PASSWORD", "")
    serve_until_told(Settings(args.models, args.runs, args.host, args.port, password, args.device, limits))
    return 0


def _export(args: argparse.Namespace) -> int:
    from archsr.export import export, targets_of
    from archsr.export.card import card_path
    from archsr.export.hub import push
    from archsr.upscale.opening import open_model

    targets = [args.target] if args.target else []
    if args.to or not targets:
        targets += targets_of(args.model, args.to or ["pth"], scale=open_model(args.model)[1].scale)
    for target in targets:
        done = export(args.model, target, precision=args.precision, strength=args.strength)
        print(f"{', '.join(map(str, done.files))}: {done.said}")
        if args.push:
            print(push([*done.files, card_path(done.files[0])], args.push, private=not args.public))
    return 0


def _train(args: argparse.Namespace) -> int:
    words = " ".join(args.anything) or "--config configs/last_layer.toml"
    raise UserError(f"training is started by its launcher: accelerate launch archsr/train.py {words}")


def _doctor(args: argparse.Namespace) -> int:
    from archsr import config_file
    from archsr.config import TrainConfig
    from archsr.doctor import examine
    from archsr.doctor.launch import launch
    from archsr.doctor.line import table

    config = config_file.load(TrainConfig, args.config, overrides=args.set) if args.config else None
    if args.launch and config is None:
        raise UserError("doctor --launch: needs a config, for the step of training")
    told = launch(config) if args.launch and config else []  # all ranks
    if int(os.environ.get("RANK", "0")):
        return 0
    processes = int(os.environ.get("WORLD_SIZE", str(args.processes)))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", str(processes)))
    lines = [*examine(config, processes=processes, here=here, every=args.verify), *told]
    print(table(lines))
    return 1 if any(line.state == "wrong" for line in lines) else 0


def _init(args: argparse.Namespace) -> int:
    from archsr.init import init

    print(init(args.photos, args.out, shards=args.shards, memory=args.memory, force=args.force, dry_run=args.dry_run))
    return 0


def _bench(args: argparse.Namespace) -> int:
    from archsr.bench import bench
    from archsr.bench.report import compared

    if args.compare:
        print(compared(*args.compare))
        return 0
    print(bench(args.stages, seconds=args.seconds, small=args.small, peers=bool(args.against), to=args.json))
    return 0


def _completion(args: argparse.Namespace) -> int:
    from archsr.completion import completion

    print(completion(_parser(), args.shell))
    return 0


def _demo(args: argparse.Namespace) -> int:
    from archsr.demo import demo

    return demo(args.folder, seed=args.seed)


def _preview(args: argparse.Namespace) -> int:
    if (args.config is None) == (args.replay is None):
        raise UserError("preview needs a config, or --replay FILE; for example: archsr preview configs/full.toml")
    from archsr.preview import preview, replay

    if args.replay:
        print(replay(args.replay, args.out, overrides=args.set))
    else:
        print(preview(args.config, args.out, overrides=args.set, photos=args.photos, samples=args.samples))
    return 0


def _weights(args: argparse.Namespace) -> int:
    from archsr.models.weights import describe, fetch

    print(fetch(args.name) if args.name else describe())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="archsr",
        description="Fine-tune Real-ESRGAN for photographs of architecture. Training itself is started with: "
        "accelerate launch archsr/train.py --config configs/last_layer.toml",
        epilog="example: archsr prepare photos shards/photos",
    )
    parser.add_argument("--version", action="version", version=f"archsr {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_prepare(verbs)
    _add_evaluate(verbs)
    _add_study(verbs)
    _add_upscale(verbs)
    _add_app(verbs)
    _add_submit(verbs)
    _add_rest(verbs)
    return parser


def _count(text: str) -> int:
    return _whole(text, 0, None)


def _positive(text: str) -> int:
    return _whole(text, 1, None)


def _task(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected I/N with I from 1 to N, for example 2/4")
    return int(number), int(of)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", text, re.IGNORECASE)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a size, for example 16GB or 11.5GiB")
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")
    return value


def _factor(text: str) -> float:
    value = _speed(text)
    if value > 16:
        raise argparse.ArgumentTypeError(f"{text!r}: expected at most 16")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 to 1")
    return value


def _quality(text: str) -> int:
    return _whole(text, 1, 100)


def _whole(text: str, low: int, high: int | None) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < low or (high is not None and int(text) > high):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {low}{f' to {high}' if high else ''}")
    return int(text)


def _verb(verbs: "_Verbs", name: str, text: str, example: str) -> argparse.ArgumentParser:
    return verbs.add_parser(name, help=text, description=text, epilog=f"example: {example}")


def _add_prepare(verbs: "_Verbs") -> None:
    p = _verb(verbs, "prepare", "a folder of photographs becomes shards", "archsr prepare photos shards/photos")
    p.add_argument(
        "photos", help="a folder (one sub-folder per project), a .zip or .tar, a .parquet file, or hf:NAME[@SPLIT]"
    )
    p.add_argument("out", type=Path, help="the dataset's folder; an older dataset there is replaced when this is done")
    p.add_argument("--config", type=Path, help="a TOML file as configs/prepare.toml; without it, defaults")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a.b=c")
    p.add_argument("--workers", type=_count, default=os.cpu_count() or 1, help="processes (default: all cores)")
    p.add_argument("--task", type=_task, metavar="I/N", help="survey only part I of N; run --join when all are done")
    p.add_argument("--join", action="store_true", help="put the dataset together from the parts of all tasks")
    p.add_argument("--restart", action="store_true", help="drop what an unfinished preparation left, and begin anew")
    p.set_defaults(verb=_prepare)
    p = _verb(verbs, "inspect", "what a dataset holds, every hash verified", "archsr inspect shards/photos")
    p.add_argument("shards", type=Path, help="a dataset's folder")
    p.add_argument("--no-check", action="store_true", help="do not read the shards, only say what they are")
    p.set_defaults(verb=_inspect)


def _add_evaluate(verbs: "_Verbs") -> None:
    p = _verb(
        verbs, "evaluate", "is a run better than its original, and by how much?",
        "archsr evaluate runs/tail runs/full RealESRGAN_x4plus --on shards/photos"
    )  # fmt: skip
    p.add_argument("models", nargs="+", metavar="RUN|FILE", help="run folders, weights, official names, lanczos")
    p.add_argument(
        "--on",
        metavar="SHARDS|FOLDER",
        help="a dataset (folder or URL), a benchmark's folder (Set5 ...: HR and LR in it), or photographs, reduced by "
        "MATLAB's bicubic (default: the first run's dataset)",
    )
    p.add_argument("--split", choices=("val", "test"), default="test", help="of a dataset (default: test)")
    p.add_argument("--weights", choices=("best", "last", "best_raw", "last_raw"), default="best", help="default: best")
    p.add_argument("--baseline", metavar="NAME", help="what the others are compared with (default: the original)")
    p.add_argument("--blend", type=float, action="append", default=[], metavar="ALPHA",
                   help="also the weights between original and run, 0 to 1; again for more")  # fmt: skip
    p.add_argument("--metric", action="append", default=[], help="a further measure of pyiqa, or all: BRISQUE, MUSIQ, "
                   "MANIQA, CLIPIQA")  # fmt: skip
    p.add_argument("--offline", action="store_true", help="without LPIPS and DISTS, which need downloads")
    p.add_argument("--y", action="store_true", help="PSNR and SSIM on MATLAB's Y, as tables of benchmarks have them")
    p.add_argument("--border", type=_count, help="pixels cropped before measuring (default: the scale)")
    p.add_argument("--limit", type=_positive, help="at most this many pictures")
    p.add_argument("--out", type=Path, help="default: RUN/evaluation/SPLIT")
    p.add_argument("--tile", type=_count, default=0, help="tile side in input pixels, 0 for none (default)")
    p.set_defaults(verb=_evaluate)


def _add_study(verbs: "_Verbs") -> None:
    p = _verb(verbs, "study", "which layers should be trained?", "archsr study configs/layer_study.toml")
    p.add_argument("config", type=Path, help="a TOML file as configs/layer_study.toml")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a.b=c")
    p.add_argument("--task", type=_task, metavar="I/N", help="only part I of N of the runs; --join when all are done")
    p.add_argument("--join", action="store_true", help="train nothing, only put together what is done")
    p.add_argument("--launch", default="", metavar="WORDS", help="what starts train.py, e.g. 'accelerate launch'")
    p.add_argument("--dry-run", action="store_true", help="say which runs there would be, and stop")
    p.set_defaults(verb=_study)
    example = "archsr blend RealESRGAN_x4plus runs/tail --alpha 0.7 --out tail70.safetensors"
    p = _verb(verbs, "blend", "weights between two models, and how far to go", example)
    p.add_argument("first", help="a run folder, a weights file or an official name: alpha 0")
    p.add_argument("second", help="alpha 1")
    p.add_argument("--alpha", type=float, help="how far from the first to the second; without it, chosen on --on")
    p.add_argument("--choose", choices=("psnr", "ssim", "niqe"), default="psnr", help="by what (default: psnr)")
    p.add_argument("--on", metavar="SHARDS", help="whose validation pairs choose (default: those of the second, a run)")
    p.add_argument("--limit", type=_positive, help="at most this many pictures")
    p.add_argument("--out", type=Path, required=True, help="a .safetensors file")
    p.set_defaults(verb=_blend)


def _add_upscale(verbs: "_Verbs") -> None:
    p = _verb(verbs, "upscale", "enlarge pictures and folders", "archsr upscale photos/ large/ --model runs/tail")
    p.add_argument("source", type=Path, nargs="+", help="pictures, folders, or quoted patterns ('photos/**/*.jpg')")
    p.add_argument("target", type=Path, help="a folder, or a file for one picture")
    p.add_argument("--model", required=True, help="a run folder, a .pth or .safetensors file, or an official name")
    p.add_argument("--scale", type=_factor, metavar="N", help="of the result, also 1.5 (the model's own)")
    p.add_argument("--strength", type=_share, default=1.0, help="0 is the model that the run began with, 1 the run (1)")
    p.add_argument("--format", choices=("png", "jpg", "webp", "tif"), default="png", help="in a folder (png)")
    p.add_argument("--quality", type=_quality, default=95, help="of JPEG and WebP; 100 is lossless WebP (95)")
    p.add_argument("--no-metadata", action="store_true", help="leave out EXIF, XMP and IPTC; colour profiles stay")
    p.add_argument("--existing", choices=("skip", "overwrite", "refuse"), default="skip", help="outputs there (skip)")
    p.add_argument("--tile", type=_count, help="side in input pixels, 0 for the whole picture (what memory allows)")
    p.add_argument("--halo", type=_count, help="input pixels seen around a tile (so many that no seam shows)")
    p.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="auto: fp16 on GPUs")
    p.add_argument("--device", default="all", help="all, cpu, cuda:0, or several: cuda:0,cuda:1 (all)")
    p.add_argument("--compile", action="store_true", help="with torch.compile: a slow start, then faster on GPUs")
    p.add_argument("--max-pixels", type=_positive, default=2_000_000_000, help="of an input (2000000000)")
    p.set_defaults(verb=_upscale)


def _add_app(verbs: "_Verbs") -> None:
    p = _verb(verbs, "app", "a page: enlarge, compare, watch runs", "archsr app runs/tail RealESRGAN_x4plus")
    p.add_argument(
        "models", nargs="*", metavar="RUN|FILE", help="as for upscale (all runs, and what is on the machine)"
    )
    p.add_argument("--runs", type=Path, default=Path("runs"), help="the folder whose runs are shown (runs)")
    p.add_argument("--host", default="127.0.0.1", help="who may reach it: 0.0.0.0 is everybody (127.0.0.1)")
    p.add_argument("--port", type=_positive, default=7860, help="(7860)")
    p.add_argument("--password", default="", help="that visitors are asked for; or in the variable ARCHSR_PASSWORD")
    p.add_argument("--device", default="all", help="all, cpu, cuda:0, or several: cuda:0,cuda:1 (all)")
    p.add_argument("--max-bytes", type=_bytes, default=64 * 2**20, help="of a photograph (64MiB)")
    p.add_argument("--max-pixels", type=_positive, default=24_000_000, help="of a photograph (24000000)")
    p.set_defaults(verb=_app)


def _add_submit(verbs: "_Verbs") -> None:
    p = _verb(verbs, "submit", "train on SLURM", "archsr submit configs/tail.toml --nodes 2 --gpus 4 --time 4:00:00")
    p.add_argument("config", type=Path, help="a training config")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a.b.c=value")
    p.add_argument("--nodes", type=_positive, default=1, help="(1)")
    p.add_argument("--gpus", type=_count, default=1, help="per node; 0 for CPUs (1)")
    p.add_argument("--cpus", type=_positive, default=8, help="per node (8)")
    p.add_argument("--processes", type=_positive, default=1, help="per node with --gpus 0 (1)")
    p.add_argument("--time", default="24:00:00", help="limit as SLURM writes it; then it is queued again (24:00:00)")
    p.add_argument("--partition", default="", help="default: the cluster's own")
    p.add_argument("--account", default="", help="default: the user's own")
    p.add_argument("--warning", type=_positive, default=300, help="seconds before the limit to save in (300)")
    p.add_argument("--sbatch", action="append", default=[], metavar="OPTION", help="further: --sbatch=--mem=64G")
    p.add_argument("--dry-run", action="store_true", help="print the script, and submit nothing")
    p.set_defaults(verb=_submit)


def _add_rest(verbs: "_Verbs") -> None:
    p = _verb(verbs, "plan", "what fits in memory, without a GPU", "archsr plan configs/full.toml --memory 16GB")
    p.add_argument("config", type=Path, help="a training config")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a.b.c=value")
    p.add_argument("--memory", type=_bytes, help="of one GPU: 16GB, 11.5GiB")
    p.add_argument("--processes", type=_positive, default=1, help="that share the global batch (1)")
    p.add_argument("--tflops", type=_speed, help="what the GPU sustains, 1e12 operations a second: adds the time")
    p.set_defaults(verb=_plan)
    p = _verb(verbs, "runs", "what has become of every run", "archsr runs runs")
    p.add_argument("folder", type=Path, nargs="?", default=Path("runs"), help="of runs, or one run (default: runs)")
    p.add_argument("--json", action="store_true", help="every figure, for programs")
    p.set_defaults(verb=_runs)
    p = _verb(verbs, "export", "a model as files for other tools", "archsr export runs/tail --to onnx --to ncnn")
    p.add_argument("model", help="a run folder, a .pth or .safetensors file, or an official name")
    p.add_argument("target", type=Path, nargs="?", help=".pth, .safetensors, .onnx, .param (ncnn) or .pt (TorchScript)")
    p.add_argument(
        "--to", action="append", choices=("pth", "safetensors", "onnx", "ncnn", "torchscript"),
        help="instead of a target: RUN/export/RUN-x4.ENDING; again for more (pth)",
    )  # fmt: skip
    p.add_argument("--precision", choices=("fp32", "fp16"), default="fp32", help="(fp32)")
    p.add_argument("--strength", type=_share, default=1.0, help="as of archsr upscale (1)")
    p.add_argument("--push", metavar="OWNER/NAME", help="put the files into this repository of the Hugging Face hub")
    p.add_argument("--public", action="store_true", help="a new repository is for everyone (private)")
    p.set_defaults(verb=_export)
    p = _verb(verbs, "doctor", "what would stop a run, and what mends it", "archsr doctor configs/last_layer.toml")
    p.add_argument("config", type=Path, nargs="?", help="a training config: its weights and shards are checked, too")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a.b.c=value")
    p.add_argument("--processes", type=_positive, default=1, help="for how many samples shall be shared out (1)")
    p.add_argument("--verify", action="store_true", help="hash all shards, however many")
    p.add_argument("--launch", action="store_true", help="sums and a training step on all processes of the launcher")
    p.set_defaults(verb=_doctor)
    p = _verb(verbs, "init", "a config for your photographs and your machine", "archsr init photos")
    p.add_argument("photos", type=Path, help="a folder with a folder per project")
    p.add_argument("--out", type=Path, default=Path("archsr.toml"), help="the config to write (archsr.toml)")
    p.add_argument("--shards", default="shards/photos", help="where the shards will be (shards/photos)")
    p.add_argument("--memory", type=_bytes, help="of the GPU, as 16GB (default: what is free on this machine)")
    p.add_argument("--force", action="store_true", help="overwrite the config")
    p.add_argument("--dry-run", action="store_true", help="print it, and write nothing")
    p.set_defaults(verb=_init)
    p = _verb(verbs, "bench", "how fast this machine is, stage by stage", "archsr bench --json mine.json")
    p.add_argument("stages", nargs="*", metavar="STAGE", choices=(*_STAGES, []), help=f"{', '.join(_STAGES)} (all)")
    p.add_argument("--seconds", type=_speed, default=5.0, help="for each figure, at least three rounds (5)")
    p.add_argument("--small", action="store_true", help="tiny networks: a trial of the command, compares with nothing")
    p.add_argument("--against", choices=("realesrgan",), help="the same work in turns with the PyPI release")
    p.add_argument("--json", type=Path, help="store every round there")
    p.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="two stored ones, nothing is measured")
    p.set_defaults(verb=_bench)
    p = _verb(verbs, "completion", "words to complete by Tab in the shell", "archsr completion bash")
    p.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    p.set_defaults(verb=_completion)
    p = _verb(verbs, "demo", "the whole path on drawn photographs, in minutes", "archsr demo")
    p.add_argument("folder", type=Path, nargs="?", default=Path("demo"), help="where to write (default: demo)")
    p.add_argument("--seed", type=_count, default=0)
    p.set_defaults(verb=_demo)
    p = _verb(
        verbs,
        "preview",
        "see a config's degradation before training",
        "archsr preview configs/full.toml --photos photos",
    )
    p.add_argument("config", type=Path, nargs="?", help="a config of a training or of a preparation")
    p.add_argument("--out", type=Path, default=Path("preview"), help="where to write (default: preview)")
    p.add_argument("--photos", type=Path, help="degrade photographs of this folder (default: the config's shards)")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a.b=c")
    p.add_argument("--samples", type=_positive, default=48, help="so many pairs for the PSNR, 12 on the sheet (48)")
    p.add_argument("--replay", type=Path, metavar="FILE", help="instead of a config: RUN/bad_batches/STEP.json")
    p.set_defaults(verb=_preview)
    p = _verb(verbs, "train", "how training is started", "accelerate launch archsr/train.py --config configs/tail.toml")
    p.add_argument("anything", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    p.set_defaults(verb=_train)
    p = _verb(verbs, "weights", "list official weights, or fetch one", "archsr weights RealESRGAN_x4plus")
    p.add_argument("name", nargs="?", help="fetch this one to the cache and print its path")
    p.set_defaults(verb=_weights)


if __name__ == "__main__":
    sys.exit(main())
