"""Names that other libraries have for settings and methods, answered with diabolo's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from diabolo.config import Config
from diabolo.errors import SettingError, nearest

__all__ = ["checked", "named_here"]

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., None])

#: Settings by the names that PyOD, scikit-learn, Keras and PyTorch users type; the first one that a class has counts.
ALIASES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("n_components", "latent_size", "latent_dims", "encoding_dim", "code_size", "z_dim", "bottleneck"),
        ("latent_dim",),
    ),
    **dict.fromkeys(("n_iter", "max_iter", "n_epochs", "num_epochs", "epoch", "epoch_num", "iterations"), ("epochs",)),
    **dict.fromkeys(("lr", "learning_rate_init", "step_size"), ("learning_rate",)),
    **dict.fromkeys(("batch", "batchsize", "bs", "minibatch"), ("batch_size",)),
    **dict.fromkeys(
        (
            "hidden_layer_sizes",
            "hidden_neurons",
            "hidden_neuron_list",
            "hidden_dims",
            "hidden_size",
            "layers",
            "encoder_neurons",
        ),
        ("hidden",),
    ),
    **dict.fromkeys(("seed", "random_seed"), ("random_state",)),
    **dict.fromkeys(("fpr", "level", "significance", "threshold"), ("false_alarm_rate",)),
    "alpha": ("false_alarm_rate", "weight_decay"),
    "contamination": ("false_alarm_rate",),
    **dict.fromkeys(("model", "estimator", "base_estimator", "ae"), ("autoencoder",)),
    **dict.fromkeys(("k", "n_groups", "clusters"), ("n_clusters",)),
    **dict.fromkeys(("error", "eps", "epsilon", "bound", "tolerance", "abs_error"), ("max_error",)),
    **dict.fromkeys(("l2", "l2_regularizer"), ("weight_decay",)),
    **dict.fromkeys(("loss", "criterion", "loss_function"), ("likelihood",)),
    **dict.fromkeys(("noise", "denoising"), ("corruption",)),
    **dict.fromkeys(("kl_weight", "capacity", "gamma"), ("beta",)),
    **dict.fromkeys(("n_iter_no_change", "early_stopping"), ("patience",)),
    **dict.fromkeys(("validation_fraction", "validation_size", "validation_split"), ("stop_fraction",)),
    **dict.fromkeys(("gpu", "use_gpu"), ("device",)),
    **dict.fromkeys(("preprocessing", "normalize", "standardize"), ("scaling",)),
}
#: What a setting by that name means elsewhere, where diabolo's means another thing.
MEANS = {
    "contamination": "the share of normal rows that may be flagged, while as_pyod(contamination=...) takes PyOD's",
    "alpha": "the share of normal rows that may be flagged",
}


def checked(init: AnyFunction) -> AnyFunction:
    """Answer a keyword that a constructor does not have with the right one, of another library's or the nearest."""

    @functools.wraps(init)
    def answering(self: object, /, *args: object, **settings: object) -> None:
        allowed = list(inspect.signature(init).parameters)[1:]
        for name in settings:
            if name not in allowed:
                raise SettingError(
                    f"{type(self).__name__} has no setting {name!r}: {_answer(type(self), name, allowed)}"
                )
        init(self, *args, **settings)

    return answering  # type: ignore[return-value]


def _answer(cls: type, name: str, allowed: Sequence[str]) -> str:
    meant = next((n for n in ALIASES.get(name, ()) if n in allowed), None)
    if meant is not None:
        means = f" ({MEANS[name]})" if name in MEANS and meant == "false_alarm_rate" else ""
        return f"it is {meant}{means}. Allowed: {', '.join(allowed)}"
    settings = [f for f in Config.__dataclass_fields__ if f not in allowed]
    inner = next((n for n in (name, *ALIASES.get(name, ())) if n in settings), None)
    if inner is not None and "autoencoder" in allowed:
        return f"it is a setting of its autoencoder: {cls.__name__}(VariationalAutoencoder({inner}=...))"
    return nearest(name, allowed)


def named_here(estimator: Any, name: str, elsewhere: dict[str, str]) -> AttributeError:
    """The error for an attribute that an estimator does not have, with what has it.

    Args:
        elsewhere: by name, where it is found.
    """
    said = f"{type(estimator).__name__!r} object has no attribute {name!r}"
    if name in elsewhere:
        said += f"; {elsewhere[name]}"
    return AttributeError(said, name=name, obj=estimator)
