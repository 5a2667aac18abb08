"""The two axes of the map, from codes on disk: whitened latent axes, or the one latent number and the score."""

from __future__ import annotations

import dataclasses

import numpy as np

__all__ = ["Whitening", "projected"]

#: Codes that are looked at together.
CHUNK = 1 << 16
#: Of the largest variance: an axis of less is constant.
FLAT = 1e-12


@dataclasses.dataclass(frozen=True)
class Whitening:
    """Principal axes of codes, each in units of its own spread: W such that cov((z − m) W) = 1.

    Attributes:
        mean: m, [K].
        axes: W, [K, K], the axis of the largest variance first; 0 for an axis that is constant.

    >>> z = np.random.default_rng(0).normal(size=(5000, 2)) * [3, 0.5] + [1, 2]
    >>> (np.round(np.cov(Whitening.of(z)(z).T), 6) + 0.0).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> Whitening:
        """Of the codes [n, K] that are finite; the mean is taken first, so that no digits are lost."""
        k = codes.shape[1]
        total, mean, square = 0, np.zeros(k), np.zeros((k, k))
        for start in range(0, len(codes), CHUNK):
            z = _finite(codes[start : start + CHUNK])
            total, mean = total + len(z), mean + z.sum(axis=0)
        mean = mean / max(total, 1)
        for start in range(0, len(codes), CHUNK):
            z = _finite(codes[start : start + CHUNK]) - mean
            square += z.T @ z
        size, axes = np.linalg.eigh(square / max(total - 1, 1))
        size, axes = size[::-1], axes[:, ::-1]
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(k)])
        wide = size > FLAT * max(float(size[0]), 1e-300)
        return cls(mean, np.where(wide, axes / np.sqrt(np.where(wide, size, 1.0)), 0.0))

    def __call__(self, codes: np.ndarray, count: int | None = None) -> np.ndarray:
        """The first `count` whitened axes of codes [n, K]: [n, count] float64."""
        return np.asarray((np.asarray(codes, np.float64) - self.mean) @ self.axes[:, :count])


def projected(codes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[str, str]]:
    """Places of rows on the map, x and y [n] float32 each, NaN where a row has none; and what the axes are.

    Args:
        codes: [n, K].
        scores: [n].
    """
    if codes.shape[1] == 1:
        x, y = codes[:, 0].astype(np.float32), scores.astype(np.float32)
        return x, np.where(np.isfinite(x), y, np.nan), ("latent number", "score")
    whitening = Whitening.of(codes)
    places = np.empty((len(codes), 2), np.float32)
    for start in range(0, len(codes), CHUNK):
        places[start : start + CHUNK] = whitening(codes[start : start + CHUNK], 2)
    return places[:, 0].copy(), places[:, 1].copy(), ("whitened latent axis 1", "whitened latent axis 2")


def _finite(codes: np.ndarray) -> np.ndarray:
    z = np.asarray(codes, np.float64)
    return z[np.isfinite(z).all(axis=1)]
