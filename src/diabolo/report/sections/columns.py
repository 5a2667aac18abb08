"""Error by column, or by pixel; and originals beside reconstructions."""

from __future__ import annotations

import numpy as np

from diabolo.report.charts import Axis, Chart, figure
from diabolo.report.evidence import Evidence, spaced
from diabolo.report.html import Html, Sorted, columns_table, number, percent, tag, words
from diabolo.report.png import as_bytes, picture, sheet
from diabolo.report.sections.base import PageSection, Shown, bar, sections

#: Columns listed, and drawn.
MOST_LISTED, MOST_DRAWN, DRAWN_ROWS = 400, 9, 250


@sections.register("columns")
class ColumnsSection(PageSection):
    """How well each column is reconstructed."""

    place = 70
    title = "Error by column"
    short = "Columns"

    def __call__(self, e: Evidence) -> Shown:
        overall = (
            f"Reconstruction explains {percent(e.overall)} of the variance of {number(len(e.looked))} rows, all "
            "columns together in standardised units."
        )
        if e.is_image:
            return Shown(overall, [_pixels(e)])
        order = np.argsort(np.nan_to_num(e.explained, nan=2.0), kind="stable")
        names = e.schema.names
        worst = [names[i] for i in order[:3] if np.isfinite(e.explained[i])]
        lead = f"{overall} Least well: {', '.join(worst)}." if worst else overall
        return Shown(lead, [_table(e, order)])


def _table(e: Evidence, order: np.ndarray) -> Html:
    p = e.passed
    values = e.rows.values[e.looked]
    there = e.present(values)
    both = there & e.present(p.values)
    rows = []
    for i in order[:MOST_LISTED]:
        column = e.schema.columns[i]
        at = both[:, i]
        gap = np.abs(_difference(values[at, i], p.values[at, i], column.kind))
        typical = "" if column.kind in ("categorical", "boolean") or not at.any() else number(float(np.mean(gap)), 3)
        if column.kind in ("categorical", "boolean") and at.any():
            wrong = float((np.round(p.values[at, i]) != values[at, i]).mean())
            typical = f"{percent(wrong)} wrong"
        share = float(e.explained[i])
        rows.append(
            (
                column.name,
                column.kind,
                Sorted(_bar(share), -1.0 if np.isnan(share) else round(share, 6)),
                Sorted(typical, float(np.mean(gap)) if at.any() else -1.0),
                percent(1 - float(there[:, i].mean())),
            )
        )
    left = len(order) - len(rows)
    table = columns_table(
        "Error by column: share of variance explained, mean absolute error in the column's own units, and cells that "
        "are absent or missing",
        ("column", "kind", "explained", "mean error", "absent"),
        rows,
        numeric=(3, 4),
        sortable=True,
        id_="columns-table",
    )
    find = tag(
        "p",
        tag(
            "label",
            "Find a column ",
            tag("input", type="search", id="columns-filter", data_filter="columns-table", autocomplete="off"),
        ),
        tag("span", f"{len(rows)} of {len(rows)}", id="columns-filter-count", role="status", class_="fine"),
        class_="tools",
        data_script=True,
    )
    more = tag("p", f"{number(left)} better ones are left out.", class_="fine") if left > 0 else None
    return tag("div", find, table, more, class_="card")


def _difference(a: np.ndarray, b: np.ndarray, kind: str) -> np.ndarray:
    gap = a.astype(np.float64) - b
    return np.asarray((gap + np.pi) % (2 * np.pi) - np.pi if kind == "angle" else gap)


def _bar(share: float) -> Html:
    if np.isnan(share):
        return tag("span", "constant, or too few cells", class_="fine")
    said = percent(share) if share > -1 else "below −100\N{NO-BREAK SPACE}%"
    return bar(max(0.0, min(1.0, share)) * 100, "s1", said)


