"""The head that keeps neighbors near: its graph, its loss, and what it makes separable."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from program import rewrite, sections_of
from scipy.sparse import csr_array
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from diabolo import LatentClusterer, LinearAutoencoder
from diabolo.artifact import Section
from diabolo.cluster import head, layout
from diabolo.cluster.communities import merged, modularity, shared
from diabolo.cluster.embedding import embeddings
from diabolo.cluster.graph import correlated, fuzzy_graph, nearest_neighbors, principal
from diabolo.cluster.head import Sight, learned
from diabolo.cluster.layout import curve, laid_out, pull, push
from diabolo.cluster.partition import partitions
from diabolo.cluster.stability import most_likely
from diabolo.errors import ModelFileError

QUICK = {"name": "neighbours", "hidden": 64, "dimensions": 2, "n_neighbors": 40, "epochs": 100}


def moons(n=300, seed=0):
    """Two arcs that reach into each other, in four columns, and which is which."""
    g = np.random.default_rng(seed)
    y = np.arange(n) % 2
    angle = g.uniform(0, np.pi, n)
    flat = np.where(y[:, None], np.c_[1 - np.cos(angle), 0.5 - np.sin(angle)], np.c_[np.cos(angle), np.sin(angle)])
    flat += 0.05 * g.normal(size=(n, 2))
    return flat @ np.linalg.qr(np.random.default_rng(9).normal(size=(4, 4)))[0][:2], y


@pytest.fixture(scope="module")
def fitted():
    X = moons()[0]
    return LatentClusterer(LinearAutoencoder(latent_dim=2), n_clusters=2, embedding=QUICK, n_resamples=5).fit(X)


# ── what it is for ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("method", "without", "least"), [("mixture", 0.9, 0.95), ("kmeans", 0.5, 0.85)])
def test_arcs_that_reach_into_each_other_come_apart(fitted, method, without, least):
    X, y = moons()
    plain = LatentClusterer(fitted.autoencoder_, n_clusters=2, method=method, n_resamples=0).fit(X)
    assert adjusted_rand_score(y, plain.labels_) < without
    found = most_likely(partitions.create(method).fit(fitted.embedded_, 2, 0).proba(fitted.embedded_))[0]
    assert adjusted_rand_score(y, found) > least
    assert plain.embedded_.shape == plain.codes_.shape == fitted.codes_.shape
    assert fitted.embedded_.shape == (300, 2)


def test_a_rows_label_does_not_depend_on_the_rows_beside_it(fitted):
    X, y = moons(seed=1)
    assert adjusted_rand_score(y, fitted.predict(X)) > 0.95
    X = moons()[0]
    assert np.array_equal(fitted.predict(X), fitted.labels_)
    assert np.array_equal(fitted.predict_proba(X[5:6]), fitted.predict_proba(X)[5:6])
    assert fitted.stability_ > 0.8


def test_the_file_keeps_the_head(fitted, tmp_path):
    X = moons(seed=2)[0]
    path = tmp_path / "m.diabolo"
    fitted.save(path)
    again = LatentClusterer.load(path)
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))
    sections = sections_of(path)
    for name, value in (("sight_scale", 0.0), ("head_weight_1", np.nan)):
        tensors = {k: v.copy() for k, v in sections["clusters"].tensors.items()}
        tensors[name].flat[0] = value
        rewrite(path, {**sections, "clusters": Section(sections["clusters"].card, tensors)})
        with pytest.raises(ModelFileError, match="head"):
            LatentClusterer.load(path)
    card = {**sections["clusters"].card, "layers": 2}
    rewrite(path, {**sections, "clusters": Section(card, sections["clusters"].tensors)})
    with pytest.raises(ModelFileError):
        LatentClusterer.load(path)


# ── the graph ─────────────────────────────────────────────────────────────────────────────────────


def test_neighbors_are_exact():
    x = np.random.default_rng(0).normal(size=(200, 5)) + 1000
    places, distances = nearest_neighbors(x, 7)
    wanted, at = NearestNeighbors(n_neighbors=8).fit(x).kneighbors(x)
    np.testing.assert_allclose(distances, wanted[:, 1:], rtol=1e-3)
    assert (places == at[:, 1:]).mean() > 0.99


def test_memberships_follow_their_definition():
    x = np.random.default_rng(0).normal(size=(60, 3))
    places, distances = nearest_neighbors(x, 5)
    graph = fuzzy_graph(places, distances).toarray()
    one_way = np.zeros((60, 60))
    for i in range(60):
        beyond = distances[i] - distances[i, 0]
        scales = np.logspace(-4, 4, 20_001)
        sigma = scales[np.abs(np.exp(-beyond[:, None] / scales).sum(0) - np.log2(5)).argmin()]
        one_way[i, places[i]] = np.exp(-beyond / sigma)
    np.testing.assert_allclose(graph, one_way + one_way.T - one_way * one_way.T, atol=2e-3)
    assert np.array_equal(graph, graph.T)
    assert graph.max() <= 1


def test_equal_rows_are_neighbors():
    x = np.repeat(np.random.default_rng(0).normal(size=(4, 2)), 5, axis=0)
    graph = fuzzy_graph(*nearest_neighbors(x, 4)).toarray()
    assert np.isfinite(graph).all()
    assert (graph[:5, :5][~np.eye(5, dtype=bool)] > 0.99).all()


def test_principal_directions_are_those_of_largest_variance():
    x = np.random.default_rng(0).normal(size=(500, 4)) * [1, 5, 2, 0.1]
    mean, directions = principal(x, 2)
    np.testing.assert_allclose(mean, x.mean(0))
    assert np.abs(directions[1, 0]) > 0.99
    assert np.abs(directions[2, 1]) > 0.99


def test_distances_of_correlated_rows_tell_their_correlation():
    x = np.random.default_rng(0).normal(size=(6, 30)) + 5
    rows = correlated(x)
    squared = np.square(rows[:, None] - rows[None]).sum(-1)
    np.testing.assert_allclose(squared, 2 - 2 * np.corrcoef(x), atol=1e-12)
    np.testing.assert_allclose(correlated(3 * x + 7), rows, atol=1e-12)
    assert np.array_equal(correlated(np.full((1, 30), 0.1, np.float32)), np.zeros((1, 30)))


def test_images_are_looked_at_without_their_contrast():
    x = np.random.default_rng(0).normal(size=(4, 9))
    auto, plain, told = (
        embeddings.create({"name": "neighbours", "metric": m}) for m in ("auto", "euclidean", "correlation")
    )
    assert np.array_equal(auto.look(x, True), correlated(x))
    assert np.array_equal(told.look(x, False), correlated(x))
    for same in (auto.look(x, False), plain.look(x, True), embeddings.create("none").look(x, True)):
        assert same is x


# ── which grouping ────────────────────────────────────────────────────────────────────────────────


def two_cliques_and_a_bridge():
    """Nodes 0–3 and 4–7, each with all of their own, and an edge between 3 and 4."""
    graph = np.zeros((8, 8))
    graph[:4, :4] = graph[4:, 4:] = 1
    graph[3, 4] = graph[4, 3] = 1
    np.fill_diagonal(graph, 0)
    return csr_array(graph)


def test_modularity_is_its_formula():
    """Of 13 edges 12 are inside, and half of all ends are in each group: 12/13 − 1/2."""
    graph, y = two_cliques_and_a_bridge(), np.arange(8) // 4
    assert modularity(shared(graph, y, 2)) == pytest.approx(12 / 13 - 1 / 2)
    assert modularity(shared(graph, 0 * y, 1)) == pytest.approx(0)
    assert modularity(shared(graph, np.arange(8) % 2, 2)) < 0.1


def test_groups_that_share_edges_are_merged():
    graph, fine = two_cliques_and_a_bridge(), np.array([0, 0, 3, 3, 1, 1, 2, 2])
    at = merged(shared(graph, fine, 4), 2)
    assert at[fine].tolist() in ([0] * 4 + [1] * 4, [1] * 4 + [0] * 4)
    assert np.array_equal(merged(shared(graph, fine, 4), 4), np.arange(4))


def test_what_a_layout_tears_apart_stays_one_cluster():
    """Three groups by the graph; the first lies in two heaps, the others side by side: likelihood is fooled."""
    g = np.random.default_rng(0)
    y = np.arange(600) // 200
    z = 0.1 * g.normal(size=(600, 2)) + np.array([[0, 0], [9, 0], [9, 0.6]])[y]
    z[:100, 0] -= 5
    graph = csr_array((y[:, None] == y) & (g.random((600, 600)) < 0.05)).astype(float)
    fooled, kept = (partitions.create("mixture").fit(z, 3, 0, graph=edges) for edges in (None, graph + graph.T))
    assert adjusted_rand_score(y, most_likely(fooled.proba(z))[0]) < 0.8
    assert adjusted_rand_score(y, most_likely(kept.proba(z))[0]) > 0.95
    no_edges = partitions.create("mixture").fit(z, 3, 0, graph=csr_array((600, 600)))
    assert np.array_equal(no_edges.means, fooled.means)


# ── the head ──────────────────────────────────────────────────────────────────────────────────────


def test_the_head_learns_beliefs_and_rows_of_no_cluster(monkeypatch):
    monkeypatch.setattr("diabolo.cluster.head.FEWEST_STEPS", 400)
    X, y = moons(200)
    sight = Sight.of(X, X[:, :2])
    beliefs = np.eye(2)[y] * np.where(X[:, :1] > np.median(X[:, 0]), 1, 0)
    head = learned(sight, sight(X, X[:, :2]), beliefs, 64, 0)
    found = head(X, X[:, :2])
    assert head.biases[-1].shape == (3,)
    assert (most_likely(found)[0] == most_likely(beliefs)[0]).mean() > 0.98
    assert np.array_equal(head(X[3:9], X[3:9, :2]), found[3:9])
    assert learned(sight, sight(X, X[:, :2]), np.eye(2)[y], 64, 0).biases[-1].shape == (2,)


def test_what_is_seen_has_one_scale_for_inputs_and_one_for_codes():
    x = np.random.default_rng(0).normal(size=(500, 4)) * [1, 5, 2, 0.1] + 3
    seen = Sight.of(x, 100 * x[:, :2])(x, 100 * x[:, :2])
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-9)
    assert seen[:, :4].var(0).mean() == pytest.approx(1)
    assert seen[:, 4:].var(0).mean() == pytest.approx(1)
    assert seen[:, 0].std() / seen[:, 1].std() == pytest.approx(2.5, rel=0.1)


# ── the loss ──────────────────────────────────────────────────────────────────────────────────────


def test_curve_is_the_published_one():
    """umap-learn's a and b for min_dist 0.1 and spread 1."""
    assert curve(0.1) == pytest.approx((1.577, 0.895), abs=2e-3)


