"""Amounts of information: closed forms, the laws that bind them, what is a metric and what is not, and wrong input."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from diabolo import information as info
from diabolo.errors import DataError

ROOT = Path(__file__).parents[1]
PAIRS = [info.cross_entropy, info.kl_divergence, info.symmetrized_kl, info.js_divergence, info.js_distance]


@st.composite
def distributions(draw, count, most=6):
    """`count` distributions of one size, zeros and very small masses included."""
    n = draw(st.integers(1, most))
    mass = st.one_of(st.just(0.0), st.floats(1e-12, 1.0), st.floats(0.1, 1.0))
    rows = st.lists(mass, min_size=n, max_size=n).filter(lambda v: sum(v) > 0)
    return [info.normalize(draw(rows)) for _ in range(count)]


def spd(rng, d):
    root = rng.normal(size=(d, d + 2))
    return root @ root.T / d


# ── closed forms ──────────────────────────────────────────────────────────────────────────────────


def test_distributions_in_closed_form():
    assert info.entropy(np.full((4, 2), 1 / 8), base=2) == pytest.approx(3, abs=1e-15)
    assert info.entropy([0.0, 1.0, 0.0]) == 0
    t = 0.3
    assert info.entropy([t, 1 - t]) == pytest.approx(-t * np.log(t) - (1 - t) * np.log(1 - t), rel=1e-15)
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.6, 0.3])
    forward = 0.5 * np.log(5) + 0.3 * np.log(0.5) + 0.2 * np.log(2 / 3)
    backward = 0.1 * np.log(0.2) + 0.6 * np.log(2) + 0.3 * np.log(1.5)
    assert info.kl_divergence(p, q) == pytest.approx(forward, rel=1e-14)
    assert info.symmetrized_kl(p, q) == pytest.approx((forward + backward) / 2, rel=1e-14)
    m = (p + q) / 2
    halves = (info.kl_divergence(p, m) + info.kl_divergence(q, m)) / 2
    assert info.js_divergence(p, q) == pytest.approx(halves, rel=1e-14)
    assert info.js_distance(p, q) == pytest.approx(np.sqrt(halves), rel=1e-14)
    # A binary symmetric channel of flip probability f and a fair source: 1 - H(f) bits.
    f = 0.11
    joint = np.array([[1 - f, f], [f, 1 - f]]) / 2
    assert info.mutual_information(joint, base=2) == pytest.approx(1 - info.entropy([f, 1 - f], base=2), rel=1e-13)


def test_divergences_of_a_small_change_keep_their_digits():
    """Where p → q the Jensen-Shannon divergence is Σ (p - q)² / (8 p), far below the rounding of its parts."""
    p, step = np.array([0.5, 0.25, 0.25]), np.array([2.0, -1.0, -1.0])
    for size in (1e-4, 1e-8, 1e-12):
        q = p + size * step
        assert info.js_divergence(p, q) == pytest.approx(((q - p) ** 2 / p).sum() / 8, rel=1e-3)


def test_histograms():
    """With widths: the entropy of the density that the histogram draws, in the axis's unit."""
    edges = np.array([0.0, 1.0, 3.0, 7.0])
    p = info.normalize([2, 3, 5])
    density = p / np.diff(edges)
    by_parts = sum(-d * np.log(d) * w for d, w in zip(density, np.diff(edges), strict=True))
    assert info.entropy(p, widths=np.diff(edges)) == pytest.approx(by_parts, rel=1e-14)
    assert info.entropy(p, widths=10 * np.diff(edges)) == pytest.approx(by_parts + np.log(10), rel=1e-14)
    fine = np.linspace(-8, 8, 4001)
    masses = info.normalize(np.diff(stats.norm.cdf(fine)))
    assert info.entropy(masses, widths=fine[1] - fine[0]) == pytest.approx(info.gaussian_entropy(1.0), abs=1e-5)
    np.testing.assert_array_equal(info.normalize([[1, 3], [0, 4]]), [[0.125, 0.375], [0, 0.5]])


