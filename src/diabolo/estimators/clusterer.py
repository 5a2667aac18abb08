"""`LatentClusterer`: clusters of an autoencoder's codes, with labels for new rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.utils.validation import check_is_fitted

from diabolo.cluster.clusters import Clusters, ClusterSettings, find_clusters
from diabolo.cluster.stability import most_likely
from diabolo.config import RandomState, seed_of
from diabolo.data.dtypes import mean_type
from diabolo.data.keeping import like_rows, table_of
from diabolo.data.matching import matched
from diabolo.data.table import Container, RowsOut, TableLike, TableOut, as_table, from_values
from diabolo.errors import ConfigError
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.estimators.displayed import Reported
from diabolo.estimators.faces import AroundAutoencoder
from diabolo.estimators.naming import checked
from diabolo.estimators.plotted import Plotted
from diabolo.file.clusters import clusters_section
from diabolo.file.model_file import ModelFile, save_sections
from diabolo.progress import progress
from diabolo.registry import Spec

__all__ = ["LatentClusterer"]

#: Latent dimensions of the autoencoder that is fitted where none is given, at most.
LATENT_DIM = 10


class LatentClusterer(AroundAutoencoder, Reported, Plotted, ClusterMixin, BaseEstimator):
    """Clusters rows by their codes z = q(x), with a belief in each label and labels for new rows.

    With n_clusters="auto", groups of rows are two clusters only if the density has a valley between them (see
    `diabolo.cluster.number`); where it has none, `n_clusters_` is 1: no cluster structure was found.
    Methods on rows raise DataError for other columns than those of the fit, and NotFittedError before it.

    Args:
        autoencoder: a fitted autoencoder, used as it is; an unfitted one, fitted on X; None for an `Autoencoder` with
            min(10, columns) latent dimensions.
        n_clusters: "auto", or a whole number from 1 up.
        embedding: a step between codes and clusters: "none", or "neighbours", points that keep neighbors together
            (for images and other rows on curved surfaces; minutes rather than seconds).
        method: a partition's name or mapping: "mixture" (Gaussians), "kmeans", "density" (finds their number itself),
            "prior" (the Gaussians of a VAE's own prior="mixture", trained with it).
        n_resamples: bootstrap fits behind `stability_`; 0 for none.
        random_state: seed of everything random, and of the autoencoder if None was given.
        verbose: as in `AnomalyDetector`.

    Attributes:
        labels_: [n] int32, clusters from 0 on by falling size; −1 for a row of no cluster, or that cannot be read.
        confidence_: [n] float32, belief in that label.
        n_clusters_: number of clusters.
        codes_: [n, K] float64.
        embedded_: [n, d] float64, the points clustered: codes, or their embedding (NaN for rows that it left out).
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
    >>> clusterer.method_name_, clusterer.predict_proba(X).shape, clusterer.confidence(X).shape
    ('mixture', (600, 3), (600,))
    >>> clusterer.prototypes_.shape, clusterer.label_table(X).column_names
    ((3, 3), ['cluster', 'confidence'])
    """

    @checked
    def __init__(
        self,
        autoencoder: Autoencoder | None = None,
        n_clusters: int | Literal["auto"] = "auto",
        method: Spec = "mixture",
        embedding: Spec = "none",
        n_resamples: int = 5,
        random_state: RandomState = 0,
        verbose: int = 0,
    ) -> None:
        self.autoencoder = autoencoder
        self.n_clusters = n_clusters
        self.method = method
        self.embedding = embedding
        self.n_resamples = n_resamples
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: TableLike, y: object = None) -> Self:
        """Find clusters of the rows X [n, C]; y is ignored.

        Raises:
            ConfigError: a setting that is wrong.
            DataError: other columns than those of a fitted autoencoder, fewer rows than clusters.
        """
        table, given = as_table(X), self.autoencoder
        if given is not None and not isinstance(given, Autoencoder):
            raise ConfigError(f"autoencoder = {given!r}; allowed are None and diabolo's autoencoders")
        seed = seed_of(self.random_state)
        state = None if self.random_state is None else seed
        settings = ClusterSettings(self.n_clusters, self.method, self.embedding, self.n_resamples, state)
        settings.check(len(table))
        if given is not None and hasattr(given, "model_"):
            ae = given
        else:
            columns = table.values.shape[1]
            fresh = Autoencoder(latent_dim=min(LATENT_DIM, columns), random_state=seed, verbose=self.verbose)
            ae = (fresh if given is None else clone(given)).fit(X)
        table = matched(table, ae.model_.encoding.schema, type(self).__name__)
        with progress("cluster", self.verbose):
            found = find_clusters(ae.model_, table.values, settings, seed)
        self.labels_, self.confidence_ = found.labels, found.confidence
        self.codes_, self.embedded_, self.exemplars_ = found.codes, found.embedded, found.exemplars
        self.stabilities_, self.count_ = found.stabilities, found.count
        return self._adopt(found.clusters, ae, table.container)

    def _adopt(self, clusters: Clusters, ae: Autoencoder, container: Container) -> Self:
        self.clusters_, self.autoencoder_, self._container = clusters, ae, container
        self.n_clusters_, self.sizes_, self.centers_ = clusters.n_clusters, clusters.sizes, clusters.centers
        self.stability_ = clusters.stability
        self.remember_columns(ae.fitted_)
        return self

    @property
    def prototypes_(self) -> TableOut:
        """E[x|z] at each cluster's center, [clusters, C], in original units and X's container; NaN without rows."""
        check_is_fitted(self, "clusters_")
        model = self.autoencoder_.model_
        schema, values = model.encoding.schema, self.clusters_.decoded_centers(model)
        dtypes = [mean_type(c.dtype) for c in schema.columns]
        return from_values(values, schema.names, dtypes, self._container, schema.levels, schema.row_shape)

    @property
    def method_name_(self) -> str:
        """Name of the partition in use."""
        check_is_fitted(self, "clusters_")
        return self.clusters_.method

    # ── new rows ──────────────────────────────────────────────────────────────────────────────────

    def predict_proba(self, X: TableLike) -> np.ndarray:
        """Belief that rows X [n, C] belong to each cluster, [n, clusters] float64; zeros for a row of no cluster."""
        check_is_fitted(self, "clusters_")
        table = matched(as_table(X), self.autoencoder_.model_.encoding.schema, type(self).__name__)
        return self.clusters_.proba(self.autoencoder_.model_, table.values)

    def predict(self, X: TableLike) -> np.ndarray:
        """The cluster of each row of X [n, C], [n] int32; −1 for a row of no cluster. Fitted rows keep `labels_`."""
        return most_likely(self.predict_proba(X))[0]

    def confidence(self, X: TableLike) -> RowsOut:
        """Belief in the label of each of the rows X [n, C], [n] float32 from 0 to 1."""
        return like_rows(X, most_likely(self.predict_proba(X))[1], "confidence")

    def label_table(self, X: TableLike, keep: str | Sequence[str] | None = None) -> TableOut:
        """cluster and confidence of each row: a pandas frame with X's index where X is one, else an Arrow table.

        Args:
            X: rows [n, C] in the columns of the fit, others beside them.
            keep: names of columns of X to carry into the result, like ids.

        Raises:
            DataError: X has no column of that name.
        """
        labels, confidence = most_likely(self.predict_proba(X))
        return table_of(X, {"cluster": labels, "confidence": confidence}, keep)

    # ── the file ──────────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> None:
        """Write the autoencoder and the section `clusters`; its file keeps its other sections.

        Raises:
            OutputError: the file cannot be written.

        >>> import tempfile
        >>> X = np.random.default_rng(0).normal(size=(300, 3))
        >>> clusterer = LatentClusterer(Autoencoder(latent_dim=1, epochs=1), n_clusters=2, n_resamples=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clusterer.save(f"{folder}/my.diabolo")
        ...     LatentClusterer.load(f"{folder}/my.diabolo").n_clusters_
        2
        """
        check_is_fitted(self, "clusters_")
        sections = {**self.autoencoder_.sections(), "clusters": clusters_section(self.clusters_)}
        save_sections(path, type(self).__name__, sections)

    @classmethod
    def from_file(cls, file: ModelFile) -> Self:
        """The estimator of this class that an open model file holds; see `load`."""
        found = file.clusterer
        settings, ae = found.settings, Autoencoder.from_file(file)
        return cls(
            ae, settings.n_clusters, settings.method, settings.embedding, settings.n_resamples, settings.random_state
        )._adopt(found, ae, ae.fitted_.input.container)
