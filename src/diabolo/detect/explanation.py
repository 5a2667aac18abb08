"""Why a row has its score, in sentences and column by column."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from diabolo.detect.cells import ExpectedCell
from diabolo.markup import Html, join
from diabolo.results import Result, card, frame_of
from diabolo.screen import percent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ColumnPart", "Explanation", "Explanations", "Neighbor", "show"]

#: Columns shown of a row, and rows shown of several, at most.
SHOWN, MOST_ROWS = 8, 5
#: Columns of a card.
CARD = ("column", "seen", "expected", "interval", "contribution", "p_value", "changed")


@dataclasses.dataclass(frozen=True)
class ColumnPart:
    """One column's part in a row's score."""

    column: str
    seen: Any  #: as it came
    expected: Any  #: of the repaired row: E[x_j | the other cells] of a masked autoencoder, else E[x_j | z]
    contribution: float  #: cost of the seen value where all other columns are as expected, in the score's unit
    p_value: float  #: conformal, of the column's −log p(x_j|z); see `diabolo.detect.columns`
    changed: bool  #: whether it is among the columns that have to change for the row to be normal
    low: Any = None  #: 5 % of p(x_j | the other cells of the repaired row) lie below; None without such a law
    high: Any = None  #: 95 % of it lie below; of an angle, the end of the turn upwards from `low`
    levels: dict[str, float] = dataclasses.field(default_factory=dict)  #: the most probable ones of a category

    @classmethod
    def of(
        cls, column: str, seen: Any, expected: ExpectedCell, contribution: float, p_value: float, changed: bool
    ) -> ColumnPart:
        """A part with what the model expects in place of the cell."""
        law = expected.low, expected.high, expected.levels
        return cls(column, seen, expected.value, contribution, p_value, changed, *law)

    @property
    def interval(self) -> str:
        """The values that 5 % and 95 % lie below, or the most probable levels; "" without a law."""
        if self.levels:
            return ", ".join(f"{level} {_share(p)}" for level, p in self.levels.items())
        return "" if self.low is None else f"{show(self.low)} to {show(self.high)}"


@dataclasses.dataclass(frozen=True)
class Neighbor:
    """A stored training row that the detector calls normal."""

    distance: float  #: standardised units
    values: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Explanation(Result):
    """Why a row has its score; `columns` come in order, those that have to change first."""

    row: int
    score: float
    p_value: float
    threshold: float
    is_anomaly: bool
    repaired_score: float  #: once the columns that are `changed` have other values
    columns: tuple[ColumnPart, ...]
    neighbors: tuple[Neighbor, ...]
    flag: str | None = None  #: why the row cannot be scored

    @property
    def changed(self) -> tuple[str, ...]:
        """The columns that have to change for the row to be normal: the smallest set that a greedy search found."""
        return tuple(part.column for part in self.columns if part.changed)

    def records(self) -> list[dict[str, Any]]:
        """One plain dict per column, in order."""
        return [dataclasses.asdict(part) for part in self.columns]

    def html(self) -> Html:
        """A card for a notebook, without what the model has no law for."""
        lawful = any(part.interval for part in self.columns)
        names = [name for name in CARD if lawful or name != "interval"]
        return card(self.headline(), records=[{n: getattr(part, n) for n in names} for part in self.columns])

    def sentences(self) -> list[str]:
        """The row as a whole."""
        return [self.headline()]

    def __str__(self) -> str:
        lines = [self.headline()]
        for part in self.columns[:SHOWN]:
            mark = "*" if part.changed else " "
            law = f" ({part.interval})" if part.interval else ""
            lines.append(
                f"{mark} {part.column}: {show(part.seen)}, expected {show(part.expected)}{law}, "
                f"contribution {part.contribution:.4g}, p = {part.p_value:.4g}"
            )
        return "\n".join(lines)

    def headline(self) -> str:
        """One line on the row as a whole."""
        verdict = "anomaly" if self.is_anomaly else "normal"
        score = f"score {self.score:.4g} (threshold {self.threshold:.4g}), p = {self.p_value:.3g}"
        head = f"row {self.row}: {verdict}, {score}"
        if self.flag is not None:
            return f"{head}; cannot be scored: {self.flag}"
        if not self.changed:
            return head
        state = "normal" if self.repaired_score <= self.threshold else "still an anomaly"
        return f"{head}; with other values of {', '.join(self.changed)} it is {state}, score {self.repaired_score:.4g}"


class Explanations(list[Explanation]):
    """Explanations of several rows: a list, which shows itself in a notebook and becomes one frame."""

    def to_frame(self) -> pd.DataFrame:
        """A pandas frame with a row for each column of each explained row, which the column `row` numbers.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        names = ["row", *(f.name for f in dataclasses.fields(ColumnPart))]
        return frame_of([{"row": e.row, **record} for e in self for record in e.records()], names)

    def __repr__(self) -> str:
        return "\n".join(map(str, self)) or "no rows"

    def _repr_html_(self) -> str:
        more = len(self) - MOST_ROWS
        rest = card(f"and {more:,} more rows in .to_frame()") if more > 0 else None
        return join([e.html() for e in self[:MOST_ROWS]] + [rest])


def _share(p: float) -> str:
    """A probability in few signs."""
    return percent(float(f"{p:.2g}")) if 0.001 <= p < 0.995 else "> 99 %" if p > 0.5 else "< 0.1 %"


def show(value: object) -> str:
    """A cell as text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    if isinstance(value, np.datetime64):
        return str(value).replace("T", " ")
    return f"{value:.4g}" if isinstance(value, float) else str(value)
