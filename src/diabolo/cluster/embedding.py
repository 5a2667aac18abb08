"""What lies between codes and clusters: nothing, or a head that pulls neighbors together (UMAP's loss)."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Annotated, Literal, Protocol

import numpy as np
import torch
from annotated_types import Ge, Le, Lt

from diabolo.cluster.graph import fuzzy_graph, nearest, principal
from diabolo.cluster.layout import START, curve, laid_out
from diabolo.registry import Registry

__all__ = ["Embedding", "Head", "embeddings"]

#: Directions of the inputs that neighbors are looked for in, at most.
DIRECTIONS = 50
#: Rows whose embedding is computed together, always as many, so that it does not depend on the rows beside it.
CHUNK = 4_096
#: How the network learns the points: passes, steps at least, rows of a step, Adam's rate, which falls as a cosine.
EPOCHS, FEWEST_STEPS, BATCH, RATE = 30, 1_000, 512, 2e-3


@dataclasses.dataclass
class Head:
    """A network from inputs x [n, D] and codes z [n, K] to an embedding [n, d].

    Attributes:
        mean, directions: [D] and [D, p], the part of the inputs that is looked at.
        shift, scale: [p + K], of those parts and codes.
        weights, biases: of affine layers, with ReLU between them.
    """

    mean: np.ndarray
    directions: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    weights: list[np.ndarray]
    biases: list[np.ndarray]

    @property
    def width(self) -> int:
        return len(self.biases[-1])

    def features(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        raw = np.concatenate([(x - self.mean) @ self.directions, z], axis=1)
        return np.asarray((raw - self.shift) / self.scale)

    def __call__(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """[n, d] float64; a row's embedding does not depend on the rows beside it."""
        out = np.empty((len(x), self.width))
        tile = [np.zeros((CHUNK, part.shape[1]), part.dtype) for part in (x, z)]
        for start in range(0, len(x), CHUNK):
            rows = slice(start, min(start + CHUNK, len(x)))
            size = rows.stop - start
            for padded, part in zip(tile, (x, z), strict=True):
                padded[:size] = part[rows]
            h = self.features(*tile)
            for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                h = h @ weight + bias
                h = np.maximum(h, 0) if i < len(self.weights) - 1 else h
            out[rows] = h[:size]
        return out


class Embedding(Protocol):
    name: str

    def fit(self, x: np.ndarray, z: np.ndarray, seed: int) -> Head | None:
        """Learn from inputs x [n, D] and codes z [n, K]; None stands for the codes themselves."""
        ...


embeddings: Registry[Embedding] = Registry("embedding")


@embeddings.register("none")
class Nothing:
    """The codes as they are."""

    name = "none"

    def fit(self, x: np.ndarray, z: np.ndarray, seed: int) -> Head | None:
        return None


@embeddings.register("neighbours")
class Neighbours:
    """A network that keeps neighbors near: it learns points that minimize UMAP's loss, as ahead of N2D's mixture.

    −Σ_ij v_ij log q_ij + (1 − v_ij) log(1 − q_ij) with q_ij = 1/(1 + a |e_i − e_j|^2b) (McInnes, Healy, Melville 2018,
    arXiv:1802.03426, eq. 18; McConville et al. 2019, arXiv:1908.05968); the network then maps any row, also a new one
    (cf. Sainburg, McInnes, Gentner 2021, arXiv:2009.12981). v is the mean of the fuzzy graphs of codes and of inputs:
    what is near in both counts most.
    """

    name = "neighbours"
    #: Width of the embedding.
    dimensions: Annotated[int, Ge(1), Le(256)] = 10
    #: Neighbors of each row in the graph.
    n_neighbors: Annotated[int, Ge(2), Lt(1024)] = 20
    #: Distance within which neighbors need not come closer.
    min_dist: Annotated[float, Ge(0), Lt(1)] = 0.0
    #: Where neighbors are looked for: "codes", "inputs" (their 50 first principal components), or "both".
    space: Literal["codes", "inputs", "both"] = "both"
    #: Passes over the edges of the graph.
    epochs: Annotated[int, Ge(1), Lt(100_000)] = 200
    #: Points that are pushed away for each two neighbors that are pulled together.
    negatives: Annotated[int, Ge(1), Le(100)] = 5
    #: Width of the network's two hidden layers.
    hidden: Annotated[int, Ge(1), Le(1 << 16)] = 256

    def fit(self, x: np.ndarray, z: np.ndarray, seed: int) -> Head:
        head = _start(x, z, self.hidden, self.dimensions, np.random.default_rng(seed))
        features = head.features(x, z)
        width, k = head.directions.shape[1], min(self.n_neighbors, len(x) - 1)
        views = {"inputs": features[:, :width], "codes": features[:, width:]}
        taken = list(views) if self.space == "both" else [self.space]
        graph = sum(fuzzy_graph(*nearest(views[name], k)) for name in taken)
        start = _spread(np.concatenate([views[name] for name in taken], axis=1), self.dimensions, seed)
        points = laid_out(graph, start, curve(self.min_dist), self.epochs, self.negatives, seed)
        return _learned(head, features, points, seed)