def test_gaussians_in_closed_form(rng):
    assert info.gaussian_entropy(4.0, base=2) == pytest.approx(np.log2(2 * np.sqrt(2 * np.pi * np.e)), rel=1e-14)
    for d in (1, 2, 5):
        mean0, mean1 = rng.normal(size=(2, d))
        cov0, cov1 = spd(rng, d), spd(rng, d)
        assert info.gaussian_entropy(cov0) == pytest.approx(stats.multivariate_normal(mean0, cov0).entropy(), rel=1e-12)
        inverse, away = np.linalg.inv(cov1), mean1 - mean0
        textbook = np.trace(inverse @ cov0) + away @ inverse @ away - d
        textbook = (textbook + np.log(np.linalg.det(cov1) / np.linalg.det(cov0))) / 2
        assert info.gaussian_kl(mean0, cov0, mean1, cov1) == pytest.approx(textbook, rel=1e-11)
        assert info.gaussian_kl(mean0, cov0, mean0, cov0) == pytest.approx(0, abs=1e-12)
        v0, v1 = np.diag(cov0), np.diag(cov1)
        diagonal = info.gaussian_kl(mean0, v0, mean1, v1)
        assert diagonal == pytest.approx(((v0 + away**2) / v1 - 1 + np.log(v1 / v0)).sum() / 2, rel=1e-12)
        assert diagonal == pytest.approx(info.gaussian_kl(mean0, np.diag(v0), mean1, np.diag(v1)), rel=1e-12)


def test_gaussian_kl_is_the_integral():
    p, q = stats.norm(0.5, 1.3), stats.norm(-0.2, 0.9)
    area = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -12, 12)[0]
    assert info.gaussian_kl(0.5, 1.3**2, -0.2, 0.9**2) == pytest.approx(area, rel=1e-9)


def test_gaussian_mutual_information(rng):
    rho = -0.8
    assert info.gaussian_mutual_information([[4, 2 * rho], [2 * rho, 1]]) == pytest.approx(-np.log(1 - rho**2) / 2)
    cov = spd(rng, 5)
    parts = info.gaussian_entropy(cov[:2, :2]) + info.gaussian_entropy(cov[2:, 2:])
    assert info.gaussian_mutual_information(cov, split=2) == pytest.approx(
        parts - info.gaussian_entropy(cov), rel=1e-11
    )
    assert info.gaussian_mutual_information(np.diag([1.0, 2.0, 3.0]), split=2) == pytest.approx(0, abs=1e-12)


# ── laws ──────────────────────────────────────────────────────────────────────────────────────────


@given(distributions(2))
def test_laws_of_pairs(pair):
    p, q = pair
    kl, jsd = info.kl_divergence(p, q), info.js_divergence(p, q)
    assert kl >= 0
    assert info.cross_entropy(p, q) == pytest.approx(info.entropy(p) + kl, rel=1e-9, abs=1e-12)
    assert (kl == np.inf) == bool(((q == 0) & (p > 0)).any())
    assert info.symmetrized_kl(p, q) == info.symmetrized_kl(q, p)
    assert jsd == info.js_divergence(q, p)
    assert 0 <= jsd <= np.log(2) * (1 + 1e-12)
    assert jsd <= info.symmetrized_kl(p, q) / 4 + 1e-12  # as the second derivatives of the two f-divergences are
    assert 0 <= info.entropy(p) <= np.log(len(p)) + 1e-12
    for f in PAIRS:
        power = 0.5 if f is info.js_distance else 1.0
        assert f(p, q, base=2) == pytest.approx(f(p, q) / np.log(2) ** power, rel=1e-12)
    for f in PAIRS[1:]:
        assert f(p, p) == 0


@settings(max_examples=300)
@given(distributions(3))
def test_the_jensen_shannon_distance_is_a_metric(three):
    a, b, c = three
    assert info.js_distance(a, c) <= (info.js_distance(a, b) + info.js_distance(b, c)) * (1 + 1e-9)
    assert (info.js_distance(a, b) == 0) == bool((a == b).all())


@pytest.mark.parametrize("no_metric", [info.js_divergence, info.symmetrized_kl])
def test_what_is_no_metric(no_metric):
    """Negative control: the triangle that the distance keeps, these break."""
    a, b, c = [0.9, 0.1], [0.5, 0.5], [0.1, 0.9]
    assert no_metric(a, c) > 1.5 * (no_metric(a, b) + no_metric(b, c))
    assert info.js_distance(a, c) <= info.js_distance(a, b) + info.js_distance(b, c)


