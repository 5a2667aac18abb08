"""How alike drawn and real rows are, in numbers and in sentences."""

from __future__ import annotations

import dataclasses
from typing import Any

from diabolo.results import Result

__all__ = ["Broken", "ColumnDistance", "Copying", "Fidelity"]

#: Columns and relations that are named at most.
NAMED = 5


@dataclasses.dataclass(frozen=True)
class ColumnDistance:
    """One column's distance between real and drawn cells, 0 to 1, over the cells that are there."""

    column: str
    #: "Kolmogorov-Smirnov", sup |F − G|, or "total variation", ½ Σ |p − q|, of a category.
    measure: str
    distance: float
    missing_real: float  #: share of missing cells
    missing_drawn: float


@dataclasses.dataclass(frozen=True)
class Copying:
    """Distances to the nearest training row: of drawn rows, beside those of real rows that were not trained on.

    A standardised number counts by its difference, a category or a missing cell that differs by 1.
    """

    drawn: float  #: median distance
    held_out: float
    closer: float  #: P(a drawn row is closer than a held-out one) + ½ P(equal); 0.5 where nothing is copied
    identical_drawn: float  #: share of rows that are a training row, cell by cell
    identical_held_out: float
    excess: float  #: largest difference of shares within some distance, drawn minus held-out
    p_value: float  #: of that difference, one-sided
    alarm: bool  #: drawn rows are copies, or spread too little around training rows


@dataclasses.dataclass(frozen=True)
class Broken:
    """A relation of all training rows that drawn rows break."""

    relation: str  #: in words
    share: float  #: of drawn rows that break it


@dataclasses.dataclass(frozen=True)
class Fidelity(Result):
    """Drawn rows beside real ones."""

    n_real: int
    n_drawn: int
    columns: tuple[ColumnDistance, ...]  #: the farthest first
    expected_distance: float  #: mean Kolmogorov-Smirnov distance of two samples of one law, of these sizes
    correlation_error: float  #: mean |ρ_real − ρ_drawn| over pairs of columns
    worst_pair: tuple[str, str, float, float] | None  #: two columns, and their correlation among real and drawn rows
    auroc: float  #: of a classifier that tells drawn rows from real ones; 0.5 is perfect, 1 is told apart at once
    auroc_spread: float  #: standard deviation over folds
    copying: Copying | None  #: None without training rows
    broken: tuple[Broken, ...] = ()  #: relations of training rows that drawn rows break, the most often first

    def sentences(self) -> list[str]:
        """What was compared, then each distance, a line each."""
        chance = "0.5 is perfect, 1 is told apart at once"
        lines = [
            f"{self.n_drawn:,} drawn rows beside {self.n_real:,} real ones that the model was not fitted on",
            f"  told apart    AUROC {self.auroc:.3f} ± {self.auroc_spread:.3f} ({chance})",
        ]
        far = ", ".join(f"{c.column} {c.distance:.3f}" for c in self.columns[:NAMED])
        lines.append(f"  columns       farthest: {far} (two samples of one law: {self.expected_distance:.3f})")
        pair = ""
        if self.worst_pair is not None:
            a, b, real, drawn = self.worst_pair
            pair = f"; worst: {a} and {b}, {real:.2f} is {drawn:.2f}"
        lines.append(f"  correlations  mean error {self.correlation_error:.3f}{pair}")
        for lost in self.broken[:NAMED]:
            lines.append(
                f"  broken        {lost.share:.1%} of drawn rows break {lost.relation}, which all training rows keep"
            )
        if len(self.broken) > NAMED:
            lines.append(f"  broken        and {len(self.broken) - NAMED} more relations of the training rows")
        near = self.copying
        if near is not None:
            lines.append(
                f"  copies        distance to the nearest training row {near.drawn:.3g}, of real rows "
                f"{near.held_out:.3g}; {near.identical_drawn:.1%} are training rows, of the real ones "
                f"{near.identical_held_out:.1%}"
                + ("  ALARM: closer to training rows than new rows are" if near.alarm else "")
            )
        return lines

    def records(self) -> list[dict[str, Any]]:
        """One dict for each column, the farthest first."""
        return [dataclasses.asdict(c) for c in self.columns]
