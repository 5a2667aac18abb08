"""How codes fall into clusters: one registry; a fit is plain arrays (`diabolo.cluster.fitted`)."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt

from diabolo.cluster.communities import merged, modularity, shared
from diabolo.cluster.fitted import Components, Exemplars, FittedPartition
from diabolo.errors import ConfigError, DataError
from diabolo.model.prior import Prior
from diabolo.model.prior.mixture import Mixture as PriorMixture
from diabolo.registry import Entry, Registry

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Partition", "gaussian_mixture", "partitions"]

#: Added to the variances, as a share of the mean variance, so that a component on a line keeps a density.
FLOOR = 1e-4
#: Components for each cluster at the start of runs that end with one.
SPLITS = (1, 1.5, 2, 3)


class Partition(Entry, abc.ABC):
    """A way to fit clusters to codes."""

    #: Whether the number of clusters is given; else the partition finds it.
    counted: ClassVar[bool]

    @abc.abstractmethod
    def fit(
        self, z: np.ndarray, k: int, seed: int, prior: Prior | None = None, graph: csr_array | None = None
    ) -> FittedPartition:
        """Fit k clusters to codes z [n, K] float64; a partition that is not counted ignores k.

        Args:
            prior: the model's π(z), where z are its codes.
            graph: neighbors of the rows, a symmetric sparse matrix [n, n], where z was laid out by it.
        """


partitions: Registry[Partition] = Registry("partition", __package__)


def gaussian_mixture(
    z: np.ndarray,
    k: int,
    seed: int,
    means: np.ndarray | None = None,
    starts: int = 1,
    tied: bool = False,
    groups: np.ndarray | None = None,
) -> Components:
    """k Gaussians by EM (Dempster, Laird, Rubin 1977), from k-means, from given means or from k groups [n] of the rows.

    Each has a covariance of its own, or all have one (`tied`).
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    floor = FLOOR * float(z.var(axis=0).mean()) + 1e-12
    kind = "tied" if tied else "full"
    model = GaussianMixture(k, covariance_type=kind, reg_covar=floor, n_init=starts, means_init=means)
    if groups is not None:
        parts = [z[groups == j] for j in range(k)]
        spreads = np.stack([np.cov(part.T, bias=True).reshape(z.shape[1], -1) for part in parts])
        model.set_params(
            weights_init=np.array([len(part) / len(z) for part in parts]),
            means_init=np.stack([part.mean(axis=0) for part in parts]),
            precisions_init=np.linalg.inv(spreads + floor * np.eye(z.shape[1])),
        )
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        model.set_params(random_state=seed % 2**32).fit(z)
    weights = np.maximum(model.weights_, 1e-12)
    covariances = np.broadcast_to(model.covariances_, (k, z.shape[1], z.shape[1])).copy()
    return Components(weights / weights.sum(), model.means_, covariances, np.arange(k))


