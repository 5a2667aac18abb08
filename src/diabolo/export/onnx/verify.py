"""The check that belongs to an export: both programs score the same rows, most of them spoiled."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import torch

from diabolo.data.dtypes import TEXT
from diabolo.data.encoding import Encoding
from diabolo.data.schema import Schema
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.reference import Reference
from diabolo.detect.scoring import score_table
from diabolo.errors import ExportError, MissingExtraError
from diabolo.export.onnx.encoding import Cells
from diabolo.runtime.scorer import at_once

__all__ = ["TOLERANCE", "Expected", "Parity", "compared", "feed", "scored", "session", "trial_rows", "verified"]

#: Scores may differ by this share of max(1, |score|).
TOLERANCE = 1e-4
#: Share of rows that may differ by more: of two stored rows as far to rounding, one program lists one, one the other.
SWAPS = 1e-3
#: Rows of each kind that are tried.
TRIED = 1_024
#: Share of cells that are spoiled in a row of a kind.
SPOILED = 0.2


@dataclasses.dataclass
class Expected:
    """What a graph must say."""

    reference: Reference
    name: str
    detector: Calibrated | None
    given: Cells
    more: tuple[str, ...] = ()


@dataclasses.dataclass
class Parity:
    """How far two programs are apart on the same rows."""

    rows: int  #: compared
    score: float  #: largest difference, in units of max(1, |score|)
    over: int  #: rows whose scores differ by more than `TOLERANCE`
    ranks: int  #: largest difference of a p-value's rank
    moved: int  #: rows whose p-values differ by more than one rank
    verdicts: int  #: that differ
    outside: int  #: of them, rows whose score is not within `TOLERANCE` of the threshold
    flags: int  #: rows of which only one has a score

    @property
    def holds(self) -> bool:
        apart = max(self.over, self.moved)
        return self.outside == 0 and self.flags == 0 and apart <= SWAPS * self.rows

    @property
    def said(self) -> str:
        return (
            f"  {self.rows:,} rows scored by both: {self.verdicts} verdicts differ, scores by at most "
            f"{self.score:.1e} of max(1, |score|), p-values by at most {self.ranks} rank{'s' * (self.ranks != 1)}"
        )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))


def session(data: bytes) -> Any:
    """A session of onnxruntime on one thread."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnx", "checking an ONNX graph") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def verified(model: Any, expected: Expected) -> Parity:
    """Both programs on rows drawn from the model and spoiled.

    Raises:
        ExportError: they differ by more than rounding explains.
    """
    import onnx

    onnx.checker.check_model(model, full_check=True)
    run = session(model.SerializeToString())
    reference = expected.reference
    rows = trial_rows(reference, expected.given.type)
    scores, flags = scored(run, reference.model.encoding.schema, expected, rows)
    found = compared(expected, rows, scores)
    bad = flags != 0
    if not found.holds or not np.array_equal(bad, ~np.isfinite(scores)):
        raise ExportError(
            f"the graph differs from the model on {found.rows:,} rows: scores by up to {found.score:.1e}, by more than "
            f"{TOLERANCE:g} on {found.over:,}; p-values by more than a rank on {found.moved:,}; {found.outside} "
            f"verdicts away from the threshold; {found.flags} rows have a score in one alone; nothing was written"
        )
    return found


def scored(run: Any, schema: Schema, expected: Expected, rows: np.ndarray) -> list[np.ndarray]:
    """score and flag of rows [n, C] in the schema's order by a session, some at a time."""
    most = at_once(expected.name)
    parts = [
        run.run(["score", "flag"], feed(schema, expected.given, rows[s : s + most])) for s in range(0, len(rows), most)
    ]
    return [np.concatenate(p) for p in zip(*parts, strict=True)]


def compared(expected: Expected, rows: np.ndarray, scores: np.ndarray) -> Parity:
    """Scores of a graph beside diabolo's own, of rows [n, C] in the schema's order."""
    own = score_table(expected.reference, rows, [expected.name])[expected.name]
    finite = np.isfinite(own) & np.isfinite(scores)
    gap = np.abs(own[finite] - scores[finite]) / np.maximum(1.0, np.abs(own[finite]))
    ranks = moved = verdicts = outside = 0
    if expected.detector is not None:
        calibration, threshold = expected.detector.calibration, expected.detector.threshold
        apart = np.abs(calibration.places(own) - calibration.places(scores))
        apart = _beside_ties(calibration.scores, own, scores, apart)
        ranks, moved = int(apart.max(initial=0)), int((apart > 1).sum())
        differ = (own > threshold) != (scores > threshold)
        near = np.abs(own - threshold) <= TOLERANCE * max(1.0, abs(threshold))
        verdicts, outside = int(differ.sum()), int((differ & ~near).sum())
    flags = int((np.isfinite(own) != np.isfinite(scores)).sum())
    over = int((gap > TOLERANCE).sum())
    return Parity(len(rows), float(gap.max(initial=0.0)), over, ranks, moved, verdicts, outside, flags)


