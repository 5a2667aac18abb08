"""Which latent units a model uses: those whose posterior mean moves with the row."""

from __future__ import annotations

import numpy as np

__all__ = ["ACTIVE", "active_units"]

#: Variance of a posterior mean above which a latent unit counts as active.
ACTIVE = 0.01


def active_units(codes: np.ndarray) -> np.ndarray:
    """[K] bool: Var_x(E_q[z_i]) > 0.01, in units of the prior's variance (Burda, Grosse, Salakhutdinov 2016,
    arXiv:1509.00519, sec. 5.2, eq. 8).

    Args:
        codes: [n, K] posterior means.

    >>> active_units(np.array([[0.0, 1.0], [0.0, -1.0]])).tolist()
    [False, True]
    """
    return np.asarray(codes.var(axis=0) > ACTIVE)