def _pixels(e: Evidence) -> Html:
    h, w, c = e.schema.shape or (1, 1, 1)
    p = e.passed
    values = e.rows.values[e.looked]
    error = np.nanmean(np.square(values.astype(np.float64) - p.values), axis=0).reshape(h, w, c).mean(axis=-1)
    spread = np.nanvar(values.astype(np.float64), axis=0).reshape(h, w, c).mean(axis=-1)
    top = float(max(spread.max(), error.max(), 1e-12))
    maps = [
        tag("figure", picture(as_bytes(m[None, :, :, None], 0, top)[0], said), tag("figcaption", said))
        for m, said in ((spread, "variance of each pixel"), (error, "what reconstruction leaves of it"))
    ]
    text = (
        f"Bright is {number(top)} (squared units of a pixel). Largest error left: {number(float(error.max()))}, "
        f"on average {number(float(error.mean()))} of {number(float(spread.mean()))}."
    )
    return tag(
        "div",
        tag("h3", "Error by pixel"),
        tag("div", maps, class_="trio wide"),
        tag("p", text, class_="fine"),
        class_="card",
    )


@sections.register("reconstructions")
class ReconstructionsSection(PageSection):
    """Originals beside reconstructions."""

    place = 80
    title = "Original beside reconstruction"
    short = "Reconstruction"

    def __call__(self, e: Evidence) -> Shown:
        if e.is_image:
            return Shown(
                "Images as they came, and below each its reconstruction from a code of a few numbers.", [_pairs(e)]
            )
        shown = _chosen(e)
        charts = [_scatter(e, i) for i in shown]
        lead = (
            f"Seen value across, reconstructed value up, for {min(DRAWN_ROWS, len(e.looked))} rows: on the diagonal "
            f"nothing is lost. {len(shown)} columns from the worst to the best reconstructed."
        )
        return Shown(lead, [tag("div", charts, class_="grid three")])


def _chosen(e: Evidence) -> list[int]:
    kinds = ("real", "integer", "count", "ordinal", "angle")
    p = e.present(e.rows.values[e.looked]).mean(axis=0)
    able = [i for i, c in enumerate(e.schema.columns) if c.kind in kinds and np.isfinite(e.explained[i]) and p[i] > 0.2]
    able.sort(key=lambda i: e.explained[i])
    return [able[k] for k in spaced(len(able), MOST_DRAWN)]


def _scatter(e: Evidence, i: int) -> Html:
    some = spaced(len(e.looked), 4 * DRAWN_ROWS)
    values = e.rows.values[e.looked[some]]
    both = e.present(values) & e.present(e.passed.values[some])
    at = np.flatnonzero(both[:, i])[:DRAWN_ROWS]
    if not len(at):
        at = np.flatnonzero(e.present(values)[:, i])[:DRAWN_ROWS]
    x, y = values[at, i].astype(np.float64), e.passed.values[some[at], i]
    low, high = (float(v) for v in np.quantile(np.r_[x, y], [0.005, 0.995]))
    chart = Chart(Axis(low, high, "seen"), Axis(low, high, "reconstructed"))
    chart.line([low, high], [low, high], "diagonal").points(x, y, "c1")
    name = e.schema.names[i]
    return figure(chart, words(name), f"{name}: {percent(float(e.explained[i]))} of the variance explained.")


def _pairs(e: Evidence) -> Html:
    at = spaced(len(e.looked), 24)
    shape = e.schema.shape or (1, 1, 1)
    low, high = e.schema.columns[0].low, e.schema.columns[0].high
    seen = as_bytes(e.rows.values[e.looked[at]].reshape(-1, *shape), low, high)
    hat = as_bytes(e.passed.values[at].reshape(-1, *shape), low, high)
    both = np.stack([seen, hat], axis=1)
    pair = np.concatenate([both[:, 0], np.full_like(both[:, 0, :1], 128), both[:, 1]], axis=1)
    image = picture(sheet(pair, 12, gap=4), f"{len(at)} images, each above its reconstruction", "pixels wide")
    text = (
        f"{percent(e.overall)} of the variance is explained by {e.model.latent_dim} numbers for "
        f"{number(len(e.schema.names))} pixels."
    )
    return tag("figure", image, tag("figcaption", text), class_="card")
