"""A rank that fails alone says why before it waits for the others."""

import pytest

from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.errors import UserError
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
