"""`diabolo evaluate`: which score is best by which interval, what is ahead of the default, and inverted scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from program import done

from diabolo.metrics import auroc, lead


def test_the_lead_is_the_difference_with_an_interval_of_paired_draws():
    rng = np.random.default_rng(0)
    y = (rng.random(800) < 0.2).astype(np.int8)
    good, noise = y + rng.normal(size=800), rng.normal(size=800)
    gap, low, high = lead(y, good, good + 0.1 * noise)
    assert gap == pytest.approx(auroc(y, good) - auroc(y, good + 0.1 * noise))
    assert low <= gap <= high
    assert high - low < 0.03, "what both scores share cancels"
    assert lead(y, good, good) == (0, 0, 0)
    assert lead(y, good, noise)[1] > 0.1
    gap, low, high = lead(y, noise, good)
    assert high < 0


@pytest.fixture
def fitted(tmp_path, monkeypatch):
    """A detector of a table of two relations, and what makes rows like it."""
    monkeypatch.chdir(tmp_path)

    def table(rows: int, seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(rows, 2))
        return pd.DataFrame(np.c_[z, z + 0.1 * rng.normal(size=z.shape), z[:, :1]])

    train = table(800, 0).add_prefix("c")
    train.to_csv("train.csv", index=False)
    done("fit", "train.csv", "-o", "m.diabolo", "--method", "ae", "--epochs", "2", "--quiet")
    return table


def judged(fitted, odd: pd.DataFrame) -> str:
    rows = pd.concat([fitted(400, 1), odd]).add_prefix("c").assign(truth=np.repeat([0, 1], [400, len(odd)]))
    rows.to_csv("new.csv", index=False)
    return " ".join(done("evaluate", "m.diabolo", "new.csv", "--label", "truth").split())


def test_the_best_score_and_one_line_baselines_stand_beside_each_other(fitted):
    said = judged(fitted, fitted(60, 2) + np.array([0, 0, 0, 0, 3.0]))
    for name in ("auto", "nll", "IsolationForest", "PCA", "KNN"):
        assert f" {name} " in said
    assert any(words in said for words in ("is the best by AUROC", "ahead of the default", "by more than chance"))
    assert "inverted" not in said


def test_a_score_that_ranks_upside_down_is_named(fitted):
    """Rows in the middle of the normal ones are less odd than these by every distance."""
    said = judged(fitted, 0.02 * fitted(60, 3))
    assert "anomaly: auto is an inverted score, AUROC 0.0" in said
    assert "look which rows the label calls normal" in said


def test_a_baseline_that_is_ahead_is_named(fitted, monkeypatch):
    """The oracle stands for any rival: it knows the column that was moved a little."""
    import diabolo.evaluation

    monkeypatch.setattr(diabolo.evaluation.Rivals, "scores", lambda self, values: {"oracle": values[:, 4]})
    usual = judged(fitted, fitted(60, 5))
    assert "oracle by" not in usual
    monkeypatch.setattr(diabolo.evaluation.Rivals, "scores", lambda self, values: {"oracle": -np.abs(values[:, 4])})
    assert "ahead of the default score auto by AUROC, 95 % intervals: oracle by" in judged(fitted, 0.02 * fitted(60, 4))
