"""`archsr submit`: submit a SLURM training job and keep its script in the run folder."""

import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from archsr.checkpoint.run_folder import SLURM
from archsr.config import TrainConfig, config_file
from archsr.errors import UserError
from archsr.runs.folders import folder_of
from archsr.utils.atomic import write_bytes


@dataclass(frozen=True)
class Resources:
    """Resources of a job: `gpus` per node (0: that many `processes` on CPUs), `time` in SLURM's format.

    `cpus` is per node (None: one for each process and one for each of its loader's workers). `warning`: seconds before
    the end at which the run must save. `options`: further sbatch options, as in an #SBATCH line.
    """

    nodes: int = 1
    gpus: int = 1
    cpus: int | None = None
    time: str = "24:00:00"
    partition: str = ""
    account: str = ""
    warning: int = 300
    processes: int = 1
    options: tuple[str, ...] = ()

    @property
    def per_node(self) -> int:
        """Processes on one node."""
        return self.gpus or self.processes

    @property
    def world(self) -> int:
        """Processes on all nodes."""
        return self.nodes * self.per_node

    def cpus_for(self, config: TrainConfig) -> int:
        """Return the CPUs of one node."""
        return self.cpus or self.per_node * (config.data.workers + 1)


def submit(config: TrainConfig, resources: Resources, *, dry_run: bool) -> str:
    """Write script and config to RUN/slurm and pass the script to sbatch. With `dry_run` return the script.

    Return a message for the user. Raises `UserError` if sbatch is missing or refuses the script.
    """
    run = folder_of(config).resolve()
    stem = run / SLURM / time.strftime("%Y%m%d-%H%M%S")
    script = script_of(config, resources, run=run, stored=stem.with_suffix(".toml"))
    if dry_run:
        return script
    if shutil.which("sbatch") is None:
        raise UserError(
            "sbatch: not found; submit on a login node of a SLURM cluster, or print the script with --dry-run"
        )
    write_bytes(stem.with_suffix(".toml"), config_file.dump(config).encode())
    write_bytes(stem.with_suffix(".sbatch"), script.encode())
    answer = subprocess.run(
        ["sbatch", "--parsable", str(stem.with_suffix(".sbatch"))], capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        raise UserError(f"{stem.with_suffix('.sbatch')}: sbatch refused it: {answer.stderr.strip()}")
    job = answer.stdout.strip().split(";")[0]
    return (
        f"submitted job {job}: {resources.world} processes on {resources.nodes} nodes\n"
        f"  script  {stem.with_suffix('.sbatch')}\n"
        f"  output  {run / SLURM / f'{job}.out'}\n"
        f"  look    squeue -j {job}    archsr runs {run.parent}\n"
        f"  end     scancel {job} (it saves first)"
    )


def script_of(config: TrainConfig, resources: Resources, *, run: Path, stored: Path) -> str:
    """Return launch/train.sbatch with these resources in its head, for the config stored at `stored`."""
    body = (launch_folder() / "train.sbatch").read_text(encoding="utf-8").split("set -uo pipefail\n", 1)[1]
    lines = [
        "#!/bin/bash",
        f"# archsr submit, {config.name}: the script of launch/train.sbatch with resources and config filled in",
        *(f"#SBATCH {option}" for option in _options(config, resources, run)),
        "set -uo pipefail",
        f"export ARCHSR_VENV=${{ARCHSR_VENV:-{shlex.quote(sys.prefix)}}}",
        f"export ARCHSR_LAUNCH={shlex.quote(str(launch_folder()))}",
        f"export ARCHSR_TRAIN={shlex.quote(str(Path(__file__).resolve().parents[1] / 'train.py'))}",
        f"export ARCHSR_STATE={shlex.quote(str(run / SLURM))}",
    ]
    if not resources.gpus:
        lines += ["export ACCELERATE_USE_CPU=true", f"export PROCESSES_PER_NODE={resources.processes}"]
    return "\n".join([*lines, f"set -- {shlex.quote(str(stored))}", body])


def _options(config: TrainConfig, resources: Resources, run: Path) -> list[str]:
    wanted = {
        "job-name": f"archsr-{config.name}",
        "nodes": str(resources.nodes),
        "ntasks-per-node": "1",
        "gpus-per-node": str(resources.gpus) if resources.gpus else "",
        "cpus-per-task": str(resources.cpus_for(config)),
        "time": resources.time,
        "partition": resources.partition,
        "account": resources.account,
        "signal": f"B:USR1@{resources.warning}",
        "chdir": str(Path.cwd()),
        "output": f"{str(run / SLURM).replace('%', '%%')}/%j.out",
    }
    further = [_one_line(option) for option in resources.options]
    return [*(f"--{k}={_quoted(v)}" for k, v in wanted.items() if v), "--requeue", "--open-mode=append", *further]


def _quoted(value: str) -> str:
    """Quote a value for an #SBATCH line, where `$` has no meaning. A backslash in `output` would break its `%j`."""
    if "\\" in value:
        raise UserError(f"{value!r}: sbatch does not accept a backslash in a name; rename it")
    plain = re.fullmatch(r"[\w@%+=:,./-]+", _one_line(value))
    return value if plain else '"' + value.replace('"', '\\"') + '"'


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise UserError(f"{value!r}: sbatch does not accept line breaks or control characters in a name; rename it")
    return value


def launch_folder() -> Path:
    """Return the folder of the scripts: inside the package in an installed wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "launch"
    return inside if inside.is_dir() else package.parent / "launch"
