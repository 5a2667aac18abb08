"""The step between codes and clusters: none, or points that keep neighbors together (UMAP's loss)."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, Lt

from diabolo.cluster.graph import correlated, fuzzy_graph, nearest_neighbors, principal
from diabolo.cluster.head import ClusterHead, Sight, learned
from diabolo.cluster.layout import START, curve, laid_out
from diabolo.registry import Entry, Registry

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Embedding", "Layout", "embeddings"]


@dataclasses.dataclass
class Layout:
    """Points that clusters are fitted to, and the parts of the network that finds the clusters of other rows.

    Attributes:
        points: [n, d].
        graph: the neighbors that they keep together, a symmetric sparse matrix [n, n].
        sight, seen: the map from a row to the head's inputs, and these inputs for the n rows.
        hidden: width of the head's layers.
    """

    points: np.ndarray
    graph: csr_array
    sight: Sight
    seen: np.ndarray
    hidden: int

    def head(self, beliefs: np.ndarray, seed: int) -> ClusterHead:
        """The head that learns beliefs [n, k] of the n rows."""
        return learned(self.sight, self.seen, beliefs, self.hidden, seed)


class Embedding(Entry, abc.ABC):
    """A way to lay out rows ahead of the fit of clusters."""

    @abc.abstractmethod
    def look(self, x: np.ndarray, image: bool) -> np.ndarray:
        """Inputs x [n, D] as the embedding compares them, [n, D]; `image` says whether each row is one."""

    @abc.abstractmethod
    def fit(self, x: np.ndarray, z: np.ndarray, seed: int) -> Layout | None:
        """Lay out inputs x [n, D], as looked at, with codes z [n, K]; None stands for the codes themselves."""


embeddings: Registry[Embedding] = Registry("embedding", __package__)


@embeddings.register("none")
class NoEmbedding(Embedding):
    """The codes as they are."""

    def look(self, x: np.ndarray, image: bool) -> np.ndarray:
        return x

    def fit(self, x: np.ndarray, z: np.ndarray, seed: int) -> Layout | None:
        return None


@embeddings.register("neighbours")
class NeighborEmbedding(Embedding):
    """Points that keep neighbors together and others apart, of small UMAP loss, as ahead of N2D's mixture.

    −Σ_ij v_ij log q_ij + (1 − v_ij) log(1 − q_ij) with q_ij = 1/(1 + a |e_i − e_j|^2b) (McInnes, Healy, Melville 2018,
    arXiv:1802.03426, eq. 18; McConville et al. 2019, arXiv:1908.05968). v is the fuzzy graph of nearest neighbors by
    |x_i − x_j|² / s_x² + |z_i − z_j|² / s_z², inputs and codes in units of their own spread s² (the sum of variances):
    the input keeps details that the code has lost, and the code weighs the parts of the input. Clusters are fitted to
    the points. A network then learns from inputs and codes the cluster of any row, also of a new one.
    """

    #: Dimensions of the points.
    dimensions: Annotated[int, Ge(1), Le(256)] = 10
    #: Neighbors of each row in the graph.
    n_neighbors: Annotated[int, Ge(2), Lt(1024)] = 20
    #: Distance within which neighbors need not come closer.
    min_dist: Annotated[float, Ge(0), Lt(1)] = 0.0
    #: Where neighbors are looked for: "codes", "inputs" (their 50 first principal components), or "both".
    space: Literal["codes", "inputs", "both"] = "both"
    #: How far apart inputs are: "euclidean", |x_i − x_j|; "correlation", √(2 − 2r) with r the correlation of the two
    #: rows, for columns of one unit: blind to brightness and contrast; "auto", correlation for images.
    metric: Literal["auto", "euclidean", "correlation"] = "auto"
    #: Passes over the edges of the graph.
    epochs: Annotated[int, Ge(1), Lt(100_000)] = 200
    #: Points that are pushed away for each two neighbors that are pulled together.
    negatives: Annotated[int, Ge(1), Le(100)] = 5
    #: Width of the network's two hidden layers.
    hidden: Annotated[int, Ge(1), Le(1 << 16)] = 256

    def look(self, x: np.ndarray, image: bool) -> np.ndarray:
        return correlated(x) if self.metric == "correlation" or (self.metric == "auto" and image) else x

    def fit(self, x: np.ndarray, z: np.ndarray, seed: int) -> Layout:
        sight = Sight.of(x, z)
        seen, p = sight(x, z), sight.directions.shape[1]
        # Of mean variance 1 in each column so far; of sum 1 in each part.
        parts = {"inputs": seen[:, :p] / np.sqrt(p), "codes": seen[:, p:] / np.sqrt(z.shape[1])}
        taken = list(parts.values()) if self.space == "both" else [parts[self.space]]
        space = np.concatenate(taken, axis=1)
        graph = fuzzy_graph(*nearest_neighbors(space, min(self.n_neighbors, len(x) - 1)))
        start = _spread(space, self.dimensions, seed)
        points = laid_out(graph, start, curve(self.min_dist), self.epochs, self.negatives, seed)
        return Layout(points, graph, sight, seen, self.hidden)


def _spread(rows: np.ndarray, dimensions: int, seed: int) -> np.ndarray:
    """First points: principal components, the first of spread START, and a little noise."""
    mean, directions = principal(rows, dimensions)
    out = 1e-2 * np.random.default_rng(seed).normal(size=(len(rows), dimensions))
    parts = (rows - mean) @ directions
    out[:, : parts.shape[1]] += parts * (START / max(float(parts[:, 0].std()), 1e-12))
    return out
