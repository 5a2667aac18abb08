"""Clusters: known mixtures are found, no structure is said, labels of new rows agree, the file keeps them."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from program import done, refused, rewrite, sections_of
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

from diabolo import Autoencoder, LatentClusterer, LinearAutoencoder
from diabolo.artifact import Section
from diabolo.cluster.fitted import Components
from diabolo.cluster.number import LEVEL, count_clusters, valley
from diabolo.cluster.partition import gaussian_mixture, partitions
from diabolo.cluster.stability import most_likely
from diabolo.errors import ConfigError, DataError, ModelFileError

CENTERS = np.array([[0, 0, 0, 0], [9, 0, 0, 4], [0, 9, 9, 0], [-9, 0, 9, 9]], float)
SHARES = (300, 200, 150, 100)


def blobs(seed=0, centers=CENTERS, shares=SHARES):
    rng = np.random.default_rng(seed)
    X = np.concatenate([rng.normal(c, 1, (n, len(c))) for c, n in zip(centers, shares, strict=True)])
    y = np.repeat(np.arange(len(shares)), shares)
    order = rng.permutation(len(y))
    return X[order], y[order]


@pytest.fixture(scope="module")
def ae():
    return LinearAutoencoder(latent_dim=3).fit(blobs()[0])


@pytest.fixture(scope="module", params=[n for n in partitions if n != "prior"])
def fitted(request, ae):
    return LatentClusterer(ae, method=request.param, n_resamples=1).fit(blobs()[0])


# ── what is found ─────────────────────────────────────────────────────────────────────────────────


def test_known_clusters_are_found_and_counted(fitted):
    _X, y = blobs()
    assert fitted.n_clusters_ == 4
    assert adjusted_rand_score(y, fitted.labels_) >= 0.95
    assert adjusted_rand_score(blobs(1)[1], fitted.predict(blobs(1)[0])) >= 0.95
    assert fitted.stability_ >= 0.95
    assert fitted.sizes_.tolist() == sorted(fitted.sizes_, reverse=True)
    assert fitted.sizes_.sum() == (fitted.labels_ >= 0).sum()


def test_new_rows_get_the_labels_of_the_fit(fitted):
    X = blobs()[0]
    assert np.array_equal(fitted.predict(X), fitted.labels_)
    assert np.array_equal(fitted.predict(X[::-1]), fitted.labels_[::-1])
    assert np.array_equal(fitted.predict(X[7:8]), fitted.labels_[7:8])
    assert np.array_equal(fitted.confidence(X), fitted.confidence_)
    assert fitted.labels_.dtype == np.int32
    assert fitted.confidence_.dtype == np.float32
    proba = fitted.predict_proba(X)
    assert proba.shape == (len(X), 4)
    assert ((proba >= 0) & (proba <= 1 + 1e-12)).all()


def test_prototypes_lie_at_the_centers(fitted):
    _X, y = blobs()
    for j, center in enumerate(CENTERS):
        label = np.bincount(fitted.labels_[(y == j) & (fitted.labels_ >= 0)]).argmax()
        assert np.abs(fitted.prototypes_[label] - center).max() < 1
        assert y[fitted.exemplars_[label]] == j


def test_a_row_that_cannot_be_read_is_of_no_cluster(fitted):
    X = blobs()[0][:3].copy()
    X[1, 0] = np.inf
    assert fitted.predict(X)[1] == -1
    assert fitted.confidence(X)[1] == 0
    assert (fitted.predict(X)[[0, 2]] == fitted.labels_[[0, 2]]).all()


def test_what_is_far_from_dense_rows_is_of_no_cluster(ae):
    dense = LatentClusterer(ae, method="density", n_resamples=0).fit(blobs()[0])
    assert dense.predict([[500, 500, 500, 500]]) == [-1]
    assert np.isnan(dense.stability_)


STRUCTURELESS = {
    "normal": lambda g, n: g.normal(size=(n, 3)),
    "uniform": lambda g, n: g.uniform(size=(n, 3)),
    "skewed": lambda g, n: np.exp(0.7 * g.normal(size=(n, 3))),
    "heavy-tailed": lambda g, n: g.standard_t(3, size=(n, 3)),
    "bent": lambda g, n: (lambda x: np.c_[x[:, 0], x[:, 0] ** 2 / 2 + 0.5 * x[:, 1], x[:, 2]])(g.normal(size=(n, 3))),
}


@pytest.mark.parametrize("shape", STRUCTURELESS)
def test_no_structure_is_one_cluster(shape):
    z = STRUCTURELESS[shape](np.random.default_rng(0), 400)
    assert count_clusters(z, 0).components.n_clusters == 1


def test_a_cluster_of_several_components_stays_one():
    """Two bent clusters: a mixture needs more Gaussians than there are clusters, and valleys say which are one."""
    g = np.random.default_rng(0)
    x = g.uniform(-2, 2, (500, 1))
    z = np.c_[x, x**2 + 0.2 * g.normal(size=(500, 1))]
    z[250:] += [0, 6]
    found = count_clusters(z, 0).components
    assert len(found.weights) > found.n_clusters == 2
    assert adjusted_rand_score(np.arange(500) >= 250, most_likely(found.proba(z))[0]) > 0.98


@pytest.mark.slow
def test_the_number_of_clusters_over_a_hundred_cases():
    found = []
    for seed in range(100):
        g = np.random.default_rng(seed)
        k, dims = int(g.integers(2, 7)), int(g.integers(2, 7))
        centers = g.normal(size=(k, dims))
        gap = min(np.linalg.norm(a - b) for i, a in enumerate(centers) for b in centers[:i])
        X, y = blobs(seed, centers * max(4, 7 / gap), [int(n) for n in g.integers(80, 300, k)])
        count = count_clusters(X, seed).components
        found.append((count.n_clusters == k, adjusted_rand_score(y, most_likely(count.proba(X))[0])))
    right, rand = np.array(found).T
    assert right.mean() >= 0.9
    assert np.median(rand) >= 0.95


# ── the mathematics ───────────────────────────────────────────────────────────────────────────────


def test_p_of_a_valley_holds_where_there_is_none():
    """Halves of a uniform and of a normal sample, cut where they are likeliest to look like two."""
    for draw in (lambda g: g.uniform(size=(200, 2)), lambda g: g.normal(size=(200, 2))):
        small = 0
        for seed in range(200):
            g = np.random.default_rng(seed)
            first, second = draw(g), draw(g)
            cut = np.median(first[:, 0])
            parts = [half[side] for half in (first, second) for side in (half[:, 0] < cut, half[:, 0] >= cut)]
            small += valley(*parts) <= LEVEL
        assert small <= 6  # of 200 at 1 %: P[more] = 0.4 %


def test_p_of_a_valley_is_small_between_clusters():
    g = np.random.default_rng(0)
    a, b, c, d = (g.normal(m, 1, (60, 2)) for m in (0, 5, 0, 5))
    assert valley(a, b, c, d) < 1e-6


def test_beliefs_are_the_posterior_of_the_components():
    z = blobs()[0][:, :2]
    found = gaussian_mixture(z, 3, 0)
    density = np.stack(
        [
            w * multivariate_normal(m, s).pdf(z)
            for w, m, s in zip(found.weights, found.means, found.covariances, strict=True)
        ]
    )
    np.testing.assert_allclose(found.proba(z), (density / density.sum(0)).T, atol=1e-9)
    assert found.log_likelihood(z) == pytest.approx(np.log(density.sum(0)).mean())
    joined = found.regrouped(np.array([0, 5, 0])).proba(z)
    parts = (density / density.sum(0)).T
    for column in (parts[:, 1], parts[:, 0] + parts[:, 2]):
        assert any(np.allclose(column, joined[:, j]) for j in range(2))


SETTINGS = [
    ("density", "min_cluster_size", 100),
    ("density", "min_samples", 60),
    ("density", "eps", 0.05),
    ("mixture", "starts", 1),
    ("kmeans", "starts", 1),
]


@pytest.mark.parametrize(("name", "field", "value"), SETTINGS)
def test_settings_of_partitions_act(name, field, value):
    """In more clusters than there are, so that one start is seldom the best of several."""
    z = np.random.default_rng(0).normal(size=(400, 2))
    if name == "density":
        z[:10] += 30
    parts = [partitions.create(spec) for spec in (name, {"name": name, field: value})]
    same = [np.array_equal(*(part.fit(z, 12, seed).proba(z) for part in parts)) for seed in range(4)]
    assert not all(same)


def test_every_setting_of_a_partition_is_tested():
    known = {(name, f.name) for name in partitions for f in dataclasses.fields(partitions.get(name))}
    assert known == {(name, field) for name, field, _ in SETTINGS}


# ── settings that are wrong ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"n_clusters": 0}, "n_clusters = 0"),
        ({"n_clusters": "many"}, "n_clusters = 'many'"),
        ({"n_clusters": 2.5}, "whole numbers"),
        ({"method": "kmean"}, "did you mean 'kmeans'"),
        ({"method": "density", "n_clusters": 3}, "finds out"),
        ({"embedding": "neighbors"}, "did you mean 'neighbours'"),
        ({"n_resamples": -1}, "n_resamples"),
        ({"autoencoder": "vae"}, "autoencoder"),
    ],
)
def test_wrong_settings_are_refused(settings, word):
    with pytest.raises(ConfigError, match=word):
        LatentClusterer(**settings).fit(blobs()[0])


def test_fewer_rows_than_clusters_are_refused(ae):
    with pytest.raises(DataError, match="n_clusters=9"):
        LatentClusterer(ae, n_clusters=9).fit(blobs()[0][:5])
    with pytest.raises(DataError, match="fewer than a cluster"):
        LatentClusterer(ae, method={"name": "density", "min_cluster_size": 50}).fit(blobs()[0][:20])


# ── the file ──────────────────────────────────────────────────────────────────────────────────────


def test_the_file_keeps_the_clusters(fitted, tmp_path):
    X = blobs(2)[0]
    fitted.save(tmp_path / "m.diabolo")
    again = LatentClusterer.load(tmp_path / "m.diabolo")
    assert np.array_equal(again.predict(X), fitted.predict(X))
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(again.prototypes_, fitted.prototypes_)
    assert again.stability_ == pytest.approx(fitted.stability_)
    assert again.n_clusters_ == 4
    assert np.array_equal(Autoencoder.load(tmp_path / "m.diabolo").transform(X), fitted.autoencoder_.transform(X))


def without(name):
    return lambda card, tensors: tensors.pop(name)


def spoil(name, value, at=0):
    def change(card, tensors):
        tensors[name] = tensors[name].copy()
        tensors[name].flat[at] = value

    return change


DAMAGE = {
    "a tensor missing": (without("means"), "means"),
    "a mean that is none": (spoil("means", np.nan), "finite"),
    "a covariance that is none": (spoil("covariances", -1.0), "fit together"),
    "weights that do not add up": (spoil("weights", 0.9), "weights"),
    "a group left out": (spoil("group", 7), "groups have no component"),
    "a negative size": (spoil("sizes", -4), "sizes"),
    "an unknown method": (lambda card, tensors: card["parameters"]["method"].update(name="kmoans"), "kmoans"),
    "an unknown entry": (lambda card, tensors: card.update(more=1), "more"),
    "a tensor too many": (lambda card, tensors: tensors.update(more=np.zeros(2)), "left over"),
    "codes of another width": (lambda card, tensors: tensors.update(centers=np.zeros((4, 9))), "centers"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_section_is_refused_in_one_line(damage, ae, tmp_path):
    change, word = DAMAGE[damage]
    path = tmp_path / "m.diabolo"
    LatentClusterer(ae, n_clusters=4, n_resamples=0).fit(blobs()[0]).save(path)
    sections = sections_of(path)
    section = sections["clusters"]
    card, tensors = json.loads(json.dumps(section.card)), dict(section.tensors)
    change(card, tensors)
    rewrite(path, {**sections, "clusters": Section(card, tensors)})
    with pytest.raises(ModelFileError, match=word) as failure:
        LatentClusterer.load(path)
    assert "\n" not in str(failure.value)
    assert str(path) in str(failure.value)


def test_a_file_without_clusters_says_how_to_get_some(ae, tmp_path):
    ae.save(tmp_path / "m.diabolo")
    with pytest.raises(ModelFileError, match="diabolo cluster"):
        LatentClusterer.load(tmp_path / "m.diabolo")


# ── the program ───────────────────────────────────────────────────────────────────────────────────


def test_the_program_labels_rows_and_keeps_the_clusters(tmp_path):
    X, y = blobs()
    table = pd.DataFrame(X, columns=list("abcd"))
    table["kind"] = np.where(y == 2, "red", "blue")
    table.to_parquet(tmp_path / "data.parquet")
    ae = Autoencoder(latent_dim=4, epochs=30).fit(table)
    model, data, out = (tmp_path / n for n in ("m.diabolo", "data.parquet", "labels.parquet"))
    ae.save(model)
    before = sections_of(model)["main"].sha256("main")
    said = done("cluster", model, data, "-o", out, "--clusters", "4", "--method", "kmeans", "--set", "starts=3")
    labels = pq.read_table(out)
    assert labels.column_names == ["row", "cluster", "confidence"]
    assert [str(t) for t in labels.schema.types] == ["int64", "int32", "float"]
    assert labels["row"].to_pylist() == list(range(len(X)))
    assert adjusted_rand_score(y, labels["cluster"].to_numpy()) > 0.9
    assert "4 clusters" in said
    assert "stability" in said
    assert re.search(r"clusters +4 by kmeans, stability [\d.]+; rows \d+, ", done("info", model))
    sections = sections_of(model)
    assert set(sections) == {"main", "clusters", "generator"}
    assert sections["main"].sha256("main") == before
    again = LatentClusterer.load(model)
    assert np.array_equal(again.predict(table), labels["cluster"].to_numpy())
    assert done("cluster", model, data, "-o", tmp_path / "again.parquet", "--no-fit", "-q") == ""
    assert pq.read_table(tmp_path / "again.parquet").equals(labels)


def test_the_program_says_when_there_is_no_structure_and_what_is_wrong(ae, tmp_path):
    ae.save(tmp_path / "m.diabolo")
    np.save(tmp_path / "none.npy", np.random.default_rng(0).normal(size=(300, 4)))
    where = (tmp_path / "m.diabolo", tmp_path / "none.npy", "-o", tmp_path / "out.parquet")
    assert "no cluster structure was found" in done("cluster", *where)
    for more, word in ((("--clusters", "none"), "--clusters none"), (("--method", "kmoans"), "kmeans")):
        assert word in refused("cluster", *where, *more)


def test_components_need_no_class_of_their_own():
    one = Components(np.ones(1), np.zeros((1, 2)), np.eye(2)[None], np.zeros(1, np.int64))
    assert one.n_clusters == 1
    assert np.array_equal(one.proba(np.ones((3, 2))), np.ones((3, 1)))
