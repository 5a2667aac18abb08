"""Centers and scales of a table from its training rows, and its columns' own laws where they are asked for."""

from __future__ import annotations

import numpy as np

from diabolo.config import Config
from diabolo.data.encoding import Encoding
from diabolo.data.integer_inputs import integer_inputs
from diabolo.data.marginals import Marginals, fit_marginals
from diabolo.data.schema import SAMPLE, Schema, spread_fault
from diabolo.data.slots import filled
from diabolo.errors import ColumnsError, DataError

__all__ = ["fit_encoding"]

#: Spreads beside a mean that single and double precision cannot tell from rounding.
SINGLE, DOUBLE = 1e-7, 1e-14
#: Share of the spread of all cells of images, below which that of a row or column of pixels is lost; rows looked at.
HIDDEN, LOOKED_AT = 0.02, 1_000


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
            _refuse_series(values, schema)
            mean, std = _of_channels(mean, std, schema)
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


def _of_channels(mean: np.ndarray, std: np.ndarray, schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """One mean and one standard deviation for all pixels of a channel.

    Scaled one by one, the pixels of a border that is almost always black would be noise.
    """
    height, width, channels = schema.shape or (1, 1, len(mean))
    mean, std = (v.reshape(height * width, channels) for v in (mean, std))
    middle = mean.mean(0)
    spread = np.sqrt(np.mean(std**2 + (mean - middle) ** 2, axis=0))
    return np.tile(middle, height * width), np.tile(spread, height * width)


def _refuse_series(values: np.ndarray, schema: Schema) -> None:
    """Series [n, times, channels] of unlike units, which look like images of one channel: one scale hides the smallest.

    Raises:
        DataError: along one of the axes some spreads are below `HIDDEN` of that of all cells.
    """
    height, width, _ = schema.shape or (1, 1, 1)
    if schema.channels or schema.columns[0].kind != "real":
        return
    cells = values[:: max(1, len(values) // LOOKED_AT)].reshape(-1, height, width).astype(np.float64)
    there = cells[np.isfinite(cells)]
    low, middle, high = np.quantile(there, [0.05, 0.5, 0.95]) if len(there) else (0.0, 0.0, 0.0)
    cells[~np.isfinite(cells)] = middle
    for axis, name in ((2, "last"), (1, "second")):
        lines = np.moveaxis(cells, axis, 0).reshape(cells.shape[axis], -1)
        ends = np.quantile(lines, [0.05, 0.25, 0.75, 0.95], axis=1)
        # A line of an image's border has mostly one value, and hides nothing.
        told = ends[2] > ends[1]
        spread = (ends[3] - ends[0])[told]
        if len(spread) and spread.min() < HIDDEN * (high - low):
            raise DataError(
                f"the array has shape [n, {height}, {width}]: images, all of whose pixels have one scale; but along "
                f"its {name} axis the cells spread from {spread.min():.3g} to {spread.max():.3g}, and the smallest "
                "would vanish. Series of unlike channels: X.reshape(len(X), -1), whose columns have scales of their "
                "own. Images: X[..., None]"
            )


def _asks_for_laws(config: Config) -> bool:
    specs = [config.likelihood, *(config.column_likelihood or {}).values()]
    return any((s if isinstance(s, str) else s.get("name")) == "flexible" for s in specs)


def _own_laws(values: np.ndarray, schema: Schema, weights: np.ndarray | None) -> Marginals:
    columns = schema.positions("real", "date", "integer", "count", "ordinal")
    there = np.where(filled(values, schema.groups), values, np.nan) if schema.groups else values
    return fit_marginals(there, columns, np.array([c.resolution for c in schema.columns]), weights)


def _refuse_extremes(std: np.ndarray, schema: Schema, scaled: list[int]) -> None:
    """Numbers whose squares double precision cannot hold have no scale; 1 in its place would hide them."""
    columns = [(schema.columns[i], float(std[i])) for i in scaled]
    faults = {c.name: spread_fault(float(c.low), float(c.high), spread) for c, spread in columns}
    found = {name: why for name, why in faults.items() if why is not None}
    if found:
        raise ColumnsError(found)


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
