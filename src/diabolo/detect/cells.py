"""The cells of rows as plain values: as they came, and as the model expects them.

A masked model knows p(x_j | the other cells). Then a cell is expected between the values below which 5 % and 95 % of
that law lie, and a category by the probabilities of its levels.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from diabolo.data.dtypes import mean_type, python_cells
from diabolo.data.encoding import Encoding
from diabolo.data.table import from_values
from diabolo.model.autoencoder import Model
from diabolo.model.chain import judges_by_others, laws

__all__ = ["ExpectedCell", "expected_cells", "plain_rows", "seen_rows"]

#: Shares of a law below the two ends of its interval.
ENDS = (0.05, 0.95)
#: Levels told of a category, at most.
MOST_LEVELS = 3
#: Shown for a word that no training row had.
UNSEEN = "(not seen in the fit)"


@dataclasses.dataclass(frozen=True)
class ExpectedCell:
    """What a model expects in place of a cell."""

    value: Any  #: E[x_j | ·], or the most probable level
    low: Any = None  #: 5 % of the law given the other cells lie below; None where there is no such law, or levels
    high: Any = None  #: 95 % of it lie below
    levels: dict[str, float] = dataclasses.field(default_factory=dict)  #: the most probable ones, falling


def expected_cells(model: Model, values: np.ndarray) -> list[dict[str, ExpectedCell]]:
    """The expected cells of rows [n, C] by column: given the others of a masked model, else the reconstruction.

    Args:
        values: in the schema's order and levels; an infinite cell counts as missing where the model reconstructs.
    """
    encoding = model.encoding
    names = encoding.schema.names
    if not judges_by_others(model):
        return [{n: ExpectedCell(row[n]) for n in names} for row in plain_rows(_rebuilt(model, values), encoding, True)]
    mean = np.tile([c.low if c.kind == "constant" else np.nan for c in encoding.schema.columns], (len(values), 1))
    low, high = (np.full(mean.shape, np.nan) for _ in ENDS)
    levels: list[dict[str, dict[str, float]]] = [{} for _ in values]
    for column, law in laws(model, values).items():
        if column >= len(names):
            continue
        mean[:, column] = law.mean()
        if law.levels:
            for row, p in zip(levels, law.probabilities(), strict=True):
                best = np.argsort(-p, kind="stable")[:MOST_LEVELS]
                row[names[column]] = {law.levels[k]: float(p[k]) for k in best}
        else:
            low[:, column], high[:, column] = law.quantile(ENDS).T
    told = [plain_rows(v, encoding, True) for v in (mean, low, high)]
    return [
        {n: ExpectedCell(m[n], _there(a[n]), _there(b[n]), by_level.get(n, {})) for n in names}
        for m, a, b, by_level in zip(*told, levels, strict=True)
    ]


def _rebuilt(model: Model, values: np.ndarray) -> np.ndarray:
    """E[x | z] of rows, [n, C]."""
    with torch.inference_mode():
        rows = model.encoding.encode(torch.from_numpy(np.array(values)))
        mean = model.mean_values(model.decode(model.posterior(rows).mean))
        return np.asarray(mean.reshape(-1, *mean.shape[-2:]).mean(0).numpy())


def _there(value: Any) -> Any:
    """None for a number that is NaN."""
    return None if isinstance(value, float) and np.isnan(value) else value


def seen_rows(values: np.ndarray, encoding: Encoding) -> list[dict[str, Any]]:
    """Rows as dicts of plain values; `UNSEEN` stands for a word that no training row had."""
    rows, schema = plain_rows(values, encoding), encoding.schema
    for name, words in schema.levels.items():
        for i in np.flatnonzero(values[:, schema.names.index(name)] >= len(words)):
            rows[i][name] = UNSEEN
    return rows


def plain_rows(values: np.ndarray, encoding: Encoding, mean: bool = False) -> list[dict[str, Any]]:
    """Rows as dicts of plain values in the columns' own types."""
    schema = encoding.schema
    dtypes = [mean_type(c.dtype) if mean else c.dtype for c in schema.columns]
    table = from_values(np.asarray(values, np.float64), schema.names, dtypes, "arrow", schema.levels)
    cells = [python_cells(column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*cells, strict=True)]
