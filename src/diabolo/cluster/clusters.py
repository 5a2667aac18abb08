"""Clusters of an autoencoder's codes: found among rows, and assigned to new ones."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge

from diabolo.cluster.embedding import Layout, embeddings
from diabolo.cluster.fitted import FittedPartition
from diabolo.cluster.head import ClusterHead
from diabolo.cluster.number import ClusterCount, count_clusters
from diabolo.cluster.partition import Partition, check_number, partitions
from diabolo.cluster.stability import most_likely, stability
from diabolo.data.tiles import padded
from diabolo.errors import ConfigError, DataError
from diabolo.model.autoencoder import Model
from diabolo.model.prior import Prior
from diabolo.registry import Spec

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Clusters", "FoundClusters", "ClusterSettings", "find_clusters"]

#: Rows that clusters are fitted to at most, and that an embedding learns from; all get labels.
MOST_ROWS = 20_000
MOST_EMBEDDED = 100_000


@dataclasses.dataclass(frozen=True)
class ClusterSettings:
    """How clusters are looked for; see `diabolo.LatentClusterer`."""

    n_clusters: Annotated[int, Ge(1)] | Literal["auto"] = "auto"
    method: Spec = "mixture"
    embedding: Spec = "none"
    n_resamples: Annotated[int, Ge(0)] = 5
    random_state: Annotated[int, Ge(0)] | None = 0

    def check(self, rows: int) -> None:
        """Refuse settings that are wrong, or clusters that so many rows cannot have.

        Raises:
            ConfigError: names the setting.
        """
        n = self.n_resamples
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise ConfigError(f"n_resamples = {n!r}; allowed are whole numbers from 0 up")
        embeddings.create(self.embedding)
        check_number(partitions.create(self.method), self.n_clusters, rows)


@dataclasses.dataclass(frozen=True)
class Clusters:
    """Clusters of a model's codes.

    Attributes:
        settings: that found them.
        partition: of the points that were clustered.
        head: network that assigns rows to clusters after an embedding; None without one.
        centers: [clusters, K], mean code of the rows of each cluster, NaN where it has none.
        sizes: [clusters], number of rows.
        stability: mean adjusted Rand index over resamples; NaN without any.
    """

    settings: ClusterSettings
    partition: FittedPartition
    head: ClusterHead | None
    centers: np.ndarray
    sizes: np.ndarray
    stability: float

    @property
    def n_clusters(self) -> int:
        return self.partition.n_clusters

    @property
    def method(self) -> str:
        """Name of the partition."""
        return partitions.create(self.settings.method).name

    def decoded_centers(self, model: Model) -> np.ndarray:
        """E[x|z] at each center, [clusters, C] in the schema's order; NaN for a cluster without rows."""
        there = np.isfinite(self.centers).all(axis=1)
        values = np.full((len(self.centers), len(model.encoding.schema.columns)), np.nan)
        with torch.inference_mode():
            theta = model.decode(torch.from_numpy(self.centers[there].astype(np.float32)))
            values[there] = model.mean_values(theta).numpy()
        return values

    def proba(self, model: Model, values: np.ndarray) -> np.ndarray:
        """Belief that rows [n, C] in the schema's order belong to each cluster, [n, clusters]; zeros if to none."""
        inputs, codes, bad = _seen(model, values, self.settings.embedding, self.head is not None)
        return _beliefs(self.partition, self.head, inputs, codes, bad)


@dataclasses.dataclass(frozen=True)
class FoundClusters:
    """Clusters, and facts of the rows in which they were found; see the attributes of `diabolo.LatentClusterer`."""

    clusters: Clusters
    labels: np.ndarray
    confidence: np.ndarray
    codes: np.ndarray
    embedded: np.ndarray
    exemplars: np.ndarray
    stabilities: np.ndarray
    count: ClusterCount | None


