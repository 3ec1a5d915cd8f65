"""If one of two ranks runs out of memory, all end soon, with advice and a good checkpoint to resume from."""

from pathlib import Path

import pytest
import tomli_w
from ranks import Ranks
from test_health import events

from archsr.checkpoint.folder import newest
from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.training import launch

PLANTED = Path(__file__).with_name("planted_memory.py")


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.gate)])
def test_all_ranks_end_with_advice_and_the_run_goes_on(tiny_tables, tmp_path, rank):
    path = tmp_path / "c.toml"
    path.write_text(tomli_w.dumps(tiny_tables))
    done = Ranks(2, PLANTED, str(rank), "4", "--config", path, folder=tmp_path).wait(60)
    assert done.returncode != 0
    assert "archsr: out of memory (CUDA out of memory. Tried to allocate 2.00 GiB)" in done.stderr
    assert "one of 2 process(es), micro-batch 2, fp32, gt 32" in done.stderr
    assert "lower data.gt_size" in done.stderr
    assert "--resume goes on from the last checkpoint" in done.stderr
    folder = Path(tiny_tables["runs"]) / "tiny"
    assert newest(folder)[0].name == "step-00000002"
    launch.run(check(TrainConfig, tiny_tables, where="test"), resume=True)
    assert events(folder, "end")
