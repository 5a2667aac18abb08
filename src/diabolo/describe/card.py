"""A model file as a model card in JSON: fields of Hugging Face's card where they fit, and those of a detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diabolo.cards import finite, jsonable
from diabolo.data.schema import Column
from diabolo.describe.jobs import jobs_of
from diabolo.errors import CalibrationError
from diabolo.file.model_file import ModelFile
from diabolo.version import __version__

__all__ = ["card_text", "model_card"]

#: Words of a category that a card lists at most.
MOST_LEVELS = 50
EXCHANGEABLE = "rows exchangeable with the calibration rows, on average over calibrations"


def card_text(path: Path, own_network: bool = False) -> str:
    """The card of a model file as JSON, indented."""
    return json.dumps(model_card(ModelFile(path, own_network)), indent=2, ensure_ascii=False, allow_nan=False)


def model_card(file: ModelFile) -> dict[str, Any]:
    """What a model file is, was fitted on, promises and does not.

    `library_name`, `tags`, `model_name`, `training_data`, `training_hyperparameters` and `bias_risks_limitations` are
    fields of Hugging Face's model card; the others are of this library.
    """
    card: dict[str, Any] = {
        "library_name": "diabolo",
        "library_version": __version__,
        "model_name": file.path.name,
        "model_class": file.saved,
        "tags": ["autoencoder", *(["anomaly-detection"] if "detector" in file else [])],
        "jobs": {served.job: served.by for served in jobs_of(file)},
        "file": {
            "format_version": file.version,
            "bytes": file.size,
            "sections": {name: {"bytes": file.sizes.get(name), "sha256": file.hashes[name]} for name in file.names},
            "training_rows_kept": file.rows,
        },
    }
    if "main" in file:
        card |= _of_main(file)
    if "detector" in file:
        card["detector"] = _of_detector(file)
    card["bias_risks_limitations"] = _limits(file)
    return card


def _of_main(file: ModelFile) -> dict[str, Any]:
    fitted = file.autoencoder
    model, history, roles = fitted.model, fitted.history, fitted.roles
    best = min((e["validation"] for e in history if e["validation"] is not None), default=None)
    return {
        "autoencoder": file.estimator.type,
        "parameters": int(model.store.flat.shape[-1]),
        "training_hyperparameters": jsonable(model.config.to_json()),
        "training": {
            "epochs": len(history),
            "best_loss_nats": finite(best),
            "seconds": fitted.training.seconds,
            "device": fitted.training.device,
            "versions": fitted.training.versions,
        },
        "training_data": {
            "fingerprint": roles.fingerprint,
            "rows_by_role": {role: int(n) for role, n in roles.counts.items()},
            "split": roles.split,
            "seed": roles.seed,
            "image_shape": jsonable(file.schema.shape),
            "columns": [] if file.schema.shape is not None else [_column(c) for c in file.schema.columns],
        },
    }


def _column(c: Column) -> dict[str, Any]:
    about: dict[str, Any] = {"name": c.name, "kind": c.kind, "type": c.dtype, "missing": finite(float(c.missing))}
    if c.levels:
        return {**about, "levels": len(c.levels), "first_levels": list(c.levels[:MOST_LEVELS])}
    return {**about, "lowest": finite(float(c.low)), "highest": finite(float(c.high))}


def _of_detector(file: ModelFile) -> dict[str, Any]:
    d = file.detector
    try:
        threshold = finite(float(d.threshold))
    except CalibrationError as error:  # of an earlier rule
        return {"score": d.score_name, "refused": str(error)}
    return {
        "score": d.score_name,
        "threshold": threshold,
        "false_alarm_rate": float(d.rate),
        "smallest_false_alarm_rate": 1 / (d.calibration.units + 1),
        "holds_for": EXCHANGEABLE,
        "calibration_rows": len(d.calibration),
        "calibration_groups": d.calibration.groups,
        "rows_left_out": {"trained_on": d.n_excluded, "unscorable": d.n_unscorable},
    }


def _limits(file: ModelFile) -> list[str]:
    found = []
    if "detector" in file:
        found += [
            f"The false-alarm rate holds for {EXCHANGEABLE}; copies, groups of rows and drift break it.",
            "No share of the anomalies is promised to be found.",
        ]
    elif "main" in file:
        found.append("The file has no detector: its scores come without a threshold and without a rate.")
    if file.rows:
        found.append(f"{file.rows:,} rows of the training table are in the file; anyone who has it can read them.")
    if "main" in file:
        found.append("Columns beyond those of training_data are ignored, and without one of them no row is scored.")
    return found