def pair_cross_entropy(squared, membership, a, b):
    """−v log q − (1 − v) log(1 − q) per pair, with q = 1/(1 + a d^2b), of squared distances."""
    q = 1 / (1 + a * squared**b)
    return torch.nn.functional.binary_cross_entropy(q, membership.expand_as(q), reduction="none")


def test_pull_and_push_are_the_gradients_of_the_cross_entropy():
    a, b = curve(0.0)
    gap = torch.tensor([[0.3, -0.4], [1.5, 2.0], [0.1, 0.0]], requires_grad=True)
    squared = gap.square().sum(1)
    for membership, force in ((1.0, pull), (0.0, push)):
        loss = pair_cross_entropy(squared, torch.tensor(membership), a, b).sum()
        (gradient,) = torch.autograd.grad(loss, gap, retain_graph=True)
        wanted = force(squared, a, b).unsqueeze(1) * gap
        torch.testing.assert_close(-gradient[:2], wanted[:2].detach(), rtol=0.01, atol=1e-6)


def test_forces_are_finite_where_points_fall_together():
    zero = torch.zeros(1)
    assert torch.isfinite(pull(zero, 1.9, 0.8)).all()
    assert torch.isfinite(push(zero, 1.9, 0.8)).all()


def test_steps_of_the_same_point_add_up():
    rows, steps = torch.tensor([[0, 2, 0], [1, 1, 2]]), torch.arange(12.0).view(2, 3, 2)
    wanted = torch.zeros(4, 2).index_add_(0, rows.flatten(), steps.flatten(0, 1))
    assert torch.equal(layout._gathered(rows, steps, 4), wanted)


