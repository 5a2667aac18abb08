"""An autoencoder to a section of a model file and back; a reader trusts nothing that it has not checked."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from diabolo.artifact import Section, read_sections
from diabolo.cards import Count, card_of, finite, jsonable
from diabolo.config import Config, build_config
from diabolo.data.dtypes import TEXT, TICKS, is_date
from diabolo.data.encoding import Encoding
from diabolo.data.schema import Schema
from diabolo.errors import DAMAGE, ConfigError, DiaboloError, ModelFileError
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.estimators.named import CLASSES
from diabolo.fitted.table import Fitted
from diabolo.generate.drawing import take_generator
from diabolo.model.autoencoder import Model
from diabolo.model.networks.permission import OwnNetworkCard, check_permission, own_network_card

__all__ = ["MainCard", "autoencoder_of", "load", "main_card", "main_section"]

ESTIMATORS = {cls.__name__: cls for cls in CLASSES.values()}
#: Tensors of `main` that are neither parameters nor buffers of the model.
EXTRA = ("center", "scale", "row_hashes")


@dataclasses.dataclass
class Roles:
    seed: Count
    rows: Count
    stop: Annotated[float, Ge(0)]
    calibrate: Annotated[float, Ge(0)]
    counts: dict[str, Count]
    fingerprint: str
    combine: Annotated[float, Ge(0)] = 0.0


@dataclasses.dataclass
class EncodingCard:
    schema: Schema
    clip: Annotated[float, Ge(1), Le(float(np.finfo(np.float32).max))]
    n_train: Count


@dataclasses.dataclass
class Input:
    container: Literal["numpy", "pandas", "arrow"]
    named: bool


@dataclasses.dataclass
class Training:
    history: list[dict[str, bool | int | float | None]]
    seconds: float
    device: str
    versions: dict[str, str]


@dataclasses.dataclass
class EstimatorCard:
    type: str
    parameters: dict[str, Any]


@dataclasses.dataclass
class MainCard:
    estimator: EstimatorCard
    config: Config
    encoding: EncodingCard
    input: Input
    roles: Roles
    training: Training
    own_network: OwnNetworkCard | None = None


def main_section(ae: Autoencoder) -> Section:
    """The fitted autoencoder as a section."""
    model, fitted = ae.model_, ae.fitted_
    encoding = model.encoding.to_json()
    tensors = {k: v.numpy() for k, v in {**model.store.views, **model.buffers}.items()}
    tensors |= {"center": model.encoding.center, "scale": model.encoding.scale}
    if fitted.row_hashes is not None:
        tensors["row_hashes"] = fitted.row_hashes
    parameters = {k: jsonable(v) for k, v in ae.get_params(deep=False).items()}
    parameters["random_state"] = model.config.random_state
    history = [{k: finite(v) for k, v in epoch.items()} for epoch in fitted.history]
    card = {
        "estimator": {"type": type(ae).__name__, "parameters": parameters},
        "config": model.config.to_json(),
        "encoding": {k: encoding[k] for k in ("schema", "clip", "n_train")},
        "input": {"container": ae.container_, "named": hasattr(ae, "feature_names_in_")},
        "roles": fitted.roles,
        "training": {**fitted.training, "history": history},
    }
    own = own_network_card(model.network)
    if own is not None:
        card["own_network"] = dataclasses.asdict(own)
    return Section(card, tensors)


def load(path: str | Path, own_network: bool = False) -> Autoencoder:
    """Read a model file and return its fitted autoencoder.

    Args:
        path: model file.
        own_network: import the user's own network that the file names; without, such a file is refused.

    Raises:
        ModelFileError: whatever is wrong with the file, in one line; nothing in it is ever run.
    """
    sections = read_sections(path)
    ae = autoencoder_of(path, sections["main"], own_network)
    take_generator(path, ae, sections.get("generator"))
    return ae


def main_card(path: str | Path, section: Section) -> MainCard:
    """The card of the section `main`, checked as far as it goes without the tensors.

    Raises:
        ModelFileError: an entry that is unknown, missing or wrong; names it.
    """
    card: MainCard = card_of(path, MainCard, section.card)
    if card.estimator.type not in ESTIMATORS:
        raise ModelFileError(f"{path}: unknown estimator {card.estimator.type!r}; allowed: {', '.join(ESTIMATORS)}")
    try:
        _sound(card.encoding.schema)
    except (DiaboloError, *DAMAGE) as error:
        raise ModelFileError(f"{path}: section 'main' does not fit together: {str(error)[:600]}") from None
    return card


def autoencoder_of(path: str | Path, section: Section, own_network: bool) -> Autoencoder:
    """The autoencoder of the section `main`; see `load`."""
    card = main_card(path, section)
    check_permission(path, card.config.network, card.estimator.parameters, card.own_network, own_network)
    tensors = section.tensors
    columns = len(card.encoding.schema.columns)
    for name in ("center", "scale"):
        t = tensors.get(name)
        if t is None or t.dtype != np.float64 or t.shape != (columns,) or not np.isfinite(t).all():
            raise ModelFileError(f"{path}: tensor 'main/{name}' must be [{columns}] finite F64")
    if not (tensors["scale"] > 0).all():
        raise ModelFileError(f"{path}: tensor 'main/scale' must be positive")
    try:
        encoding = Encoding(
            card.encoding.schema, tensors["center"], tensors["scale"], card.encoding.clip, card.encoding.n_train
        )
        state = {k: v for k, v in tensors.items() if k not in EXTRA}
        model = Model(card.config, encoding, state=state)
        ae = ESTIMATORS[card.estimator.type](**card.estimator.parameters)
        build_config({k: v for k, v in card.estimator.parameters.items() if k != "verbose"})
    except ModelFileError:
        raise
    except (DiaboloError, *DAMAGE) as error:
        raise ModelFileError(f"{path}: section 'main' does not fit together: {str(error)[:600]}") from None
    history = card.training.history
    if any(not {"epoch", "validation", "best"} <= set(epoch) for epoch in history):
        raise ModelFileError(f"{path}: section 'main': an epoch of the history has no number, validation or best")
    hashes = tensors.get("row_hashes")
    if hashes is not None and (hashes.dtype != np.uint64 or hashes.ndim != 1):
        raise ModelFileError(f"{path}: tensor 'main/row_hashes' must be [n] U64")
    if not {"train", "stop", "calibrate"} <= set(card.roles.counts):
        raise ModelFileError(f"{path}: section 'main': roles have no counts")
    training = {k: v for k, v in dataclasses.asdict(card.training).items() if k != "history"}
    fitted = Fitted(model, history, dataclasses.asdict(card.roles), training, hashes)
    from diabolo.data.table import Table

    names = encoding.schema.names
    dtypes = [c.dtype for c in encoding.schema.columns]
    ae._adopt(fitted, Table(np.empty((0, columns)), names, dtypes, card.input.container, card.input.named))
    return ae


def _sound(schema: Schema) -> Schema:
    """Refuse what the types alone cannot: unknown dtypes, duplicate names, slots out of range."""
    n = len(schema.columns)
    if not n or len(set(schema.names)) < n:
        raise ConfigError("the schema has no columns, or two of one name")
    for column in schema.columns:
        if not _known_type(column.dtype):
            raise ConfigError(f"column {column.name!r} has type {column.dtype!r}")
        levels = column.levels
        if len(set(levels)) < len(levels) or (column.kind == "categorical" and len(levels) < 2):
            raise ConfigError(f"column {column.name!r} has wrong levels")
        values = [float(word) for word in levels] if column.dtype not in TEXT else []
        if column.kind == "ordinal" and (len(values) < 2 or values != sorted(values)):
            raise ConfigError(f"column {column.name!r} has wrong levels")
        numbers = (column.resolution, column.low, column.high, column.missing)
        if not all(math.isfinite(v) for v in numbers) or column.resolution < 0:
            raise ConfigError(f"column {column.name!r} has a wrong range or resolution")
    members = [c for group in schema.groups for slot in group.slots for c in slot]
    if len(set(members)) < len(members) or any(not 0 <= c < n for c in members):
        raise ConfigError("a slot group names a column that is not there, or one twice")
    if schema.shape is not None and (math.prod(schema.shape) != n or min(schema.shape) < 1):
        raise ConfigError(f"the schema has {n} columns for images of {list(schema.shape)}")
    if any(not g.slots or len({len(s) for s in g.slots}) != 1 or not 0 <= g.gaps <= 1 for g in schema.groups):
        raise ConfigError("a slot group has no slots, unequal ones, or a wrong share of gaps")
    return schema


def _known_type(dtype: str) -> bool:
    if dtype in TEXT:
        return True
    if is_date(dtype):
        name, _, zone = dtype.partition(" ")
        return name in {f"datetime64[{unit}]" for unit in (*TICKS, "D")} and (not zone or zone.isprintable())
    return np.dtype(dtype).kind in "fiub"
