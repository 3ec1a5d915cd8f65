"""Verbs for photographs: create a config, prepare and inspect shards, preview degradations."""

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
    _add_init(verbs)
    _add_config(verbs)
    _add_prepare(verbs)
    _add_inspect(verbs)
    _add_preview(verbs)
    _add_fit_degradation(verbs)


def _init(args: argparse.Namespace) -> int:
    a.announce(f"looking at the photographs in {args.photos} and at this machine")
    from archsr.init import init

    print(init(args.photos, args.out, shards=args.shards, memory=args.memory, force=args.force, dry_run=args.dry_run))
    return 0


def _add_init(verbs: "Verbs") -> None:
    examples = ["archsr init photos", "archsr init photos --memory 16GB --dry-run"]
    p = a.verb(verbs, "init", "write a config for your photographs and your machine", examples, _init)
    p.add_argument("photos", type=Path, help="a folder with a sub-folder per project")
    p.add_argument("--out", type=Path, default=Path("archsr.toml"), help="the config to write (archsr.toml)")
    p.add_argument("--shards", default="shards/photos", help="where the shards will be (shards/photos)")
    p.add_argument("--memory", type=a.size, help="GPU memory, e.g. 16GB (default: what is free on this machine)")
    p.add_argument("--force", action="store_true", help="overwrite the config")
    p.add_argument("--dry-run", action="store_true", help="print the config, and write nothing")


def _config(args: argparse.Namespace) -> int:
    from archsr.config import explain, generated

    if args.write:
        print("\n".join(generated.write()))
    elif args.reference or args.schema:
        print(generated.reference(args.reference) if args.reference else generated.schema(args.schema))
    elif args.preset:
        print(explain.preset(args.preset))
    else:
        print(explain.explain(args.key) if args.key else explain.tables())
    return 0


def _add_config(verbs: "Verbs") -> None:
    examples = [
        "archsr config",
        "archsr config training.clip",
        "archsr config degrade.first.blur",
        "archsr config --preset web",
        "archsr config --schema > archsr.schema.json",
    ]
    p = a.verb(verbs, "config", "explain config keys: all tables, one table, or one key", examples, _config)
    p = p.add_mutually_exclusive_group()
    p.add_argument("key", nargs="?", help="a key or a table, as in --set (default: list the tables)")
    p.add_argument("--preset", metavar="NAME", help="print every value of a preset of [degrade]")
    p.add_argument(
        "--reference", nargs="?", const="train", choices=("train", "prepare"),
        help="print a config with every key of a training (or a preparation) at its default, explained",
    )  # fmt: skip
    p.add_argument(
        "--schema", nargs="?", const="train", choices=("train", "prepare", "study"),
        help="print the JSON schema of a training config (or a preparation's, a study's), for editors",
    )  # fmt: skip
    p.add_argument("--write", action="store_true", help="update the references and schemas in configs/")


def _prepare(args: argparse.Namespace) -> int:
    from archsr.config import PrepareConfig, config_file

    tables = config_file.read(args.config) if args.config else {}
    data = config_file.with_overrides(tables, args.set)
    config = config_file.check(PrepareConfig, data, where=str(args.config or "prepare"))
    a.announce(f"preparing the photographs of {args.photos}")
    from archsr.data.prepare.inspect_shards import summary, tag_table
    from archsr.data.prepare.pipeline import Task, prepare
    from archsr.data.versions import current
    from archsr.utils.stopping import interrupted_by_sigterm

    task = Task(*args.task) if args.task else None
    how = {"join": args.join, "restart": args.restart, "reread": args.reread}
    with interrupted_by_sigterm():
        made = prepare(args.photos, args.out, config, workers=args.workers, task=task, **how)
    if made is None:
        number, of = args.task
        print(f"task {number} of {of} is done; when all are done, run: archsr prepare {args.photos} {args.out} --join")
    else:
        folder = current(args.out)
        print("\n".join([summary(made, folder), *tag_table(folder, made)]))
    return 0


