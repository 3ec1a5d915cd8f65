"""Build CUDA libraries without a driver, so that torch finds one GPU that computes nothing.

torch's CUDA build loads without a GPU, but finds no device. Two stub libraries export every symbol of the CUDA runtime
and driver that the installed torch asks for; all calls succeed and do nothing. Tensors on this device must be fake:
see `fake_device.py`.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import torch

_RUNTIME_USERS = ("libc10_cuda.so", "libtorch_cuda.so", "libtorch_python.so", "libtorch_cuda_linalg.so")
_DRIVER_USERS = ("libcaffe2_nvrtc.so",)

# an H200: 132 multiprocessors, 150 GB
_PROPERTIES = """
memset(p, 0, sizeof *p); strcpy(p->name, "fake GPU"); p->major = 9; p->minor = 0; p->multiProcessorCount = 132;
p->totalGlobalMem = 150000000000ULL; p->maxThreadsPerMultiProcessor = 2048; p->maxThreadsPerBlock = 1024;
p->warpSize = 32; p->sharedMemPerBlock = 49152; p->sharedMemPerBlockOptin = 232448;
p->sharedMemPerMultiprocessor = 233472; p->regsPerBlock = 65536; p->regsPerMultiprocessor = 65536;
p->l2CacheSize = 52428800; p->maxGridSize[0] = 2147483647; p->maxGridSize[1] = p->maxGridSize[2] = 65535;
p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024; p->maxThreadsDim[2] = 64; p->textureAlignment = 512;
"""
# the calls whose answers torch reads; all others return 0 and write nothing
_RUNTIME = {
    "cudaGetDeviceCount": ("int *n", "*n = 1;"),
    "cudaGetDevice": ("int *n", "*n = 0;"),
    "cudaGetDeviceProperties": ("struct cudaDeviceProp *p, int d", _PROPERTIES),
    "cudaMemGetInfo": ("size_t *f, size_t *t", "*f = 140000000000ULL; *t = 150000000000ULL;"),
    "cudaMalloc": ("void **p, size_t n", "*p = malloc(n < 1 ? 1 : n);"),
    "cudaHostAlloc": ("void **p, size_t n, unsigned f", "*p = aligned_alloc(4096, (n + 4095) / 4096 * 4096);"),
    "cudaStreamCreateWithPriority": ("cudaStream_t *s, unsigned f, int p", "*s = next_handle();"),
    "cudaStreamCreateWithFlags": ("cudaStream_t *s, unsigned f", "*s = next_handle();"),
    "cudaEventCreateWithFlags": ("cudaEvent_t *s, unsigned f", "*s = next_handle();"),
    "cudaEventCreate": ("cudaEvent_t *s", "*s = next_handle();"),
    "cudaStreamIsCapturing": ("cudaStream_t s, enum cudaStreamCaptureStatus *c", "*c = 0;"),
    "cudaStreamGetCaptureInfo": (
        "cudaStream_t s, enum cudaStreamCaptureStatus *c, unsigned long long *i, cudaGraph_t *g, "
        "const cudaGraphNode_t **d, const cudaGraphEdgeData **e, size_t *n",
        "*c = 0;",
    ),
    "cudaDeviceGetStreamPriorityRange": ("int *a, int *b", "*a = 0; *b = -5;"),
    "cudaRuntimeGetVersion": ("int *v", "*v = 13000;"),
    "cudaDriverGetVersion": ("int *v", "*v = 13000;"),
    "cudaDeviceGetAttribute": ("int *v, enum cudaDeviceAttr a, int d", "*v = 1;"),
    "cudaGetDriverEntryPointByVersion": (
        "const char *s, void **f, unsigned v, unsigned long long fl, enum cudaDriverEntryPointQueryResult *q",
        "*f = (void *)nothing; if (q) *q = 0;",
    ),
    "cudaPointerGetAttributes": ("struct cudaPointerAttributes *a, const void *p", "memset(a, 0, sizeof *a);"),
    "cudaEventElapsedTime": ("float *f, cudaEvent_t a, cudaEvent_t b", "*f = 0;"),
}
_HEAD = """
#include <stdlib.h>
#include <string.h>
#include <cuda_runtime_api.h>
static int nothing(void) { return 0; }
static void *next_handle(void) { static long count = 0x1000; return (void *)(count += 16); }
const char *cudaGetErrorString(cudaError_t e) { return "stub"; }
const char *cudaGetErrorName(cudaError_t e) { return "stub"; }
"""
_DRIVER = {
    "cuDevicePrimaryCtxGetState": ("int d, unsigned *f, int *a", "*f = 0; *a = 1;"),
    "cuGetErrorString": ("int e, const char **s", '*s = "stub";'),
}
# qualifiers that nvcc understands, and gcc must not see
_NVCC = (
    "__host__", "__device__", "__global__", "__shared__", "__constant__", "__managed__", "__cudart_builtin__",
    "__device_builtin__", "CUDARTAPI", "CUDARTAPI_CDECL", "CUDA_CB",
)  # fmt: skip


def missing() -> str | None:
    """Return why the libraries cannot be built here, or None."""
    for program in ("gcc", "nm"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if torch.version.cuda is None:
        return "torch is a build without CUDA"
    if _include() is None:
        return "the CUDA headers of torch's packages are not installed"
    return None if sys.platform == "linux" else "the stub libraries are for Linux"


def build(folder: Path) -> dict[str, str]:
    """Build both libraries in `folder`. Return the environment in which a new process has the fake GPU."""
    headers = folder / "crt"
    headers.mkdir(parents=True)
    lines = [f"#define {name}" for name in _NVCC]
    lines += [f"#define {name}(n) __attribute__((aligned(n)))" for name in ("__builtin_align__", "__align__")]
    (headers / "host_defines.h").write_text("\n".join(lines) + "\n")
    runtime = _wanted(_RUNTIME_USERS, r"cuda[A-Z]\w*") - {"cudaGetErrorString", "cudaGetErrorName"}
    known = "\n".join(_function(f"cudaError_t {name}", *_RUNTIME[name]) for name in sorted(runtime & set(_RUNTIME)))
    (folder / "runtime.c").write_text(_HEAD + known)
    # in a file without the headers, whose declarations these would contradict
    (folder / "runtime_rest.c").write_text("\n".join(f"int {n}() {{ return 0; }}" for n in runtime - set(_RUNTIME)))
    driver = _wanted(_DRIVER_USERS, r"cu[A-Z]\w*")
    answers = {name: next((a for start, a in _DRIVER.items() if name.startswith(start)), ("", "")) for name in driver}
    (folder / "driver.c").write_text("\n".join(_function(f"int {name}", *answer) for name, answer in answers.items()))
    _compile(folder, "libfakecudart.so", "runtime.c", "runtime_rest.c", flags=["-I.", f"-I{_include()}"])
    _compile(folder, "libcuda.so.1", "driver.c", flags=["-Wl,-soname,libcuda.so.1"])
    own = {"LD_PRELOAD": str(folder / "libfakecudart.so"), "LD_LIBRARY_PATH": str(folder)}
    # the stubs have no virtual memory: segments cannot grow
    return {**os.environ, **own, "PYTORCH_ALLOC_CONF": "expandable_segments:False"}


def _function(head: str, parameters: str, body: str) -> str:
    return f"{head}({parameters}) {{ {body} return 0; }}"


def _wanted(libraries: Iterable[str], pattern: str) -> set[str]:
    """Return the undefined symbols of torch's libraries that match."""
    found: set[str] = set()
    for name in libraries:
        path = Path(torch.__file__).parent / "lib" / name
        listed = subprocess.run(["nm", "-D", str(path)], capture_output=True, text=True, check=True).stdout
        found |= {match[1] for match in re.finditer(rf" U ({pattern})(?:@\S+)?$", listed, re.MULTILINE)}
    return found


def _include() -> Path | None:
    spec = find_spec("nvidia")
    roots = [Path(root) for root in spec.submodule_search_locations or []] if spec else []
    found = [path.parent for root in roots for path in root.glob("*/include/cuda_runtime_api.h")]
    return found[0] if found else None


def _compile(folder: Path, library: str, *sources: str, flags: list[str]) -> None:
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", *flags, "-o", library, *sources], cwd=folder, check=True)