def _beside_ties(table: np.ndarray, own: np.ndarray, scores: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Ranks between two scores, with calibration scores that are equal to rounding counted once."""
    out = apart.copy()
    for i in np.flatnonzero(apart > 1):
        low, high = sorted((own[i], scores[i]))
        between = table[(table >= low) & (table < high)]
        steps = np.diff(between) > 1e-6 * np.maximum(1.0, np.abs(between[1:]))
        out[i] = 1 + int(steps.sum()) if len(between) else 0
    return np.asarray(out)


def feed(schema: Schema, given: Cells, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Rows [n, C] in the schema's order as a graph's inputs."""
    if given.names == ["x"]:
        return {"x": _numbers(schema, rows).astype(given.type)}
    numbers, out = _numbers(schema, rows), {}
    for i, (name, column) in enumerate(zip(given.names, schema.columns, strict=True)):
        if column.dtype not in TEXT:
            out[name] = numbers[:, i : i + 1].astype(given.type)
            continue
        new = "?"
        while new in column.levels or new == given.missing[column.name]:
            new += "?"
        words = np.array([*column.levels, new, given.missing[column.name]], object)
        at = np.where(np.isnan(rows[:, i]), len(words) - 1, np.minimum(rows[:, i], len(words) - 2)).astype(int)
        out[name] = words[at][:, None]
    return out


def _numbers(schema: Schema, rows: np.ndarray) -> np.ndarray:
    """Positions of categories that are numbers as those numbers; one of no level as a number that is none."""
    out = rows
    for i, c in enumerate(schema.columns):
        if c.levels and c.kind != "ordinal" and c.dtype not in TEXT:
            known = np.array([float(w) for w in c.levels])
            values = np.append(known, known.max() + 1.0)
            at = np.where(np.isnan(rows[:, i]), 0, np.minimum(rows[:, i], len(known))).astype(int)
            out = out.copy() if out is rows else out
            out[:, i] = np.where(np.isnan(rows[:, i]), np.nan, values[at])
    return out


# ── rows to try ───────────────────────────────────────────────────────────────────────────────────


def trial_rows(reference: Reference, kind: type, count: int = TRIED) -> np.ndarray:
    """Rows drawn from the model, stored ones that are shaken, and both with cells that are missing, far or new."""
    model, e = reference.model, reference.model.encoding
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(1)
    with torch.inference_mode():
        z = model.sample_prior(count, generator)
        drawn = model.sample_values(model.decode(z), generator).reshape(count, -1).numpy()
    plain = [drawn]
    if reference.stored is not None and len(reference.stored):
        plain.append(_shaken(e, reference.stored.values, count, rng))
    rows = np.concatenate(plain)
    spoiled = [_gaps(rows, rng), _far(e, rows, rng), _odd(e, rows, rng)]
    return np.concatenate([rows, *spoiled]).astype(kind)


def _shaken(e: Encoding, stored: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Stored rows with a tenth of a spread of noise on every number; a whole number stays one.

    Of images half are stored ones as they are, and half means of two.
    """
    rows = stored[rng.integers(len(stored), size=count)].astype(np.float64)
    if e.shape is not None:
        rows[::2] = 0.5 * (rows[::2] + stored[rng.integers(len(stored), size=count)][::2])
        return rows
    for c in [*e.scaled, *e.angle]:
        column = e.schema.columns[c]
        if column.kind == "ordinal":
            continue
        moved = rows[:, c] + 0.1 * e.scale[c] * rng.normal(size=count)
        if column.kind in ("integer", "count"):
            moved = np.maximum(np.round(moved), 0) if column.kind == "count" else np.round(moved)
        # A slot of zeros is an empty one.
        rows[:, c] = np.where(rows[:, c] == 0, 0.0, moved)
    return rows


def _gaps(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    gone = rng.random(rows.shape) < SPOILED
    gone[:2] = True
    return np.where(gone, np.nan, rows)


def _far(e: Encoding, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    out, numbers = rows.copy(), [*e.real, *e.integer, *e.count]
    for c in numbers:
        hit = rng.random(len(out)) < SPOILED / 2
        size = 10.0 ** rng.uniform(0, 6, hit.sum()) * e.scale[c]
        out[hit, c] = np.round(out[hit, c] + size) if c not in e.real else out[hit, c] + size
    return out


def _odd(e: Encoding, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Infinite cells, levels never seen, constants with another value, shares beyond 1, negative counts."""
    out = rows.copy()
    for c, column in enumerate(e.schema.columns):
        hit = rng.random(len(out)) < SPOILED / 2
        if c in e.categorical or (column.levels and column.kind == "constant"):
            out[hit, c] = len(column.levels)
        elif c in e.constant or c in e.ordinal:
            out[hit, c] = column.high + 0.5 * max(1.0, abs(column.high))
        else:
            wrong = (
                [np.inf, -np.inf, np.nan] + ([1.5, -0.5] if c in e.boolean else []) + ([-1.0] if c in e.count else [])
            )
            hit = rng.random(len(out)) < SPOILED / 10
            out[hit, c] = rng.choice(wrong, hit.sum())
    return out
