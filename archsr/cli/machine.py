"""Verbs for the machine: demo, official weights, benchmark, shell completion."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from archsr.cli import arguments as a

if TYPE_CHECKING:
    from archsr.cli.arguments import Verbs

_STAGES = ("decode", "stream", "degrade", "train", "upscale")


def add(verbs: "Verbs") -> None:
    """Add all verbs of this module."""
    _add_demo(verbs)
    _add_weights(verbs)
    _add_bench(verbs)
    _add_completion(verbs)


def _demo(args: argparse.Namespace) -> int:
    a.announce(f"running every stage in {args.folder}")
    from archsr.demo import demo

    return demo(args.folder, seed=args.seed)


def _add_demo(verbs: "Verbs") -> None:
    p = a.verb(verbs, "demo", "run everything on synthetic photographs, in minutes", ["archsr demo"], _demo)
    p.add_argument("folder", type=Path, nargs="?", default=Path("demo"), help="where to write (default: demo)")
    p.add_argument("--seed", type=a.count, default=0, help="random seed of the photographs and the training (0)")


def _weights(args: argparse.Namespace) -> int:
    a.announce(f"looking for {args.name}" if args.name else "looking for official weights on this machine")
    from archsr.models.weights import describe, fetch

    print(fetch(args.name) if args.name else describe())
    return 0


def _add_weights(verbs: "Verbs") -> None:
    examples = ["archsr weights", "archsr weights RealESRGAN_x4plus"]
    p = a.verb(verbs, "weights", "list official weights, or download one", examples, _weights)
    p.add_argument("name", nargs="?", help="download these into the cache and print their path")


def _bench(args: argparse.Namespace) -> int:
    a.announce("comparing measurements" if args.compare else "measuring this machine")
    from archsr.bench import STAGES, bench
    from archsr.bench.report import compared

    if args.compare:
        print(compared(*args.compare))
        return 0
    stages = () if args.stages == "all" else STAGES if "all" in args.stages else args.stages
    print(bench(stages, seconds=args.seconds, small=args.small, peers=bool(args.against), to=args.json))
    return 0


def _add_bench(verbs: "Verbs") -> None:
    examples = [
        "archsr bench --json mine.json",
        "archsr bench train upscale --seconds 20",
        "archsr bench --against realesrgan",
        "archsr bench --compare mine.json theirs.json",
    ]
    p = a.verb(verbs, "bench", "measure the speed of this machine, stage by stage", examples, _bench)
    p.add_argument(
        "stages", nargs="*", metavar="STAGE", choices=(*_STAGES, "all"), default="all",
        help=f"{', '.join(_STAGES)} (all)",
    )  # fmt: skip
    p.add_argument(
        "--seconds", type=a.above_zero, default=5.0, help="seconds per measurement, at least three rounds (5)"
    )
    p.add_argument("--small", action="store_true", help="tiny networks, only to try the command")
    p.add_argument("--against", choices=("realesrgan",), help="alternate with the PyPI release on the same work")
    p.add_argument("--json", type=Path, help="write every round to this file")
    p.add_argument(
        "--compare", type=Path, nargs=2, metavar=("A", "B"), help="compare two such files, without measuring"
    )


def _completion(args: argparse.Namespace) -> int:
    from archsr.cli import parser
    from archsr.cli.completion import completion

    print(completion(parser(), args.shell))
    return 0


def _add_completion(verbs: "Verbs") -> None:
    examples = ['eval "$(archsr completion bash)"', "archsr completion zsh > ~/.zfunc/_archsr"]
    p = a.verb(verbs, "completion", "print a script for Tab completion in the shell", examples, _completion)
    p.add_argument("shell", choices=("bash", "zsh", "tcsh"))
