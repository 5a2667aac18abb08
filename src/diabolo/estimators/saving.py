"""Estimators to sections of a model file and back; a reader trusts nothing that it has not checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from diabolo.artifact import Section, read_sections
from diabolo.config import Config, build_config
from diabolo.data.cells import TEXT, TICKS, is_date
from diabolo.data.encoding import Encoding
from diabolo.data.schema import Schema
from diabolo.detect.conformal import Calibration
from diabolo.detect.scores import scores
from diabolo.errors import ConfigError, DiaboloError, ModelFileError
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.estimators.detector import AnomalyDetector
from diabolo.estimators.fitting import Fitted, seed_of
from diabolo.estimators.named import CLASSES
from diabolo.estimators.permission import OwnNetworkCard, check_permission, own_network_card
from diabolo.model.autoencoder import Model
from diabolo.registry import validated

__all__ = ["detector_section", "load", "load_detector", "main_section"]

ESTIMATORS = {cls.__name__: cls for cls in CLASSES.values()}
#: Tensors of `main` that are neither parameters nor buffers of the model.
EXTRA = ("center", "scale", "row_hashes")
Count = Annotated[int, Ge(0)]


@dataclasses.dataclass
class Roles:
    seed: Count
    rows: Count
    stop: Annotated[float, Ge(0)]
    calibrate: Annotated[float, Ge(0)]
    counts: dict[str, Count]
    fingerprint: str


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


@dataclasses.dataclass
class DetectorParameters:
    score: str
    false_alarm_rate: float | None
    random_state: Count | None


@dataclasses.dataclass
class DetectorCard:
    parameters: DetectorParameters
    scores: list[str]
    n_excluded: Count


def main_section(ae: Autoencoder) -> Section:
    """The fitted autoencoder as a section."""
    model, fitted = ae.model_, ae.fitted_
    encoding = model.encoding.to_json()
    tensors = {k: v.numpy() for k, v in {**model.store.views, **model.buffers}.items()}
    tensors |= {"center": model.encoding.center, "scale": model.encoding.scale}
    if fitted.row_hashes is not None:
        tensors["row_hashes"] = fitted.row_hashes
    parameters = {k: _jsonable(v) for k, v in ae.get_params(deep=False).items()}
    parameters["random_state"] = model.config.random_state
    history = [{k: _finite(v) for k, v in epoch.items()} for epoch in fitted.history]
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


def detector_section(detector: AnomalyDetector) -> Section:
    """The detector's parameters and calibrations as a section."""
    calibrations = detector.calibrations_
    tensors = {"calibration": np.stack([c.scores for c in calibrations.values()])}
    if all(c.weights is not None for c in calibrations.values()):
        tensors["weights"] = np.stack([np.asarray(c.weights) for c in calibrations.values()])
    rate, seed = detector.false_alarm_rate, detector.random_state
    card = {
        "parameters": {
            "score": detector.get_params()["score"],
            "false_alarm_rate": None if rate is None else float(rate),
            "random_state": None if seed is None else seed_of(seed),
        },
        "scores": list(calibrations),
        "n_excluded": detector.n_excluded_,
    }
    return Section(card, tensors)


def load(path: str | Path, own_network: bool = False) -> Autoencoder:
    """Read a model file and return its fitted autoencoder.

    Args:
        path: model file.
        own_network: import the user's own network that the file names; without, such a file is refused.

    Raises:
        ModelFileError: whatever is wrong with the file, in one line; nothing in it is ever run.
    """
    return _autoencoder(path, read_sections(path)["main"], own_network)