def find_clusters(model: Model, values: np.ndarray, settings: ClusterSettings, seed: int) -> FoundClusters:
    """Find clusters of rows [n, C] in the schema's order.

    Args:
        seed: of everything random.

    Raises:
        ConfigError: a setting that is wrong.
        DataError: fewer rows than clusters.
    """
    settings.check(len(values))
    partition = partitions.create(settings.method)
    wanted = embeddings.create(settings.embedding).name != "none"
    inputs, codes, bad = _seen(model, values, settings.embedding, wanted)
    rows, layout = _laid_out(settings.embedding, inputs, codes, bad, seed)
    embedded = codes if layout is None else np.full((len(codes), layout.points.shape[1]), np.nan)
    if layout is not None:
        embedded[rows] = layout.points
    if len(rows) < 2:
        raise DataError(f"Found {len(rows)} sample(s) to cluster (n_samples={len(values)}); at least 2 rows are needed")
    prior = None if wanted else model.prior
    fitted, count, again = _learned(
        embedded[rows], None if layout is None else layout.graph, partition, settings, prior, seed
    )
    head = None if layout is None else layout.head(fitted.proba(layout.points), seed)
    labels, confidence = most_likely(_beliefs(fitted, head, inputs, codes, bad))
    k = fitted.n_clusters
    centers, exemplars = np.full((k, codes.shape[1]), np.nan), np.full(k, -1)
    sizes = np.bincount(labels[labels >= 0], minlength=k)
    for j in np.flatnonzero(sizes):
        own = np.flatnonzero(labels == j)
        centers[j] = codes[own].mean(axis=0)
        exemplars[j] = own[np.square(codes[own] - centers[j]).sum(axis=1).argmin()]
    mean = float(again.mean()) if len(again) else float("nan")
    clusters = Clusters(settings, fitted, head, centers, sizes, mean)
    return FoundClusters(clusters, labels, confidence, codes, embedded, exemplars, again, count)


def _seen(
    model: Model, values: np.ndarray, embedding: Spec, wanted: bool
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Inputs of the embedding [n, D] float32 if wanted, codes [n, K] float64, and unreadable rows [n] bool."""
    look = embeddings.create(embedding).look
    x = np.empty((len(values), model.encoding.width), np.float32) if wanted else None
    codes, bad = np.empty((len(values), model.latent_dim)), np.zeros(len(values), bool)
    with torch.inference_mode():
        for part, tile in padded(values):
            rows, size = model.encoding.encode(tile), part.stop - part.start
            codes[part] = model.posterior(rows).mean[:size].numpy()
            if x is not None:
                x[part] = look(rows.clipped(model.encoding.clip).x[:size].numpy(), model.encoding.shape is not None)
            if rows.bad is not None:
                bad[part] = rows.bad[:size].numpy()
    return x, codes, bad | ~np.isfinite(codes).all(axis=1)


def _laid_out(
    embedding: Spec, inputs: np.ndarray | None, codes: np.ndarray, bad: np.ndarray, seed: int
) -> tuple[np.ndarray, Layout | None]:
    """The rows that clusters are fitted to, [m], and the embedding's layout of them, if there is one."""
    rows = np.flatnonzero(~bad)
    if inputs is None or len(rows) < 3:
        return rows, None
    if len(rows) > MOST_EMBEDDED:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST_EMBEDDED])
    return rows, embeddings.create(embedding).fit(inputs[rows], codes[rows], seed)


def _learned(
    z: np.ndarray,
    graph: csr_array | None,
    partition: Partition,
    settings: ClusterSettings,
    prior: Prior | None,
    seed: int,
) -> tuple[FittedPartition, ClusterCount | None, np.ndarray]:
    """The partition of points z [m, d], the count of its clusters, and its agreement with those of resamples."""
    seen = np.random.default_rng(seed).permutation(len(z))[:MOST_ROWS] if len(z) > MOST_ROWS else np.arange(len(z))
    count: ClusterCount | None = None
    if settings.n_clusters == "auto" and partition.counted:
        count = count_clusters(z[seen], seed)

        def refit(rows: np.ndarray, draw: int) -> FittedPartition:
            return _counted(partition, count_clusters(z[rows], draw), z[rows], draw)

        found = _counted(partition, count, z[seen], seed)
    else:
        k = 0 if settings.n_clusters == "auto" else int(settings.n_clusters)
        check_number(partition, settings.n_clusters, len(z))

        def refit(rows: np.ndarray, draw: int) -> FittedPartition:
            edges = None if graph is None else graph[rows][:, rows]
            return partition.fit(z[rows], k, draw, prior, edges)

        found = refit(seen, seed)
    resamples = 0 if partition.name == "prior" else int(settings.n_resamples)
    return found, count, stability(z, most_likely(found.proba(z))[0], refit, resamples, seed)


def _counted(partition: Partition, count: ClusterCount, z: np.ndarray, seed: int) -> FittedPartition:
    """The partition into as many clusters as were counted; the mixture that counted them is one already."""
    return count.components if partition.name == "mixture" else partition.fit(z, count.components.n_clusters, seed)


def _beliefs(
    partition: FittedPartition, head: ClusterHead | None, inputs: np.ndarray | None, codes: np.ndarray, bad: np.ndarray
) -> np.ndarray:
    out = np.zeros((len(codes), partition.n_clusters))
    out[~bad] = partition.proba(codes[~bad]) if head is None or inputs is None else head(inputs[~bad], codes[~bad])
    return out
