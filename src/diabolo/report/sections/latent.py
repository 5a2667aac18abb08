"""The latent map: codes of some rows, to be colored, filtered and looked at one by one."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from diabolo.report.charts import Axis, Chart
from diabolo.report.evidence import Evidence
from diabolo.report.html import Html, columns_table, number, percent, tag
from diabolo.report.png import as_bytes, sheet, uri
from diabolo.report.sections.base import PageSection, Shown, sections
from diabolo.report.space import axis_sizes

#: Latent numbers that may be axes, columns that may be colors, levels of a column that have a name.
MOST_AXES, MOST_COLUMNS, MOST_LEVELS = 12, 60, 12
#: Side of a thumbnail in pixels, at most.
THUMB = 28
#: The value of a field that stands for none.
NONE = 65_535


@sections.register("latent")
class LatentSection(PageSection):
    """A map of codes."""

    place = 50
    title = "Latent map"
    short = "Map"

    def __call__(self, e: Evidence) -> Shown:
        codes = e.mapped_pass.codes
        sizes = axis_sizes(e.model, codes)
        axes, said = _axes(codes, sizes)
        fields = [*axes, *_marks(e), *_columns(e)]
        data: dict[str, Any] = {
            "n": len(codes),
            "rows": e.rows.positions[e.mapped].tolist(),
            "fields": fields,
            "color": next(f["name"] for f in fields if "color" in f["use"]),
            "thumbs": _thumbs(e),
        }
        some = "the most anomalous ones, and others evenly spaced"
        whole = len(codes) == int(np.isfinite(e.scores).sum())
        lead = f"{number(len(codes))} rows by their code: {'all that can be scored' if whole else some}. {said}"
        return Shown(lead, [_card(e, codes, sizes, axes)], {"map": data})


def _axes(codes: np.ndarray, sizes: np.ndarray) -> tuple[list[dict[str, Any]], str]:
    k = codes.shape[1]
    own = [_numbers(f"z{i + 1}", codes[:, i], "axis color") for i in range(min(k, MOST_AXES))]
    if k == 1:
        return [*own], "The latent is one number; the score is the other axis."
    if k == 2:
        return own, "The latent has two numbers, and these are they."
    if len(codes) == 1:
        return own, f"One row has no principal components: the axes are some of its {k} latent numbers."
    flat, size = _principal(codes * sizes)
    weighed = "" if (sizes == 1).all() else ", each by how far x̂ moves with it,"
    part = np.square(size) / max(float(np.square(size).sum()), 1e-30)
    first = [_numbers(f"principal {i + 1}", flat[:, i], "axis") for i in range(2)]
    return [*first, *own], (
        f"The two axes are the principal components of {k} latent numbers{weighed} and hold "
        f"{percent(float(part[:2].sum()), 0)} of their variance; other axes can be chosen."
    )


def _principal(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes along their first two principal components, [n, 2], and all singular values."""
    centered = codes - codes.mean(axis=0)
    _, size, axes = np.linalg.svd(centered, full_matrices=False)
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    return centered @ axes[:2].T, size


def _numbers(name: str, values: np.ndarray, use: str, **more: bool) -> dict[str, Any]:
    """A field of numbers: 16 bits between its lowest and its highest value."""
    v = np.asarray(values, np.float64)
    good = np.isfinite(v)
    low, high = (float(v[good].min()), float(v[good].max())) if good.any() else (0.0, 1.0)
    span = high - low if high > low else 1.0
    with np.errstate(invalid="ignore"):
        scaled = np.where(good, np.round((v - low) / span * (NONE - 1)), NONE)
    packed = base64.b64encode(scaled.astype("<u2").tobytes()).decode()
    ends = {"low": float(f"{low:.7g}"), "high": float(f"{low + span:.7g}")}
    if good.any():
        a, b = np.quantile(v[good], [0.02, 0.98])
        ends |= {"from": float(f"{a:.4g}"), "to": float(f"{b:.4g}")}
    return {"name": name, "use": use, "kind": "number", **ends, "data": packed, **more}


def _levels(name: str, positions: np.ndarray, levels: list[str], use: str) -> dict[str, Any]:
    """A field of a few named levels."""
    packed = base64.b64encode(np.where(positions < 0, NONE, positions).astype("<u2").tobytes()).decode()
    return {"name": name, "use": use, "kind": "level", "levels": levels, "data": packed}


def _marks(e: Evidence) -> list[dict[str, Any]]:
    """Facts of each row beside its cells."""
    at = e.mapped
    out = [_numbers("score", e.scores[at], "color axis filter")]
    if e.p_values is not None and e.flagged is not None:
        out.append(_numbers("p-value", e.p_values[at], "hover"))
        out.append(_levels("flagged", e.flagged[at].astype(int), ["not flagged", "flagged"], "color"))
    if e.rows.truth is not None:
        out.append(_named(str(e.rows.label), e.rows.truth[at].astype(str), "color"))
    if e.clusters is not None:
        labels, confidence = e.clusters
        names = [f"cluster {k}" if k >= 0 else "none" for k in sorted(set(labels.tolist()))]
        place = {k: i for i, k in enumerate(sorted(set(labels.tolist())))}
        out.append(_levels("cluster", np.array([place[k] for k in labels.tolist()]), names, "color"))
        out.append(_numbers("confidence", confidence, "color"))
    return out


