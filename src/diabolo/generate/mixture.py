"""The density of training codes: a Gaussian mixture on the aggregate posterior, from which any autoencoder can draw."""

from __future__ import annotations

import dataclasses

import numpy as np

__all__ = ["CodeMixture", "fit_mixture"]

#: Codes that a mixture is fitted to at most, numbers of components that are tried, and codes per component at least.
MOST_CODES, COMPONENTS, CODES_EACH = 5_000, (1, 2, 4, 8, 16, 32), 20
#: Added to variances, in units of a code's own: a dimension that another one determines keeps a density.
FLOOR = 1e-6


@dataclasses.dataclass(frozen=True)
class CodeMixture:
    """Σ w_m N(z; μ_m, Σ_m), with full covariances."""

    weights: np.ndarray  #: [M] float64, sum 1
    means: np.ndarray  #: [M, K] float64
    covariances: np.ndarray  #: [M, K, K] float64

    def __len__(self) -> int:
        return len(self.weights)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Codes [n, K] float64."""
        which = rng.choice(len(self), n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        roots = np.linalg.cholesky(self.covariances)
        return np.asarray(self.means[which] + np.einsum("nij,nj->ni", roots[which], noise))

    def log_joint(self, codes: np.ndarray) -> np.ndarray:
        """log w_m N(z; μ_m, Σ_m) of codes [n, K], [n, M] nats."""
        out = np.empty((len(codes), len(self)))
        for m, (w, mean, cov) in enumerate(zip(self.weights, self.means, self.covariances, strict=True)):
            root = np.linalg.cholesky(cov)
            scaled = np.linalg.solve(root, (codes - mean).T)
            log_det = np.log(np.diag(root)).sum()
            out[:, m] = np.log(w) - 0.5 * (scaled**2).sum(axis=0) - log_det - 0.5 * len(mean) * np.log(2 * np.pi)
        return out

    def component(self, codes: np.ndarray) -> np.ndarray:
        """The component that each code [n, K] most probably comes from, [n] int64."""
        return np.asarray(self.log_joint(codes).argmax(axis=1))


def fit_mixture(codes: np.ndarray, seed: int) -> CodeMixture:
    """Fit by expectation maximisation (Dempster, Laird, Rubin 1977), scikit-learn's.

    The number of components is doubled as long as codes kept apart become more probable.

    Args:
        codes: of training rows, [n, K], finite; at most 5,000 of them are used.
        seed: of the codes used and of starting points.
    """
    rng = np.random.default_rng(seed)
    some = codes[rng.permutation(len(codes))[:MOST_CODES]].astype(np.float64)
    mean, spread = some.mean(axis=0), some.std(axis=0)
    spread[~(spread > 0)] = 1.0
    unit = (some - mean) / spread
    held = len(unit) // 5
    best, most = 1, -np.inf
    for m in COMPONENTS if held else ():
        if m * CODES_EACH > len(unit) - held:
            break
        likely = _fitted(unit[held:], m, seed).log_joint(unit[:held])
        value = float(np.logaddexp.reduce(likely, axis=1).mean())
        if value <= most:
            break
        best, most = m, value
    found = _fitted(unit, best, seed)
    scale = spread[:, None] * spread
    return CodeMixture(found.weights, mean + spread * found.means, found.covariances * scale)


def _fitted(unit: np.ndarray, components: int, seed: int) -> CodeMixture:
    """A mixture of standardised codes."""
    from sklearn.mixture import GaussianMixture

    k = unit.shape[1]
    if components == 1:
        cov = np.cov(unit, rowvar=False, bias=True).reshape(k, k) if len(unit) > 1 else np.zeros((k, k))
        return CodeMixture(np.ones(1), unit.mean(axis=0)[None], (cov + FLOOR * np.eye(k))[None])
    found = GaussianMixture(
        components, reg_covar=FLOOR, init_params="k-means++", max_iter=500, tol=1e-3, random_state=seed % 2**32
    ).fit(unit)
    weights = np.maximum(found.weights_, 1e-12)
    return CodeMixture(weights / weights.sum(), found.means_, found.covariances_)
