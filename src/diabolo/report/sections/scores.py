"""The distribution of scores with the threshold, and the realised rate beside the promised one."""

from __future__ import annotations

import numpy as np

from diabolo.detect.conformal import Calibration
from diabolo.report.charts import Axis, Chart, figure
from diabolo.report.evidence import Evidence
from diabolo.report.html import Html, columns_table, number, percent
from diabolo.report.sections.base import PageSection, Shown, grid, sections
from diabolo.screen import at_most_percent

BINS = 60


@sections.register("scores")
class ScoresSection(PageSection):
    """Scores, threshold and rates."""

    place = 30
    title = "Anomaly scores"
    short = "Scores"

    def __call__(self, e: Evidence) -> Shown:
        d = e.detector
        scored = f"{number(len(e.scores))} rows" + (
            f", a sample of {number(e.rows.total)}," if e.rows.total > len(e.scores) else ""
        )
        if d is None:
            lead = (
                f"{scored} scored by {e.score_name}. The file has no detector, so there is no threshold: "
                "diabolo calibrate MODEL DATA adds one without training."
            )
            return Shown(lead, [grid(_histogram(e), *_by_truth(e))])
        flags = e.flagged[e.judged] if e.flagged is not None else np.zeros(0, bool)
        share, n = float(flags.mean()), len(flags)
        whose = _whose(e)
        lead = (
            f"Of {number(n)} {whose}, {number(int(flags.sum()))} ({percent(share, 2)}) score above the threshold, "
            f"which promises at most {at_most_percent(d.rate)} of rows exchangeable with the {d.counted}, on average "
            f"over calibrations. Scored by {e.score_name}."
        )
        return Shown(lead, [grid(_histogram(e), _rates(e), *_by_truth(e))])


def _whose(e: Evidence) -> str:
    if e.same_table:
        return "rows of the training table that set the threshold"
    if e.seen is not None and e.seen.any():
        return "rows that the model was not trained on"
    return "rows"


