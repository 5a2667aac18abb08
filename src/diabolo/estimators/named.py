"""The four named autoencoders, which only set defaults of `Autoencoder`."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from diabolo.config import METHODS
from diabolo.estimators.autoencoder import Autoencoder

__all__ = [
    "CLASSES",
    "DenoisingAutoencoder",
    "LinearAutoencoder",
    "SparseAutoencoder",
    "VariationalAutoencoder",
]


def _with_defaults(method: str) -> Any:
    """`Autoencoder.__init__` with a method's defaults, in the signature too, where scikit-learn reads them."""
    defaults = METHODS[method]

    @functools.wraps(Autoencoder.__init__)
    def init(self: Autoencoder, **settings: Any) -> None:
        Autoencoder.__init__(self, **{**defaults, **settings})

    signature = inspect.signature(Autoencoder.__init__)
    parameters = [
        p.replace(default=defaults[p.name]) if p.name in defaults else p for p in signature.parameters.values()
    ]
    init.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return init


class LinearAutoencoder(Autoencoder):
    """One affine map each way; with the squared error it is PCA, solved in closed form (Baldi, Hornik 1989).

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> LinearAutoencoder(latent_dim=2).fit(X).transform(X).shape
    (200, 2)
    """

    __init__ = _with_defaults("linear")


class DenoisingAutoencoder(Autoencoder):
    """Reconstructs the clean x from x + noise (Vincent et al. 2008, 2010).

    >>> DenoisingAutoencoder().corruption
    'gaussian'
    """

    __init__ = _with_defaults("denoising")


class SparseAutoencoder(Autoencoder):
    """Adds −log π(z̄), λ Σ|z̄_i| for the Laplace prior, so that few code dimensions speak at a time.

    >>> SparseAutoencoder().prior
    'laplace'
    """

    __init__ = _with_defaults("sparse")


class VariationalAutoencoder(Autoencoder):
    """q(z|x) = N(μ, σ²) and Ω = β KL(q ‖ π); β = 1 minimises −ELBO (Kingma, Welling 2013, arXiv:1312.6114).

    >>> VariationalAutoencoder(beta=4.0).latent
    'gaussian'
    """

    __init__ = _with_defaults("vae")


CLASSES: dict[str, type[Autoencoder]] = {
    "ae": Autoencoder,
    "linear": LinearAutoencoder,
    "denoising": DenoisingAutoencoder,
    "sparse": SparseAutoencoder,
    "vae": VariationalAutoencoder,
}
