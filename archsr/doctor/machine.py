"""Checks of the machine: Python, torch, torchvision, GPUs, disks, shared memory and image decoders."""

import io
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.cuda.nccl as nccl
import torch.distributed as dist
from PIL import Image, features

from archsr.doctor.line import Line, ok
from archsr.errors import first_line
from archsr.images.heic import heic_is_available
from archsr.utils.world import cores

_PYTHONS = (3, 11), (3, 13)
_TORCH = (2, 11)
_SLOW = 50  # MB/s
_TRY = "archsr doctor CONFIG --launch tries a step; without the GPU: ACCELERATE_USE_CPU=true, --device cpu"
_FEW = 1.0  # GB of free disk: a checkpoint of x4plus with its optimiser and averages takes about 0.4


def python(version: tuple[int, int] = sys.version_info[:2]) -> Line:
    """Check that archsr is tested on this Python version."""
    found = ".".join(map(str, version))
    if _PYTHONS[0] <= version <= _PYTHONS[1]:
        return ok("Python", f"{found} on {platform.system()} {platform.machine()}")
    state = "wrong" if version < _PYTHONS[0] else "warning"
    return Line("Python", state, f"{found}; tested on 3.11 to 3.13", "python3.12 -m venv .venv; install again")


def torch_and_vision(version: str = torch.__version__) -> Line:
    """Check that torch is new enough and that torchvision matches it."""
    try:
        import torchvision  # pyright: ignore[reportMissingTypeStubs]

        boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        torch.ops.torchvision.nms(boxes, torch.ones(1), 0.5)
    except (ImportError, RuntimeError, AttributeError) as error:
        return Line(
            "torch",
            "wrong",
            f"{version}, but torchvision does not work with it ({first_line(error)})",
            "pip install --force-reinstall torch torchvision",
        )
    said = f"{version}, torchvision {torchvision.__version__}"
    if tuple(int(part) for part in version.split("+")[0].split(".")[:2]) < _TORCH:
        what = f"{said}; needed is {_TORCH[0]}.{_TORCH[1]}"
        return Line("torch", "wrong", what, "pip install --upgrade torch torchvision")
    return ok("torch", said)


def gpus() -> Line:
    """Report the GPUs that torch can use. If there are none, check whether torch misses one."""
    if torch.cuda.is_available():
        try:
            found = "; ".join(_gpu(n) for n in range(torch.cuda.device_count()))
        except RuntimeError as error:
            what = f"there, but computes nothing with torch {torch.__version__} ({first_line(error)})"
            return Line("GPU", "wrong", what, "pip install --upgrade torch torchvision; nvidia-smi: is it in use?")
        if torch.version.hip:
            return Line("GPU", "warning", f"ROCm {torch.version.hip}; {found}: archsr is untested on it", _TRY)
        return ok("GPU", f"CUDA {torch.version.cuda}, driver {_driver() or 'unknown'}; {found}")
    if torch.backends.mps.is_available():
        return Line("GPU", "warning", "Apple's (MPS), in fp32: archsr is untested on it", _TRY)
    driver = _driver()
    if driver is None:
        mend = "train on a machine with one: archsr plan CONFIG --memory 16GB says what would fit"
        return Line("GPU", "warning", "none: a CPU is only enough for trials and small networks", mend)
    built = torch.version.cuda
    what = f"driver {driver} found, but torch cannot use it (built for {f'CUDA {built}' if built else 'CPUs only'})"
    mend = "update the driver" if built else "pip install --force-reinstall torch torchvision"
    return Line("GPU", "wrong", what, f"{mend}; nvidia-smi shows what the driver supports")


def _gpu(number: int) -> str:
    """Describe a GPU after adding two numbers on it: torch has no kernels for GPUs that are too old or too new."""
    (torch.ones(1, device=f"cuda:{number}") + 1).item()
    free, total = torch.cuda.mem_get_info(number)
    return f"{torch.cuda.get_device_name(number)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def readers(workers: int, processes: int) -> Line:
    """Check that every worker of all processes on this machine has a core of its own."""
    found = cores()
    said = f"{processes} × {workers} for {found} cores"
    if processes * max(1, workers) > found:
        mend = f"--set data.workers={max(1, found // processes)}"
        return Line("workers", "warning", f"{said}: they will compete for cores", mend)
    return ok("workers", said)


