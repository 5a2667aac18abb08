"""A fit that diverges ends with one line: the epoch, the columns, what to try."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
import torch
from program import refused

from diabolo import Autoencoder, VariationalAutoencoder
from diabolo.data.sources import Rows
from diabolo.errors import TrainingError
from diabolo.train.loop import fit

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def planted(build_model, encoded, rng):
    """A function (column, value, where) → the one line of a fit with that value planted in every such row."""
    import pandas as pd

    X = pd.DataFrame(rng.normal(size=(200, 4)), columns=NAMES)

    def run(column, value, where, lead=(), prepare=lambda model: None, **settings):
        model = build_model(X, lead, hidden=(8,), latent_dim=2, epochs=3, learning_rate=0.01, **settings)
        rows = encoded(model, X)
        train, stop = rows.rows(slice(0, 150)), rows.rows(slice(150, None))
        for part in {"train": [train], "stop": [stop], "both": [train, stop]}.get(where, []):
            part.x[:, NAMES.index(column)] = value
        prepare(model)
        held = stop if where != "no stop rows" else rows.rows(slice(0, 0))
        with pytest.raises(TrainingError) as failure:
            fit(model, Rows(train, None), Rows(held, None))
        line = str(failure.value)
        assert "\n" not in line
        assert "; try learning_rate=0.001, a tenth of this fit's, or " in line
        return line

    return run


@pytest.mark.parametrize("column", ["a", "c"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20], ids=str)
def test_the_column_is_named(column, value, planted):
    line = planted(column, value, "train")
    size = "inf" if not np.isfinite(value) else "1e+20"
    said = "the fit diverged in epoch 1: none of its 5 steps had a finite loss; not finite in "
    # The others' distances are spoilt too, through the code; the column that it comes from stands first.
    assert line.startswith(f"{said}{column} (values to {size})")


def test_columns_beyond_three_are_counted(planted):
    assert re.search(r"not finite in a \(values to inf\), .*\) and 1 more; try", planted("a", np.nan, "train"))


def test_the_gradient_alone_names_the_largest(planted):
    """Distances that can still be added up, with a gradient whose square cannot."""
    line = planted("b", 2e18, "train")
    assert "none of its 5 steps had a finite gradient; the largest distances are those of b (" in line
    assert re.search(r"those of b \(4\.\de\+36\), \w \(", line)


def test_the_stop_rows_name_their_column(planted):
    line = planted("c", 1e20, "stop")
    assert line.startswith(
        "the loss was never finite on the stop rows in any of 3 epochs; not finite in c (values to 1e+20)"
    )
    assert line.endswith("look at these columns (diabolo info DATA)")
    assert "in epoch 1; not finite in d (values to 1e+20)" in planted("d", 1e20, "stop", patience=1)


def test_members_are_counted(planted):
    """One of three is lost: it takes the fit with it, and the line says so."""

    def spoil(model):
        model.store.views["encoder.0.weight"][1] = torch.nan

    line = planted(None, None, "nowhere", (3,), spoil)
    assert line.startswith("the fit diverged in epoch 1 in 1 of 3 members: ")


def test_the_epoch_is_the_one_it_happened_in(rng):
    """A rate that grows the weights until they overflow, after an epoch that went well."""
    X = rng.normal(size=(400, 4))
    ae = VariationalAutoencoder(
        learning_rate=1e17, schedule="constant", hidden=(8,), latent_dim=2, epochs=20, clip_norm=1e30, patience=20
    )
    with pytest.raises(TrainingError, match=r"the fit diverged in epoch (\d+): none of its \d+ steps") as failure:
        ae.fit(X)
    assert "try learning_rate=1e+16, a tenth" in str(failure.value)


def test_unscaled_columns_are_told_of_scaling(rng):
    X = rng.normal(size=(300, 3)) * [1, 1e14, 1]
    with pytest.raises(TrainingError) as failure:
        Autoencoder(scaling="none", learning_rate=1e25, schedule="constant", epochs=5, latent_dim=1).fit(X)
    assert str(failure.value).endswith("or scaling='standard'")


def test_the_program_says_it_in_one_line(rng, tmp_path):
    np.save(tmp_path / "x.npy", rng.normal(size=(300, 3)))
    words = ("fit", tmp_path / "x.npy", "-o", tmp_path / "m.diabolo", "-q", "--set", "learning_rate=1e30")
    assert "diabolo: the fit diverged in epoch " in refused(*words)
    assert os.listdir(tmp_path) == ["x.npy"]
