"""Scores of a table's rows in fixed padded tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diabolo.data.encoding import Encoding
from diabolo.data.tiles import TILE
from diabolo.detect.choice import check_score
from diabolo.detect.conformal import Calibration
from diabolo.detect.reference import Reference
from diabolo.detect.scores import Score
from diabolo.detect.tiling import tiled
from diabolo.device import CPU, moved, on_cpu, single_precision, to_numpy
from diabolo.threads import threads_for

__all__ = ["p_values_there", "reasons", "score_table"]


def score_table(
    reference: Reference, values: np.ndarray, names: Sequence[str], p_of: tuple[str, Calibration] | None = None
) -> dict[str, np.ndarray]:
    """Score rows of a table in fixed padded tiles.

    A row's score does not depend on its company: every tile has the same number of rows, the last one
    padded, or small tiles where the scores allow them (`Score.tile`). A row that cannot be scored is +inf, never
    normal.

    Args:
        reference: the model, and the rows that a detector keeps.
        values: [n, C] float32 or float64 in the schema's order, NaN where missing.
        names: scores to compute, by the device of the reference.
        p_of: one of them and its calibration: its p-values too, as "p_value"; NaN for a row that cannot be scored.

    Returns:
        Each score [n] float64 (leading member axes are averaged).

    Raises:
        ConfigError: an unknown score, or one whose needs the reference does not meet.
    """
    reference = reference.placed
    chosen = {n: check_score(reference, n) for n in names}
    out = {n: np.empty(len(values), np.float64) for n in (*names, *(["p_value"] if p_of else []))}
    device, work = reference.model.device, TILE * reference.model.multiply_adds
    with torch.inference_mode(), threads_for(work), single_precision(device):
        for multiple in dict.fromkeys(score.tile(reference) for score in chosen.values()):
            alike = {n: s for n, s in chosen.items() if s.tile(reference) == multiple}
            _score(reference, values, alike, multiple, out, p_of)
    for name in names:
        out[name][~np.isfinite(out[name])] = np.inf
    if p_of is not None:
        name, calibration = p_of
        if device == CPU:
            out["p_value"] = calibration.p_values(out[name])
        out["p_value"][np.isinf(out[name])] = np.nan
    return out


def reasons(encoding: Encoding, values: np.ndarray, scores: np.ndarray) -> dict[int, str]:
    """Why rows [n, C] could not be scored, by position of those whose score [n] is not finite."""
    bad = np.flatnonzero(~np.isfinite(scores))
    found = encoding.flags(values[bad]) if len(bad) else []
    return {int(i): why or "the score overflows" for i, why in zip(bad, found, strict=True)}


def p_values_there(calibration: Calibration, scores: Tensor, held: dict[Any, Any]) -> Tensor:
    """`Calibration.p_values` of scores [m] float64 where they lie; `held` keeps the calibration for later ones."""
    if calibration not in held:
        table = torch.from_numpy(calibration.scores), torch.from_numpy(calibration.p_of_places())
        held[calibration] = moved(table, scores.device)
    known: Tensor
    p: Tensor
    known, p = held[calibration]
    return p[torch.searchsorted(known, scores)]


def _score(
    reference: Reference,
    values: np.ndarray,
    chosen: dict[str, Score],
    multiple: int | None,
    out: dict[str, np.ndarray],
    p_of: tuple[str, Calibration] | None,
) -> None:
    """Scores that take tiles of one kind, written into `out`."""
    near = any("stored" in score.needs for score in chosen.values())
    kept: dict[str, list[Tensor]] = {name: [] for name in chosen}
    for part, rows in tiled(reference, values, near, multiple):
        for name, score in chosen.items():
            value = score(reference, rows)[..., : rows.count]
            if value.dim() > 1:
                value = value.double().reshape(-1, value.shape[-1]).mean(0)
            if rows.bad is not None:
                value = torch.where(rows.bad[: rows.count], torch.inf, value)
            if on_cpu(value):
                out[name][part] = value.numpy()
            else:
                # Nothing is copied back before the last tile is on its way.
                kept[name].append(value.to(torch.float64, copy=True))
    for name, parts in kept.items():
        if parts:
            found = torch.cat(parts)
            if p_of is not None and p_of[0] == name:
                out["p_value"][:] = to_numpy(p_values_there(p_of[1], found, reference.derived))
            out[name][:] = to_numpy(found)
