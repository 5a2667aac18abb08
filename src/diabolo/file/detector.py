"""A detector to a section of a model file and back; a reader trusts nothing that it has not checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from diabolo.artifact import Section, read_sections
from diabolo.cards import Count, card_of
from diabolo.detect.columns import ColumnCalibration
from diabolo.detect.conformal import Calibration
from diabolo.detect.marginals import EDGES, Marginals
from diabolo.detect.reference import Reference, Stored
from diabolo.detect.scores import check_score, scores
from diabolo.detect.split import kept_rows
from diabolo.errors import DiaboloError, ModelFileError
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.estimators.detector import AnomalyDetector
from diabolo.file.main import autoencoder_of
from diabolo.fitted.table import seed_of
from diabolo.generate.drawing import take_generator

__all__ = ["detector_section", "load_detector"]


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


def detector_section(detector: AnomalyDetector) -> Section:
    """The detector's parameters, stored rows and calibrations as a section."""
    calibrations = detector.calibrations_
    tensors = {"calibration": np.stack([c.scores for c in calibrations.values()])}
    if all(c.weights is not None for c in calibrations.values()):
        tensors["weights"] = np.stack([np.asarray(c.weights) for c in calibrations.values()])
    known = detector.marginals_
    tensors |= {"edges": known.edges, "share": known.share, "missing": known.missing}
    stored = detector.reference_.stored
    if stored is not None:
        tensors["stored"] = stored.values
    if detector.columns_ is not None:
        tensors["columns"] = detector.columns_.costs
        if detector.columns_.weights is not None:
            tensors["column_weights"] = np.asarray(detector.columns_.weights, np.float64)
    rate, seed = detector.false_alarm_rate, detector.random_state
    card = {
        "parameters": {
            "score": detector.get_params()["score"],
            "false_alarm_rate": None if rate is None else float(rate),
            "random_state": None if seed is None else seed_of(seed),
        },
        "scores": list(calibrations),
        "n_excluded": detector.n_excluded_,
        "n_unscorable": detector.n_unscorable_,
    }
    return Section(card, tensors)


def load_detector(path: str | Path, own_network: bool = False) -> AnomalyDetector:
    """Read a model file and return its detector.

    Args:
        path: model file.
        own_network: as for `load`.

    Raises:
        ModelFileError: as `load`, or the file has no detector.
    """
    sections = read_sections(path)
    ae = autoencoder_of(path, sections["main"], own_network)
    take_generator(path, ae, sections.get("generator"))
    if "detector" not in sections:
        raise ModelFileError(f"{path}: holds no detector; fit one (diabolo fit without --only main)")
    section = sections["detector"]
    card = card_of(path, DetectorCard, section.card)
    left = sorted(set(section.tensors) - {"calibration", "weights", "stored", "columns", "column_weights", *MARGINALS})
    if left:
        raise ModelFileError(f"{path}: section 'detector': tensor {left[0]!r} is left over")
    calibrations = _calibrations(path, card, section.tensors)
    detector = AnomalyDetector(ae, **dataclasses.asdict(card.parameters))
    detector.autoencoder_, detector.n_excluded_ = ae, card.n_excluded
    detector.reference_ = Reference(ae.model_, _stored(path, ae, section.tensors))
    detector.columns_ = _columns(path, ae, section.tensors)
    detector.n_unscorable_ = card.n_unscorable
    first = next(iter(calibrations.values()))
    detector.marginals_ = _marginals(path, ae, section.tensors, first.size)
    detector._take(calibrations, len(first))
    try:
        for name in card.scores:
            check_score(detector.reference_, name)
        detector._calibration().check_rate(detector.false_alarm_rate_)
    except DiaboloError as error:
        raise ModelFileError(f"{path}: section 'detector' does not fit together: {error}") from None
    detector.n_features_in_ = ae.n_features_in_
    if hasattr(ae, "feature_names_in_"):
        detector.feature_names_in_ = ae.feature_names_in_
    return detector


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
    rows = [None] * len(values) if weights is None else list(weights)
    return {n: Calibration(v, w) for n, v, w in zip(card.scores, values, rows, strict=True)}


def _are_weights(weights: np.ndarray) -> bool:
    """Whether they are finite, not negative, and not all zero, each row of them alone."""
    good = np.isfinite(weights).all() and (weights >= 0).all() and (weights.sum(axis=-1) > 0).all()
    return bool(good and np.isfinite(weights.sum(axis=-1)).all())


def _columns(path: str | Path, ae: Autoencoder, tensors: dict[str, np.ndarray]) -> ColumnCalibration | None:
    costs, weights = tensors.get("columns"), tensors.get("column_weights")
    if costs is None and weights is None:
        return None
    fits = costs is not None and costs.ndim == 2 and len(costs) >= 1 and costs.shape[1] == ae.n_features_in_
    if costs is None or not fits or costs.dtype != np.float32 or np.isnan(costs).any():
        raise ModelFileError(f"{path}: tensor 'detector/columns' must be rows of {ae.n_features_in_} costs, F32")
    if weights is not None and not (weights.shape == costs.shape[:1] and _are_weights(weights)):
        raise ModelFileError(f"{path}: tensor 'detector/column_weights' does not fit 'detector/columns'")
    return ColumnCalibration(costs, weights)


def _marginals(path: str | Path, ae: Autoencoder, tensors: dict[str, np.ndarray], size: float) -> Marginals:
    schema = ae.model_.encoding.schema
    features = len(schema.names) + len(schema.output_names)
    for name, shape in (("edges", (features, EDGES)), ("share", (features, EDGES)), ("missing", (features,))):
        t = tensors.get(name)
        if t is None or t.dtype != np.float64 or t.shape != shape or np.isnan(t).any():
            raise ModelFileError(f"{path}: tensor 'detector/{name}' must be {list(shape)} F64")
    edges, share, missing = (tensors[name] for name in MARGINALS)
    # Not by their differences: that of two infinities is none.
    rising = (edges[:, 1:] >= edges[:, :-1]).all() and (share[:, 1:] >= share[:, :-1]).all()
    shares = np.concatenate([share.ravel(), missing])
    if not rising or not ((shares >= 0) & (shares <= 1 + 1e-9)).all():
        raise ModelFileError(f"{path}: section 'detector': edges and shares do not rise, or are no shares")
    return Marginals(edges, share, missing, size)


def _stored(path: str | Path, ae: Autoencoder, tensors: dict[str, np.ndarray]) -> Stored | None:
    values, columns = tensors.get("stored"), ae.n_features_in_
    if values is None:
        return None
    fits = values.ndim == 2 and len(values) >= 1 and values.shape[1] == columns
    if not fits or values.dtype not in (np.float32, np.float64):
        raise ModelFileError(f"{path}: tensor 'detector/stored' must be rows of {columns} cells, F32 or F64")
    stored = kept_rows(ae.model_.encoding, values)
    if stored is None or len(stored) < len(values):
        raise ModelFileError(f"{path}: tensor 'detector/stored' has rows that cannot be scored")
    return stored
