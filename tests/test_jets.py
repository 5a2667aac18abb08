"""The images of boosted jets: how a jet becomes a picture, and the sample that ships (docs/jets.md)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "bench"))
import jets_make  # noqa: E402


@pytest.fixture
def two_prongs(rng):
    """Particles [60, 3] of a jet of two prongs, 0.4 apart, across the seam of phi."""
    at = np.repeat([[0.3, np.pi - 0.05], [0.6, -np.pi + 0.2]], 30, axis=0) + 0.02 * rng.normal(size=(60, 2))
    return np.c_[np.repeat([12.0, 5.0], 30) * rng.random(60), at[:, 0], (at[:, 1] + np.pi) % (2 * np.pi) - np.pi]


def test_a_picture_is_centered_upright_and_holds_all_the_momentum(two_prongs):
    share = (jets_make.image(two_prongs) / 255.0) ** 2
    side = np.arange(40) - 19.5
    assert share.sum() == pytest.approx(1, abs=0.05)
    assert abs(share.sum(axis=1) @ side) < 1
    assert abs(share.sum(axis=0) @ side) < 1
    assert share.sum(axis=0) @ side**2 > 10 * (share.sum(axis=1) @ side**2)  # upright
    assert share[:, 20:].sum() >= 0.5  # the stronger prong is up


def test_a_picture_does_not_depend_on_where_the_jet_was(two_prongs):
    turn, (a, b) = np.array([[np.cos(1.0), -np.sin(1.0)], [np.sin(1.0), np.cos(1.0)]]), (0.7, 2.0)
    phi = (two_prongs[:, 2] - np.pi + np.pi) % (2 * np.pi) - np.pi
    moved = np.c_[two_prongs[:, 0], np.c_[two_prongs[:, 1], phi] @ turn.T + [a, b]]
    one, other = (jets_make.image(j).astype(float) for j in (two_prongs, moved))
    assert np.abs(one - other).mean() < 0.1 * one.mean()


def test_packing_loses_nothing(rng):
    pictures = (rng.random((7, 40, 40)) < 0.03) * rng.integers(1, 256, (7, 40, 40))
    pictures = pictures.astype(np.uint8)
    pictures[3] = 0
    assert np.array_equal(jets_make.unpacked(**jets_make.packed(pictures)), pictures)


def test_the_sample_that_ships():
    with np.load(ROOT / "docs" / "data" / "jets.npz") as file:
        medians = {}
        for name in jets_make.PROCESSES:
            pictures = jets_make.unpacked(*(file[f"{name}_{k}"] for k in ("lit", "place", "value")))
            assert len(pictures) == len(file[f"{name}_mass"]) >= 1000
            total = ((pictures / 255.0) ** 2).sum(axis=(1, 2))
            assert np.quantile(abs(total - 1), 0.99) < 0.1
            medians[name] = float(np.median(file[f"{name}_mass"]))
    assert 75 < medians["w"] < medians["z"] < 120 < medians["top"]  # GeV
    assert (ROOT / "docs" / "data" / "jets.npz").stat().st_size < 1.6e6
