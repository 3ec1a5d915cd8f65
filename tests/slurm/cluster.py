"""A SLURM of its own on this machine: a controller and nodes that are processes, on the loopback interface.

CPUs (where they are not bound) and GPUs are pretended, so that the scripts of launch/ run as they are. Needs root, and
Debian's slurm-wlm and munge.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

CPUS, GPUS = 8, 2  # of a node
PARTS = {name: f"/usr/sbin/{name}" for name in ("munged", "slurmctld", "slurmd")}


def why_not() -> str:
    """Why there can be no cluster here, or an empty string."""
    missing = [name for name, path in PARTS.items() if not Path(path).exists()]
    missing += [name for name in ("sbatch", "srun", "scontrol") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "the daemons of SLURM need root"


def free_ports(count):
    """So many ports that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def settings(base, nodes, host, *, bound=False):
    """slurm.conf. A requeued job waits for cred_expire, TERM comes KillWait seconds before KILL."""
    cpus, task = (os.cpu_count(), "task/affinity") if bound else (CPUS, "task/none")
    control, *ports = free_ports(nodes + 1)
    lines = [
        "ClusterName=loopback", f"SlurmctldHost={host}(127.0.0.1)", "SlurmUser=root", "SlurmdUser=root",
        "AuthType=auth/munge", f"AuthInfo=socket={base}/munge.socket,cred_expire=5", "CredType=cred/munge",
        f"SlurmctldPort={control}", f"StateSaveLocation={base}/state", f"SlurmdSpoolDir={base}/spool-%n",
        f"SlurmctldPidFile={base}/slurmctld.pid", f"SlurmdPidFile={base}/slurmd-%n.pid",
        f"SlurmctldLogFile={base}/slurmctld.log", f"SlurmdLogFile={base}/slurmd-%n.log",
        "ProctrackType=proctrack/linuxproc", f"TaskPlugin={task}", "TaskPluginParam=threads",
        "JobAcctGatherType=jobacct_gather/none",
        "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core", "SchedulerType=sched/backfill",
        "SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0",
        "AccountingStorageType=accounting_storage/none", "SlurmdParameters=config_overrides", "GresTypes=gpu",
        "ReturnToService=2", "SwitchType=switch/none", "MpiDefault=none", "KillWait=5", "MinJobAge=300",
    ]  # fmt: skip
    for number, port in enumerate(ports, start=1):
        where = f"NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
        lines.append(f"NodeName=n{number} {where} CPUs={cpus} RealMemory=4000 Gres=gpu:{GPUS} State=UNKNOWN")
    lines.append(f"PartitionName=debug Nodes=n[1-{nodes}] Default=YES MaxTime=60 State=UP GraceTime=0")
    return "\n".join(lines) + "\n"


class Cluster:
    """Its configuration, logs and state lie in `base`; `environment` is for what submits jobs.

    `bound`: nodes have the CPUs of this machine, and each task of a step runs on its own only. (By affinity: cgroups
    would want a system that delegates them.)
    """

    def __init__(self, base: Path, nodes: int = 2, *, bound: bool = False) -> None:
        self.base = base
        self.nodes = [f"n{i}" for i in range(1, nodes + 1)]
        self.environment = {"SLURM_CONF": str(base / "slurm.conf")}
        self._write(nodes, bound)

    def _write(self, nodes, bound):
        self.base.chmod(0o755)
        (self.base / "state").mkdir()
        for name in self.nodes:
            (self.base / f"spool-{name}").mkdir()
        for number in range(GPUS):
            (self.base / f"gpu{number}").touch()
        host = socket.gethostname().split(".")[0]
        (self.base / "slurm.conf").write_text(settings(self.base, nodes, host, bound=bound))
        (self.base / "gres.conf").write_text(f"NodeName=n[1-{nodes}] Name=gpu File={self.base}/gpu[0-{GPUS - 1}]\n")
        (self.base / "munge.key").write_bytes(secrets.token_bytes(1024))
        (self.base / "munge.key").chmod(0o600)

    def __enter__(self) -> "Cluster":
        base, conf = self.base, self.environment["SLURM_CONF"]
        own = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log",
               "seed-file": "munge.seed"}  # fmt: skip
        try:
            self._run(PARTS["munged"], "--force", *(f"--{k}={base / v}" for k, v in own.items()))
            self._run(PARTS["slurmctld"], "-c", "-f", conf)
            for name in self.nodes:
                self._run(PARTS["slurmd"], "-N", name, "-f", conf)
            self._wait_for_nodes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End what was started here, and only that: by the process numbers that the daemons wrote down."""
        if (self.base / "slurmctld.pid").exists():
            self.do("scancel", "--user=root", check=False)
            wait_until(lambda: not self.do("squeue", "-h", "-t", "R,CG", check=False).strip(), 30, or_else=None)
        for name in (*(f"slurmd-{n}" for n in self.nodes), "slurmctld", "munged"):
            path = self.base / f"{name}.pid"
            if path.exists() and psutil.pid_exists(pid := int(path.read_text())):
                daemon = psutil.Process(pid)
                daemon.terminate()
                psutil.wait_procs([daemon], timeout=20)

    def _run(self, *command):
        # daemons keep no pipe of ours open: else the test's end would wait for them
        with (self.base / "start.log").open("a") as out:
            done = subprocess.run(command, stdout=out, stderr=out, check=False, env={**os.environ, **self.environment})
        assert done.returncode == 0, (command, (self.base / "start.log").read_text())

    def _wait_for_nodes(self):
        def idle():
            return len(self.do("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False).split()) == len(self.nodes)

        wait_until(idle, 60, or_else=lambda: "".join(p.read_text()[-2000:] for p in self.base.glob("*.log")))

    def do(self, *command, check=True, **options):
        """What a command prints, run as a user of the cluster."""
        env = {**os.environ, **self.environment, **options.pop("env", {})}
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False, **options)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def job(self, number):
        """What the controller knows of a job: JobState, Restarts, ExitCode, Reason and more."""
        text = self.do("scontrol", "show", "job", "-o", str(number))
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def wait_for(self, number, *states, seconds=240, log=None):
        """Wait until a job is in one of `states`, and return what is known of it."""
        wait_until(
            lambda: self.job(number)["JobState"] in states,
            seconds,
            or_else=lambda: f"{self.job(number)}\n{_end_of(log)}",
        )
        return self.job(number)

    def wait_until(self, condition, log, seconds=120):
        """Wait for something that a job does; `log` is its output."""
        wait_until(condition, seconds, or_else=lambda: _end_of(log))


def _end_of(log):
    return log.read_text()[-4000:] if log and log.exists() else ""


def wait_until(condition, seconds, *, or_else):
    """Poll; fail with what `or_else` says, or go on where it is None."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            assert or_else is None, or_else()
            return
        time.sleep(0.2)