def test_the_root_of_the_symmetrized_kl_is_no_metric_either():
    a, b, c = [0.999, 0.001], [0.99, 0.01], [0.9, 0.1]
    assert np.sqrt(info.symmetrized_kl(a, c)) > np.sqrt(info.symmetrized_kl(a, b)) + np.sqrt(info.symmetrized_kl(b, c))


@given(distributions(2, most=4))
def test_mutual_information_of_independent_variables_is_zero(pair):
    p, q = pair
    assert info.mutual_information(np.outer(p, q)) == pytest.approx(0, abs=1e-12)
    assert info.mutual_information(np.diag(p)) == pytest.approx(info.entropy(p), rel=1e-12, abs=1e-15)


# ── samples ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("neighbors", [1, 4])
def test_samples_of_gaussians(d, neighbors):
    """The mean over eight samples lies within four standard errors (and a small bias) of the closed form."""
    rng = np.random.default_rng(d)
    cov0 = spd(rng, d)
    # Near enough to overlap: a few thousand rows cannot see further than the log of their number.
    cov1, mean1 = 1.5 * cov0 + 0.3 * np.diag(np.diag(cov0)), 0.4 * np.sqrt(np.diag(cov0))
    drawn = [
        (rng.multivariate_normal(np.zeros(d), cov0, 3000), rng.multivariate_normal(mean1, cov1, 4000)) for _ in range(8)
    ]

    def near(values, exact):
        return abs(np.mean(values) - exact) < 4 * np.std(values, ddof=1) / np.sqrt(len(values)) + 0.02

    assert near([info.sample_entropy(x, neighbors) for x, _ in drawn], info.gaussian_entropy(cov0))
    assert near([info.sample_kl(x, y, neighbors) for x, y in drawn], info.gaussian_kl(np.zeros(d), cov0, mean1, cov1))
    if d > 1:
        shared = [info.sample_mutual_information(x[:, :1], x[:, 1:], neighbors) for x, _ in drawn]
        assert near(shared, info.gaussian_mutual_information(cov0))


def test_samples_of_other_shapes():
    rng = np.random.default_rng(1)
    x, y = rng.exponential(size=(2, 20_000))
    assert info.sample_entropy(x) == pytest.approx(1, abs=0.04)
    # Exponentials of rates 1 and 1/2: log 2 + 1/2 - 1.
    assert info.sample_kl(x, 2 * y) == pytest.approx(np.log(2) - 0.5, abs=0.05)
    assert info.sample_mutual_information(x, y) == pytest.approx(0, abs=0.03)
    assert info.sample_entropy(x, base=2) == pytest.approx(info.sample_entropy(x) / np.log(2))
    # A change of unit adds its logarithm, and mutual information does not see it.
    assert info.sample_entropy(100 * x) == pytest.approx(info.sample_entropy(x) + np.log(100))
    assert info.sample_mutual_information(x, x + 0.5 * y) > 0.5


def test_mutual_information_sees_what_correlation_does_not():
    x = np.random.default_rng(0).normal(size=4000)
    y = x**2 + 0.1 * np.random.default_rng(1).normal(size=4000)
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.1
    assert info.sample_mutual_information(x, y) > 1


# ── what came ─────────────────────────────────────────────────────────────────────────────────────

