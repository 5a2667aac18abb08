"""Progress: a bar where a person looks, lines in a log that asks for them, else nothing."""

from __future__ import annotations

import io
import re
import sys
import threading
import time

import numpy as np
import pytest
from rich import progress as _  # noqa: F401  a bar loads it, which takes a moment

from diabolo import AnomalyDetector, Autoencoder, Compressor, LatentClusterer, LinearAutoencoder, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True

    @property
    def plain(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


def terminal(monkeypatch):
    """Standard error as a terminal, on which a bar appears at once; pytest sets its own before each test's body."""
    monkeypatch.setattr(sys, "stderr", found := Terminal())
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    return found


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(400, 3))


def waited(seconds=0.3):
    """Long enough for a bar's thread to draw."""
    time.sleep(seconds)


def test_a_bar_counts_and_leaves_nothing_behind(monkeypatch):
    screen = terminal(monkeypatch)
    with progress.progress("explain"):
        for i in range(3):
            progress.tick(i, 3, "rows")
            waited()
    assert "explain: 0 of 3 rows" in screen.plain
    assert "explain: 2 of 3 rows" in screen.plain
    assert screen.getvalue().endswith("\x1b[2K"), "the line is cleared at the end"
    assert not [t for t in threading.enumerate() if t.name == "diabolo progress"]


def test_a_short_call_shows_nothing(monkeypatch):
    screen = terminal(monkeypatch)
    monkeypatch.setattr(progress, "PATIENCE", 1.0)
    with progress.progress("score"):
        progress.tick(1, 2, "rows")
    assert screen.getvalue() == ""


def test_a_failed_call_takes_its_bar_along(monkeypatch):
    screen = terminal(monkeypatch)

    def failed():
        with progress.progress("fit"):
            waited()
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        failed()
    assert "fit" in screen.plain
    assert progress._open.get() is None
    assert not [t for t in threading.enumerate() if t.name == "diabolo progress"]


def test_a_call_within_another_has_no_bar_of_its_own(monkeypatch):
    screen = terminal(monkeypatch)
    with progress.progress("cluster") as outer, progress.progress("fit") as inner:
        assert inner is outer
        progress.tick(1, 2, "epochs")
        waited()
    assert "cluster: 1 of 2 epochs" in screen.plain
    assert "fit" not in screen.plain


def test_names_are_shown_and_not_obeyed():
    bar = progress.Bar("fit")
    bar.note = "\x1b[31m column"
    assert "\x1b" not in bar.said


@pytest.mark.parametrize("verbose", [0, -1])
def test_quiet_where_no_person_looks(rows, capfd, verbose):
    detector = AnomalyDetector(Autoencoder(epochs=2), verbose=verbose).fit(rows)
    detector.explain(rows[:2])
    assert capfd.readouterr() == ("", "")


def test_lines_in_a_log_that_asks_for_them(rows, capfd):
    detector = AnomalyDetector(Autoencoder(epochs=2), verbose=1).fit(rows)
    assert capfd.readouterr().err.count("epoch ") == 2
    detector.explain(rows[:2])
    LatentClusterer(LinearAutoencoder(latent_dim=1), n_clusters=2, n_resamples=0, verbose=1).fit(rows)
    Compressor(max_error=0.1, verbose=1).fit(rows).compress(rows)
    detector.autoencoder_.set_params(verbose=1).sample(5, method="prior")
    said = [line.partition(":")[0] for line in capfd.readouterr().err.splitlines()]
    assert said == ["explain", "cluster", "fit", "compress", "sample"]


def test_a_fits_epochs_on_a_terminal(rows, monkeypatch):
    screen = terminal(monkeypatch)
    Autoencoder(epochs=12).fit(np.tile(rows, (20, 1)))
    assert re.search(r"fit: \d+ of 12 epochs, validation ", screen.plain)
    screen.truncate(0)
    Autoencoder(epochs=3, verbose=-1).fit(rows)
    assert screen.plain.strip("\0") == ""


def test_results_are_the_same_with_a_bar(rows, monkeypatch):
    terminal(monkeypatch)
    shown = Autoencoder(epochs=3).fit(rows).transform(rows)
    assert np.array_equal(shown, Autoencoder(epochs=3, verbose=-1).fit(rows).transform(rows))
