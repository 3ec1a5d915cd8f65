"""Upscaling on a GPU that is not there: the host waits once per tile, while the next one computes."""

from typing import Any

import pytest

CASES = [
    {"tile": 16, "halo": 8},
    {"tile": 16, "halo": 8, "depth": "uint16", "precision": "fp32", "devices": 2, "size": [60, 60]},
    {"tile": 0},
]
TILED, DEEP, WHOLE = range(3)


@pytest.fixture(scope="module")
def counted(on_fake_gpu: Any) -> list[dict[str, Any]]:
    """Return the counts of all cases of this module, from one process."""
    return on_fake_gpu(*CASES, worker="upscale_worker.py")


@pytest.mark.parametrize("case", range(3))
def test_the_host_waits_once_per_tile_for_its_result(counted, case):
    found = counted[case]
    assert [(kind, line.split(":")[0]) for _, kind, line, _ in found["waits"]] == [("event", "upscaling/transfer.py")]
    assert found["waits"][0][-1] == found["tiles"]
    assert found["tiles"] == [12, 9, 1][case]


@pytest.mark.parametrize("case", [TILED, DEEP])
def test_the_next_tiles_compute_while_the_host_handles_one(counted, case):
    """Also from the end of a row of tiles to the next row."""
    waiting = CASES[case].get("devices", 1)
    tiles, happened = counted[case]["tiles"], counted[case]["happened"]
    assert happened == ["pass"] * waiting + ["pass", "wait"] * (tiles - waiting) + ["wait"] * waiting


@pytest.mark.parametrize(("case", "depth", "size"), [(TILED, "uint8", 1), (DEEP, "uint16", 2), (WHOLE, "uint8", 1)])
def test_pixels_travel_at_the_depth_of_the_file_and_each_result_once(counted, case, depth, size):
    found = counted[case]
    height, width = CASES[case].get("size", (40, 100))
    copied = {kind: count for _, kind, _, count in found["copied"]}
    assert set(copied) == {f"{depth} to cuda", f"{depth} to cpu"}
    assert copied[f"{depth} to cpu"] == 4 * height * 4 * width * 3 * size
    assert found["shape"] == [4 * height, 4 * width, 3]
    assert found["depth"] == depth


def test_algorithms_are_measured_only_where_shapes_repeat(counted):
    assert [c["benchmarked"] for c in counted] == [[True], [True], [False]]
    assert not any(c["benchmark_after"] for c in counted)