def _spread(rows: np.ndarray, dimensions: int, seed: int) -> np.ndarray:
    """First points: principal components, the first of spread START, and a little noise."""
    mean, directions = principal(rows, dimensions)
    out = 1e-2 * np.random.default_rng(seed).normal(size=(len(rows), dimensions))
    parts = (rows - mean) @ directions
    out[:, : parts.shape[1]] += parts * (START / max(float(parts[:, 0].std()), 1e-12))
    return out


def _start(x: np.ndarray, z: np.ndarray, hidden: int, dimensions: int, rng: np.random.Generator) -> Head:
    mean, directions = principal(x, DIRECTIONS)
    head = Head(mean, directions, np.zeros(1), np.ones(1), [], [])
    raw = np.concatenate([(x - mean) @ directions, z], axis=1)
    head.shift = raw.mean(axis=0)
    # One scale for the inputs' parts and one for the codes: what varies most stays most.
    spread = raw.std(axis=0)
    p = directions.shape[1]
    parts = [np.full(len(s), max(float(np.sqrt(np.square(s).mean())), 1e-12)) for s in (spread[:p], spread[p:])]
    head.scale = np.concatenate(parts)
    widths = [len(head.shift), hidden, hidden, dimensions]
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        gain = 2.0 if i < 2 else 1.0
        head.weights.append(rng.normal(0, np.sqrt(gain / a), (a, b)))
        head.biases.append(np.zeros(b))
    return head


def _learned(head: Head, features: np.ndarray, points: np.ndarray, seed: int) -> Head:
    """The head with weights of least squared error to points [n, d] given features [n, p + K]."""
    center, scale = points.mean(axis=0), float(points.std())
    data = torch.from_numpy(features.astype(np.float32))
    wanted = torch.from_numpy(((points - center) / max(scale, 1e-12)).astype(np.float32))
    parameters = [torch.from_numpy(p.astype(np.float32)).requires_grad_() for p in (*head.weights, *head.biases)]
    layers, n = len(head.weights), len(data)
    size = min(BATCH, max(16, n // 8))
    epochs = max(EPOCHS, -(-FEWEST_STEPS * size // n))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-n // size))
    for _ in range(epochs):
        for rows in torch.randperm(n, generator=generator).split(size):  # type: ignore[no-untyped-call]
            h = data[rows]
            for i in range(layers):
                h = torch.addmm(parameters[layers + i], h, parameters[i])
                h = h.relu() if i < layers - 1 else h
            loss = (h - wanted[rows]).square().mean()
            for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.grad = gradient
            optimizer.step()
            schedule.step()
    arrays = [p.detach().double().numpy() for p in parameters]
    arrays[layers - 1], arrays[-1] = arrays[layers - 1] * scale, arrays[-1] * scale + center
    return dataclasses.replace(head, weights=arrays[:layers], biases=arrays[layers:])
