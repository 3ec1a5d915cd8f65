"""Shared by the comparisons: running a script in the peers' environment, tables, two-sample tests."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import stats


def ask(script, folder, timeout=900, **inputs):
    """What `script` writes for `inputs`. Skips without the peers' environment."""
    python = os.environ.get("ARCHSR_PEER_PYTHON")
    if not python:
        pytest.skip("ARCHSR_PEER_PYTHON names no environment with basicsr and realesrgan (tests/peers/README.md)")
    np.savez(folder / "in.npz", **inputs)
    path = Path(__file__).with_name(script)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    env.pop("PYTHONPATH", None)
    subprocess.run(
        [python, str(path), str(folder / "in.npz"), str(folder / "out.npz")], check=True, timeout=timeout, env=env
    )
    with np.load(folder / "out.npz") as found:
        return dict(found)


def table(title, header, rows):
    """Print a Markdown table; `pytest -s` shows it."""
    print(f"\n\n{title}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(str(v) for v in row)} |")


def p_equal(a, b):
    """p of two samples having one distribution.

    Kolmogorov-Smirnov for numbers, rounded to 1e-4 first (float32 against float64 must not decide ties); chi-square on
    the counts where there are at most 12 different values, where Kolmogorov-Smirnov would be far too lenient. 0 if one
    of the two is empty.
    """
    a, b = np.round(np.asarray(a, float), 4), np.round(np.asarray(b, float), 4)
    assert not np.isnan(a).any()
    assert not np.isnan(b).any()
    if len(a) == 0 or len(b) == 0:
        return 0.0
    values = np.unique(np.concatenate((a, b)))
    if len(values) == 1:
        return 1.0
    if len(values) > 12:
        return float(stats.ks_2samp(a, b, method="asymp").pvalue)
    counts = np.array([[(s == v).sum() for v in values] for s in (a, b)])
    return float(stats.chi2_contingency(counts).pvalue)


def compare(theirs, mine):
    """{name: p} for two dicts of samples with the same names."""
    assert theirs.keys() == mine.keys()
    return {name: p_equal(theirs[name], mine[name]) for name in theirs}
