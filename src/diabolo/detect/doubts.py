"""Signs that calibration rows are not exchangeable with new ones: copies, an order, likeness of neighbors.

The false-alarm rate rests on exchangeability, which no test can show. These signs speak against it:

- **Copies**: calibration rows that equal a row that was trained on, or each other. Where the columns' own repeated
  values would give half as many by chance, were the columns independent, nothing is said; so never of one column.
- **Order**: a column of dates or numbers that never falls from one calibration row to the next.
- **Shift**, of a split by time: a column whose mean rank in the last rows is 5 standard deviations from that in rows
  trained on.
- **Likeness**: neighbors in the file that are more alike than rows far apart. With centered ranks x of the columns, the
  sum S = Σ_i x_i · x_(i+1) around the table (von Neumann 1941; Wald, Wolfowitz 1943) has a known mean and variance over
  all orders of the rows. Named from 5 standard deviations on, where the squared distance of neighbors is below 0.95 of
  that of any two rows. Text columns are left out.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from diabolo.data.dtypes import TEXT, is_date
from diabolo.data.hashing import hash_rows
from diabolo.data.schema import Schema

__all__ = ["Doubt", "doubts_of", "equal_by_chance"]

#: Share of calibration rows with a copy from which on it is said.
COPIES = 0.03
#: Standard deviations, and ratio of distances, from which on neighbors count as alike.
DEVIATIONS, RATIO = 5.0, 0.95
#: Rows and columns that likeness looks at, at most, and rows that it needs.
MOST_ROWS, MOST_COLUMNS, FEWEST_ROWS = 20_000, 64, 30
#: Chance of a column that never falls, below which it is said.
CHANCE = 1e-9


@dataclasses.dataclass(frozen=True)
class Doubt:
    """One sign, and its remedy on the command line and in Python."""

    fact: str
    option: str
    argument: str

    @property
    def on_command_line(self) -> str:
        return f"{self.fact}; {self.option}"

    @property
    def in_python(self) -> str:
        return f"{self.fact}; {self.argument}"


def doubts_of(
    values: np.ndarray, schema: Schema, known: np.ndarray | None, split: str, earlier: np.ndarray
) -> tuple[Doubt, ...]:
    """Signs against calibration rows.

    Args:
        values: calibration rows [n, C] in the order of their table, or of time.
        schema: of the columns.
        known: sorted hashes of the rows trained or stopped on; None where they are not known.
        split: `diabolo.data.split.Split.name`, which answers some of them.
        earlier: rows [m, C] that were trained or stopped on, for a split by time.
    """
    kind = split.partition(" ")[0]
    found = [] if kind == "content" else [_copies(values, known, kind == "group")]
    if kind == "position":
        found += [_order(values, schema) or _likeness(values, schema)]
    elif kind == "time":
        found.append(_shift(values, earlier, schema))
    return tuple(d for d in found if d is not None)


def equal_by_chance(values: np.ndarray, rows: int) -> float:
    """Share of rows that would equal another of so many, were the columns independent."""
    n, log = len(values), 0.0
    if n < 2:
        return 0.0  # no pair shows that values repeat
    for column in values.T:
        times = np.unique(column, return_counts=True, equal_nan=True)[1].astype(float)
        alike = float((times * (times - 1)).sum()) / (n * (n - 1))
        if not alike:
            return 0.0
        log += math.log(alike)
    return -math.expm1(-rows * math.exp(log))


def _copies(values: np.ndarray, known: np.ndarray | None, grouped: bool) -> Doubt | None:
    hashes = hash_rows(values)
    _, of, times = np.unique(hashes, return_inverse=True, return_counts=True)
    again = np.zeros(len(values), bool) if known is None else np.isin(hashes, known)
    if not grouped:
        again |= times[of] > 1
    share = float(again.mean()) if len(again) else 0.0
    if share <= COPIES or 2 * equal_by_chance(values, len(values) + (0 if known is None else len(known))) >= share:
        return None
    return Doubt(
        f"{100 * share:.3g} % of the calibration rows equal a row that was trained on, or each other, so new rows are "
        "flagged more often than promised unless values repeat by nature",
        "--group content keeps equal rows together, and promises the rate for rows that equal none of them",
        'fit(X, groups="content") keeps equal rows together, and promises the rate for rows that equal none of them',
    )


def _order(values: np.ndarray, schema: Schema) -> Doubt | None:
    for cells, column in zip(values.T, schema.columns, strict=True):
        cells = cells[np.isfinite(cells)]
        if column.dtype in TEXT or len(cells) < 2 or (np.diff(cells) < 0).any():
            continue
        times = np.unique(cells, return_counts=True)[1]
        orders = math.lgamma(len(cells) + 1) - sum(math.lgamma(t + 1) for t in times.tolist())
        if orders > -math.log(CHANCE):
            fact = f"the column {column.name!r} never falls from row to row: later rows may be flagged more often"
            last, whole = "calibrates on the last rows", "if it names groups, keeps them together"
            if is_date(column.dtype):
                return Doubt(fact, f"--time {column.name} {last}", f"fit(X, time=...) {last}")
            return Doubt(
                fact,
                f"--time {column.name} {last}; --group {column.name}, {whole}",
                f"fit(X, time=...) {last}; fit(X, groups=...), {whole}",
            )
    return None


def _likeness(values: np.ndarray, schema: Schema) -> Doubt | None:
    from scipy.stats import rankdata

    numbers = [i for i, c in enumerate(schema.columns) if c.dtype not in TEXT and c.kind != "constant"]
    x = values[:MOST_ROWS, numbers[:: max(1, math.ceil(len(numbers) / MOST_COLUMNS))]].astype(np.float64)
    x = x[:, np.isfinite(x).any(axis=0)]
    n = len(x)
    if n < FEWEST_ROWS or not x.shape[1]:
        return None
    x = rankdata(x, axis=0, nan_policy="omit")
    x = np.nan_to_num(x - np.nanmean(x, axis=0))
    x /= np.where(x.any(axis=0), np.sqrt(np.square(x).mean(axis=0)), 1.0)
    squares = np.square(x).sum(axis=1)
    d1, d2 = float(squares.sum()), float(np.square(squares).sum())
    if not d1:
        return None
    # Moments over all orders of S around the circle, from sums over different rows of products of their x_i · x_j.
    pairs = float(np.square(x.T @ x).sum()) - d2
    chains, apart = d2 - pairs, d1**2 - 4 * d2 + 2 * pairs
    mean = -d1 / (n - 1)
    second = pairs / (n - 1) + 2 * chains / ((n - 1) * (n - 2)) + apart / ((n - 1) * (n - 2))
    s = float((x * np.roll(x, -1, axis=0)).sum())
    ratio = (d1 - s) / (d1 - mean)
    if s - mean < DEVIATIONS * math.sqrt(max(second - mean**2, 1e-300)) or ratio > RATIO:
        return None
    return Doubt(
        f"neighboring rows are alike (squared distance {100 * ratio:.0f} % of that of rows far apart), as rows of one "
        "group or time are, so new ones may be flagged more often than promised",
        "--group COL keeps groups together, --time COL calibrates on the last rows",
        "fit(X, groups=...) keeps groups together, fit(X, time=...) calibrates on the last rows",
    )


def _shift(values: np.ndarray, earlier: np.ndarray, schema: Schema) -> Doubt | None:
    from scipy.stats import rankdata

    for i, column in enumerate(schema.columns):
        last, first = (v[np.isfinite(v[:, i]), i] for v in (values, earlier))
        n, m = len(last), len(first)
        if column.dtype in TEXT or not n or not m:
            continue
        rank = float(rankdata(np.concatenate([last, first]))[:n].mean())
        # Mean and variance over all orders (Mann, Whitney 1947); ties only make the variance smaller.
        if abs(rank - (n + m + 1) / 2) > DEVIATIONS * math.sqrt(m * (n + m + 1) / (12 * n)):
            return Doubt(
                f"the column {column.name!r} is unlike earlier rows in the last ones, so later ones may be flagged "
                "more often than promised",
                "diabolo calibrate renews the rate on newer rows",
                "calibrate(X) renews the rate on newer rows",
            )
    return None
