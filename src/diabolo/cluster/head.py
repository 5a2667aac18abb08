"""The network that assigns rows to clusters after an embedding, whose clusters it learns."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import torch

from diabolo.cluster.graph import principal

__all__ = ["ClusterHead", "Sight", "learned"]

#: Principal directions of the inputs, at most.
DIRECTIONS = 50
#: Rows that are looked at together, always as many, so that a row's cluster does not depend on the rows beside it.
CHUNK = 4_096
#: How the network learns: passes, steps at least, rows of a step, Adam's rate, which falls as a cosine.
EPOCHS, FEWEST_STEPS, BATCH, RATE = 30, 1_000, 512, 2e-3
#: The head has a class of rows without a cluster if some belief in it is above this.
NONE = 1e-9


@dataclasses.dataclass
class Sight:
    """The head's inputs, of inputs x [n, D] and codes z [n, K]: principal components of x, and z.

    Attributes:
        mean, directions: [D] and [D, p], of the principal components.
        shift, scale: [p + K], of those parts and codes.
    """

    mean: np.ndarray
    directions: np.ndarray
    shift: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, z: np.ndarray) -> Sight:
        """With at most 50 directions; one scale for the components and one for the codes, of mean variance 1 each.

        So the largest directions stay the largest.
        """
        mean, directions = principal(x, DIRECTIONS)
        raw = np.concatenate([(x - mean) @ directions, z], axis=1)
        spread, p = raw.std(axis=0), directions.shape[1]
        scales = [np.full(len(s), max(float(np.sqrt(np.square(s).mean())), 1e-12)) for s in (spread[:p], spread[p:])]
        return cls(mean, directions, raw.mean(axis=0), np.concatenate(scales))

    def __call__(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        raw = np.concatenate([(x - self.mean) @ self.directions, z], axis=1)
        return np.asarray((raw - self.shift) / self.scale)


@dataclasses.dataclass
class ClusterHead:
    """A network from rows, as `sight` shows them, to beliefs in k clusters.

    Attributes:
        sight: the inputs.
        weights, biases: of affine layers, with ReLU between them and a softmax at the end; the last one has k outputs,
            or k + 1, the last of which says that a row is of no cluster.
        n_clusters: k.
    """

    sight: Sight
    weights: list[np.ndarray]
    biases: list[np.ndarray]
    n_clusters: int

    def __call__(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Beliefs [n, k] float64, 0 for a row of no cluster; they do not depend on the rows beside a row."""
        out = np.empty((len(x), self.n_clusters))
        tile = [np.zeros((CHUNK, part.shape[1]), part.dtype) for part in (x, z)]
        for start in range(0, len(x), CHUNK):
            rows = slice(start, min(start + CHUNK, len(x)))
            size = rows.stop - start
            for padded, part in zip(tile, (x, z), strict=True):
                padded[:size] = part[rows]
            h = self.sight(*tile)
            for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                h = h @ weight + bias
                h = np.maximum(h, 0) if i < len(self.weights) - 1 else h
            beliefs = np.exp(h - h.max(axis=1, keepdims=True))
            beliefs /= beliefs.sum(axis=1, keepdims=True)
            beliefs[beliefs.argmax(axis=1) >= self.n_clusters] = 0
            out[rows] = beliefs[:size, : self.n_clusters]
        return out


def learned(sight: Sight, seen: np.ndarray, beliefs: np.ndarray, hidden: int, seed: int) -> ClusterHead:
    """The head of least cross-entropy −Σ_j r_ij log p_j(x_i) to beliefs r [n, k] (Hinton, Vinyals, Dean 2015).

    The source is arXiv:1503.02531. If a row's beliefs sum to less than 1, the rest is belief that it has no cluster.

    Args:
        sight: the head's inputs.
        seen: these inputs for the n rows, [n, p + K].
        beliefs: theirs.
        hidden: width of the two hidden layers.
        seed: of the start and of the order of rows.
    """
    k, none = beliefs.shape[1], np.maximum(1 - beliefs.sum(axis=1), 0)
    wanted = np.concatenate([beliefs, none[:, None]], axis=1) if none.max() > NONE else beliefs
    rng = np.random.default_rng(seed)
    sizes = list(itertools.pairwise([seen.shape[1], hidden, hidden, wanted.shape[1]]))
    weights = [rng.normal(0, np.sqrt((2 if i < 2 else 0.1) / a), (a, b)) for i, (a, b) in enumerate(sizes)]
    parameters = [
        torch.from_numpy(p.astype(np.float32)).requires_grad_() for p in (*weights, *(np.zeros(b) for _, b in sizes))
    ]
    _descend(parameters, torch.from_numpy(seen.astype(np.float32)), torch.from_numpy(wanted.astype(np.float32)), seed)
    arrays = [p.detach().double().numpy() for p in parameters]
    return ClusterHead(sight, arrays[: len(sizes)], arrays[len(sizes) :], k)


def _descend(parameters: list[torch.Tensor], data: torch.Tensor, wanted: torch.Tensor, seed: int) -> None:
    layers, n = len(parameters) // 2, len(data)
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
            loss = torch.nn.functional.cross_entropy(h, wanted[rows])
            for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.grad = gradient
            optimizer.step()
            schedule.step()
