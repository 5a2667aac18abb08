"""The section `main`: a fitted autoencoder and the estimator of it; a reader trusts nothing unchecked."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from diabolo.artifact import Section
from diabolo.cards import Count, card_of, finite, jsonable
from diabolo.config import Config, build_config
from diabolo.data.dialect.record import Dialect
from diabolo.data.dtypes import TEXT, is_known
from diabolo.data.encoding import Encoding
from diabolo.data.integer_inputs import IntegerInputs
from diabolo.data.marginals import Marginals
from diabolo.data.schema import Schema
from diabolo.errors import DAMAGE, ConfigError, DiaboloError, ModelFileError
from diabolo.fitted.record import Fitted, Input, Roles, Training
from diabolo.model.autoencoder import Model
from diabolo.model.permission import OwnPartCard, check_permission, own_network_card, own_part_cards

__all__ = ["EstimatorCard", "fitted_of", "main_section", "main_schema"]

#: Tensors of `main` that are neither parameters nor buffers of the model.
EXTRA = ("center", "scale", "unit", "row_hashes")
#: Tensors of the columns' own laws (`diabolo.data.marginals`), where a likelihood takes them.
LAWS = ("edges", "group", "bounds", "anchor", "anchor_score", "slope")


@dataclasses.dataclass
class EncodingCard:
    schema: Schema
    clip: Annotated[float, Ge(1), Le(float(np.finfo(np.float32).max))]
    n_train: Count


@dataclasses.dataclass
class TrainingCard:
    history: list[dict[str, bool | int | float | None]]
    seconds: float
    device: str
    versions: dict[str, str]


@dataclasses.dataclass
class EstimatorCard:
    """Class and parameters of the autoencoder that was fitted; with them it could be fitted again."""

    type: str
    parameters: dict[str, Any]


@dataclasses.dataclass
class MainCard:
    estimator: EstimatorCard
    config: Config
    encoding: EncodingCard
    input: Input
    roles: Roles
    training: TrainingCard
    own_network: OwnPartCard | None = None
    own_parts: list[OwnPartCard] = dataclasses.field(default_factory=list)
    dialect: Dialect | None = None


def main_section(fitted: Fitted, estimator: str, parameters: Mapping[str, Any]) -> Section:
    """A fitted autoencoder as a section.

    Args:
        estimator: name of its class.
        parameters: of the estimator.
    """
    model = fitted.model
    encoding = model.encoding.to_json()
    tensors = {k: v.numpy() for k, v in {**model.store.views, **model.buffers}.items()}
    tensors |= {"center": model.encoding.center, "scale": model.encoding.scale}
    if model.encoding.inputs is not None:
        tensors["unit"] = model.encoding.inputs.unit
    laws = model.encoding.marginals
    if laws is not None:
        tensors |= {f"laws.{name}": getattr(laws, name) for name in LAWS}
    if fitted.row_hashes is not None:
        tensors["row_hashes"] = fitted.row_hashes
    plain = {k: jsonable(v) for k, v in parameters.items()} | {"random_state": model.config.random_state}
    history = [{k: finite(v) for k, v in epoch.items()} for epoch in fitted.history]
    card: dict[str, Any] = {
        "estimator": {"type": estimator, "parameters": plain},
        "config": model.config.to_json(),
        "encoding": {k: encoding[k] for k in ("schema", "clip", "n_train")},
        "input": {k: v for k, v in dataclasses.asdict(fitted.input).items() if k != "types" or fitted.input.types},
        "roles": {k: v for k, v in dataclasses.asdict(fitted.roles).items() if (k, v) != ("split", "position")},
        "training": {**dataclasses.asdict(fitted.training), "history": history},
    }
    if model.encoding.schema.dialect is not None:
        card["dialect"] = dataclasses.asdict(model.encoding.schema.dialect)
    own = own_network_card(model)
    if own is not None:
        card["own_network"] = dataclasses.asdict(own)
    if parts := own_part_cards(model):
        card["own_parts"] = [dataclasses.asdict(p) for p in parts]
    return Section(card, tensors)


def fitted_of(path: str | Path, section: Section, own_network: bool) -> tuple[Fitted, EstimatorCard]:
    """The fitted autoencoder of the section, and the card of its estimator.

    Args:
        own_network: import the user's own parts that the file names; without, such a file is refused.

    Raises:
        ModelFileError: the first fault of the section, in one line; nothing in it is ever run.
    """
    card: MainCard = card_of(path, MainCard, _with_old_scale(section.card))
    parameters = card.estimator.parameters
    check_permission(path, card.config, parameters, card.own_network, card.own_parts, own_network)
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
            _with_dialect(card),
            tensors["center"],
            tensors["scale"],
            card.encoding.clip,
            card.encoding.n_train,
            _laws(card.encoding.schema, tensors),
            _inputs(card, tensors),
        )
        state = {k: v for k, v in tensors.items() if k not in EXTRA and not k.startswith("laws.")}
        model = Model(card.config, encoding, state=state)
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
    if not re.fullmatch(r"position|content|(group|time)( .*)?", card.roles.split, re.DOTALL):
        raise ModelFileError(f"{path}: section 'main': roles by {card.roles.split[:40]!r} are unknown; upgrade diabolo")
    training = Training(card.training.device, card.training.seconds, card.training.versions)
    return Fitted(model, history, card.roles, training, card.input, hashes), card.estimator


def _inputs(card: MainCard, tensors: Mapping[str, np.ndarray]) -> IntegerInputs | None:
    """The map of cells to whole numbers, where the network is one of them.

    Raises:
        ConfigError: the file has units where it should have none, or none where it should; or they make no such map.
    """
    unit, quantize = tensors.get("unit"), card.config.quantize
    if (unit is None) != (quantize is None):
        raise ConfigError(f"tensor 'unit' is {'missing' if unit is None else 'left over'}")
    if unit is None or quantize is None:
        return None
    if unit.dtype != np.float64 or unit.shape != tensors["center"].shape or not (unit > 0).all():
        raise ConfigError("tensor 'unit' must be one positive F64 for each column")
    if any(c.kind != "real" for c in card.encoding.schema.columns) or card.encoding.schema.groups:
        raise ConfigError("a network in whole numbers has plain numbers as columns")
    return IntegerInputs.of(tensors["center"], tensors["scale"], unit, card.encoding.clip, quantize.activations)


def _laws(schema: Schema, tensors: Mapping[str, np.ndarray]) -> Marginals | None:
    """The columns' own laws, if the file has them.

    Raises:
        ConfigError: tensors of other shapes, or edges that do not rise.
    """
    found = {name: tensors[f"laws.{name}"] for name in LAWS if f"laws.{name}" in tensors}
    if not found:
        return None
    columns = tuple(schema.positions("real", "date", "integer", "count", "ordinal"))
    missing = [name for name in LAWS if name not in found]
    if missing:
        raise ConfigError(f"tensor 'laws.{missing[0]}' is missing")
    cells = found["anchor"].shape[-1]
    for name, array in found.items():
        width = cells + {"edges": 1, "bounds": -1}.get(name, 0)
        kind = np.dtype(np.int64 if name == "group" else np.float64)
        if array.shape != (len(columns), width) or array.dtype != kind or np.isnan(array).any():
            raise ConfigError(f"tensor 'laws.{name}' must be [{len(columns)}, {width}] {kind} without NaN")
    # Columns of fewer cells are padded with infinite ones.
    for name in ("edges", "bounds", "group"):
        if not (found[name][:, :-1] <= found[name][:, 1:]).all():
            raise ConfigError(f"tensor 'laws.{name}' must rise")
    if found["group"].min(initial=0) < 0 or found["group"].max(initial=0) >= cells:
        raise ConfigError(f"tensor 'laws.group' must lie between 0 and {cells - 1}")
    if not all(np.isfinite(found[name]).all() for name in LAWS[3:]) or (found["slope"] < 0).any():
        raise ConfigError(
            "tensors 'laws.anchor', 'laws.anchor_score' and 'laws.slope' must be finite, slopes from 0 up"
        )
    return Marginals(columns, **found)


def _with_old_scale(card: dict[str, Any]) -> dict[str, Any]:
    """A card that says by what Ω measures codes; cards from before that was a setting mean their rms."""
    config, estimator = card.get("config"), card.get("estimator")
    if not isinstance(config, dict) or "code_scale" in config or not isinstance(estimator, dict):
        return card
    parameters = estimator.get("parameters")
    if not isinstance(parameters, dict):
        return card
    old = {"code_scale": "rms"}
    return {
        **card,
        "config": {**config, **old},
        "estimator": {**estimator, "parameters": {**parameters, **old}},
    }


def main_schema(path: str | Path, section: Section) -> Schema:
    """The columns of the section's autoencoder.

    Raises:
        ModelFileError: the section is damaged.
    """
    card: MainCard = card_of(path, MainCard, _with_old_scale(section.card))
    try:
        return _with_dialect(card)
    except (DiaboloError, *DAMAGE) as error:
        raise ModelFileError(f"{path}: section 'main' does not fit together: {str(error)[:600]}") from None


def _with_dialect(card: MainCard) -> Schema:
    """The columns, and how their text is read."""
    if card.dialect is not None:
        card.dialect.check()
    return dataclasses.replace(_sound(card.encoding.schema), dialect=card.dialect)


def _sound(schema: Schema) -> Schema:
    """Refuse faults that types do not show: unknown dtypes, duplicate names, slots out of range."""
    n = len(schema.columns)
    if not n or len(set(schema.names)) < n:
        raise ConfigError("the schema has no columns, or two of one name")
    for column in schema.columns:
        if not is_known(column.dtype):
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
