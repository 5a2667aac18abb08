"""The section `detector`: stored rows and calibrations; a reader trusts nothing unchecked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diabolo.artifact import Section
from diabolo.cards import Count, card_of
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.choice import check_score
from diabolo.detect.columns import ColumnCalibration
from diabolo.detect.conformal import Calibration
from diabolo.detect.marginals import EDGES, Marginals
from diabolo.detect.reference import Reference, Stored
from diabolo.detect.scores import scores
from diabolo.device import CPU
from diabolo.errors import DiaboloError, ModelFileError
from diabolo.fitted.record import Fitted, scorable
from diabolo.model.autoencoder import Model

__all__ = ["RULE", "calibrated_of", "detector_section"]

#: Number of the rule behind the score "auto" of tables: 2 counts contradictions; files before the first have 0.
RULE = 2
#: Tensors of the columns of the calibration rows.
MARGINALS = ("edges", "share", "missing")


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
    n_unscorable: Count
    groups: Count | None = None
    rule: Count = 0
    #: Class of the device whose scores were calibrated.
    device: Literal["cpu", "cuda"] = "cpu"


def detector_section(detector: Calibrated) -> Section:
    """The detector's parameters, stored rows and calibrations as a section.

    Raises:
        CalibrationError: a rate that the calibration cannot guarantee: `calibrated_of` would refuse the file.
        ConfigError: a score that is not calibrated.
    """
    if not (detector.outdated and detector.score_name == "auto"):  # one of an earlier rule is kept for its other scores
        detector.calibration.check_rate(detector.rate)
    calibrations = detector.calibrations
    tensors = {"calibration": np.stack([c.scores for c in calibrations.values()])}
    if all(c.weights is not None for c in calibrations.values()):
        tensors["weights"] = np.stack([np.asarray(c.weights) for c in calibrations.values()])
    known = detector.marginals
    tensors |= {"edges": known.edges, "share": known.share, "missing": known.missing}
    stored = detector.reference.stored
    if stored is not None:
        tensors["stored"] = stored.values
    if detector.columns is not None:
        tensors["columns"] = detector.columns.costs
        if detector.columns.weights is not None:
            tensors["column_weights"] = np.asarray(detector.columns.weights, np.float64)
    rate = detector.false_alarm_rate
    card: dict[str, Any] = {
        "parameters": {
            "score": detector.score,
            "false_alarm_rate": None if rate is None else float(rate),
            "random_state": detector.random_state,
        },
        "scores": list(calibrations),
        "n_excluded": detector.n_excluded,
        "n_unscorable": detector.n_unscorable,
        "rule": 0 if detector.outdated else RULE,
    }
    groups = next(iter(calibrations.values())).groups
    card |= {} if groups is None else {"groups": groups}
    card |= {} if detector.made_on == CPU else {"device": detector.made_on}
    return Section(card, tensors)


def calibrated_of(path: str | Path, section: Section, fitted: Fitted) -> Calibrated:
    """The detector of a section, around the autoencoder of its file.

    Raises:
        ModelFileError: the section is damaged, or does not fit the autoencoder.
    """
    card = card_of(path, DetectorCard, section.card)
    left = sorted(set(section.tensors) - {"calibration", "weights", "stored", "columns", "column_weights", *MARGINALS})
    if left:
        raise ModelFileError(f"{path}: section 'detector': tensor {left[0]!r} is left over")
    model, calibrations = fitted.model, _calibrations(path, card, section.tensors)
    if card.rule > RULE:
        raise ModelFileError(f"{path}: section 'detector' has a newer default score; upgrade diabolo")
    outdated = card.rule < RULE and model.encoding.shape is None
    if outdated and len(calibrations) > 1:
        # Calibrated by another rule than the score has now; the others are as they were.
        calibrations.pop("auto", None)
    first = next(iter(calibrations.values()))
    found = Calibrated(
        fitted,
        Reference(model, _stored(path, model, section.tensors), card.device),
        calibrations,
        _columns(path, model, section.tensors, card.groups),
        _marginals(path, model, section.tensors, first.size),
        card.n_excluded,
        card.n_unscorable,
        len(fitted.history),
        **dataclasses.asdict(card.parameters),
        outdated=outdated,
        made_on=card.device,
    )
    try:
        for name in card.scores:
            check_score(found.reference, name)
        if not (outdated and found.score_name == "auto"):
            found.calibration.check_rate(found.rate)
    except DiaboloError as error:
        raise ModelFileError(f"{path}: section 'detector' does not fit together: {error}") from None
    return found


def _calibrations(path: str | Path, card: DetectorCard, tensors: dict[str, np.ndarray]) -> dict[str, Calibration]:
    values, weights = tensors.get("calibration"), tensors.get("weights")
    if values is None or values.dtype != np.float64:
        raise ModelFileError(f"{path}: section 'detector' needs the tensor 'calibration' of F64")
    fits = values.ndim == 2 and values.shape[0] == len(card.scores) >= 1 and values.shape[1] >= 1
    if not fits or not np.isfinite(values).all() or (np.diff(values) < 0).any():
        raise ModelFileError(f"{path}: section 'detector': calibration is not one sorted row per score")
    if weights is not None and not (weights.shape == values.shape and _are_weights(weights)):
        raise ModelFileError(f"{path}: section 'detector': weights do not fit the calibration")
    for name in card.scores:
        if name.partition(":")[0] not in scores.names():
            raise ModelFileError(f"{path}: section 'detector' names the unknown score {name!r}; upgrade diabolo")
    if card.groups is not None and not (weights is not None and 1 <= card.groups <= values.shape[1]):
        raise ModelFileError(f"{path}: section 'detector': {card.groups} groups do not fit the calibration")
    rows = [None] * len(values) if weights is None else list(weights)
    return {n: Calibration(v, w, card.groups) for n, v, w in zip(card.scores, values, rows, strict=True)}


def _are_weights(weights: np.ndarray) -> bool:
    """Whether they are finite, not negative, and not all zero, each row of them alone."""
    good = np.isfinite(weights).all() and (weights >= 0).all() and (weights.sum(axis=-1) > 0).all()
    return bool(good and np.isfinite(weights.sum(axis=-1)).all())


def _columns(
    path: str | Path, model: Model, tensors: dict[str, np.ndarray], groups: int | None
) -> ColumnCalibration | None:
    costs, weights, columns = tensors.get("columns"), tensors.get("column_weights"), len(model.encoding.schema.columns)
    if costs is None and weights is None:
        return None
    fits = costs is not None and costs.ndim == 2 and len(costs) >= 1 and costs.shape[1] == columns
    if costs is None or not fits or costs.dtype != np.float32 or np.isnan(costs).any():
        raise ModelFileError(f"{path}: tensor 'detector/columns' must be rows of {columns} costs, F32")
    if weights is not None and not (weights.shape == costs.shape[:1] and _are_weights(weights)):
        raise ModelFileError(f"{path}: tensor 'detector/column_weights' does not fit 'detector/columns'")
    return ColumnCalibration(costs, weights, groups)


def _marginals(path: str | Path, model: Model, tensors: dict[str, np.ndarray], size: float) -> Marginals:
    schema = model.encoding.schema
    features = len(schema.names) + len(schema.output_names)
    for name, shape in (("edges", (features, EDGES)), ("share", (features, EDGES)), ("missing", (features,))):
        t = tensors.get(name)
        if t is None or t.dtype != np.float64 or t.shape != shape or np.isnan(t).any():
            raise ModelFileError(f"{path}: tensor 'detector/{name}' must be {list(shape)} F64")
    edges, share, missing = (tensors[name] for name in MARGINALS)
    # Compared, not subtracted: the difference of two infinities is NaN.
    rising = (edges[:, 1:] >= edges[:, :-1]).all() and (share[:, 1:] >= share[:, :-1]).all()
    shares = np.concatenate([share.ravel(), missing])
    if not rising or not ((shares >= 0) & (shares <= 1 + 1e-9)).all():
        raise ModelFileError(f"{path}: section 'detector': edges and shares do not rise, or are no shares")
    return Marginals(edges, share, missing, size)


def _stored(path: str | Path, model: Model, tensors: dict[str, np.ndarray]) -> Stored | None:
    values, columns = tensors.get("stored"), len(model.encoding.schema.columns)
    if values is None:
        return None
    fits = values.ndim == 2 and len(values) >= 1 and values.shape[1] == columns
    if not fits or values.dtype not in (np.float32, np.float64):
        raise ModelFileError(f"{path}: tensor 'detector/stored' must be rows of {columns} cells, F32 or F64")
    if not scorable(model.encoding, values).all():
        raise ModelFileError(f"{path}: tensor 'detector/stored' has rows that cannot be scored")
    return Stored(np.require(values, requirements=("C", "W")))
