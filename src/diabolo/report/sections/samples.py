"""Rows that the model draws, beside rows of the table."""

from __future__ import annotations

import numpy as np

from diabolo.generate.drawing import draw
from diabolo.generate.fidelity import ColumnDistance, column_distances, copying
from diabolo.generate.methods import automatic_method
from diabolo.report.charts import Axis, Chart, figure
from diabolo.report.evidence import Evidence, spaced
from diabolo.report.html import Html, columns_table, number, percent, tag, words
from diabolo.report.png import as_bytes, picture, sheet
from diabolo.report.sections.base import PageSection, Shown, grid, sections

#: Rows drawn, columns drawn as charts, levels and bins of each, rows that copies are looked for among.
DRAWN, CHARTS, LEVELS, BINS, NEAR, MOST_NEAR_CELLS = 2_000, 9, 12, 40, 2_000, 200_000
#: `trees` in a fifth of the time that its default takes: finding a leaf and learning a ratio of densities cost seconds.
QUICK = {"name": "trees", "leaf": 20, "candidates": 1}
QUICKLY = " (drawn by trees of 20 rows in a leaf, not resampled as `sample` does, which takes longer and comes nearer)"


@sections.register("samples")
class SamplesSection(PageSection):
    """Rows as `Autoencoder.sample` draws them, without the resampling that takes longest; of images E[x|z]."""

    place = 90
    title = "Samples beside data"
    short = "Samples"

    def __call__(self, e: Evidence) -> Shown:
        drawn, real = draws(e, 60 if e.is_image else DRAWN), e.rows.values[e.looked]
        if e.is_image:
            return Shown(
                "Images of the table, and images that the model has drawn.",
                [_images(e, real, drawn)],
            )
        found = column_distances(real, drawn, e.schema)
        order = sorted(range(len(found)), key=lambda i: -found[i].distance)
        # Two samples of one law differ by about this much.
        chance = 0.8687 * np.sqrt((len(real) + len(drawn)) / (len(real) * len(drawn)))
        typical = float(np.median([d.distance for d in found]))
        lead = (
            f"{number(len(drawn))} rows drawn from the model beside {number(len(real))} of the table"
            f"{QUICKLY if by_trees(e) else ''}. The median column is "
            f"{number(typical, 2)} away ({number(float(chance), 2)} would be chance alone), {found[order[0]].column} "
            f"is farthest with {number(found[order[0]].distance, 2)}. {_copies(e, real, drawn)}"
        )
        often = e.present(real).mean(axis=0)
        able = [i for i in order if e.schema.columns[i].kind not in ("constant", "date") and often[i] > 0.2]
        shown = [able[k] for k in spaced(len(able), CHARTS)]
        real, drawn = (np.where(e.present(v), v, np.nan) for v in (real, drawn))
        charts = [_chart(e, i, found[i], real[:, i], drawn[:, i]) for i in shown]
        return Shown(lead, [tag("div", charts, class_="grid three"), _table(found, order)])


def draws(e: Evidence, n: int) -> np.ndarray:
    """Rows [n, C] drawn from the model, in the schema's order and levels; of images E[x|z], without the noise of x."""
    return draw(e.given.sampler, n, e.seed, e.is_image, QUICK if by_trees(e) else "auto")


def by_trees(e: Evidence) -> bool:
    return automatic_method(e.given.sampler, e.is_image) == "trees"


def _copies(e: Evidence, real: np.ndarray, drawn: np.ndarray) -> str:
    train, what = e.training_values
    if what == "half of the rows looked at" or len(e.schema.names) > 200:
        return ""
    some = max(200, min(NEAR, MOST_NEAR_CELLS // len(e.schema.names)))
    parts = [v[spaced(len(v), some)] for v in (real, drawn, train)]
    found = copying(parts[0], parts[1], parts[2].astype(parts[0].dtype), e.schema)
    if found.alarm:
        return (
            f"Copies: drawn rows lie closer to training rows ({number(found.drawn, 3)}) than unseen rows do "
            f"({number(found.held_out, 3)}); the model repeats what it was trained on."
        )
    return (
        f"No copies: a drawn row is {number(found.drawn, 3)} from the nearest training row, an unseen one "
        f"{number(found.held_out, 3)}."
    )


def _chart(e: Evidence, i: int, found: ColumnDistance, real: np.ndarray, drawn: np.ndarray) -> Html:
    column = e.schema.columns[i]
    a, b = (v[np.isfinite(v)].astype(np.float64) for v in (real, drawn))
    said = f"{column.name}: distance {number(found.distance, 2)} ({found.measure})."
    if column.kind in ("categorical", "boolean"):
        levels = list(column.levels) or ["false", "true"]
        shares = [
            np.bincount(np.clip(v, 0, len(levels) - 1).astype(int), minlength=len(levels)) / max(len(v), 1)
            for v in (a, b)
        ]
        first = np.argsort(-shares[0], kind="stable")[:LEVELS]
        edges = np.arange(len(first) + 1, dtype=float)
        heights = [s[first] for s in shares]
        marks = [(k + 0.5, words(levels[j], 60 // len(first))) for k, j in enumerate(first)]
        x = Axis(0, len(first), "", marks=marks)
    else:
        there = np.r_[a, b] if len(a) or len(b) else np.zeros(1)
        low, high = (float(v) for v in np.quantile(there, [0.005, 0.995]))
        x = Axis(low, high)
        edges = np.linspace(x.low, x.high, BINS + 1)
        heights = [np.histogram(np.clip(v, x.low, x.high), edges)[0] / max(len(v), 1) for v in (a, b)]
    chart = Chart(x, Axis(0, float(max(h.max(initial=0) for h in heights)) * 1.1 or 1.0, "share of rows"))
    chart.bars(edges, heights[0], "c5", "table").steps(edges, heights[1], "c4", "drawn")
    return figure(chart, words(column.name), said)


def _table(found: list[ColumnDistance], order: list[int]) -> Html:
    rows = [
        (
            found[i].column,
            found[i].measure,
            f"{found[i].distance:.3f}",
            percent(found[i].missing_real),
            percent(found[i].missing_drawn),
        )
        for i in order
    ]
    table = columns_table(
        "Distance of each column between the table and drawn rows, 0 to 1",
        ("column", "measure", "distance", "missing", "missing, drawn"),
        rows,
        numeric=(2, 3, 4),
        sortable=True,
    )
    return tag("details", tag("summary", "All columns as a table"), table)


def _images(e: Evidence, real: np.ndarray, drawn: np.ndarray) -> Html:
    shape = e.schema.shape or (1, 1, 1)
    low, high = e.schema.columns[0].low, e.schema.columns[0].high
    both = []
    for values, what in (
        (real[spaced(len(real), len(drawn))], "of the table"),
        (drawn, "drawn from the model, E[x|z]"),
    ):
        pixels = sheet(as_bytes(values.reshape(-1, *shape), low, high), 12, gap=2)
        image = picture(pixels, f"{len(values)} images {what}", "pixels wide")
        both.append(tag("figure", tag("h3", what.capitalize()), image, class_="card"))
    return grid(*both)