HALF = [0.5, 0.5]
WRONG = [
    (lambda: info.entropy([0.5, 0.6]), r"p: sums to 1\.1; allowed: a sum of 1; for counts, pass normalize\(p\)"),
    (lambda: info.entropy([1.5, -0.5]), r"p: -0\.5 at \[1\]; allowed: finite numbers of 0 or more"),
    (lambda: info.entropy([[1.0, np.nan]]), r"p: nan at \[0, 1\]"),
    (lambda: info.entropy([]), "p: no numbers came"),
    (lambda: info.entropy(["a", "b"]), "p: could not convert string to float: 'a'; allowed: an array of numbers"),
    (lambda: info.entropy(HALF, base=1), r"base 1: allowed are None \(nats\) and numbers above 1"),
    (lambda: info.entropy(HALF, base=-2), "base -2: allowed"),
    (lambda: info.entropy(HALF, widths=[1.0, 0.0]), "widths: 0 came; allowed: finite numbers above 0"),
    (lambda: info.entropy(HALF, widths=[1.0, 1.0, 1.0]), r"widths: shape \(3,\); allowed: one number, or the shape"),
    (lambda: info.normalize([0, 0]), "counts: all are 0"),
    (lambda: info.normalize([3, -1]), r"counts: -1 at \[1\]"),
    (lambda: info.mutual_information(HALF), "joint: an array of 1 axes came; allowed: 2 axes"),
    (lambda: info.gaussian_entropy([[1.0, 2.0], [2.0, 1.0]]), "cov: its smallest eigenvalue is -1; allowed: variances"),
    (lambda: info.gaussian_entropy([[1.0, 0.5], [0.0, 1.0]]), "cov: not symmetric"),
    (lambda: info.gaussian_entropy([1.0, np.inf]), "cov: a number is not finite"),
    (lambda: info.gaussian_entropy(np.zeros((2, 3))), r"cov: shape \(2, 3\)"),
    (lambda: info.gaussian_kl([0, 0], [1, 1], [0], [1]), r"means \(2,\) and \(1,\), covariances of 2 and 1 axes"),
    (lambda: info.gaussian_kl(0, 1, np.nan, 1), "a mean is not finite"),
    (lambda: info.gaussian_kl(0, 0, 0, 1), "cov0: its smallest eigenvalue is 0"),
    (lambda: info.gaussian_mutual_information(np.eye(2), split=2), "split 2: allowed are whole numbers from 1 to 1"),
    (lambda: info.sample_entropy([1.0, 1.0, 1.0, 1.0, 2.0]), "x: 4 rows have 3 neighbors at distance 0"),
    (
        lambda: info.sample_entropy([1.0, 2.0], neighbors=2),
        "neighbors 2: allowed are whole numbers from 1 to 1, of the",
    ),
    (lambda: info.sample_entropy([1.0, 2.0], neighbors=0), "neighbors 0: allowed"),
    (lambda: info.sample_entropy([1.0]), "x: 1 rows came; allowed: 2 or more"),
    (lambda: info.sample_entropy([1.0, np.nan, 2.0], neighbors=1), "x: row 1 holds nan; allowed: finite numbers"),
    (lambda: info.sample_entropy(np.zeros((2, 2, 2))), r"x: shape \(2, 2, 2\)"),
    (lambda: info.sample_entropy(["a"]), "x: could not convert string to float"),
    (lambda: info.sample_kl([1.0, 2.0], [1.0, 3.0], 1), "x beside y: 1 rows have 1 neighbors at distance 0"),
    (lambda: info.sample_kl([1.0, 2.0], [[1.0, 3.0]], 1), "x has 1 columns, y has 2"),
    (lambda: info.sample_mutual_information([1.0, 2.0], [1.0, 2.0, 3.0], 1), "x has 2 rows, y has 3"),
    *[
        (lambda f=f: f(HALF, [0.5, 0.25, 0.25]), r"p has the shape \(2,\), q \(3,\); allowed: one shape, the same bins")
        for f in PAIRS
    ],
    *[(lambda f=f: f(HALF, [50, 50]), "q: sums to 100; allowed: a sum of 1") for f in PAIRS],
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_input_is_named(number):
    call, said = WRONG[number]
    with pytest.raises(DataError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_single_precision_distributions_pass():
    p = np.random.default_rng(0).dirichlet(np.ones(1000)).astype(np.float32)
    assert info.kl_divergence(p, p) == 0
    assert info.entropy(p) == pytest.approx(stats.entropy(p.astype(float)), rel=1e-9)


def test_the_page_runs():
    """docs/information.md shows what comes out."""
    page = (ROOT / "docs" / "information.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)
    assert all(">>> " in b for b in blocks)
    example = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "information.md", "docs/information.md", 0)
    said = []
    results = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert results.attempted > 10
    assert results.failed == 0, "".join(said)
    for name in info.__all__:
        assert f"`{name}" in page or f"info.{name}" in page
