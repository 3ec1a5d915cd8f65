import os
import platform
import subprocess
import sys

import pytest

from archsr.utils.allocation import let_segments_grow

CODE = """
import ctypes, resource, numpy
from archsr.utils.allocation import reuse_large_blocks
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would be one fault for 512
{call}
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(6):
    numpy.ones(2**23)
before = faults()
for _ in range(3):
    numpy.ones(2**23)
print(faults() - before)
"""


def faults(call, **variables):
    """Pages that the kernel had to give for 64 MiB, three times, after as many were given back six times."""
    env = {**os.environ, **variables}
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(call=call)], env=env, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives blocks back at once")
def test_a_large_block_is_used_again():
    kept, given_back = faults("reuse_large_blocks()"), faults("")
    assert given_back > 1000, "what it is for"
    assert kept < given_back / 10


def test_what_the_user_has_set_stays():
    assert faults("reuse_large_blocks()", MALLOC_MMAP_THRESHOLD_="65536") > faults("reuse_large_blocks()")


def test_segments_of_gpu_memory_grow_unless_the_user_chose(monkeypatch):
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "backend:native")
    let_segments_grow()
    assert "PYTORCH_ALLOC_CONF" not in os.environ
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF")
    let_segments_grow()
    assert (os.environ.pop("PYTORCH_ALLOC_CONF", None) is not None) is (sys.platform == "linux")