def _add_prepare(verbs: "Verbs") -> None:
    examples = [
        "archsr prepare photos shards/photos",
        "archsr prepare photos.zip shards/photos --set test=0.25 --set min_side=512",
        "archsr prepare photos shards/photos --task 2/4    # on four machines, then --join on one",
    ]
    p = a.verb(verbs, "prepare", "turn a folder of photographs into shards", examples, _prepare)
    p.add_argument(
        "photos", help="a folder (one sub-folder per project), a .zip or .tar, a .parquet file, or hf:NAME[@SPLIT]"
    )
    p.add_argument("out", type=Path, help="the dataset's folder; its crops of unchanged photographs are reused")
    p.add_argument("--config", type=Path, help="a TOML file like configs/prepare.toml (default: the defaults)")
    a.add_overrides(p)
    p.add_argument("--workers", type=a.count, default=os.cpu_count() or 1, help="processes (default: all cores)")
    p.add_argument("--task", type=a.task, metavar="I/N", help="survey only part I of N; run --join when all are done")
    p.add_argument("--join", action="store_true", help="merge the parts of all tasks into the dataset")
    p.add_argument("--restart", action="store_true", help="discard an unfinished preparation and start again")
    p.add_argument("--reread", action="store_true", help="read every photograph again, also unchanged ones")


def _inspect(args: argparse.Namespace) -> int:
    a.announce(f"reading {args.shards}")
    from archsr.data.prepare.inspect_shards import inspect_dataset
    from archsr.data.versions import remove_old

    print(inspect_dataset(args.shards, check=not args.no_check))
    if args.remove_old and (removed := remove_old(args.shards)):  # the current version was verified
        print(f"removed: {', '.join(removed)}")
    return 0


def _add_inspect(verbs: "Verbs") -> None:
    examples = ["archsr inspect shards/photos", "archsr inspect shards/photos --remove-old"]
    p = a.verb(verbs, "inspect", "describe a dataset and verify every hash", examples, _inspect)
    p.add_argument("shards", type=Path, help="a dataset's folder")
    p.add_argument("--no-check", action="store_true", help="do not read the shards, only describe them")
    p.add_argument("--remove-old", action="store_true", help="remove all versions but the current one")


def _preview(args: argparse.Namespace) -> int:
    if (args.config is None) == (args.replay is None):
        raise UserError("preview needs a config, or --replay FILE; for example: archsr preview configs/full.toml")
    a.announce(f"degrading as {args.config or args.replay} says")
    from archsr.training.preview import preview, replay

    if args.replay:
        print(replay(args.replay, args.out, overrides=args.set))
    else:
        print(preview(args.config, args.out, overrides=args.set, photos=args.photos, samples=args.samples))
    return 0


def _add_preview(verbs: "Verbs") -> None:
    examples = [
        "archsr preview configs/full.toml",
        "archsr preview configs/full.toml --photos photos --set degrade.preset=camera",
        "archsr preview --replay runs/full/bad_batches/1200.json",
    ]
    p = a.verb(verbs, "preview", "show a config's degradation before training", examples, _preview)
    p.add_argument("config", type=Path, nargs="?", help="a config of a training or of a preparation")
    p.add_argument("--out", type=Path, default=Path("preview"), help="where to write (default: preview)")
    p.add_argument("--photos", type=Path, help="degrade photographs of this folder (default: the config's shards)")
    a.add_overrides(p)
    p.add_argument("--samples", type=a.positive, default=48, help="pairs for the PSNR; the sheet shows 12 (48)")
    p.add_argument("--replay", type=Path, metavar="FILE", help="instead of a config: RUN/bad_batches/STEP.json")


def _fit_degradation(args: argparse.Namespace) -> int:
    a.announce(f"measuring the images of {args.folder}")
    from archsr.api.fitting import fit_degradation

    how = {"photos": args.photos, "limit": args.limit, "scale": args.scale, "seed": args.seed}
    print(fit_degradation(args.folder, args.out, **how).summary)
    return 0


def _add_fit_degradation(verbs: "Verbs") -> None:
    examples = [
        "archsr fit-degradation client_photos --photos photos",
        "archsr preview degradation/degrade.toml --photos photos    # then look",
    ]
    text = "estimate how images were degraded, and write the table [degrade] that matches them"
    p = a.verb(verbs, "fit-degradation", text, examples, _fit_degradation)
    p.add_argument("folder", type=Path, help="images as you would enlarge them")
    p.add_argument("--out", type=Path, default=Path("degradation"), help="where to write (default: degradation)")
    p.add_argument("--photos", type=Path, help="sharp photographs to degrade (default: drawn ones)")
    p.add_argument("--limit", type=a.positive, default=120, help="images to read at most, evenly spread (120)")
    p.add_argument("--scale", type=int, choices=(2, 3, 4), default=4, help="scale of the model (4)")
    p.add_argument("--seed", type=a.count, default=0, help="seed of all random choices (0)")
