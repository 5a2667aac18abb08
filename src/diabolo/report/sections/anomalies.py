"""The most anomalous rows, beside their expected cells."""

from __future__ import annotations

import dataclasses

import numpy as np

from diabolo.detect.calibrated import Calibrated
from diabolo.detect.cells import expected_cells, seen_rows
from diabolo.detect.columns import column_costs
from diabolo.detect.explaining import ColumnPart, Explanation, explain, show
from diabolo.errors import CalibrationError, DiaboloError
from diabolo.report.evidence import Evidence
from diabolo.report.html import Html, columns_table, number, tag
from diabolo.report.png import as_bytes, picture
from diabolo.report.sections.base import Missing, PageSection, Shown, sections
from diabolo.report.space import pass_rows

__all__ = ["AnomaliesSection"]

#: Rows shown, and columns of each.
ROWS, COLUMNS = 8, 6
#: Columns up to which the fewest that have to change are searched for: some seconds.
MOST_SEARCHED = 24
#: Said where the model has a law of each cell.
LAWFUL = ", and what is likely there: 5 % to 95 % of the law given the other cells, or the most probable levels."


@sections.register("anomalies")
class AnomaliesSection(PageSection):
    """The rows of the highest scores."""

    place = 40
    title = "Most anomalous rows"
    short = "Anomalies"

    def __call__(self, e: Evidence) -> Shown | Missing:
        first = e.worst[:ROWS]
        if e.is_image:
            return Shown(
                f"The {len(first)} images of the highest scores, beside what was expected of them.", [_images(e, first)]
            )
        if e.detector is None:
            return Missing(
                "Columns are explained by a detector's calibration rows; this file has none.",
                "diabolo calibrate MODEL DATA",
            )
        try:
            searched = len(e.schema.names) <= MOST_SEARCHED
            found = explain(e.detector, e.rows.values[first], 0) if searched else _by_columns(e, e.detector, first)
        except DiaboloError as error:
            return Missing(str(error))
        found = [dataclasses.replace(x, row=int(e.rows.positions[i])) for x, i in zip(found, first, strict=True)]
        how = (
            "Marked columns would have to change for the row to be normal, the others being as they are."
            if searched
            else "Columns come by what they cost the model beside calibration rows; diabolo explain MODEL DATA --row N "
            "searches for the fewest that would have to change."
        )
        by_law = any(part.interval for x in found for part in x.columns)
        lead = (
            f"The {len(found)} rows of the highest scores, with what the code of the rest of the row lets expect"
            f"{LAWFUL if by_law else '.'} {how}"
        )
        return Shown(lead, [tag("div", [_card(x) for x in found], class_="grid rows")])


def _by_columns(e: Evidence, detector: Calibrated, rows: np.ndarray) -> list[Explanation]:
    """Explanations without a search: columns by the p-value of their −log p(x_j|z), then by the cost itself."""
    if detector.columns is None:
        raise CalibrationError("The detector was saved by a version that kept no costs by column; fit it again.")
    values = e.rows.values[rows]
    costs = column_costs(e.model, values)
    p = detector.columns.p_values(costs)
    typical = np.median(detector.columns.costs, axis=0)
    finite = np.nan_to_num(values, nan=np.nan, posinf=np.nan, neginf=np.nan)
    seen, expected = seen_rows(values, e.encoding), expected_cells(e.model, finite)
    there = e.present(values)
    whole = e.detector.p_values(e.scores[rows]) if e.detector is not None else np.ones(len(rows))
    out = []
    for k, i in enumerate(rows):
        excess = np.where(there[k], costs[k] - typical, -np.inf)
        order = np.lexsort((-excess, np.where(there[k], p[k], 2.0)))[:COLUMNS]
        names = e.schema.names
        parts = tuple(
            ColumnPart.of(names[c], seen[k][names[c]], expected[k][names[c]], float(excess[c]), float(p[k, c]), False)
            for c in order
        )
        score = float(e.scores[i])
        flag = None if np.isfinite(score) else e.encoding.flags(values[k : k + 1])[0] or "the score overflows"
        verdict = not np.isfinite(score) or score > detector.threshold
        out.append(
            Explanation(int(i), score, float(whole[k]), detector.threshold, bool(verdict), score, parts, (), flag)
        )
    return out


def _shown(value: object) -> str:
    return number(value) if isinstance(value, int | float) else show(value)


def _card(x: Explanation) -> Html:
    rows = []
    lawful = any(part.interval for part in x.columns)
    for part in x.columns[:COLUMNS]:
        mark = tag("span", "●", class_="mark", title="has to change") if part.changed else None
        name = tag("span", mark, tag("span", " has to change: ", class_="sr") if part.changed else None, part.column)
        law = (part.interval,) if lawful else ()
        rows.append((name, _shown(part.seen), _shown(part.expected), *law, _p(part.p_value)))
    headings = ("column", "seen", "expected", *(("likely",) if lawful else ()), "p")
    numeric = range(1, len(headings))
    table = columns_table(f"Row {x.row}", headings, rows, numeric=numeric, hidden_caption=True)
    state = "flagged" if x.is_anomaly else "not flagged"
    head = f"score {number(x.score)}, p = {_p(x.p_value)}, {state}"
    if x.flag is not None:
        head = f"cannot be scored: {x.flag}"
    note = None
    if x.changed and x.flag is None:
        verdict = "normal" if x.repaired_score <= x.threshold else "closer to normal, but still flagged"
        note = tag(
            "p",
            f"With other values of {', '.join(x.changed)} the row is {verdict} (score {number(x.repaired_score)}).",
            class_="fine",
        )
    return tag("article", tag("h3", f"Row {number(x.row)}"), tag("p", head, class_="fine"), table, note, class_="card")


def _p(value: float) -> str:
    return number(float(f"{value:.2g}"))


def _images(e: Evidence, rows: np.ndarray) -> Html:
    values = e.rows.values[rows]
    shape = e.schema.shape or (1, 1, 1)
    low, high = e.schema.columns[0].low, e.schema.columns[0].high
    hat = pass_rows(e.model, values).values
    seen, expected = (as_bytes(v.reshape(-1, *shape), low, high) for v in (values, hat))
    span = high - low if high > low else 1.0
    gap = as_bytes(np.abs(np.nan_to_num(values) - hat).reshape(-1, *shape), 0.0, span)
    cards = []
    for k, i in enumerate(rows):
        at = int(e.rows.positions[i])
        p = "" if e.p_values is None else f", p = {_p(float(e.p_values[i]))}"
        trio = [
            tag("figure", picture(image, f"{what} of row {at}"), tag("figcaption", what))
            for what, image in (("seen", seen[k]), ("expected", expected[k]), ("difference", gap[k]))
        ]
        cards.append(
            tag(
                "article",
                tag("h3", f"Row {number(at)}"),
                tag("p", f"score {number(float(e.scores[i]))}{p}", class_="fine"),
                tag("div", trio, class_="trio"),
                class_="card",
            )
        )
    return tag("div", cards, class_="grid rows")