def interval(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share by Clopper and Pearson 1934.

    >>> tuple(round(v, 4) for v in interval(0, 100))
    (0.0, 0.0362)
    """
    from scipy.stats import beta

    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def _range(*parts: np.ndarray) -> tuple[float, float]:
    every = np.concatenate([p[np.isfinite(p)] for p in parts])
    if not len(every):
        return 0.0, 1.0
    low, high = np.quantile(every, [0.001, 0.995])
    return float(low - 0.02 * (high - low)), float(high + 0.08 * (high - low))


def _histogram(e: Evidence) -> Html:
    scores = e.scores[e.judged]
    d = e.detector
    known = d.calibration.scores if d is not None else np.zeros(0)
    low, high = _range(scores, known)
    if d is not None and np.isfinite(d.threshold):
        high = max(high, d.threshold + 0.15 * (d.threshold - low))
    edges = np.linspace(low, high, BINS + 1)
    inside = np.clip(scores[np.isfinite(scores)], low, high)
    counts = np.histogram(inside, edges)[0] / max(1, len(scores))
    top = float(counts[:-1].max() if len(counts) > 1 else 1) * 1.15
    calibration = None
    if len(known) and not e.same_table:
        calibration = np.histogram(np.clip(known, low, high), edges)[0] / len(known)
        top = max(top, float(calibration[:-1].max()) * 1.15)
    chart = Chart(Axis(low, high, f"score {e.score_name}"), Axis(0, max(top, 1e-9), "share of rows"))
    threshold = d.threshold if d is not None else np.inf
    split = int(np.searchsorted(edges, threshold))
    if d is None:
        chart.bars(edges, counts, "c1", "rows")
    else:
        below_cut = inside <= threshold
        under = np.histogram(inside[below_cut], edges)[0] / max(1, len(scores))
        over = np.histogram(inside[~below_cut], edges)[0] / max(1, len(scores))
        chart.bars(edges, under, "c1", "below the threshold")
        chart.bars(edges, over, "c4", "flagged")
    if calibration is not None:
        chart.steps(edges, calibration, "c2", "calibration rows")
    if d is not None and np.isfinite(threshold):
        chart.vertical(threshold, "rule strong", f"threshold {number(threshold)}", before=split > 0.6 * BINS)
    said = f"Scores of {number(len(scores))} rows; up is more anomalous."
    if d is not None:
        said += f" The threshold is {number(threshold)}; the last bar holds everything beyond it."
    if calibration is not None:
        said += " The outline is of the rows that set the threshold: where the two differ, the table is unlike them."
    quantiles = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)
    good = scores[np.isfinite(scores)]
    rows = [(percent(q), number(float(np.quantile(good, q)))) for q in quantiles] if len(good) else []
    table = columns_table(
        "Quantiles of the score", ("share of rows below", "score"), rows, numeric=(0, 1), hidden_caption=True
    )
    return figure(chart, "Distribution", said, table)


def _rates(e: Evidence) -> Html:
    """Share flagged against promised rate, on logarithmic axes, with the band that the calibration rows allow."""
    d = e.detector
    if d is None or e.p_values is None:
        raise TypeError("rates need a detector")
    calibration: Calibration = d.calibration
    p = e.p_values[e.judged & np.isfinite(e.scores)]
    n = calibration.units
    rates = np.unique(np.geomspace(max(1 / (n + 1), 1e-4), 0.5, 40))

    def flagged(rate: float) -> float:
        return float((p <= rate).sum()) / max(len(p), 1)

    realised = np.array([flagged(r) for r in rates])
    band = np.array([calibration.realised(r) for r in rates])
    floor = 10 ** np.floor(np.log10(max(min(rates[0], 1 / max(len(p), 2)), 1e-6)))
    chart = Chart(
        Axis(float(rates[0]), 0.5, "false-alarm rate promised", log=True),
        Axis(float(floor), 1.0, "share flagged", log=True),
    )
    chart.area(rates, np.maximum(band[:, 0], floor), band[:, 1], "c2", "expected of normal rows, 95 %")
    chart.line(rates, np.where(realised > 0, realised, np.nan), "c1", "these rows")
    rate = d.rate
    chart.vertical(rate, "rule", f"in use: {percent(rate, 2)}", before=rate > 0.02)
    at = interval(int((p <= rate).sum()), len(p))
    said = (
        f"Share flagged at every rate that could have been promised. At {percent(rate, 2)} it is "
        f"{percent(flagged(rate), 2)} (95 % interval {percent(at[0], 2)} to {percent(at[1], 2)}). Exchangeable rows "
        "give a line within the band; above it, the table holds anomalies, or is unlike the calibration rows "
        "(diabolo health)."
    )
    if e.same_table:
        said = (
            "Share flagged at every rate that could have been promised. These rows set the threshold, so the line is "
            "the promise itself; give a table that the model has not seen to test it."
        )
    shown = (0.001, 0.003, 0.01, 0.03, 0.1)
    rows = [
        (
            percent(r),
            percent(flagged(r), 2),
            *(percent(v, 2) for v in calibration.realised(r)),
        )
        for r in shown
        if r >= 1 / (n + 1)
    ]
    table = columns_table(
        "Rates",
        ("promised", "realised", "expected of normal rows from", "to"),
        rows,
        numeric=(0, 1, 2, 3),
        hidden_caption=True,
    )
    return figure(chart, "Realised rate", said, table)


def _by_truth(e: Evidence) -> list[Html]:
    """Scores by the label's value, where a label was given."""
    truth = e.rows.truth
    if truth is None:
        return []
    names, counts = np.unique(truth, return_counts=True)
    names = names[np.argsort(-counts, kind="stable")][:6]
    good = e.judged & np.isfinite(e.scores)
    low, high = _range(e.scores[good])
    edges = np.linspace(low, high, 41)
    found = [(str(v), e.scores[good & (truth == v)]) for v in names]
    found = [(v, s) for v, s in found if len(s)]
    heights = [np.histogram(np.clip(s, low, high), edges)[0] / len(s) for _, s in found]
    top = max((float(h.max()) for h in heights), default=1.0) * 1.1
    chart = Chart(Axis(low, high, f"score {e.score_name}"), Axis(0, top, "share of its rows"))
    rows = []
    for i, ((name, s), h) in enumerate(zip(found, heights, strict=True)):
        chart.steps(edges, h, f"c{i + 1}", name)
        flagged = "" if e.detector is None else percent(float((s > e.detector.threshold).mean()), 2)
        rows.append((name, number(len(s)), number(float(np.median(s))), flagged))
    table = columns_table(
        "Scores by label",
        (str(e.rows.label), "rows", "median score", "flagged"),
        rows,
        numeric=(1, 2, 3),
        hidden_caption=True,
    )
    said = (
        f"Scores by {e.rows.label}, each value's rows by themselves. The model has not seen this column unless it is "
        "among its own."
    )
    return [figure(chart, f"By {e.rows.label}", said, table)]