def load_detector(path: str | Path, own_network: bool = False) -> AnomalyDetector:
    """Read a model file and return its detector.

    Args:
        path: model file.
        own_network: as for `load`.

    Raises:
        ModelFileError: as `load`, or the file has no detector.
    """
    sections = read_sections(path)
    ae = _autoencoder(path, sections["main"], own_network)
    if "detector" not in sections:
        raise ModelFileError(f"{path}: holds no detector; fit one (diabolo fit without --only main)")
    section = sections["detector"]
    card = _card(path, DetectorCard, section.card)
    values, weights = section.tensors.get("calibration"), section.tensors.get("weights")
    allowed = {"calibration", "weights"}
    if values is None or not set(section.tensors) <= allowed or values.dtype != np.float64:
        raise ModelFileError(f"{path}: section 'detector' needs the tensor 'calibration' of F64")
    fits = values.ndim == 2 and values.shape[0] == len(card.scores) >= 1 and values.shape[1] >= 1
    if not fits or np.isnan(values).any() or (np.diff(values) < 0).any():
        raise ModelFileError(f"{path}: section 'detector': calibration is not one sorted row per score")
    if weights is not None and (weights.shape != values.shape or not (weights >= 0).all() or not weights.sum() > 0):
        raise ModelFileError(f"{path}: section 'detector': weights do not fit the calibration")
    for name in card.scores:
        if name not in scores.names():
            raise ModelFileError(f"{path}: section 'detector' names the unknown score {name!r}; upgrade diabolo")
    detector = AnomalyDetector(ae, **dataclasses.asdict(card.parameters))
    detector.autoencoder_, detector.n_excluded_ = ae, card.n_excluded
    rows = [None] * len(values) if weights is None else list(weights)
    taken = {n: Calibration(v, w) for n, v, w in zip(card.scores, values, rows, strict=True)}
    detector._take(taken, values.shape[1])
    try:
        detector._calibration().check_rate(detector.false_alarm_rate_)
    except DiaboloError as error:
        raise ModelFileError(f"{path}: section 'detector' does not fit together: {error}") from None
    detector.n_features_in_ = ae.n_features_in_
    if hasattr(ae, "feature_names_in_"):
        detector.feature_names_in_ = ae.feature_names_in_
    return detector


def _autoencoder(path: str | Path, section: Section, own_network: bool) -> Autoencoder:
    card = _card(path, MainCard, section.card)
    check_permission(path, card.config.network, card.estimator.parameters, card.own_network, own_network)
    if card.estimator.type not in ESTIMATORS:
        raise ModelFileError(f"{path}: unknown estimator {card.estimator.type!r}; allowed: {', '.join(ESTIMATORS)}")
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
            _sound(card.encoding.schema), tensors["center"], tensors["scale"], card.encoding.clip, card.encoding.n_train
        )
        state = {k: v for k, v in tensors.items() if k not in EXTRA}
        model = Model(card.config, encoding, state=state)
        ae = ESTIMATORS[card.estimator.type](**card.estimator.parameters)
        build_config({k: v for k, v in card.estimator.parameters.items() if k != "verbose"})
    except ModelFileError:
        raise
    except (DiaboloError, TypeError, ValueError, IndexError, KeyError) as error:
        raise ModelFileError(f"{path}: section 'main' does not fit together: {error}") from None
    history = card.training.history
    if any(not {"epoch", "validation", "best"} <= set(epoch) for epoch in history):
        raise ModelFileError(f"{path}: section 'main': an epoch of the history has no number, validation or best")
    hashes = tensors.get("row_hashes")
    if hashes is not None and (hashes.dtype != np.uint64 or hashes.ndim != 1):
        raise ModelFileError(f"{path}: tensor 'main/row_hashes' must be [n] U64")
    if not {"train", "stop", "calibrate"} <= set(card.roles.counts):
        raise ModelFileError(f"{path}: section 'main': roles have no counts")
    training = {k: v for k, v in dataclasses.asdict(card.training).items() if k != "history"}
    fitted = Fitted(model, history, dataclasses.asdict(card.roles), training, hashes, np.empty(0, np.int64))
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


def _card(path: str | Path, cls: type[Any], card: dict[str, Any]) -> Any:
    try:
        built = validated(cls, card, f"{path}: card")
    except ConfigError as error:
        raise ModelFileError(str(error)[:600]) from None
    for name in _unknown(card, dataclasses.asdict(built)):
        raise ModelFileError(f"{path}: card has the unknown entry {name!r}; the file is damaged, or upgrade diabolo")
    return built


def _unknown(given: Any, used: Any, where: str = "") -> Iterator[str]:
    """Names of entries at any depth that checking has passed over."""
    if isinstance(given, dict) and isinstance(used, dict):
        for key, value in given.items():
            if key not in used:
                yield f"{where}{key}"
            else:
                yield from _unknown(value, used[key], f"{where}{key}.")
    elif isinstance(given, list):
        for i, (value, kept) in enumerate(zip(given, used, strict=False)):
            yield from _unknown(value, kept, f"{where}{i}.")


def _finite(value: Any) -> Any:
    """JSON has no infinity: a validation that was not finite becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if dataclasses.is_dataclass(value) and hasattr(value, "name"):
        from diabolo.registry import spec_of

        return spec_of(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else None