@partitions.register("mixture")
class MixturePartition(Partition):
    """Gaussian components of full covariance, one for each cluster where their number is given.

    Of several runs of EM the likeliest is kept. After an embedding it is the run whose clusters cut the fewest edges of
    the graph of neighbors (`diabolo.cluster.communities.modularity`): a layout may tear a cluster in two, and two
    halves far apart are then likelier than two clusters side by side. Its runs start from k groups, each a single
    component or several, merged by the graph.
    """

    counted = True
    #: Runs of EM from different starts; after an embedding, as many for each number of components at the start.
    starts: Annotated[int, Ge(1), Lt(1000)] = 3

    def fit(
        self, z: np.ndarray, k: int, seed: int, prior: Prior | None = None, graph: csr_array | None = None
    ) -> Components:
        found = None if graph is None or k == 1 else self._uncut(z, k, seed, graph)
        found = gaussian_mixture(z, k, seed, starts=self.starts) if found is None else found
        return found.regrouped(found.group)

    def _uncut(self, z: np.ndarray, k: int, seed: int, graph: csr_array) -> Components | None:
        """The k Gaussians of largest modularity; None if there are not even as many groups, or no edges."""
        best, found = -np.inf, None
        for count in sorted({min(round(k * share), len(z) // 4) for share in SPLITS}):
            for start in range(self.starts if count >= k and graph.nnz else 0):
                fine = gaussian_mixture(z, count, seed + start).log_joint(z).argmax(axis=1)
                names, fine = np.unique(fine, return_inverse=True)
                if len(names) < k:
                    continue
                groups = merged(shared(graph, fine, len(names)), k)[fine]
                tried = gaussian_mixture(z, k, seed, groups=groups)
                value = modularity(shared(graph, tried.log_joint(z).argmax(axis=1), k))
                best, found = max((best, found), (value, tried), key=lambda pair: pair[0])
        return found


@partitions.register("kmeans")
class KMeans(Partition):
    """Nearest of k centers (Lloyd 1982); beliefs are those of round Gaussians of one size around them."""

    counted = True
    #: Runs from different starts, of which the tightest is kept.
    starts: Annotated[int, Ge(1), Lt(1000)] = 10

    def fit(
        self, z: np.ndarray, k: int, seed: int, prior: Prior | None = None, graph: csr_array | None = None
    ) -> Components:
        from sklearn.cluster import KMeans as Lloyd

        found = Lloyd(k, n_init=self.starts, random_state=seed % 2**32).fit(z)
        dims = z.shape[1]
        variance = found.inertia_ / (len(z) * dims) + FLOOR * float(z.var(axis=0).mean()) + 1e-12
        rank = np.argsort(-np.bincount(found.labels_, minlength=k), kind="stable")
        covariances = np.broadcast_to(variance * np.eye(dims), (k, dims, dims)).copy()
        return Components(np.full(k, 1 / k), found.cluster_centers_[rank], covariances, np.arange(k))


@partitions.register("density")
class Density(Partition):
    """Dense regions: HDBSCAN (Campello, Moulavi, Sander 2013), or DBSCAN (Ester et al. 1996) where `eps` is given.

    It finds their number itself, and rows may belong to none (−1). A new row follows the nearest fitted row.
    """

    counted = False
    #: Rows that make a cluster; None for 2 % of them, at least 5.
    min_cluster_size: Annotated[int, Ge(2), Lt(1 << 31)] | None = None
    #: Neighbors, the row itself among them, that make a row's surroundings dense.
    min_samples: Annotated[int, Ge(2), Lt(1 << 31)] = 5
    #: Radius of those surroundings in units of the codes' root mean square spread; None leaves it open (HDBSCAN).
    eps: Annotated[float, Gt(0), Lt(1e6)] | None = None

    def fit(
        self, z: np.ndarray, k: int, seed: int, prior: Prior | None = None, graph: csr_array | None = None
    ) -> Exemplars:
        from sklearn.cluster import DBSCAN, HDBSCAN
        from sklearn.neighbors import NearestNeighbors

        few, n = self.min_samples, len(z)
        size = max(5, round(0.02 * n)) if self.min_cluster_size is None else self.min_cluster_size
        if n < max(few, size):
            raise DataError(f"{n} rows are fewer than a cluster has (min_cluster_size {size}, min_samples {few})")
        core = NearestNeighbors(n_neighbors=few).fit(z).kneighbors(z)[0][:, -1]
        if self.eps is None:
            found = HDBSCAN(min_cluster_size=size, min_samples=few, copy=True, allow_single_cluster=True).fit(z)
            labels, confidence = found.labels_.astype(np.int64), np.asarray(found.probabilities_, np.float64)
        else:
            radius = self.eps * float(np.sqrt(z.var(axis=0).sum()))
            labels = DBSCAN(eps=radius, min_samples=few).fit(z).labels_.astype(np.int64)
            confidence = np.where(core <= radius, 1.0, radius / np.maximum(core, radius))
            labels = _large(labels, 2 if self.min_cluster_size is None else self.min_cluster_size)
        labels = _by_size(labels)
        inside = labels >= 0
        reach = float(core[inside].max()) if inside.any() else 0.0
        return Exemplars(z, labels, np.where(inside, np.clip(confidence, 1e-3, 1.0), 0.0), reach)


@partitions.register("prior")
class PriorPartition(Partition):
    """The Gaussians of the VAE's own prior, trained with it (VaDE; Jiang et al. 2017): set prior="mixture" for the fit.

    A Gaussian that is the likeliest for no row makes no cluster.
    """

    counted = False

    def fit(
        self, z: np.ndarray, k: int, seed: int, prior: Prior | None = None, graph: csr_array | None = None
    ) -> Components:
        if not isinstance(prior, PriorMixture):
            raise ConfigError(
                "method 'prior' needs the codes of a model with prior='mixture' and embedding='none': "
                "fit one (diabolo fit --method vae --set prior=mixture), or take the method 'mixture'"
            )
        log_w, means, log_vars = (p[0].detach().double().cpu().numpy() for p in prior.parameters(z.shape[1]))
        covariances = np.exp(log_vars)[:, :, None] * np.eye(z.shape[1])
        every = Components(np.exp(log_w) / np.exp(log_w).sum(), means, covariances, np.arange(len(log_w)))
        used = np.unique(every.log_joint(z).argmax(axis=1))
        weights = every.weights[used] / every.weights[used].sum()
        found = Components(weights, means[used], covariances[used], np.arange(len(used)))
        return found.regrouped(found.group)


def _large(labels: np.ndarray, size: int) -> np.ndarray:
    counts = np.bincount(labels[labels >= 0], minlength=1)
    return np.where((labels >= 0) & (counts[labels] >= size), labels, -1)


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Number clusters from 0 by falling size; −1 stays."""
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    rank = np.full(int(labels.max(initial=-1)) + 2, -1, np.int64)
    rank[names[np.argsort(-counts, kind="stable")]] = np.arange(len(names))
    return np.asarray(rank[labels])


def check_number(partition: Partition, n_clusters: int | str, rows: int) -> None:
    """Refuse a number of clusters that cannot be.

    Raises:
        ConfigError: it is neither "auto" nor a whole number, or the partition takes none.
        DataError: fewer rows than clusters.
    """
    if isinstance(n_clusters, str) and n_clusters == "auto":
        return
    if isinstance(n_clusters, bool) or not isinstance(n_clusters, (int, np.integer)) or n_clusters < 1:
        raise ConfigError(f"n_clusters = {n_clusters!r}; allowed are 'auto' and whole numbers from 1 up")
    if not partition.counted:
        raise ConfigError(
            f"method {partition.name!r} finds out how many clusters there are; leave n_clusters at 'auto', "
            f"not {n_clusters}"
        )
    if rows < n_clusters:
        raise DataError(f"n_samples={rows} is fewer than n_clusters={n_clusters}; give more rows")
