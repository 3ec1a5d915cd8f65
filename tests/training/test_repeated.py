"""Operations on shapes that are not run again give the same forecast, and only those are left out."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.training.memory import ledger, stored
from archsr.training.memory import passes as of_networks

SMALL = {"arch": "rrdbnet", "features": 8, "growth": 4, "blocks": 3}
LOSSES = {name: {"weight": 1.0} for name in ("perceptual", "gan", "ldl", "ms_ssim")}
LOSSES["ms_ssim"]["scales"] = 2


def config(model, **training):
    table = {
        "stages": [{"iterations": 1, "lr": 1e-4}],
        "precision": "bf16",
        "layers": ["all"],
        "global_batch": 4,
        **training,
    }
    tables = {
        "name": "p",
        "model": model,
        "training": {**table, "micro_batch": 2},
        "losses": LOSSES,
        "data": {"gt_size": 64},
    }
    return check(TrainConfig, tables, where="p")


@pytest.fixture
def emptied(monkeypatch, tmp_path):
    """No pass and no operation is known from before."""
    monkeypatch.setattr(ledger, "_KNOWN", {})
    forget(monkeypatch, tmp_path / "first")
    return monkeypatch


def forget(monkeypatch, cache):
    """Let nothing be known in this process, and on disk only what is in `cache`."""
    monkeypatch.setenv("ARCHSR_CACHE", str(cache))
    for cached in (
        of_networks._generator_pass,
        of_networks._loss_passes,
        of_networks._discriminator_pass,
        of_networks._network,
    ):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("model", "pieces"),
    [
        (SMALL, "none"),
        (SMALL, "rrdb"),
        ({"arch": "srvgg", "features": 8, "convs": 3}, "none"),
        ({"arch": "srresnet", "features": 8, "blocks": 2}, 2),
    ],
)
def test_the_forecast_is_that_of_operations_that_are_all_run(model, pieces, emptied, tmp_path):
    given = config(model, gradient_checkpointing=pieces)
    quick = [of_networks.passes_of(given, 2), of_networks.passes_of(given, 2)]
    assert ledger._KNOWN
    forget(emptied, tmp_path / "second")
    emptied.setattr(ledger, "key_of", lambda *_: None)
    assert quick == [of_networks.passes_of(given, 2)] * 2


class _Counted(TorchDispatchMode):
    """Counts the operations that reach torch."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_repeated_operation_does_not_reach_torch(emptied):
    x, weight = (torch.empty(shape, device="meta") for shape in ((1, 4, 8, 8), (4, 4, 3, 3)))
    with _Counted() as counted, ledger.Ledger() as found:
        made = [torch.nn.functional.conv2d(x, weight, padding=1) for _ in range(3)]
        once = found.flops / 3
        kept = torch.nn.functional.leaky_relu_(made[0], 0.2)
        again = torch.nn.functional.leaky_relu_(made[1], 0.2)
    assert counted.names.count("aten.convolution.default") == 1
    assert counted.names.count("aten.leaky_relu_.default") == 1
    assert once == 2 * 9 * 4 * 4 * 8 * 8
    assert (kept is made[0], again is made[1]) == (True, True)
    assert found.live == 3 * 4 * 8 * 8 * 4
    assert len({ledger.identity(one) for one in made}) == 3


def test_what_shares_memory_or_has_contents_is_run(emptied):
    with ledger.Ledger() as found:
        x = torch.empty(2, 6, device="meta")
        views = [
            x.view(3, 4),
            x.view(3, 4),
            torch.ops.aten._unsafe_view(x, [3, 4]),
            torch.ops.aten._unsafe_view(x, [3, 4]),
        ]
        assert found.live == x.nbytes
        assert {ledger.identity(one) for one in views} == {ledger.identity(x)}
        numbers = [torch.ones(2) + 1, torch.ones(2) + 1]
    assert [n.tolist() for n in numbers] == [[2.0, 2.0]] * 2


def test_equal_values_of_other_types_are_other_operations(emptied):
    with ledger.Ledger():
        x = torch.empty(2, dtype=torch.int64, device="meta")
        assert [(x + 1).dtype, (x + 1.0).dtype, (x + 1).dtype] == [torch.int64, torch.float32, torch.int64]


# ---------------------------------------------------------------- on disk


def passes(given):
    return of_networks.passes_of(given, 2)


def test_what_is_stored_is_not_run_again(emptied, tmp_path):
    given = config(SMALL)
    before = passes(given)
    forget(emptied, tmp_path / "first")
    emptied.setattr(of_networks, "one_pass", None)  # it would fail
    assert passes(given) == before
    with pytest.raises(TypeError):
        passes(config(SMALL, gradient_checkpointing="rrdb"))


@pytest.mark.parametrize("damage", [b"", b"[1]", b'{"generator": {"kept": 1}}'])
def test_a_damaged_file_is_written_again(damage, emptied, tmp_path):
    given = config(SMALL)
    before = passes(given)
    files = sorted((tmp_path / "first" / "passes").iterdir())
    assert len(files) == 3
    whole = [path.read_bytes() for path in files]
    for path in files:
        path.write_bytes(damage)
    forget(emptied, tmp_path / "first")
    assert passes(given) == before
    assert [path.read_bytes() for path in files] == whole


def test_other_code_finds_nothing(emptied, tmp_path):
    passes(config(SMALL))
    emptied.setattr(stored, "_code", lambda: "other")
    forget(emptied, tmp_path / "first")
    passes(config(SMALL))
    assert len(list((tmp_path / "first" / "passes").iterdir())) == 6


def test_a_cache_that_cannot_be_written_does_no_harm(emptied, tmp_path):
    (tmp_path / "file").touch()
    forget(emptied, tmp_path / "file")
    assert passes(config(SMALL)).generator.kept > 0
