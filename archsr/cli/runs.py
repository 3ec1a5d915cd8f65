"""Verbs for training: check, plan, start, list and submit runs, and study layers."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from archsr.cli import arguments as a
from archsr.errors import UserError

if TYPE_CHECKING:
    from archsr.cli.arguments import Verbs


def add(verbs: "Verbs") -> None:
    """Add all verbs of this module."""
    _add_doctor(verbs)
    _add_plan(verbs)
    _add_train(verbs)
    _add_runs(verbs)
    _add_submit(verbs)
    _add_study(verbs)


def _doctor(args: argparse.Namespace) -> int:
    from archsr.config import TrainConfig, config_file

    config = config_file.load(TrainConfig, args.config, overrides=args.set) if args.config else None
    if args.launch and config is None:
        raise UserError("doctor --launch needs a config, for its training step")
    a.announce(f"examining this machine{f' and what {args.config} needs' if config else ''}")
    from archsr.doctor import examine
    from archsr.doctor.launch import launch
    from archsr.doctor.line import table

    launched = launch(config) if args.launch and config else []  # all ranks
    if int(os.environ.get("RANK", "0")):
        return 0
    processes = int(os.environ.get("WORLD_SIZE", str(args.processes)))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", str(processes)))
    lines = [*examine(config, processes=processes, here=here, every=args.verify), *launched]
    print(table(lines))
    return 1 if any(line.state == "wrong" for line in lines) else 0


def _add_doctor(verbs: "Verbs") -> None:
    examples = [
        "archsr doctor",
        "archsr doctor configs/last_layer.toml --verify",
        "accelerate launch --module archsr doctor configs/full.toml --launch",
    ]
    p = a.verb(verbs, "doctor", "find what would stop a run, and how to fix it", examples, _doctor)
    p.add_argument("config", type=Path, nargs="?", help="a training config, to check its weights and shards")
    a.add_overrides(p)
    p.add_argument("--processes", type=a.positive, default=1, help="processes that will share the batch (1)")
    p.add_argument("--verify", action="store_true", help="hash all shards, however many")
    p.add_argument(
        "--launch", action="store_true", help="test collectives and a training step on all processes of the launcher"
    )


def _plan(args: argparse.Namespace) -> int:
    from archsr.config import TrainConfig, config_file

    config = config_file.load(TrainConfig, args.config, overrides=args.set)
    a.announce(f"forecasting memory and time of {args.config}")
    from archsr.training.memory.auto_batch import available_here
    from archsr.training.memory.plan import report
    from archsr.training.setup import with_micro_batch
    from archsr.utils.world import World

    config = with_micro_batch(config, World(size=args.processes))
    memory = args.memory or available_here()
    print(report(config, memory=memory, tflops=args.tflops, processes=args.processes))
    return 0


def _add_plan(verbs: "Verbs") -> None:
    examples = [
        "archsr plan configs/full.toml --memory 16GB",
        "archsr plan configs/full.toml --processes 4 --tflops 60",
    ]
    p = a.verb(verbs, "plan", "predict memory and time, without a GPU", examples, _plan)
    p.add_argument("config", type=Path, help="a training config")
    a.add_overrides(p)
    p.add_argument("--memory", type=a.size, help="memory of one GPU, e.g. 16GB (what is free on this machine)")
    p.add_argument("--processes", type=a.positive, default=1, help="processes that share the global batch (1)")
    p.add_argument(
        "--tflops",
        type=a.above_zero,
        help="sustained speed of the GPU in 1e12 operations a second, to predict the time",
    )


def _train(args: argparse.Namespace) -> int:
    from archsr.config import TrainConfig, config_file

    config_file.load(TrainConfig, args.config, overrides=args.set)  # a mistake is told at once
    a.announce("looking for GPUs")
    from archsr.training.start import start

    words = ["--config", str(args.config), *(word for override in args.set for word in ("--set", override))]
    words += [flag for flag in ("--resume", "--dry-run", "--debug") if getattr(args, flag[2:].replace("-", "_"))]
    start(words, processes=args.processes)


def _add_train(verbs: "Verbs") -> None:
    examples = [
        "archsr train configs/tail.toml",
        "archsr train configs/tail.toml --resume",
        "accelerate launch archsr/train.py --config configs/tail.toml",
    ]
    p = a.verb(verbs, "train", "train on all GPUs of this machine", examples, _train)
    a.add_training(p)
    p.add_argument(
        "--processes", type=a.positive, help="number of processes, on CPUs if there are no GPUs (one per GPU)"
    )


def _runs(args: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from archsr.runs.summary import survey, table

    if args.compare:
        from archsr.runs.comparing import compare

        print(compare([args.folder, *args.compare]))
        return 0
    if args.rename is not None:
        from archsr.runs.changing import rename

        print(f"{args.folder} is now {rename(args.folder, args.rename)}; resume it with --set name={args.rename!r}")
        return 0
    if args.remove:
        return _remove(args.folder, sure=args.yes)
    rows = survey(args.folder)
    print(json.dumps([asdict(row) for row in rows], indent=1) if args.json else table(rows))
    return 0


def _remove(run: Path, *, sure: bool) -> int:
    """Remove a run after a yes. Raises `UserError` if nobody can be asked."""
    from archsr.runs.changing import check_free, losses_of, remove

    check_free(run)
    if not sure:
        if not sys.stdin.isatty():
            raise UserError(f"{run}: nobody can be asked here; add --yes to remove it")
        if input(f"remove {losses_of(run)}? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was removed")
            return 1
    said = losses_of(run)
    remove(run)
    print(f"removed {said}")
    return 0


def _add_runs(verbs: "Verbs") -> None:
    examples = [
        "archsr runs",
        "archsr runs runs/tail --json",
        "archsr runs runs/tail --compare runs/full",
        "archsr runs runs/tail --rename facades",
        "archsr runs runs/tail --remove",
    ]
    p = a.verb(verbs, "runs", "list, compare, rename or remove runs", examples, _runs)
    p.add_argument(
        "folder", type=Path, nargs="?", default=Path("runs"), help="a folder of runs, or one run (default: runs)"
    )
    p.add_argument("--yes", action="store_true", help="with --remove: do not ask")
    does = p.add_mutually_exclusive_group()
    does.add_argument("--json", action="store_true", help="print all values as JSON")
    does.add_argument(
        "--compare", type=Path, nargs="+", metavar="RUN", help="print how other runs differ from this one"
    )
    does.add_argument("--rename", metavar="NAME", help="give this run another name")
    does.add_argument("--remove", action="store_true", help="delete this run with all that is in it, after a question")


def _submit(args: argparse.Namespace) -> int:
    from archsr.config import TrainConfig, config_file

    config = config_file.load(TrainConfig, args.config, overrides=args.set)
    a.announce(f"preparing a job for {args.config}")
    from archsr.training.setup import with_micro_batch
    from archsr.training.slurm import Resources, submit
    from archsr.utils.world import World

    names = ("nodes", "gpus", "cpus", "time", "partition", "account", "warning", "processes")
    resources = Resources(**{n: getattr(args, n) for n in names}, options=tuple(args.sbatch))
    with_micro_batch(config, World(size=resources.world))  # an indivisible batch fails here, not in the queue
    print(submit(config, resources, dry_run=args.dry_run))
    return 0


def _add_submit(verbs: "Verbs") -> None:
    examples = [
        "archsr submit configs/tail.toml --nodes 2 --gpus 4 --time 4:00:00",
        "archsr submit configs/full.toml --gpus 4 --sbatch=--mem=64G --dry-run",
    ]
    p = a.verb(verbs, "submit", "train on SLURM", examples, _submit)
    p.add_argument("config", type=Path, help="a training config")
    a.add_overrides(p)
    p.add_argument("--nodes", type=a.positive, default=1, help="number of nodes (1)")
    p.add_argument("--gpus", type=a.count, default=1, help="GPUs per node; 0 for CPUs (1)")
    p.add_argument("--cpus", type=a.positive, help="CPUs per node (one per process, and one per data worker)")
    p.add_argument("--processes", type=a.positive, default=1, help="processes per node with --gpus 0 (1)")
    p.add_argument(
        "--time", default="24:00:00", help="time limit in SLURM's format, after which the job is requeued (24:00:00)"
    )
    p.add_argument("--partition", default="", help="default: the cluster's")
    p.add_argument("--account", default="", help="default: the user's")
    p.add_argument("--warning", type=a.positive, default=300, help="seconds before the limit to start saving (300)")
    p.add_argument(
        "--sbatch", action="append", default=[], metavar="OPTION", help="a further option of sbatch: --sbatch=--mem=64G"
    )
    p.add_argument("--dry-run", action="store_true", help="print the script, and submit nothing")


def _study(args: argparse.Namespace) -> int:
    a.announce(f"forecasting the runs of {args.config}")
    from archsr.study.main import study
    from archsr.utils.stopping import REQUEUE, Stopped

    try:
        study(args.config, overrides=args.set, task=args.task, join=args.join, launch=args.launch, dry=args.dry_run)
    except Stopped:
        print("archsr: stopped; run the same command to continue", file=sys.stderr)
        return REQUEUE
    return 0


def _add_study(verbs: "Verbs") -> None:
    examples = [
        "archsr study configs/layer_study.toml",
        "archsr study configs/layer_study.toml --task 3/18",
        "archsr study configs/layer_study.toml --join",
    ]
    p = a.verb(verbs, "study", "compare which layers to train", examples, _study)
    p.add_argument("config", type=Path, help="a TOML file like configs/layer_study.toml")
    a.add_overrides(p)
    p.add_argument(
        "--task", type=a.task, metavar="I/N", help="only part I of N of the runs; run --join when all are done"
    )
    p.add_argument("--join", action="store_true", help="train nothing, only merge finished results")
    p.add_argument(
        "--launch", default="", metavar="WORDS", help="command that starts train.py, e.g. 'accelerate launch'"
    )
    p.add_argument("--dry-run", action="store_true", help="list the runs, and stop")
