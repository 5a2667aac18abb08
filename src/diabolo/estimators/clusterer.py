"""`LatentClusterer`: clusters of an autoencoder's codes, with labels for new rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.utils.validation import check_is_fitted

from diabolo.cluster.embedding import Layout, embeddings
from diabolo.cluster.fitted import FittedPartition
from diabolo.cluster.head import Head
from diabolo.cluster.number import count_clusters
from diabolo.cluster.partition import Partition, check_number, partitions
from diabolo.cluster.stability import most_likely, stability
from diabolo.data.table import Container, Table, as_table, from_values, matched
from diabolo.errors import ConfigError, DataError
from diabolo.estimators.autoencoder import Autoencoder, mean_type
from diabolo.fitted.table import seed_of

if TYPE_CHECKING:
    from diabolo.cluster.number import Count

__all__ = ["LatentClusterer"]

#: Latent dimensions of the autoencoder that is fitted where none is given, at most.
LATENT_DIM = 10
#: Rows that clusters are fitted to at most, and that an embedding learns from; all get labels.
MOST_ROWS = 20_000
MOST_EMBEDDED = 100_000


class LatentClusterer(ClusterMixin, BaseEstimator):
    """Clusters rows by their codes z = q(x), with a belief in each label and labels for new rows.

    With n_clusters="auto", groups of rows are two clusters only if the density has a valley between them (see
    `diabolo.cluster.number`); where it has none, `n_clusters_` is 1: no cluster structure was found.

    Args:
        autoencoder: a fitted autoencoder, used as it is; an unfitted one, fitted on X; None for an `Autoencoder` with
            min(10, columns) latent dimensions.
        n_clusters: "auto", or a whole number from 1 up.
        embedding: what lies between codes and clusters: "none", or "neighbours", points that keep neighbors together
            (for images and other rows on curved surfaces; minutes rather than seconds).
        method: a partition's name or mapping: "mixture" (Gaussians), "kmeans", "density" (finds their number itself),
            "prior" (the Gaussians of a VAE's own prior="mixture", trained with it).
        n_resamples: bootstrap fits behind `stability_`; 0 for none.
        random_state: seed of everything random, and of the autoencoder if None was given.

    Attributes:
        labels_: [n] int32, clusters from 0 on by falling size; −1 for a row of none (or one that cannot be read).
        confidence_: [n] float32, belief in that label.
        n_clusters_: number of clusters.
        codes_: [n, K] float64.
        embedded_: [n, d] float64, what was clustered: the codes, or their embedding (NaN for rows that it left out).
        centers_: [clusters, K], the mean code of each cluster's rows.
        prototypes_: the centers decoded, E[x|z] in original units, in X's container.
        exemplars_: [clusters] int64, the row whose code is nearest to each center.
        sizes_: [clusters], number of rows.
        stability_: mean adjusted Rand index of `labels_` and those of fits to bootstrap resamples; NaN without any, and
            for "prior".
        count_: how "auto" counted: BIC by number of components and p-values of groups; None for a given number.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(m, 1, (200, 3)) for m in ((0, 0, 0), (9, 0, 0), (0, 9, 9))])
    >>> clusterer = LatentClusterer().fit(X)
    >>> clusterer.n_clusters_, bool(clusterer.predict([[9, 0, 0]])[0] == clusterer.labels_[200])
    (3, True)
    """

    def __init__(
        self,
        autoencoder: Any = None,
        n_clusters: Any = "auto",
        method: Any = "mixture",
        embedding: Any = "none",
        n_resamples: int = 5,
        random_state: Any = 0,
    ) -> None:
        self.autoencoder = autoencoder
        self.n_clusters = n_clusters
        self.method = method
        self.embedding = embedding
        self.n_resamples = n_resamples
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find clusters of the rows X [n, C]; y is ignored.

        Raises:
            ConfigError: a setting that is wrong.
            DataError: other columns than those of a fitted autoencoder, fewer rows than clusters.
        """
        return self._fit_table(as_table(X))

    def _fit_table(self, table: Table) -> Self:
        seed, partition = self._settings(len(table))
        given = self.autoencoder
        if given is not None and hasattr(given, "model_"):
            self.autoencoder_ = given
        else:
            columns = table.values.shape[1]
            fresh = (
                Autoencoder(latent_dim=min(LATENT_DIM, columns), random_state=seed) if given is None else clone(given)
            )
            self.autoencoder_ = fresh._fit_table(table, None)
        schema = self.autoencoder_.model_.encoding.schema
        table = matched(table, schema, type(self).__name__)
        inputs, codes, bad = self._read(table.values, embeddings.create(self.embedding).name != "none")
        rows, layout = self._laid_out(inputs, codes, bad, seed)
        self.embedded_ = codes if layout is None else np.full((len(codes), layout.points.shape[1]), np.nan)
        if layout is not None:
            self.embedded_[rows] = layout.points
        self._learn(self.embedded_[rows], None if layout is None else layout.graph, partition, seed)
        beliefs = None if layout is None else self.partition_.proba(layout.points)
        self.head_: Head | None = None if layout is None or beliefs is None else layout.head(beliefs, seed)
        self.labels_, self.confidence_ = most_likely(self._proba(inputs, codes, bad))
        self._describe(table, codes)
        return self

    def _settings(self, rows: int) -> tuple[int, Partition]:
        given, k = self.autoencoder, self.n_clusters
        if given is not None and not isinstance(given, Autoencoder):
            raise ConfigError(f"autoencoder = {given!r}; allowed are None and diabolo's autoencoders")
        if (
            isinstance(self.n_resamples, bool)
            or not isinstance(self.n_resamples, (int, np.integer))
            or self.n_resamples < 0
        ):
            raise ConfigError(f"n_resamples = {self.n_resamples!r}; allowed are whole numbers from 0 up")
        partition = partitions.create(self.method)
        embeddings.create(self.embedding)
        check_number(partition, k, rows)
        return seed_of(self.random_state), partition

    def _read(self, values: np.ndarray, inputs: bool) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        """What the embedding looks at of inputs [n, D] float32, if asked for, posterior means [n, K] float64, and which
        rows cannot be read, [n] bool.

        The rows are in the schema's order.
        """
        model, embedding = self.autoencoder_.model_, embeddings.create(self.embedding)
        x = np.empty((len(values), model.encoding.width), np.float32) if inputs else None
        codes, bad = np.empty((len(values), model.latent_dim)), np.zeros(len(values), bool)
        with torch.inference_mode():
            for part, rows in self.autoencoder_._tiles(values):
                size = part.stop - part.start
                codes[part] = model.posterior(rows).mean[:size].numpy()
                if x is not None:
                    seen = rows.clipped(model.encoding.clip).x[:size].numpy()
                    x[part] = embedding.look(seen, model.encoding.shape is not None)
                if rows.bad is not None:
                    bad[part] = rows.bad[:size].numpy()
        return x, codes, bad | ~np.isfinite(codes).all(axis=1)

    def _laid_out(
        self, inputs: np.ndarray | None, codes: np.ndarray, bad: np.ndarray, seed: int
    ) -> tuple[np.ndarray, Layout | None]:
        """The rows that clusters are fitted to, [m], and the embedding's layout of them, if there is one."""
        rows = np.flatnonzero(~bad)
        if inputs is None or len(rows) < 3:
            return rows, None
        if len(rows) > MOST_EMBEDDED:
            rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST_EMBEDDED])
        return rows, embeddings.create(self.embedding).fit(inputs[rows], codes[rows], seed)

    def _learn(self, z: np.ndarray, graph: Any, partition: Partition, seed: int) -> None:
        """Fit the partition to points z [m, d], laid out after a graph or not, and see how stable it is."""
        seen = np.random.default_rng(seed).permutation(len(z))[:MOST_ROWS] if len(z) > MOST_ROWS else np.arange(len(z))
        if len(z) < 2:
            given = len(self.embedded_)
            raise DataError(f"Found {len(z)} sample(s) to cluster (n_samples={given}); at least 2 rows are needed")
        self.count_: Count | None = None
        if self.n_clusters == "auto" and partition.counted:
            self.count_ = count_clusters(z[seen], seed)

            def refit(rows: np.ndarray, draw: int) -> FittedPartition:
                return _counted(partition, count_clusters(z[rows], draw), z[rows], draw)

            self.partition_ = _counted(partition, self.count_, z[seen], seed)
        else:
            k = 0 if self.n_clusters == "auto" else int(self.n_clusters)
            check_number(partition, self.n_clusters, len(z))
            prior = self.autoencoder_.model_.prior if embeddings.create(self.embedding).name == "none" else None

            def refit(rows: np.ndarray, draw: int) -> FittedPartition:
                edges = None if graph is None else graph[rows][:, rows]
                return partition.fit(z[rows], k, draw, prior, edges)

            self.partition_ = refit(seen, seed)
        resamples = 0 if partition.name == "prior" else int(self.n_resamples)
        again = stability(z, most_likely(self.partition_.proba(z))[0], refit, resamples, seed)
        self.stability_ = float(again.mean()) if len(again) else float("nan")
        self.stabilities_ = again

    def _proba_of(self, values: np.ndarray) -> np.ndarray:
        """Beliefs of rows in the schema's order."""
        return self._proba(*self._read(values, self.head_ is not None))

    def _proba(self, inputs: np.ndarray | None, codes: np.ndarray, bad: np.ndarray) -> np.ndarray:
        proba, head = np.zeros((len(codes), self.partition_.n_clusters)), self.head_
        if head is None or inputs is None:
            proba[~bad] = self.partition_.proba(codes[~bad])
        else:
            proba[~bad] = head(inputs[~bad], codes[~bad])
        return proba

    def _describe(self, table: Table, codes: np.ndarray) -> None:
        """What is said of the clusters that were found."""
        self.codes_ = codes
        self.n_clusters_ = k = self.partition_.n_clusters
        self.sizes_ = np.bincount(self.labels_[self.labels_ >= 0], minlength=k)
        self.centers_ = np.full((k, codes.shape[1]), np.nan)
        self.exemplars_ = np.full(k, -1)
        for j in np.flatnonzero(self.sizes_):
            rows = np.flatnonzero(self.labels_ == j)
            self.centers_[j] = codes[rows].mean(axis=0)
            self.exemplars_[j] = rows[np.square(codes[rows] - self.centers_[j]).sum(axis=1).argmin()]
        self._adopt(table.container)

    def _adopt(self, container: Container) -> None:
        ae, self._container = self.autoencoder_, container
        self.n_features_in_ = ae.n_features_in_
        if hasattr(ae, "feature_names_in_"):
            self.feature_names_in_ = ae.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    @property
    def prototypes_(self) -> Any:
        """E[x|z] at each cluster's center, in original units and X's container; NaN for one that no row is of."""
        check_is_fitted(self, "partition_")
        ae, there = self.autoencoder_, np.isfinite(self.centers_).all(axis=1)
        schema = ae.model_.encoding.schema
        values = np.full((len(self.centers_), self.n_features_in_), np.nan)
        with torch.inference_mode():
            theta = ae.model_.decode(torch.from_numpy(self.centers_[there].astype(np.float32)))
            values[there] = ae.model_.mean_values(theta).numpy()
        dtypes = [mean_type(c.dtype) for c in schema.columns]
        return from_values(values, schema.names, dtypes, self._container, schema.levels, schema.row_shape)

    @property
    def method_name_(self) -> str:
        """Name of the partition in use."""
        return partitions.create(self.method).name

    # ── new rows ──────────────────────────────────────────────────────────────────────────────────

    def predict_proba(self, X: Any) -> np.ndarray:
        """Belief that rows X [n, C] belong to each cluster, [n, clusters] float64; zeros for a row of none."""
        check_is_fitted(self, "partition_")
        table = matched(as_table(X), self.autoencoder_.model_.encoding.schema, type(self).__name__)
        return self._proba_of(table.values)

    def predict(self, X: Any) -> np.ndarray:
        """The cluster of each of the rows X [n, C], [n] int32; −1 for a row of none. Fitted rows keep `labels_`."""
        return most_likely(self.predict_proba(X))[0]

    def confidence(self, X: Any) -> np.ndarray:
        """Belief in the label of each of the rows X [n, C], [n] float32 from 0 to 1."""
        return most_likely(self.predict_proba(X))[1]

    # ── the file ──────────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> None:
        """Write the autoencoder and the section `clusters`; a file of this very autoencoder keeps its others."""
        from diabolo.artifact import merge_sections
        from diabolo.file.clusters import clusters_section
        from diabolo.file.main import main_section
        from diabolo.generate.drawing import generator_section

        check_is_fitted(self, "partition_")
        ae = self.autoencoder_
        sections = {"main": main_section(ae), "clusters": clusters_section(self), **generator_section(ae)}
        merge_sections(path, sections)

    @staticmethod
    def load(path: str | Path, own_network: bool = False) -> LatentClusterer:
        """Read a clusterer from a model file that has the section `clusters`.

        Raises:
            ModelFileError: the file is damaged, or has no such section.
        """
        from diabolo.file.clusters import load_clusterer

        return load_clusterer(path, own_network)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _counted(partition: Partition, count: Count, z: np.ndarray, seed: int) -> FittedPartition:
    """The partition into as many clusters as were counted; the mixture that counted them is one already."""
    return count.components if partition.name == "mixture" else partition.fit(z, count.components.n_clusters, seed)
