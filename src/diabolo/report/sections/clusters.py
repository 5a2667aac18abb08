"""Clusters of the codes: number, sizes, stability, and a typical row of each."""

from __future__ import annotations

import numpy as np

from diabolo.cluster.clusters import Clusters
from diabolo.report.charts import Axis, Chart, figure
from diabolo.report.evidence import Evidence
from diabolo.report.html import Html, columns_table, number, percent, tag
from diabolo.report.png import as_bytes, picture, sheet
from diabolo.report.sections.base import Missing, PageSection, Shown, grid, sections

#: Clusters shown, and columns of each: those in which it differs most from the others.
SHOWN, COLUMNS = 12, 5


@sections.register("clusters")
class ClustersSection(PageSection):
    """The file's clusters among the rows on the map."""

    place = 60
    title = "Clusters"
    short = "Clusters"

    def __call__(self, e: Evidence) -> Shown | Missing:
        found, labelled = e.given.clusters, e.clusters
        if found is None or labelled is None:
            return Missing("The file has no clusters.", "diabolo cluster MODEL DATA -o LABELS.parquet")
        if found.n_clusters < 2:
            return Shown("No cluster structure was found: all rows are one cluster.", [])
        labels, confidence = labelled
        stable = (
            f"; resampled fits agree to {number(found.stability, 3)} (adjusted Rand index)"
            if np.isfinite(found.stability)
            else ""
        )
        lead = (
            f"{found.n_clusters} clusters of codes{stable}. The latent map above can be colored by them; "
            f"the median row of the map belongs to its cluster with {percent(float(np.median(confidence)))} belief."
        )
        return Shown(lead, [grid(_sizes(found.sizes, labels), _prototypes(e, found))])


def _sizes(sizes: np.ndarray, labels: np.ndarray) -> Html:
    """Share of each cluster at the fit and among the rows of the map."""
    k = len(sizes)
    fitted = np.asarray(sizes) / max(1, int(np.sum(sizes)))
    here = np.bincount(labels[labels >= 0], minlength=k)[:k] / max(1, len(labels))
    top = 1.1 * float(max(fitted.max(), here.max()))
    marks = [(j + 0.5, str(j)) for j in range(k)] if k <= 20 else []
    chart = Chart(Axis(0, k, "cluster", marks=marks), Axis(0, top, "share of rows"))
    edges = np.arange(k + 1, dtype=float)
    chart.bars(edges, fitted, "c5", "rows clustered").steps(edges, here, "c1", "rows of the map")
    none = float((labels < 0).mean())
    said = f"Clusters by size; {percent(none)} of the rows of the map belong to none."
    rows = [
        (f"cluster {j}", number(int(sizes[j])), percent(float(fitted[j])), percent(float(here[j]))) for j in range(k)
    ]
    table = columns_table(
        "Clusters", ("cluster", "rows", "share", "share here"), rows, numeric=(1, 2, 3), hidden_caption=True
    )
    return figure(chart, "Sizes", said, table)


def _prototypes(e: Evidence, found: Clusters) -> Html:
    """The decoded center of each cluster."""
    values = found.decoded_centers(e.model)[:SHOWN]
    if e.is_image:
        shape = e.schema.shape or (1, 1, 1)
        low, high = e.schema.columns[0].low, e.schema.columns[0].high
        pixels = sheet(as_bytes(values.reshape(-1, *shape), low, high), 6, gap=2)
        image = picture(pixels, f"Decoded centers of {len(values)} clusters, in order", "pixels wide")
        return tag(
            "figure",
            tag("h3", "Decoded centers"),
            image,
            tag("figcaption", "Clusters in order, left to right."),
            class_="card",
        )
    scale = np.where(e.encoding.scale > 0, e.encoding.scale, 1.0)
    with np.errstate(invalid="ignore"):
        apart = np.abs(values - np.nanmean(values, axis=0)) / scale
    rows = []
    for j, row in enumerate(values):
        order = np.argsort(-np.nan_to_num(apart[j], nan=-1.0), kind="stable")[:COLUMNS]
        said = ", ".join(f"{e.schema.names[c]} {_cell(e, int(c), float(row[c]))}" for c in order)
        rows.append((f"cluster {j}", said))
    table = columns_table(
        "Decoded centers: the columns in which each differs most", ("cluster", "typical values"), rows
    )
    return tag("section", tag("h3", "Typical rows"), table, class_="card")


def _cell(e: Evidence, column: int, value: float) -> str:
    levels = e.schema.columns[column].levels
    if e.schema.columns[column].kind == "categorical" and np.isfinite(value) and 0 <= round(value) < len(levels):
        return levels[round(value)]
    return number(value, 3)
