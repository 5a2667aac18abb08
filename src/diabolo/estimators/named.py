"""The named autoencoders, which only set defaults of `Autoencoder`."""

from __future__ import annotations

from typing import Unpack

from sklearn.base import clone

from diabolo.errors import ConfigError
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.estimators.settings import Settings, with_defaults

__all__ = [
    "CLASSES",
    "DenoisingAutoencoder",
    "LinearAutoencoder",
    "MaskedAutoencoder",
    "SparseAutoencoder",
    "VariationalAutoencoder",
    "given_autoencoder",
    "unfitted",
]


class LinearAutoencoder(Autoencoder):
    """One affine map each way; with the squared error it is PCA, solved in closed form (Baldi, Hornik 1989).

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> LinearAutoencoder(latent_dim=2).fit(X).transform(X).shape
    (200, 2)
    """

    @with_defaults("linear")
    def __init__(self, **settings: Unpack[Settings]) -> None: ...


class DenoisingAutoencoder(Autoencoder):
    """Reconstructs the clean x from x + noise (Vincent et al. 2008, 2010).

    >>> DenoisingAutoencoder().corruption
    'gaussian'
    """

    @with_defaults("denoising")
    def __init__(self, **settings: Unpack[Settings]) -> None: ...


class MaskedAutoencoder(Autoencoder):
    """Learns every column given any others: random cells are hidden, and the loss is of the hidden ones.

    It fills in, draws and gives conditionals from one network (docs/masked.md). Its leading axes are the latent of
    every smaller K too.

    >>> MaskedAutoencoder().corruption
    {'name': 'mask', 'rate': 'any'}
    """

    @with_defaults("masked")
    def __init__(self, **settings: Unpack[Settings]) -> None: ...


class SparseAutoencoder(Autoencoder):
    """Of each row's code only the k largest dimensions speak, a quarter of them by default (Makhzani, Frey 2013).

    The L1 penalty of the Laplace prior is `latent="point", regularizer="prior", prior="laplace"`, with `beta` for λ.

    >>> SparseAutoencoder().latent
    'topk'
    """

    @with_defaults("sparse")
    def __init__(self, **settings: Unpack[Settings]) -> None: ...


class VariationalAutoencoder(Autoencoder):
    """q(z|x) = N(μ, σ²) and Ω = β KL(q ‖ π); β = 1 minimises −ELBO (Kingma, Welling 2013, arXiv:1312.6114).

    >>> VariationalAutoencoder(beta=4.0).latent
    'gaussian'
    >>> VariationalAutoencoder(bta=4.0)  # type: ignore[call-arg]
    Traceback (most recent call last):
    diabolo.errors.SettingError: VariationalAutoencoder has no setting 'bta': did you mean 'beta'? ...
    """

    @with_defaults("vae")
    def __init__(self, **settings: Unpack[Settings]) -> None: ...


CLASSES: dict[str, type[Autoencoder]] = {
    "ae": Autoencoder,
    "linear": LinearAutoencoder,
    "denoising": DenoisingAutoencoder,
    "sparse": SparseAutoencoder,
    "vae": VariationalAutoencoder,
    "masked": MaskedAutoencoder,
}


def given_autoencoder(given: object) -> Autoencoder | None:
    """The parameter `autoencoder` of a detector.

    Raises:
        ConfigError: something else.
    """
    if given is not None and not isinstance(given, Autoencoder):
        named = f": {CLASSES[given].__name__}() is that one" if isinstance(given, str) and given in CLASSES else ""
        raise ConfigError(f"autoencoder = {given!r}; allowed are None and diabolo's autoencoders{named}")
    return given


def unfitted(given: Autoencoder | None, seed: int) -> Autoencoder:
    """One like it that is not fitted; of None, the default."""
    return VariationalAutoencoder(random_state=seed) if given is None else clone(given)
