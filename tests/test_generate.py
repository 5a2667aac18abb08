"""Generation: how drawn rows are judged, densities and conditions against closed forms, and the rows' schema."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from diabolo.config import build_config
from diabolo.data.schema import infer_schema
from diabolo.data.table import as_table, matched
from diabolo.errors import DataError
from diabolo.generate.fidelity import column_distances, compare, copying, two_sample_auroc


def read(frame):
    """(values, schema) of a data frame."""
    table = as_table(frame)
    schema = infer_schema(table.values, table.names, table.dtypes, build_config({}), table.levels)
    return matched(table, schema, "the test").values.astype(np.float64), schema


def normal(n, seed, rho=0.0):
    cov = [[1, rho, 0], [rho, 1, 0], [0, 0, 1]]
    return np.random.default_rng(seed).multivariate_normal(np.zeros(3), cov, size=n)


# ── how drawn rows are judged ─────────────────────────────────────────────────────────────────────


def test_rows_of_one_law_cannot_be_told_apart_and_disjoint_ones_can():
    same = two_sample_auroc(normal(1000, 1), normal(1000, 2))
    assert len(same) == 5
    assert abs(np.mean(same) - 0.5) < 0.05
    assert np.mean(two_sample_auroc(normal(200, 1), normal(200, 2) + 20)) > 0.999


def test_a_column_far_off_comes_first_and_its_distance_is_the_closed_form():
    """sup |Φ(x) − Φ(x − 1)| = 2Φ(½) − 1; a category's is half the sum of differences."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2))
    values, schema = read(pd.DataFrame({"same": x[:, 0], "moved": x[:, 1], "word": [*"aab" * 1333, "a"]}))
    drawn = values.copy()
    drawn[:, 0] = rng.normal(size=4000)
    drawn[:, 1] = rng.normal(size=4000) + 1
    drawn[:, 2] = np.arange(4000) % 2
    by_name = {c.column: c for c in column_distances(values, drawn, schema)}
    assert by_name["moved"].distance == pytest.approx(0.3829, abs=0.03)
    assert by_name["same"].distance < 0.05
    assert by_name["word"].measure == "total variation"
    assert by_name["word"].distance == pytest.approx(1 / 6, abs=0.001)
    told = compare(values, drawn, schema)
    assert told.columns[0].column == "moved"
    assert told.copying is None
    assert told.auroc > 0.6


def test_a_lost_correlation_is_named():
    schema = read(pd.DataFrame(normal(50, 0), columns=list("abc")))[1]
    told = compare(normal(3000, 1, rho=0.8), normal(3000, 2), schema)
    assert told.worst_pair[:2] == ("a", "b")
    # The rank correlation of a Gaussian pair is 6/π asin(ρ/2).
    assert told.worst_pair[2] == pytest.approx(6 / np.pi * np.arcsin(0.4), abs=0.04)
    assert told.correlation_error == pytest.approx(abs(told.worst_pair[2]) / 3, abs=0.03)
    none = compare(normal(3000, 1, rho=0.8), normal(3000, 3, rho=0.8), schema)
    assert none.correlation_error < 0.04
    assert all(c.distance < 3 * none.expected_distance for c in none.columns)


def test_missing_cells_are_counted_and_their_pattern_is_seen():
    rng = np.random.default_rng(0)
    a = rng.normal(size=2000)
    values, schema = read(pd.DataFrame({"a": a, "b": np.where(a > 1, np.nan, rng.normal(size=2000))}))
    drawn = np.stack([rng.normal(size=2000), rng.normal(size=2000)], axis=1)
    drawn[rng.random(2000) < 0.16, 1] = np.nan
    told = compare(values, drawn, schema)
    b = next(c for c in told.columns if c.column == "b")
    assert b.missing_real == np.isnan(values[:, 1]).mean()
    assert b.missing_drawn == np.isnan(drawn[:, 1]).mean()
    assert told.worst_pair[:2] == ("a", "b missing")


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_alarm_rings_for_copies(share):
    rng = np.random.default_rng(0)
    schema = read(pd.DataFrame(normal(50, 0), columns=list("abc")))[1]
    train, drawn = normal(1500, 1), normal(1500, 2)
    copied = rng.random(1500) < share
    drawn[copied] = train[rng.permutation(1500)][copied]
    told = copying(normal(1500, 3), drawn, train, schema)
    assert told.alarm
    assert told.excess == pytest.approx(share, abs=0.05)
    assert told.identical_drawn == pytest.approx(copied.mean())
    assert told.identical_held_out == 0
    assert told.closer == pytest.approx(0.5 + share / 2, abs=0.05)


def test_the_alarm_rings_for_copies_with_a_little_noise():
    schema = read(pd.DataFrame(normal(50, 0), columns=list("abc")))[1]
    train = normal(1500, 1)
    told = copying(normal(1500, 3), train + 0.01 * normal(1500, 4), train, schema)
    assert told.alarm
    assert told.identical_drawn == 0


def test_the_alarm_is_silent_for_fresh_rows():
    schema = read(pd.DataFrame(normal(50, 0), columns=list("abc")))[1]
    for seed in range(20):
        told = copying(normal(400, 3 * seed), normal(400, 3 * seed + 1), normal(800, 3 * seed + 2), schema)
        assert not told.alarm
        assert abs(told.closer - 0.5) < 0.1


def test_rows_of_few_values_repeat_without_an_alarm():
    rng = np.random.default_rng(0)
    train, held_out, drawn = ({"a": rng.integers(0, 3, n), "b": rng.choice(["x", "y"], n)} for n in (600, 500, 500))
    schema = read(pd.DataFrame(train))[1]
    told = copying(*(matched(as_table(pd.DataFrame(t)), schema, "t").values for t in (held_out, drawn, train)), schema)
    assert (told.identical_drawn, told.identical_held_out, told.alarm) == (1, 1, False)


def test_too_few_rows_to_compare():
    schema = read(pd.DataFrame(normal(50, 0), columns=list("abc")))[1]
    with pytest.raises(DataError, match="9 drawn rows came to compare; allowed are 10 or more"):
        compare(normal(50, 0), normal(9, 1), schema)