def test_pushes_of_a_few_are_those_of_all_on_average():
    """A point among others, three groups and a part of one: the mean of many draws is the sum over all, by share."""
    shape, g = curve(0.0), torch.Generator().manual_seed(0)
    points = torch.randn(50, 3, generator=g)
    here = torch.tensor([[0.5, -0.2, 0.1]]).expand(3 * layout.TOGETHER + 5, 3)
    drawn = torch.stack([layout._pushed(here, points, shape, g)[:: layout.TOGETHER].mean(0) for _ in range(400)])
    gap = here[:1] - points
    wanted = layout.OTHERS * (push(gap.square().sum(1), *shape).unsqueeze(1) * gap).mean(0)
    torch.testing.assert_close(drawn.mean(0), wanted, rtol=0.05, atol=0.2)
    assert layout._pushed(here, points, shape, g).shape == here.shape


def test_no_step_is_longer_than_the_longest():
    squared = torch.tensor([1e-30, 1e-4, 1.0, 1e6])
    coefficient = torch.tensor([-1e30, -1e5, -1e2, -1e-3])
    assert (layout._short(coefficient, squared).abs() * squared.sqrt() <= layout.CLIP * 1.001).all()
    assert layout._short(coefficient, squared)[3] == coefficient[3]


def test_laying_out_lowers_the_loss():
    x = np.random.default_rng(0).normal(size=(120, 3))
    graph, shape = fuzzy_graph(*nearest_neighbors(x, 8)), curve(0.0)
    v = torch.from_numpy(graph.toarray())
    off = ~torch.eye(120, dtype=bool)

    def loss(points):
        squared = torch.cdist(torch.from_numpy(points), torch.from_numpy(points)).square()[off]
        return float(pair_cross_entropy(squared, v[off], *shape).mean())

    start = np.random.default_rng(1).normal(size=(120, 2))
    assert loss(laid_out(graph, start, shape, 50, 5, 0)) < 0.7 * loss(start)


