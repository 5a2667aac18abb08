"""Roles by thresholds: the same as by sorting all hashes, for any slice, at any size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diabolo.data import roles as role_rules
from diabolo.data.hashing import Fingerprint, fingerprint
from diabolo.data.roles import RoleRule, assign_roles, bucket_of


def by_sorting(n, seed, stop, combine, calibrate):
    """What the rule means, by sorting."""
    order = np.argsort(role_rules._place_hashes(0, n, seed), kind="stable")
    roles, start = np.zeros(n, np.int8), 0
    counts = (
        (3, role_rules.calibration_rows(n, calibrate)),
        (1, min(role_rules.MOST_STOP, int(n * stop))),
        (2, min(role_rules.MOST_COMBINE, int(n * combine))),
    )
    for role, count in counts:
        roles[order[start : start + count]] = role
        start += count
    return roles


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 3000),
    st.integers(0, 2**63 - 1),
    st.sampled_from([0.0, 0.1, 0.5, 0.99]),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from([0.0, 0.2, 0.4, 1.0]),
)
def test_roles_are_those_of_sorted_hashes(n, seed, stop, combine, calibrate):
    assert np.array_equal(
        assign_roles(n, seed, stop, combine, calibrate), by_sorting(n, seed, stop, combine, calibrate)
    )


@pytest.mark.parametrize("n", [1, 99, 250_000])
def test_roles_of_slices_are_slices_of_roles(n, monkeypatch):
    monkeypatch.setattr(role_rules, "PLACES", 1000)
    rule, whole = RoleRule(n, 7, 0.1, 0.05, 0.2), by_sorting(n, 7, 0.1, 0.05, 0.2)
    parts = [rule.of(start, min(start + 777, n)) for start in range(0, n, 777)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert rule.counts == {name: int((whole == k).sum()) for k, name in enumerate(role_rules.ROLES)}


def test_a_sample_is_of_training_rows_and_of_the_size_asked_for():
    rule = RoleRule(50_000, 1, 0.1, 0.0, 0.2)
    chosen = rule.sample(5_000)(0, 50_000)
    assert chosen.sum() == 5_000
    assert (rule.of(0, 50_000)[chosen] == 0).all()
    # Uniform over positions: within five standard errors in each tenth.
    tenths = np.add.reduceat(chosen, np.arange(0, 50_000, 5_000))
    assert (abs(tenths - 500) < 5 * np.sqrt(500)).all()
    everything = rule.sample(10**9)(0, 50_000)
    assert np.array_equal(everything, rule.of(0, 50_000) == 0)


def test_buckets_are_uniform_and_know_nothing_of_roles():
    buckets = bucket_of(0, 100_000, 3, 10)
    assert np.array_equal(np.concatenate([bucket_of(0, 40_000, 3, 10), bucket_of(40_000, 100_000, 3, 10)]), buckets)
    assert (abs(np.bincount(buckets, minlength=10) - 10_000) < 5 * np.sqrt(10_000)).all()
    stopping = assign_roles(100_000, 3, 0.1) == 1
    assert (abs(np.bincount(buckets[stopping], minlength=10) - 1_000) < 5 * np.sqrt(1_000)).all()


def test_a_fingerprint_does_not_depend_on_the_pieces():
    hashes = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64)
    piecewise = Fingerprint()
    for part in np.array_split(hashes, 7):
        piecewise.add(part)
    assert str(piecewise) == fingerprint(hashes)
    assert fingerprint(hashes[::-1]) != fingerprint(hashes)


def test_stored_rows_are_those_of_the_smallest_hashes_among_rows_trained_or_stopped_on():
    rule = RoleRule(1_000, 5, stop=0.1, combine=0.05, calibrate=0.2)
    roles = rule.of(0, 1_000)
    for most, stops, trains in ((60, 60, 0), (100, 100, 0), (250, 100, 150), (9_999, 100, 650)):
        chosen = rule.stored(most)(0, 1_000)
        assert ((roles[chosen] == 1).sum(), (roles[chosen] == 0).sum()) == (stops, trains)
        pieces = [rule.stored(most)(start, start + 250) for start in range(0, 1_000, 250)]
        assert np.array_equal(np.concatenate(pieces), chosen)
    # More rows only add some.
    assert (rule.stored(250)(0, 1_000) >= rule.stored(120)(0, 1_000)).all()
