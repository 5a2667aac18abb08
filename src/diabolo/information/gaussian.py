"""Amounts of information of Gaussian distributions, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from diabolo.errors import DataError
from diabolo.information.base import in_base

__all__ = ["gaussian_entropy", "gaussian_kl", "gaussian_mutual_information"]


def gaussian_entropy(cov: ArrayLike, *, base: float | None = None) -> float:
    """Differential entropy ½ log det(2πe Σ) of a Gaussian; its mean plays no part.

    Args:
        cov: [d, d] covariance, [d] variances of independent axes, or one variance.
        base: of the logarithm; None for nats, 2 for bits.

    Raises:
        DataError: cov is not symmetric and positive definite.

    >>> round(gaussian_entropy(1.0), 4)
    1.4189
    """
    factor = _factor("cov", cov)
    return in_base(len(factor) / 2 * np.log(2 * np.pi * np.e) + _half_log_det(factor), base)


def gaussian_kl(
    mean0: ArrayLike, cov0: ArrayLike, mean1: ArrayLike, cov1: ArrayLike, *, base: float | None = None
) -> float:
    """D_KL(N(μ0, Σ0) ‖ N(μ1, Σ1)) = ½ [tr(Σ1⁻¹ Σ0) + (μ1 − μ0)ᵀ Σ1⁻¹ (μ1 − μ0) − d + log(det Σ1 / det Σ0)].

    Args:
        mean0, mean1: [d], or one number.
        cov0, cov1: [d, d] covariances, [d] variances of independent axes, or one variance.
        base: of the logarithm; None for nats, 2 for bits.

    Raises:
        DataError: a covariance is not symmetric and positive definite, or the shapes do not fit.

    >>> gaussian_kl([0.0, 2.0], [1.0, 1.0], [0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    2.0
    """
    factors = _factor("cov0", cov0), _factor("cov1", cov1)
    means = [np.atleast_1d(np.asarray(m, np.float64)) for m in (mean0, mean1)]
    d = len(factors[0])
    if len(factors[1]) != d or any(m.shape != (d,) for m in means):
        shapes = f"means {means[0].shape} and {means[1].shape}, covariances of {d} and {len(factors[1])} axes"
        raise DataError(f"{shapes}; allowed: means [d] and covariances [d], [d, d] of one d")
    if not np.isfinite(means).all():
        raise DataError("a mean is not finite; allowed: finite numbers")
    scaled = np.linalg.solve(factors[1], np.column_stack([factors[0], means[1] - means[0]]))
    log_ratio = _half_log_det(factors[1]) - _half_log_det(factors[0])
    return in_base(max(((scaled**2).sum() - d) / 2 + log_ratio, 0.0), base)


def gaussian_mutual_information(cov: ArrayLike, split: int = 1, *, base: float | None = None) -> float:
    """I(X; Y) = ½ log(det Σ_x det Σ_y / det Σ) of a joint Gaussian; −½ log(1 − ρ²) for two numbers of correlation ρ.

    Args:
        cov: [d, d], the joint covariance.
        split: X is the first `split` axes, Y the rest; from 1 to d − 1.
        base: of the logarithm; None for nats, 2 for bits.

    Raises:
        DataError: cov is not symmetric and positive definite, or split leaves one side empty.

    >>> round(gaussian_mutual_information([[1.0, 0.6], [0.6, 1.0]]), 4)
    0.2231
    """
    factor = _factor("cov", cov)
    d = len(factor)
    if not 1 <= split < d:
        raise DataError(f"split {split}: allowed are whole numbers from 1 to {d - 1}, below the {d} axes of cov")
    full = factor @ factor.T
    parts = np.linalg.cholesky(full[:split, :split]), np.linalg.cholesky(full[split:, split:])
    return in_base(max(_half_log_det(parts[0]) + _half_log_det(parts[1]) - _half_log_det(factor), 0.0), base)


def _factor(name: str, cov: ArrayLike) -> np.ndarray:
    """The lower Cholesky factor [d, d] of a covariance, of variances or of one variance."""
    array = np.asarray(cov, np.float64)
    if array.ndim < 2:
        array = np.diag(np.atleast_1d(array))
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not len(array):
        raise DataError(f"{name}: shape {array.shape}; allowed: [d, d], [d] variances or one variance")
    if not np.isfinite(array).all():
        raise DataError(f"{name}: a number is not finite; allowed: a symmetric positive definite matrix")
    if not np.allclose(array, array.T, rtol=1e-8, atol=0):
        raise DataError(f"{name}: not symmetric; allowed: a symmetric positive definite matrix")
    try:
        return np.linalg.cholesky(array)
    except np.linalg.LinAlgError:
        least = np.linalg.eigvalsh(array)[0]
        said = "variances above 0 in every direction; drop axes that are constant or follow from others"
        raise DataError(f"{name}: its smallest eigenvalue is {least:.3g}; allowed: {said}") from None


def _half_log_det(factor: np.ndarray) -> float:
    return float(np.log(np.diag(factor)).sum())
