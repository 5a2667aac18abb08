"""Centers and scales of a table from its training rows, and its columns' own laws where they are asked for."""

from __future__ import annotations

import numpy as np

from diabolo.config import Config
from diabolo.data.encoding import Encoding
from diabolo.data.integer_inputs import integer_inputs
from diabolo.data.marginals import Marginals, fit_marginals
from diabolo.data.schema import SAMPLE, Schema
from diabolo.data.slots import filled
from diabolo.errors import DataError

__all__ = ["fit_encoding"]

#: Spreads beside a mean that single and double precision cannot tell from rounding.
SINGLE, DOUBLE = 1e-7, 1e-14


def fit_encoding(values: np.ndarray, schema: Schema, weights: np.ndarray | None, config: Config) -> Encoding:
    """Centre and scale each real column by mean and standard deviation of its winsorised values.

    Values beyond 20 interquartile ranges outside the quartiles are pulled in to there first, so that one
    wild cell cannot flatten its column. Slot columns count where the slot is filled.
    """
    center, scale = np.zeros(len(schema.columns)), np.ones(len(schema.columns))
    scaled = schema.positions("real", "date", "integer", "count", "ordinal")
    if config.scaling == "standard" and scaled:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            mean, std = _moments(values, schema, weights)
        _refuse_extremes(std, schema, scaled)
        if schema.shape is not None:
            # Pixels share one scale: scaled one by one, a border that is almost always black would be noise.
            std = np.full_like(std, np.sqrt(np.mean(std**2 + (mean - mean.mean()) ** 2)))
            mean = np.full_like(mean, mean.mean())
        # A spread at rounding level is a constant in disguise: dividing by it would blow rounding up to 1.
        rounding = np.array([SINGLE if c.dtype in ("float32", "float16") else DOUBLE for c in schema.columns])
        std[std <= rounding * np.maximum(np.abs(mean), 1e-300)] = 1.0
        center[scaled], scale[scaled] = mean[scaled], std[scaled]
    clip = config.clip if config.scaling == "standard" else 1e30
    marginals = _own_laws(values, schema, weights) if scaled and _asks_for_laws(config) else None
    inputs = None
    if config.quantize is not None:
        ranges = [(c.name, c.dtype, c.low, c.high) for c in schema.columns]
        inputs, center, scale, clip = integer_inputs(ranges, center, scale, clip, config.quantize.activations)
    return Encoding(schema, center, scale, clip, len(values), marginals, inputs)


def _asks_for_laws(config: Config) -> bool:
    specs = [config.likelihood, *(config.column_likelihood or {}).values()]
    return any((s if isinstance(s, str) else s.get("name")) == "flexible" for s in specs)


def _own_laws(values: np.ndarray, schema: Schema, weights: np.ndarray | None) -> Marginals:
    columns = schema.positions("real", "date", "integer", "count", "ordinal")
    there = np.where(filled(values, schema.groups), values, np.nan) if schema.groups else values
    return fit_marginals(there, columns, np.array([c.resolution for c in schema.columns]), weights)


def _refuse_extremes(std: np.ndarray, schema: Schema, scaled: list[int]) -> None:
    """Numbers whose squares double precision cannot hold have no scale; 1 in its place would hide them."""
    for i in scaled:
        c = schema.columns[i]
        if not np.isfinite(std[i]) or (std[i] == 0 and 0 < c.high - c.low < 1e-150):
            raise DataError(
                f"column {c.name!r} has values from {c.low:g} to {c.high:g}; allowed are spreads from 1e-150 to 1e150: "
                "rescale the column"
            )


def _moments(values: np.ndarray, schema: Schema, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per column of winsorised cells, in one pass of pieces that fit the cache."""
    step = max(1, len(values) // SAMPLE)
    some = values[::step].astype(np.float64)
    some[~filled(values[::step], schema.groups)] = np.nan
    some[:, np.isnan(some).all(axis=0)] = 0.0
    # Column by column in memory, the quartiles cost a third; numpy's NaN-aware ones cost three times the plain ones.
    quantile = np.nanquantile if np.isnan(some).any() else np.quantile
    low, middle, high = quantile(np.ascontiguousarray(some.T), [0.25, 0.5, 0.75], axis=1)
    reach = np.where(high > low, 20 * (high - low), np.inf)
    total, first, second = (np.zeros(values.shape[1]) for _ in range(3))
    for start in range(0, len(values), 4096):
        piece = values[start : start + 4096].astype(np.float64)
        there = filled(piece, schema.groups)
        if weights is None and there.all():
            cell = np.clip(piece, low - reach, high + reach, out=piece)
            cell -= middle
            total += len(cell)
            first += cell.sum(axis=0)
            second += np.einsum("ij,ij->j", cell, cell)
            continue
        w = there.astype(np.float64)
        if weights is not None:
            w *= weights[start : start + 4096, None]
        cell = np.clip(np.nan_to_num(piece), low - reach, high + reach) - middle
        total += w.sum(axis=0)
        first += (w * cell).sum(axis=0)
        second += (w * cell * cell).sum(axis=0)
    total = np.where(total > 0, total, 1.0)
    mean = first / total
    return mean + middle, np.sqrt(np.maximum(second / total - mean**2, 0.0))
