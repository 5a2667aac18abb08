"""The benchmark on labelled tables: its splits, its cache and its statistics, on small made-up tables."""

from __future__ import annotations

import ast
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "bench"))
import protocols
import report
import results
import rivals


class Clock:
    def __enter__(self):
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.wall = self.cpu = time.perf_counter() - self._start


class Distance:
    """Distance to the training mean: an oracle where anomalies are far."""

    def __init__(self, seed):
        pass

    def fit(self, x):
        self.mean = x.mean(0)

    def scores(self, x):
        return np.linalg.norm(x - self.mean, axis=1)

    def training_scores(self):
        return None


class Broken(Distance):
    def fit(self, x):
        raise ValueError("nothing\nto see")


def method(name="distance", make=Distance, version="1"):
    return rivals.Method(name, make, lambda: version)


@pytest.fixture(params=[0, 1])
def table(request, tmp_path):
    """Normal rows around 100 in file order, eight anomalies far from them."""
    rng = np.random.default_rng(request.param)
    x, y = rng.normal(100, 3, (1051, 3)), np.zeros(1051, int)
    at = rng.choice(1051, 8, replace=False)
    y[at], x[at] = 1, x[at] + 50
    x[:, 2] = np.arange(1051)
    np.savez(tmp_path / "7_made.npz", X=x, y=y)
    return protocols.read(tmp_path / "7_made.npz")


def test_one_class_trains_on_half_of_the_normal_rows_and_tests_the_rest(table):
    cut = protocols.split(table, "one-class", 3)
    assert len(cut.train) == round(1043 / 2)
    assert cut.anomalous.sum() == 8
    train, test = cut.raw_train[:, 2], cut.raw_test[:, 2]
    assert sorted([*train, *test]) == list(range(1051))
    assert not table.anomalous[train.astype(int)].any()
    assert (np.diff(train) < 0).any()
    np.testing.assert_array_equal(table.anomalous[test.astype(int)], cut.anomalous)


@pytest.mark.parametrize("protocol", protocols.PROTOCOLS)
def test_the_scaler_knows_training_rows_alone(table, protocol):
    cut = protocols.split(table, protocol, 0)
    np.testing.assert_allclose(cut.train.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(cut.train.std(0), 1, atol=1e-12)
    back = cut.test * cut.raw_train.std(0) + cut.raw_train.mean(0)
    np.testing.assert_allclose(back, cut.raw_test, atol=1e-9)


def test_file_order_is_that_of_the_file(table):
    a, b = (protocols.split(table, "file-order", seed) for seed in (0, 1))
    assert (np.diff(a.raw_train[:, 2]) > 0).all()
    np.testing.assert_array_equal(a.train, b.train)
    small = protocols.Labelled("small", table.x[:999], table.anomalous[:999], "")
    assert not protocols.judged(small, "file-order")
    assert protocols.judged(small, "one-class")


def test_large_tables_are_reduced_by_the_seed():
    x = np.arange(60_000.0)[:, None]
    large = protocols.Labelled("large", x, np.arange(60_000) % 100 == 0, "")
    a, b = (protocols.split(large, "unsupervised", seed) for seed in (0, 1))
    assert len(a.train) == len(np.unique(a.raw_train)) == 50_000
    assert set(a.raw_train.ravel()) != set(b.raw_train.ravel())
    np.testing.assert_array_equal(a.anomalous, a.raw_test.ravel() % 100 == 0)


def test_scores_that_are_not_finite_are_counted():
    y = np.array([True, True, False, False])
    assert protocols.judge(y, np.array([3.0, 2, 1, 0]))[::2] == (1.0, 0)
    assert protocols.judge(y, np.array([np.inf, 2, 1, 0]))[::2] == (1.0, 1)
    assert protocols.judge(y, np.array([np.nan, 2, 1, 0]))[::2] == (0.5, 1)


def test_a_cell_is_computed_once_and_again_when_its_detector_changes(table, tmp_path):
    cache, first, second = results.Cache(tmp_path), method(), method(version="2")
    line = results.measure(table, "one-class", 0, first, Clock)
    assert line["auroc"] == line["ap"] == 1
    cache.add(line)
    assert cache.find(table, "one-class", 0, "distance", first.version()) == line
    for lacking in ((table, "one-class", 1, "distance", "1"), (table, "one-class", 0, "distance", second.version())):
        assert cache.find(*lacking) is None
    assert cache.find(table, "one-class", 0, "distance", None) == line
    other = protocols.Labelled(table.name, table.x, table.anomalous, "changed")
    assert cache.find(other, "one-class", 0, "distance", "1") is None


def test_a_line_that_was_cut_off_harms_no_other(table, tmp_path):
    cache = results.Cache(tmp_path)
    line = results.measure(table, "one-class", 0, method(), Clock)
    cache.add(line)
    path = next(tmp_path.rglob("*.jsonl"))
    path.write_text(path.read_text() + json.dumps(line)[:40])
    cache.add(line | {"seed": 1})
    assert {x["seed"] for x in cache.lines("one-class", "distance")} == {0, 1}


def test_a_failure_is_a_result_and_counts_as_guessing(table, tmp_path):
    line = results.measure(table, "one-class", 0, method("broken", Broken), Clock)
    assert (line["status"], line["reason"]) == ("failed", "ValueError: nothing")
    assert line["auroc"] == 0.5
    assert line["ap"] == line["anomalies"]
    good = results.measure(table, "one-class", 0, method(), Clock)
    figures = report.per_table([line, good], "auroc")
    assert figures == {"broken": {table.name: 0.5}, "distance": {table.name: 1.0}}


def test_differences_are_paired_and_say_which_table_moves_them():
    ours, theirs = {"1_a": 0.9, "2_b": 0.8, "3_c": 0.5}, {"1_a": 0.8, "2_b": 0.8, "3_c": 0.9, "4_d": 1.0}
    d = report.paired(ours, theirs)
    assert (d["tables"], d["wins"], d["ties"], d["losses"]) == (3, 1, 1, 1)
    assert d["mean"] == pytest.approx(-0.1)
    assert d["error"] == pytest.approx(np.std([0.1, 0, -0.4], ddof=1) / np.sqrt(3))
    assert (d["lowest_without"], d["highest_without"]) == ("a", "c")
    assert d["lowest"] == pytest.approx(-0.2)
    assert d["highest"] == pytest.approx(0.05)


def test_a_pair_is_compared_on_the_seeds_that_both_ran_with():
    cells = [("a", 0, 0.9), ("a", 1, 0.1), ("b", 0, 0.8), ("b", 2, 0.2)]
    lines = [{"method": m, "table": "t", "seed": seed, "auroc": v} for m, seed, v in cells]
    assert report.on_shared_cells(lines, "a", "b", "auroc") == ({"t": 0.9}, {"t": 0.8})


def test_ranks_share_ties_and_leave_out_tables_that_one_lacks():
    figures = {"a": {"t": 0.9, "u": 0.5}, "b": {"t": 0.9, "u": 0.7}, "c": {"t": 0.1, "u": 0.6, "v": 0.0}}
    assert report.ranks(figures) == {"a": 2.25, "b": 1.25, "c": 2.5}


def test_only_what_diabolo_does_makes_its_lines_stale():
    def hashed(text):
        return ast.dump(rivals._without_docstrings(ast.parse(text)))

    assert hashed('"""Says."""\nx = 1  # why\n') == hashed("x = 1\n")
    assert hashed("x = 1\n") != hashed("x = 2\n")
    assert rivals.source_version().startswith("diabolo-")
