"""The settings of an autoencoder as constructor parameters: their types, and the answer to an unknown name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar

import numpy as np
from sklearn.base import BaseEstimator

from diabolo.config import METHODS, Config, RandomState, build_config, seed_of
from diabolo.estimators.naming import checked
from diabolo.registry import Spec

__all__ = ["HasSettings", "Settings", "with_defaults"]

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., None])


class Settings(TypedDict, total=False):
    """The keyword arguments of every autoencoder; see `diabolo.config.Config` for their meaning."""

    latent_dim: int | None
    hidden: Sequence[int] | int | None
    network: Spec
    latent: Spec
    prior: Spec
    likelihood: Spec
    column_likelihood: Mapping[str, Spec] | None
    nested: float
    code_dim: int | None
    factors: int
    corruption: Spec
    regularizer: Spec
    code_scale: Literal["decoder", "rms"]
    beta: float
    warmup: int
    bound: Literal["elbo", "iwae", "dreg"]
    bound_after: int
    draws: int
    scaling: Literal["standard", "none"]
    clip: float
    angles: Literal["auto"] | Sequence[str]
    kinds: Mapping[str, str] | None
    slots: Literal["auto"] | Mapping[str, int | Sequence[Sequence[str]]] | None
    robust: Spec
    contamination: float | None
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    schedule: Literal["cosine", "constant"]
    weight_decay: float
    clip_norm: float
    patience: int
    stop_fraction: float
    solver: Literal["auto", "gradient"]
    quantize: Mapping[str, int | str] | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    keep_rows: bool | None
    random_state: RandomState
    verbose: int


class HasSettings(BaseEstimator):
    """Holds the settings of an autoencoder, as scikit-learn wants parameters held."""

    verbose: int

    @checked
    def __init__(
        self,
        *,
        latent_dim: int | None = None,
        hidden: Sequence[int] | int | None = None,
        network: Spec = "mlp",
        latent: Spec = "point",
        prior: Spec = "normal",
        likelihood: Spec = "auto",
        column_likelihood: Mapping[str, Spec] | None = None,
        nested: float = 0.0,
        code_dim: int | None = None,
        factors: int = 0,
        corruption: Spec = "none",
        regularizer: Spec = "none",
        code_scale: Literal["decoder", "rms"] = "decoder",
        beta: float = 1.0,
        warmup: int = 0,
        bound: Literal["elbo", "iwae", "dreg"] = "elbo",
        bound_after: int = 0,
        draws: int = 1,
        scaling: Literal["standard", "none"] = "standard",
        clip: float = 8.0,
        angles: Literal["auto"] | Sequence[str] = "auto",
        kinds: Mapping[str, str] | None = None,
        slots: Literal["auto"] | Mapping[str, int | Sequence[Sequence[str]]] | None = "auto",
        robust: Spec = "none",
        contamination: float | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        schedule: Literal["cosine", "constant"] = "cosine",
        weight_decay: float = 0.0,
        clip_norm: float = 10.0,
        patience: int = 10,
        stop_fraction: float = 0.1,
        solver: Literal["auto", "gradient"] = "auto",
        quantize: Mapping[str, int | str] | None = None,
        device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
        keep_rows: bool | None = None,
        random_state: RandomState = 0,
        verbose: int = 0,
    ) -> None:
        self.__dict__ |= {name: value for name, value in locals().items() if name != "self"}

    def settings(self) -> Config:
        """The parameters as a checked configuration.

        Raises:
            ConfigError: names every wrong one.
        """
        settings = self.get_params(deep=False)
        del settings["verbose"]
        settings["random_state"] = seed_of(settings["random_state"])
        return build_config({k: _plain(v) for k, v in settings.items()})


def _plain(value: object) -> object:
    """NumPy scalars and arrays, which grid searches hand over, as plain Python."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(value.tolist()) if isinstance(value, np.ndarray) else value


def with_defaults(method: str) -> Callable[[AnyFunction], AnyFunction]:
    """Give a constructor the defaults of a method, in its signature too, where scikit-learn reads them."""
    defaults = METHODS[method]
    base = HasSettings.__init__

    def decorate(init: AnyFunction) -> AnyFunction:
        @functools.wraps(init)
        def defaulted(self: HasSettings, **settings: Any) -> None:
            base(self, **{**defaults, **settings})

        signature = inspect.signature(base)
        parameters = [
            p.replace(default=defaults[p.name]) if p.name in defaults else p for p in signature.parameters.values()
        ]
        defaulted.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return defaulted  # type: ignore[return-value]

    return decorate
