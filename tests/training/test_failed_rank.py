"""A rank that fails alone says why before it waits for the others."""

import pytest
import torch

from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.errors import UserError, is_out_of_memory
from archsr.training import processes


def test_the_group_is_left_after_success_and_not_after_a_failure(tiny_tables, monkeypatch):
    config, left = check(TrainConfig, tiny_tables, where="test"), []
    monkeypatch.setattr(processes.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(processes.dist, "destroy_process_group", lambda: left.append(True))
    with pytest.raises(UserError, match="a full disk"), processes.joined(config):
        raise UserError("a full disk")
    assert not left
    with processes.joined(config):
        pass
    assert left


@pytest.mark.parametrize(
    ("error", "out_of_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
    ],
)
def test_libraries_that_run_out_of_memory_are_recognised(error, out_of_memory):
    assert is_out_of_memory(error) is out_of_memory
