"""Rows and their reconstructions as the network sees them: standardised inputs, and principal components beside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from diabolo.data.encoding import Encoded
from diabolo.data.tiles import TILE, tiles
from diabolo.model.autoencoder import Model
from diabolo.threads import threads_for

__all__ = [
    "PrincipalComponents",
    "Pass",
    "Space",
    "axis_sizes",
    "principal_components",
    "explained_variance",
    "pass_rows",
]

#: Inputs up to which the covariance is decomposed; beyond, the rows' own products are.
MOST_SOLVED = 1_500
#: Rows that an axis is moved in.
MOVED = 256
#: Fewest cells of a column that give a share.
FEWEST_CELLS = 20


@dataclasses.dataclass
class Pass:
    """The results of a pass of rows through a model; K latent dimensions, D inputs."""

    codes: np.ndarray  #: [n, K] posterior means
    spread: np.ndarray | None  #: [n, K] posterior standard deviations of a Gaussian latent
    kl: np.ndarray | None  #: [n, K] nats
    x: np.ndarray  #: [n, D] float32, clipped as they enter
    x_hat: np.ndarray  #: [n, D]; NaN where an output has no place among the inputs
    there: np.ndarray  #: [n, D] bool: cells that are there and are reconstructed
    values: np.ndarray  #: [n, C] E[x|z] in original units


class Space:
    """Which inputs belong to which column."""

    def __init__(self, model: Model) -> None:
        self.model, encoding = model, model.encoding
        self.width = encoding.width
        #: The column of each input, −1 for a slot's presence and for whether a cell is missing.
        self.column = np.full(self.width, -1)
        for block in encoding.blocks:
            if block.kind in ("slots", "missing"):
                continue
            size, n = block.stop - block.start, len(block.columns)
            self.column[block.start : block.stop] = np.asarray(block.columns)[np.arange(size) % n]
        self.counted = self.column >= 0

    def present(self, rows: Encoded, n: int) -> np.ndarray:
        """[n, D] bool."""
        out = np.broadcast_to(self.counted, (n, self.width)).copy()
        if rows.present is not None:
            cells = self.model.encoding.cell_of_input
            out[:, : len(cells)] &= rows.present[:n][:, cells].numpy()
        return out

    def expected(self, theta: torch.Tensor) -> np.ndarray:
        """E[x|z] among the inputs, [n, D]; members are averaged."""
        model = self.model
        out = np.full((*theta.shape[:-1], self.width), np.nan, np.float32)
        for head in model.heads:
            part = theta[..., head.start : head.stop]
            at = slice(head.block.start, head.block.stop)
            if head.block.kind in ("slots", "missing"):
                continue
            if head.likelihood.name == "categorical":
                out[..., at] = part.softmax(-1).numpy()
                continue
            if head.likelihood.name == "von_mises":
                out[..., at] = _mean_direction(part).numpy()
                continue
            out[..., at] = head.likelihood.mean(part, head.units).numpy()
        return np.asarray(out.reshape(-1, *out.shape[-2:]).mean(0))


def _mean_direction(theta: torch.Tensor) -> torch.Tensor:
    """E[cos φ], E[sin φ] of von Mises distributions given by κ (cos φ̂, sin φ̂): A(κ) times the direction, A = I₁/I₀."""
    c, s = theta.chunk(2, dim=-1)
    kappa = (c.square() + s.square() + 1e-12).sqrt()
    length = torch.special.i1e(kappa) / torch.special.i0e(kappa) / kappa
    return torch.cat([c * length, s * length], dim=-1)


def pass_rows(model: Model, values: np.ndarray, axes: int | None = None) -> Pass:
    """Pass rows [n, C] through a model, by so many leading axes of the code where a model nests them."""
    space, n = Space(model), len(values)
    k = model.latent_dim
    codes, x, x_hat = np.empty((n, k)), np.empty((n, space.width), np.float32), np.empty((n, space.width), np.float32)
    there, means = np.empty((n, space.width), bool), np.empty(values.shape)
    stochastic = model.latent.stochastic
    spread, kl = (np.empty((n, k)) if stochastic else None for _ in range(2))
    for part, rows, size in _tiles(model, values):
        posterior = model.posterior(rows)
        theta = model.decode(posterior.mean[..., :axes])
        codes[part] = _alone(posterior.mean)[:size]
        if spread is not None and kl is not None:
            spread[part] = _alone(posterior.std)[:size]
            kl[part] = _alone(posterior.kl(model.prior))[:size]
        x[part] = rows.clipped(model.encoding.clip).x[:size].numpy()
        x_hat[part] = space.expected(theta)[:size]
        there[part] = space.present(rows, size)
        means[part] = _alone(model.mean_values(theta))[:size]
    there &= np.isfinite(x_hat)
    return Pass(codes, spread, kl, x, np.nan_to_num(x_hat), there, means)


def axis_sizes(model: Model, codes: np.ndarray) -> np.ndarray:
    """How far x̂ moves with each latent number of codes [n, K], per unit of it, [K]; 1 each where they are not nested.

    √(mean over rows of ‖x̂(z) − x̂(z with z_j at its mean)‖²) / std(z_j), in standardised inputs. An axis of a nested
    code is as long as any other whether it carries anything or not, so lengths of codes say nothing of rows.
    """
    if model.masking is None:
        return np.ones(codes.shape[1])
    space = Space(model)
    some = codes[:: max(1, len(codes) // MOVED)].astype(np.float32)
    out = np.zeros(codes.shape[1])

    def expected(z: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.nan_to_num(space.expected(model.decode(torch.from_numpy(z))))
        return found

    with torch.inference_mode():
        whole = expected(some)
        for j, spread in enumerate(some.std(axis=0)):
            if spread > 0:
                moved = some.copy()
                moved[:, j] = some[:, j].mean()
                out[j] = np.sqrt(np.square(expected(moved) - whole).sum(axis=1).mean()) / spread
    return out


def _alone(values: torch.Tensor) -> np.ndarray:
    """The mean over member axes."""
    return np.asarray(values.reshape(-1, *values.shape[-2:]).mean(0).numpy())


def _tiles(model: Model, values: np.ndarray) -> Iterator[tuple[slice, Encoded, int]]:
    table = torch.from_numpy(np.require(values, requirements=("C", "W")))
    with torch.inference_mode(), threads_for(TILE * model.multiply_adds):
        for part in tiles(len(values)):
            yield part, model.encoding.encode(table[part]), part.stop - part.start


def explained_variance(
    x: np.ndarray, x_hat: np.ndarray, there: np.ndarray, column: np.ndarray, columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of each column's variance that a reconstruction explains, 1 − Σ(x − x̂)² / Σ(x − x̄)².

    Args:
        x, x_hat, there: [n, D].
        column: of each input.
        columns: C.

    Returns:
        Shares [C], NaN where nothing varies or fewer than 20 cells are there; the two sums, [C] each.
    """
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, x, 0).sum(axis=0, dtype=np.float64) / count
    wrong = (np.where(there, x - x_hat, 0).astype(np.float64) ** 2).sum(axis=0)
    whole = (np.where(there, x - mean, 0).astype(np.float64) ** 2).sum(axis=0)
    known = column >= 0
    error = np.bincount(column[known], wrong[known], columns)
    variance = np.bincount(column[known], whole[known], columns)
    cells = np.bincount(column[known], there.sum(axis=0)[known], columns) / np.maximum(
        np.bincount(column[known], minlength=columns), 1
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where((variance > 1e-9 * max(len(x), 1)) & (cells >= FEWEST_CELLS), 1 - error / variance, np.nan)
    return share, error, variance


@dataclasses.dataclass
class PrincipalComponents:
    """Principal components of inputs: mean [D], axes [D, m] by falling variance, variances [m]."""

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray

    def reconstruct(self, x: np.ndarray, ks: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (k, x̂ of the first k components) for rising k."""
        centered = x - self.mean
        out = np.broadcast_to(self.mean, x.shape).copy()
        done = 0
        for k in ks:
            more = self.axes[:, done:k].astype(np.float32)
            out += (centered @ more) @ more.T
            done = k
            yield k, out


def principal_components(x: np.ndarray, most: int | None = None) -> PrincipalComponents:
    """Principal components of rows x [n, D], the first `most` of them."""
    x = np.asarray(x)
    mean = x.mean(axis=0, dtype=np.float64)
    n, width = x.shape
    if width <= MOST_SOLVED:
        second = np.zeros((width, width))
        for start in range(0, n, 8192):
            piece = x[start : start + 8192] - mean.astype(np.float32)
            second += (piece.T @ piece).astype(np.float64)
        values, axes = np.linalg.eigh(second / max(n, 1))
    else:
        some = (x[:MOST_SOLVED] - mean).astype(np.float64)
        values, left = np.linalg.eigh(some @ some.T / len(some))
        axes = some.T @ left / np.sqrt(np.maximum(values, 1e-30) * len(some))
    values, axes = np.maximum(values[::-1], 0.0)[:most], axes[:, ::-1][:, :most]
    return PrincipalComponents(mean.astype(np.float32), axes, values)