def _driver() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split("\n")[0].strip() or None if done.returncode == 0 else None


def collectives() -> Line:
    """Report which backends the processes could use to communicate."""
    if torch.cuda.device_count() > 1:
        if not dist.is_nccl_available():
            what = "several GPUs, but torch has no NCCL"
            return Line("collectives", "wrong", what, "pip install --force-reinstall torch")
        return ok("collectives", f"NCCL {'.'.join(map(str, nccl.version()))}")
    if not dist.is_gloo_available():
        what = "torch has no gloo: one process only"
        return Line("collectives", "warning", what, "pip install --force-reinstall torch")
    return ok("collectives", "gloo; NCCL would be used between GPUs")


def disk(folder: Path, about: str) -> Line:
    """Check the free space and the write speed of the disk that holds `folder` or will hold it."""
    there = folder.expanduser().absolute()
    while not there.is_dir():
        there = there.parent
    free = shutil.disk_usage(there).free / 1e9
    if not os.access(there, os.W_OK):
        return Line(about, "wrong", f"{there}: cannot be written", f"set another folder: --set runs=... (now {folder})")
    if free < _FEW:
        return Line(about, "wrong", f"{there}: {free:.2f} GB free", "free space, or set another folder: --set runs=...")
    speed = _speed(there)
    said = f"{there}: {free:.0f} GB free, writes {speed:.0f} MB/s"
    if speed < _SLOW:
        return Line(about, "warning", said, "a local disk is better; checkpoint.mirror copies to the slow one")
    return ok(about, said)


def _speed(folder: Path, size: int = 32 * 2**20) -> float:
    path = folder / f".archsr-doctor-{os.getpid()}"
    block = os.urandom(2**20)
    try:
        begun = time.perf_counter()
        with path.open("wb") as file:
            for _ in range(size // len(block)):
                file.write(block)
            os.fsync(file.fileno())
        return size / 1e6 / (time.perf_counter() - begun)
    finally:
        path.unlink(missing_ok=True)


def shared_memory(needed: int, where: Path = Path("/dev/shm")) -> Line:
    """Check that `needed` bytes of batches fit into the shared memory of the loader."""
    if not where.is_dir():
        return ok("shared memory", "no /dev/shm on this system")
    free = shutil.disk_usage(where).free
    said = f"{where}: {free / 2**20:.0f} MiB free, batches take {needed / 2**20:.0f} MiB"
    if free < needed:
        mend = "docker run --shm-size=8g (or --ipc=host), or --set data.workers=1"
        return Line("shared memory", "wrong", said, mend)
    return ok("shared memory", said)


def decoders() -> Line:
    """Check that the installed libraries can write and read each image format."""
    missing = list(_broken_formats())
    if missing:
        what = f"do not work: {', '.join(missing)}"
        return Line("decoders", "wrong", what, "pip install --force-reinstall pillow torchvision")
    try:
        import pyvips
    except (ImportError, OSError) as error:
        what = f"pyvips cannot be loaded ({first_line(error)})"
        return Line("decoders", "wrong", what, "pip install --force-reinstall 'pyvips[binary]'")
    vips = ".".join(str(pyvips.version(n)) for n in range(3))
    if not features.check("avif"):
        return Line("decoders", "warning", "Pillow reads no AVIF", "pip install --upgrade pillow")
    heic = "HEIC" if heic_is_available() else 'no HEIC (pip install "archsr[phone]")'
    return ok("decoders", f"Pillow {Image.__version__} and torchvision: JPEG, PNG, WebP; libvips {vips}; {heic}")


def _broken_formats() -> Iterator[str]:
    from archsr.images.pixels import decode_tensor

    pixels = np.full((16, 16, 3), 90, np.uint8)
    for name in ("JPEG", "PNG", "WEBP"):
        buffer = io.BytesIO()
        try:
            Image.fromarray(pixels).save(buffer, name, **({"lossless": True} if name == "WEBP" else {}))
            if abs(int(decode_tensor(buffer.getvalue())[0, 8, 8]) - 90) > 3:
                yield name
        except (OSError, RuntimeError, KeyError):
            yield name
