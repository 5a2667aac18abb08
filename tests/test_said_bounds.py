"""What `compress` says of each column, "exact" or "at most", holds of cells made to break it."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import done


def hostile(n=300):
    """Whole numbers beyond 2⁵³, digits with zeros ahead, and floats of every size and sign."""
    rng = np.random.default_rng(0)
    odd = np.resize([-0.0, np.nan, np.inf, -np.inf, 5e-324, 1e308, -1e308, 1 / 3, 0.1], n)
    return pa.table(
        {
            "id": pa.array(rng.integers(2**62, 2**63 - 1, n)),
            "code": pa.array([f"{k:05d}" for k in range(n)]),
            "odd": pa.array(odd),
            "x": pa.array(rng.normal(size=n) * 10.0 ** rng.integers(-9, 9, n)),
            "flag": pa.array(rng.random(n) < 0.5),
        }
    )


@pytest.mark.parametrize("bound", [None, "1e-3", "1%"])
def test_said_bounds_hold(bound, shop, here):
    pq.write_table(hostile(), "t.parquet")
    done("fit", "t.parquet", "-o", "m.diabolo", "--columns", "x", "--only", "main", "--epochs", 1, "-q")
    said = done("compress", "m.diabolo", "t.parquet", "-o", "t.dbl", *([] if bound is None else ["--max-error", bound]))
    done("decompress", "t.dbl", "-o", "back.parquet")
    before, after = hostile(), pq.read_table("back.parquet")
    lines = dict(re.findall(r"^  (\w+): [\d.]+ bits per value, (.+)$", said, re.M))
    assert set(lines) == set(before.column_names)
    for name, claim in lines.items():
        a, b = before[name].combine_chunks(), after[name].combine_chunks()
        if claim.startswith("exact"):
            assert a.type == b.type
            if pa.types.is_floating(a.type):
                assert a.to_numpy().tobytes() == b.to_numpy().tobytes(), name
            else:
                assert a.equals(b), name
            continue
        most = float(re.search(r"error at most ([\d.e+-]+)", claim)[1])
        a, b = a.to_numpy(), b.to_numpy()
        there = np.isfinite(a)
        np.testing.assert_array_equal(a[~there], b[~there])
        error = np.abs(a[there] - b[there])
        if "of the value" in claim:
            error = error[a[there] != 0] / np.abs(a[there][a[there] != 0])
        assert error.max() <= most * 1.01
        assert most <= (0.01 if bound == "1%" else 0.001) * 1.0001
