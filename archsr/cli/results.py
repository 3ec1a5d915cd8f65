"""Verbs for models: evaluate, vote, blend, upscale, export, app."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from archsr.cli import arguments as a
from archsr.errors import UserError

if TYPE_CHECKING:
    from archsr.cli.arguments import Verbs


def add(verbs: "Verbs") -> None:
    """Add all verbs of this module."""
    _add_evaluate(verbs)
    _add_vote(verbs)
    _add_blend(verbs)
    _add_upscale(verbs)
    _add_export(verbs)
    _add_app(verbs)


def _evaluate(args: argparse.Namespace) -> int:
    a.announce(f"opening {', '.join(args.models)} and the images to measure")
    from archsr.api.runs import evaluate

    same = {name: getattr(args, name) for name in ("split", "limit", "offline", "border", "tile", "out", "crop")}
    rest = {"metrics": args.metric, "which": args.weights, "blends": args.blend, "y_channel": args.y}
    rest |= {"photos": args.photos or ""}
    done = evaluate(args.models, on=args.on or "", baseline=args.baseline or "", **same, **rest)
    if done.summary:  # on rank 0
        print(done.summary)
    return 0


def _add_evaluate(verbs: "Verbs") -> None:
    examples = [
        "archsr evaluate runs/tail",
        "archsr evaluate runs/tail runs/full RealESRGAN_x4plus --on shards/photos",
        "archsr evaluate runs/tail other.pth --on benchmarks/Set5 --y --out set5",
        "archsr evaluate runs/tail --blend 0.25 --blend 0.5 --metric musiq",
        "archsr evaluate runs/tail other.pth --photos client_photos",
    ]
    p = a.verb(verbs, "evaluate", "measure whether a run is better than its original", examples, _evaluate)
    p.add_argument("models", nargs="+", metavar="RUN|FILE", help="run folders, weights, official names, lanczos")
    p.add_argument(
        "--on",
        metavar="SHARDS|FOLDER",
        help="a dataset (folder or URL), a benchmark's folder (Set5 ...: HR and LR in it), or photographs, reduced by "
        "MATLAB's bicubic (default: the first run's dataset)",
    )
    p.add_argument("--photos", metavar="FOLDER", help="small photographs without ground truth: NIQE, "
                   "sharpness, agreement of each result with its input, and no verdicts")  # fmt: skip
    p.add_argument("--crop", type=a.count, help="with --photos: side in pixels of the measured middle "
                   "(512; 0: the whole)")  # fmt: skip
    p.add_argument("--split", choices=("val", "test"), default="test", help="split of a dataset (default: test)")
    p.add_argument("--weights", choices=("chosen", "best", "last", "best_raw", "last_raw"), default="chosen",
                   help="chosen: the share of the fine-tuning that the run chose; best: all of it")  # fmt: skip
    p.add_argument(
        "--baseline", metavar="NAME", help="the model that the others are compared with (default: the original)"
    )
    p.add_argument("--blend", type=float, action="append", default=[], metavar="ALPHA",
                   help="also a blend of original and run, 0 to 1, without verdicts; may be repeated")  # fmt: skip
    p.add_argument("--metric", action="append", default=[], help="a further metric of pyiqa, or all: BRISQUE, MUSIQ, "
                   "MANIQA, CLIPIQA")  # fmt: skip
    p.add_argument("--offline", action="store_true", help="skip LPIPS and DISTS, which need downloads")
    p.add_argument("--y", action="store_true", help="PSNR and SSIM on MATLAB's Y, as in tables of benchmarks")
    p.add_argument("--border", type=a.count, help="pixels cropped before measuring (default: the scale)")
    p.add_argument("--limit", type=a.positive, help="at most this many images")
    p.add_argument("--out", type=Path, help="default: RUN/evaluation/SPLIT, or photos-FOLDER")
    p.add_argument("--tile", type=a.count, default=0, help="tile side in input pixels, 0 for none (default; with "
                   "--photos: what memory allows)")  # fmt: skip


def _vote(args: argparse.Namespace) -> int:
    if args.result is None and args.b is None:
        raise UserError("archsr vote needs two models, or --result FOLDER (archsr vote --help)")
    a.announce(f"counting the votes in {args.result}" if args.result else f"making the images of {args.a} and {args.b}")
    from archsr.vote.main import VoteRequest, report_result, run_vote

    if args.result is not None:
        report_result(args.result)
        return 0
    request = VoteRequest(args.a, args.b, args.on, args.split, args.limit, args.crop, args.device, args.photos)
    run_vote(request, out=args.out, host=args.host, port=args.port)
    return 0


def _add_vote(verbs: "Verbs") -> None:
    examples = [
        "archsr vote original runs/tail --on shards/photos",
        "archsr vote runs/tail runs/full --on photos --limit 40 --out runs/full/votes",
        "archsr vote original runs/tail --photos client_photos",
        "archsr vote --result vote/original-tail",
    ]
    p = a.verb(verbs, "vote", "serve a page where people choose between two models", examples, _vote)
    p.add_argument("a", nargs="?", metavar="A", help="a run folder, a weights file, an official name, bicubic, or "
                   "original: the initial model of the other one, a run")  # fmt: skip
    p.add_argument("b", nargs="?", metavar="B", help="like A")
    p.add_argument("--on", metavar="SHARDS|FOLDER", default="",
                   help="images, as for archsr evaluate (default: the first run's dataset)")  # fmt: skip
    p.add_argument("--photos", metavar="FOLDER", default="", help="small photographs without ground truth")
    p.add_argument("--split", choices=("val", "test"), default="test", help="split of a dataset (default: test)")
    p.add_argument("--limit", type=a.positive, help="at most this many images, shared between scenes")
    p.add_argument("--crop", type=a.positive, default=512, help="side in pixels of the middle that is shown (512)")
    p.add_argument("--out", type=Path, help="default: vote/A-B; the same command continues there")
    p.add_argument("--result", type=Path, metavar="FOLDER", help="print the result of a folder so far, and stop")
    p.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is reachable by everybody (127.0.0.1)"
    )
    p.add_argument("--port", type=a.positive, default=7861, help="port (7861)")
    p.add_argument("--device", default="all", help="all, cpu, cuda:0, or several: cuda:0,cuda:1 (all)")


def _blend(args: argparse.Namespace) -> int:
    a.announce(f"blending {args.first} and {args.second}")
    from archsr.evaluation.blend import blend

    blend(args.first, args.second, alpha=args.alpha, out=args.out, choose=args.choose, on=args.on, limit=args.limit)
    return 0


def _add_blend(verbs: "Verbs") -> None:
    examples = [
        "archsr blend RealESRGAN_x4plus runs/tail --alpha 0.7 --out tail70.safetensors",
        "archsr blend RealESRGAN_x4plus runs/tail --out best.safetensors",
    ]
    p = a.verb(verbs, "blend", "interpolate between the weights of two models", examples, _blend)
    p.add_argument("first", help="a run folder, a weights file or an official name: alpha 0")
    p.add_argument("second", help="alpha 1")
    p.add_argument(
        "--alpha", type=float, help="how far from the first to the second (default: chosen on validation pairs)"
    )
    p.add_argument("--choose", choices=("balance", "psnr", "ssim", "features", "niqe_distance"), default="balance",
                   help="metric that chooses alpha (default: balance, as in a run)")  # fmt: skip
    p.add_argument(
        "--on", metavar="SHARDS", help="dataset whose validation pairs choose alpha (default: the second run's)"
    )
    p.add_argument("--limit", type=a.positive, help="at most this many images")
    p.add_argument("--out", type=Path, required=True, help="a .safetensors file")


def _upscale(args: argparse.Namespace) -> int:
    a.announce(f"opening {args.model} and the images")
    from archsr.checkpoint import strength_of
    from archsr.upscaling.devices import devices_of
    from archsr.upscaling.files import merge_outcomes, plan_files, report, staged_stdin, upscale_files, without_existing
    from archsr.upscaling.label import label_of
    from archsr.upscaling.one_image import OutputOptions
    from archsr.upscaling.opening import open_model
    from archsr.upscaling.upscaler import Upscaler
    from archsr.utils.world import launched_world, refuse_lost_processes

    refuse_lost_processes()
    with launched_world() as world, staged_stdin(args.source, alone=world.size == 1) as sources:
        plan = plan_files(sources, args.target, ending=f".{args.format}")
        pairs, there = without_existing(plan.pairs, args.existing)
        net, _ = open_model(args.model, strength=args.strength)
        if args.strength is None and (share := strength_of(args.model)) != 1 and world.rank == 0:
            print(f"{args.model}: strength {share:g}, the run's best (--strength 1 is all of the fine-tuning)")
        devices = devices_of(args.device, rank=world.rank, size=world.size)
        upscaler = Upscaler(
            net, devices=devices, tile=args.tile, halo=args.halo, precision=args.precision, compiled=args.compile,
            label=None if args.no_label else label_of(args.model, strength=args.strength),
        )  # fmt: skip
        wanted = OutputOptions(
            args.scale, args.quality, args.max_pixels, metadata=not args.no_metadata, label=not args.no_label
        )
        outcome = upscale_files(pairs[world.rank :: world.size], upscaler, wanted, show=world.rank == 0)
        whole = merge_outcomes(world.gather(outcome))  # all ranks
        whole.skipped.extend(there)
        if world.rank:
            return 2 if whole.failed else 0
        return report(whole, plan.left_out, labelled=not args.no_label)


def _add_upscale(verbs: "Verbs") -> None:
    examples = [
        "archsr upscale photos/ large/ --model runs/tail",
        "archsr upscale facade.jpg facade_large.png --model RealESRGAN_x4plus",
        "archsr upscale 'photos/**/*.jpg' large/ --model runs/tail --scale 3 --strength 0.7 --format jpg",
        "curl -s https://example.org/facade.jpg | archsr upscale - facade_large.png --model runs/tail",
    ]
    p = a.verb(verbs, "upscale", "upscale images and folders", examples, _upscale)
    p.add_argument("source", type=Path, nargs="+", help="images, folders, or quoted patterns ('photos/**/*.jpg'); "
                   "or - for one image from standard input")  # fmt: skip
    p.add_argument("target", type=Path, help="a folder, or a file for one image")
    p.add_argument("--model", required=True, help="a run folder, a .pth or .safetensors file, or an official name")
    p.add_argument("--scale", type=a.factor, metavar="N", help="scale of the result, also 1.5 (the model's)")
    p.add_argument("--strength", type=a.share, help="0 is a run's initial model, 1 all of its fine-tuning (what the "
                   "run chose at its end)")  # fmt: skip
    p.add_argument("--format", choices=("png", "jpg", "webp", "tif"), default="png", help="format in a folder (png)")
    p.add_argument("--quality", type=a.quality, default=95, help="quality of JPEG and WebP; 100 is lossless WebP (95)")
    p.add_argument("--no-metadata", action="store_true", help="drop EXIF, XMP and IPTC; colour profiles are kept")
    p.add_argument("--no-label", action="store_true", help="do not say in the files' XMP that a network enlarged them, "
                   "and which one")  # fmt: skip
    p.add_argument(
        "--existing",
        choices=("skip", "overwrite", "refuse"),
        default="skip",
        help="what to do with existing outputs (skip)",
    )
    p.add_argument("--tile", type=a.count, help="tile side in input pixels, 0 for the whole image (as memory allows)")
    p.add_argument("--halo", type=a.count, help="overlap in input pixels around a tile (enough to hide seams)")
    p.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="auto: fp16 on GPUs")
    p.add_argument("--device", default="all", help="all, cpu, cuda:0, or several: cuda:0,cuda:1 (all)")
    p.add_argument("--compile", action="store_true", help="use torch.compile: a slow start, then faster on GPUs")
    p.add_argument("--max-pixels", type=a.positive, default=2_000_000_000, help="largest input in pixels (2000000000)")


def _export(args: argparse.Namespace) -> int:
    a.announce(f"opening {args.model}")
    from archsr.exporting import export, targets_of
    from archsr.exporting.card import Rights
    from archsr.upscaling.opening import open_model

    targets = [args.target] if args.target else []
    if args.to or not targets:
        targets += targets_of(args.model, args.to or ["pth"], open_model(args.model)[0], precision=args.precision)
    for target in targets:
        rights = Rights(args.author, args.licence)
        done = export(args.model, target, precision=args.precision, strength=args.strength, rights=rights)
        print(f"{', '.join(map(str, done.files))}: {done.summary}")
        if args.push:
            from archsr.exporting.hub import push

            print(push([*done.files, *done.papers], args.push, private=not args.public))
    return 0


def _add_export(verbs: "Verbs") -> None:
    examples = [
        "archsr export runs/tail --to onnx --to ncnn",
        "archsr export runs/tail tail.pth --strength 0.7",
        "archsr export runs/tail --push OWNER/NAME",
    ]
    p = a.verb(verbs, "export", "export a model for other tools", examples, _export)
    p.add_argument("model", help="a run folder, a .pth or .safetensors file, or an official name")
    p.add_argument("target", type=Path, nargs="?", help=".pth, .safetensors, .onnx, .param (ncnn), "
                   ".dtmodel (darktable) or .pt (TorchScript)")  # fmt: skip
    p.add_argument(
        "--to", action="append", choices=("pth", "safetensors", "onnx", "ncnn", "torchscript", "darktable"),
        help="instead of a target: RUN/export/4xRUN_ARCHITECTURE.ENDING; may be repeated (pth)",
    )  # fmt: skip
    p.add_argument("--precision", choices=("fp32", "fp16"), default="fp32", help="precision of the weights (fp32)")
    p.add_argument("--strength", type=a.share, help="as for archsr upscale")
    p.add_argument("--author", default="", help="author of the model, for its card and its entry for OpenModelDB")
    p.add_argument("--licence", default="", metavar="ID", help="its licence, an SPDX identifier such as CC-BY-4.0")
    p.add_argument("--push", metavar="OWNER/NAME", help="upload the files to this repository of the Hugging Face hub")
    p.add_argument("--public", action="store_true", help="make a new repository public (private)")


def _app(args: argparse.Namespace) -> int:
    a.announce("starting the page")
    from archsr.app.security.upload_limits import Limits
    from archsr.app.server import Settings, serve_until_stopped

    limits = Limits(max_bytes=args.max_bytes, max_pixels=args.max_pixels)
    password = args.password or os.environ.get("ARCHSR_PASSWORD", "")
    settings = Settings(args.models, args.runs, args.host, args.port, password, args.device, limits, args.allow_host)
    serve_until_stopped(settings)
    return 0


def _add_app(verbs: "Verbs") -> None:
    examples = ["archsr app", "archsr app runs/tail RealESRGAN_x4plus --port 8000 --device cpu"]
    p = a.verb(verbs, "app", "serve a page to upscale, compare and watch runs", examples, _app)
    p.add_argument("models", nargs="*", metavar="RUN|FILE", help="as for upscale (all runs and local weights)")
    p.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs (runs)")
    p.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is reachable by everybody (127.0.0.1)"
    )
    p.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="a further host name of the page")
    p.add_argument("--port", type=a.positive, default=7860, help="port (7860)")
    p.add_argument("--password", default="", help="password for visitors; or set ARCHSR_PASSWORD")
    p.add_argument("--device", default="all", help="all, cpu, cuda:0, or several: cuda:0,cuda:1 (all)")
    p.add_argument("--max-bytes", type=a.size, default=300 * 2**20, help="largest upload (300MiB)")
    p.add_argument("--max-pixels", type=a.positive, default=50_000_000, help="largest image in pixels (50000000)")