def _named(name: str, words: np.ndarray, use: str) -> dict[str, Any]:
    found, positions, counts = np.unique(words, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    place = np.empty(len(found), int)
    place[order] = np.arange(len(found))
    levels = [str(found[i]) for i in order[:MOST_LEVELS]]
    at = place[positions]
    if len(found) > MOST_LEVELS:
        levels[-1:] = ["other"]
        at = np.minimum(at, MOST_LEVELS - 1)
    return _levels(name, at, levels, use)


def _columns(e: Evidence) -> list[dict[str, Any]]:
    """Columns as colors: of many, those that are reconstructed worst."""
    if e.is_image:
        return []
    values = e.rows.values[e.mapped].astype(np.float64)
    there = e.present(values)
    worst = np.argsort(np.nan_to_num(e.explained, nan=2.0), kind="stable")[:MOST_COLUMNS]
    taken = {"score", "p-value", "flagged", "cluster", "confidence", e.rows.label}
    out = []
    for i in np.sort(worst):
        column = e.schema.columns[i]
        if column.kind == "constant":
            continue
        name = f"column {column.name}" if column.name in taken else column.name
        v = np.where(there[:, i], values[:, i], np.nan)
        if column.kind == "categorical":
            words = np.array([*column.levels, "unknown", "missing"], dtype=object)
            known = np.minimum(np.nan_to_num(v), len(column.levels))
            at = np.where(np.isnan(v), len(column.levels) + 1, known).astype(int)
            out.append(_named(name, words[at].astype(str), "color"))
        else:
            out.append(_numbers(name, v, "color", column=True))
    return out


def _thumbs(e: Evidence) -> dict[str, Any] | None:
    if not e.is_image:
        return None
    shape = e.schema.shape or (1, 1, 1)
    low, high = e.schema.columns[0].low, e.schema.columns[0].high
    images = as_bytes(e.rows.values[e.mapped].reshape(-1, *shape), low, high)
    step = max(1, -(-max(shape[:2]) // THUMB))
    images = images[:, ::step, ::step]
    across = 50
    return {"sheet": uri(sheet(images, across)), "across": across, "w": images.shape[2], "h": images.shape[1]}


def _card(e: Evidence, codes: np.ndarray, sizes: np.ndarray, axes: list[dict[str, Any]]) -> Html:
    """The map as it is without a script, which replaces it by one that answers."""
    flat = _principal(codes * sizes)[0] if codes.shape[1] > 2 and len(codes) > 1 else codes
    if codes.shape[1] == 1:
        flat = np.stack([codes[:, 0], e.scores[e.mapped]], axis=1)
    names = [axes[0]["name"], axes[1]["name"] if len(axes) > 1 else "score"]
    spans = [(float(a.min()), float(a.max())) for a in flat.T]
    chart = Chart(Axis(*spans[0], names[0]), Axis(*spans[1], names[1]), height=300)
    flags = e.flagged[e.mapped] if e.flagged is not None else np.zeros(len(flat), bool)
    chart.points(flat[~flags, 0], flat[~flags, 1], "c1", "not flagged")
    chart.points(flat[flags, 0], flat[flags, 1], "c4", "flagged")
    still = tag(
        "div",
        chart.svg("Latent map", f"Codes of {len(flat)} rows, {int(flags.sum())} of them flagged."),
        id="map-still",
    )
    host = tag(
        "div",
        tag("form", id="map-tools", class_="tools", aria_label="Latent map"),
        tag(
            "div",
            tag(
                "canvas",
                id="map-canvas",
                tabindex="0",
                role="application",
                aria_describedby="map-help",
                aria_label="Latent map: one point per row",
            ),
            tag("div", id="map-tip", class_="tip", hidden=True),
            class_="canvas",
        ),
        tag("div", id="map-legend", class_="legend"),
        tag(
            "p",
            "Point at a row to see it, click to keep it. With the keyboard: arrow keys go from row to row by score, "
            "Home to the most anomalous one, Escape lets go.",
            id="map-help",
            class_="fine",
        ),
        tag("div", id="map-detail", role="status", aria_live="polite"),
        tag("div", id="map-cells"),
        id="map-live",
        hidden=True,
    )
    order = np.argsort(-e.scores[e.mapped], kind="stable")[:20]
    rows = [
        (
            f"row {e.rows.positions[e.mapped[i]]}",
            number(float(e.scores[e.mapped[i]])),
            *(number(float(v)) for v in flat[i]),
        )
        for i in order
    ]
    table = columns_table(
        "The 20 most anomalous rows on the map", ("row", "score", *names), rows, numeric=(1, 2, 3), hidden_caption=True
    )
    return tag(
        "div",
        still,
        host,
        tag("details", tag("summary", "The most anomalous rows of the map as a table"), table),
        class_="card",
    )