CHANGES = {
    "dimensions": 3,
    "n_neighbors": 10,
    "min_dist": 0.5,
    "space": "codes",
    "metric": "correlation",
    "epochs": 9,
    "negatives": 1,
    "hidden": 16,
}


def test_every_setting_acts(monkeypatch):
    monkeypatch.setattr(head, "FEWEST_STEPS", 60)
    monkeypatch.setattr(head, "EPOCHS", 2)
    assert set(CHANGES) == {f.name for f in dataclasses.fields(embeddings.get("neighbours"))}
    x = moons(100)[0].astype(np.float32)
    z = np.abs(x[:, :2].astype(float))

    def found(**settings):
        made = embeddings.create({**QUICK, "epochs": 20, **settings})
        layout = made.fit(made.look(x, False), z, 0)
        return layout.points, layout.head(np.eye(2)[np.arange(100) % 2], 0)(made.look(x, False), z)

    before = found()
    assert all(np.array_equal(*two) for two in zip(before, found(), strict=True))
    for name, value in CHANGES.items():
        at = 1 if name == "hidden" else 0
        after = found(**{name: value})[at]
        assert after.shape != before[at].shape or not np.allclose(after, before[at], rtol=1e-2), name
    assert not np.allclose(found(space="codes")[0], found(space="inputs")[0], rtol=1e-2)
