"""Estimators that a model file holds: loading gives the class that was saved, or one that is asked for by name."""

from __future__ import annotations

import abc
import importlib
import pkgutil
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from sklearn.utils import Tags

from diabolo import estimators
from diabolo.errors import ModelFileError
from diabolo.estimators.naming import named_here
from diabolo.file.model_file import ModelFile
from diabolo.fitted.record import Fitted

__all__ = ["AroundAutoencoder", "Face", "load"]


#: Names that only a detector has.
DETECTS = (
    *("predict", "decision_function", "p_values", "score_table", "explain", "health", "discoveries", "calibrate"),
    *("threshold_", "offset_", "false_alarm_rate_"),
)
AnyFace = TypeVar("AnyFace", bound="Face")


class Face(abc.ABC):
    """An estimator that a model file can hold."""

    #: Every one of diabolo's own, by name.
    known: ClassVar[dict[str, type[Face]]] = {}

    def __init_subclass__(cls, **settings: object) -> None:
        super().__init_subclass__(**settings)
        if cls.__module__.startswith(f"{estimators.__name__}."):
            Face.known[cls.__name__] = cls

    def remember_columns(self, fitted: Fitted) -> None:
        """Set `n_features_in_`, and `feature_names_in_` where the columns of the fit had names."""
        names = fitted.model.encoding.schema.names
        self.n_features_in_ = len(names)
        if fitted.input.named:
            self.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.allow_nan = True
        return tags

    def found_elsewhere(self, name: str) -> dict[str, str]:
        """Where a public name is found that this estimator does not have."""
        return {n: f"a detector has it: AnomalyDetector({type(self).__name__}(...)).fit(X).{n}" for n in DETECTS}

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self), name):  # a property that has raised an AttributeError, as of an unfitted estimator
            return object.__getattribute__(self, name)
        raise named_here(self, name, {} if name.startswith("_") else self.found_elsewhere(name))

    @classmethod
    @abc.abstractmethod
    def from_file(cls, file: ModelFile) -> Self:
        """The estimator of an open model file."""

    @classmethod
    def load(cls, path: str | Path, own_network: bool = False) -> Self:
        """Read the estimator of this class from a model file, whichever class was saved.

        Args:
            path: model file.
            own_network: import the user's own network that the file names; without, such a file is refused.

        Raises:
            ModelFileError: the file is damaged, or holds no such estimator; says which ones it holds.
        """
        return cls.from_file(ModelFile(path, own_network))


class AroundAutoencoder(Face):
    """An estimator around an autoencoder, `autoencoder_`, whose methods it does not have."""

    def found_elsewhere(self, name: str) -> dict[str, str]:
        found = super().found_elsewhere(name)
        if callable(getattr(Face.known.get("Autoencoder"), name, None)):
            found[name] = f"its autoencoder has it: .autoencoder_.{name}"
        return found


def face_of(path: str | Path, name: str, base: type[AnyFace]) -> type[AnyFace]:
    """The class of a name, among those of diabolo's that are a `base`.

    Raises:
        ModelFileError: there is none of that name.
    """
    for module in pkgutil.iter_modules(estimators.__path__):
        importlib.import_module(f"{estimators.__name__}.{module.name}")
    known = {n: cls for n, cls in sorted(Face.known.items()) if issubclass(cls, base)}
    if name not in known:
        raise ModelFileError(f"{path}: unknown estimator {name!r}; allowed: {', '.join(known)}")
    return known[name]


def load(path: str | Path, own_network: bool = False) -> Any:
    """Read a model file, and return the estimator that was saved; which class that is, only the file tells.

    That is an `AnomalyDetector` for a file of `diabolo fit` or of a detector, else the autoencoder, `LatentClusterer`
    or `Compressor` that was saved. `Autoencoder.load(path)` and its sisters ask for one of a file by name.

    Args:
        path: model file.
        own_network: import the user's own network that the file names; without, such a file is refused.

    Raises:
        ModelFileError: the first fault of the file, in one line; nothing in it is ever run.

    >>> import tempfile, numpy as np
    >>> from diabolo import AnomalyDetector, Autoencoder
    >>> X = np.random.default_rng(0).normal(size=(400, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     AnomalyDetector(Autoencoder(epochs=1)).fit(X).save(f"{folder}/m.diabolo")
    ...     type(load(f"{folder}/m.diabolo")).__name__, type(Autoencoder.load(f"{folder}/m.diabolo")).__name__
    ('AnomalyDetector', 'Autoencoder')
    """
    file = ModelFile(path, own_network)
    return face_of(path, file.saved, Face).from_file(file)  # type: ignore[type-abstract]
