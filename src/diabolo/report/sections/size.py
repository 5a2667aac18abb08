"""The bottleneck: how large the latent should be, whether it is used, and how the model compares with PCA."""

from __future__ import annotations

import numpy as np

from diabolo.model.active import ACTIVE, active_units
from diabolo.report.bottleneck import LatentSizes, SizePoint, compared_sizes
from diabolo.report.charts import Axis, Chart, figure
from diabolo.report.evidence import Evidence
from diabolo.report.html import Html, columns_table, number, percent, prose, tag
from diabolo.report.sections.base import PageSection, Shown, grid, sections

#: Gain in explained variance that makes one more latent number worth it.
WORTH = 0.01


@sections.register("size")
class SizeSection(PageSection):
    """The bottleneck advisor and the certificate against principal components."""

    place = 110
    title = "Size of the latent"
    short = "Size"

    def __call__(self, e: Evidence) -> Shown:
        sizes = compared_sizes(e)
        cards = [
            _curve(sizes, "explained", "Variance explained", "share explained"),
            _curve(sizes, "bits", "Bits", "bits per row"),
            _curve(sizes, "detection", "Detection", "AUROC, damaged rows"),
            _units(e),
        ]
        why = [tag("p", prose(sizes.why_none), class_="fine")] if sizes.why_none else []
        return Shown(_advice(e, sizes), [grid(*cards), *why, _certificate(e, sizes)])


def _advice(e: Evidence, sizes: LatentSizes) -> str:
    k, own = e.model.latent_dim, sizes.own
    said = f"{k} numbers explain {percent(own.explained)} of the variance and carry {own.bits:.1f} bits of a row"
    pca = next((p for p in sizes.pca if p.k == k), None)
    if pca is not None:
        said += f"; as many principal components explain {percent(pca.explained)}"
    active = None
    if e.passed.kl is not None:
        active = int((e.passed.kl.mean(axis=0) / np.log(2) >= 0.1).sum())
    return f"{said}. {_recommendation(sizes, k, active)}"


def _recommendation(sizes: LatentSizes, k: int, active: int | None) -> str:
    """One sentence on the size, by other sizes of the model where there are some, else by principal components."""
    curve, whose = (sizes.refits, sizes.kind) if len(sizes.refits) > 1 else (sizes.pca, "principal components")
    if active is not None and active < k:
        return (
            f"Only {active} of the {k} {'carries' if active == 1 else 'carry'} a tenth of a bit or more: the model has "
            "chosen a smaller latent by itself."
        )
    at = [p for p in curve if p.k == k] or [min(curve, key=lambda p: abs(p.k - k))]
    larger = [p for p in curve if p.k > k]
    smaller = [p for p in curve if p.k < k]
    gain = max(((p.explained - at[0].explained) / (p.k - at[0].k) for p in larger), default=0.0)
    best = max(curve, key=lambda p: p.detection)
    if gain > 2 * WORTH and best.k >= k:
        return (
            f"By {whose}, each further number would explain {percent(gain)} more: try "
            f"{min(larger, key=lambda p: p.k).k}."
        )
    enough = [p for p in smaller if at[0].explained - p.explained < WORTH and at[0].detection - p.detection < WORTH]
    if enough:
        return f"By {whose}, {min(p.k for p in enough)} would do nearly as well."
    return f"By {whose}, neither more nor fewer numbers gain much."


def _curve(sizes: LatentSizes, key: str, title: str, label: str) -> Html:
    series = [(sizes.pca, "c2", "principal components"), (sizes.refits, "c3", sizes.kind)]
    every = [getattr(p, key) for s, _, _ in series for p in s] + [getattr(sizes.own, key)]
    ks = [p.k for s, _, _ in series for p in s] + [sizes.own.k]
    low, high = (0.0, 1.0) if key == "explained" else (0.4, 1.0) if key == "detection" else (0.0, max(every) * 1.08)
    if key == "explained":
        low = min(0.0, max(-0.5, min(every)))
    if key == "detection":
        low = min(0.5, *every) - 0.02
    marks = [(float(k), str(k)) for k in (1, 2, 3, 5, 10, 20, 40, 80) if min(ks) <= k <= max(ks)]
    chart = Chart(
        Axis(max(min(ks) * 0.9, 0.5), max(ks) * 1.1, "size of the latent", log=True, marks=marks),
        Axis(low, high, label),
    )
    for points, style, name in series:
        if points:
            chart.line([p.k for p in points], [getattr(p, key) for p in points], style, name, dots=True)
    chart.points([sizes.own.k], [getattr(sizes.own, key)], "c1 big", "this model")
    rows = [
        (who, number(p.k), *_row(p))
        for who, points in (
            ("this model", [sizes.own]),
            (sizes.kind, sizes.refits),
            ("principal components", sizes.pca),
        )
        for p in points
    ]
    table = columns_table(
        f"{title} against the size of the latent",
        ("what", "size", "explained", "bits per row", "AUROC"),
        rows,
        numeric=(1, 2, 3, 4),
        hidden_caption=True,
    )
    return figure(chart, title, SAID[key], table)


SAID = {
    "explained": "Share of the variance that the code explains, on rows that nothing was fitted to if there are such. "
    "Quick refits are the same model, trained for a moment on a few rows: their shape counts, not their level.",
    "bits": "Bits of a row that its code carries, ½ Σ log2 1/(1 − explained) over columns: savings of a Gaussian "
    "code that knows z.",
    "detection": "How well the reconstruction error finds rows in which one column in eight is from another row; "
    "0.5 is chance. A latent that is too large reconstructs them too.",
}


def _row(p: SizePoint) -> tuple[str, str, str]:
    return percent(p.explained), number(round(p.bits, 2)), f"{p.detection:.3f}"


def _units(e: Evidence) -> Html:
    """The use of each latent number."""
    variance = e.passed.codes.var(axis=0)
    kl = None if e.passed.kl is None else e.passed.kl.mean(axis=0) / np.log(2)
    shown = kl if kl is not None else np.sqrt(variance)
    order = np.argsort(-shown, kind="stable")
    active = (
        active_units(e.passed.codes / np.sqrt(e.model.prior.variance))
        if kl is not None
        else variance > 1e-6 * max(variance.max(), 1e-30)
    )
    n = len(order)
    marks = [(float(i) + 0.5, f"z{order[i] + 1}") for i in range(n)] if n <= 12 else []
    top = float(shown.max()) * 1.1 if shown.max() > 0 else 1.0
    chart = Chart(
        Axis(0, n, "latent number", marks=marks),
        Axis(0, top, "bits, KL(q ‖ π)" if kl is not None else "standard deviation"),
    )
    edges = np.arange(n + 1, dtype=float)
    chart.bars(edges, np.where(active[order], shown[order], 0), "c1", "active")
    chart.bars(edges, np.where(active[order], 0, np.maximum(shown[order], 0.012 * top)), "c5", "unused")
    text = f"{int(active.sum())} of {n} latent numbers are active."
    if kl is not None:
        text += (
            f" A unit is active if the variance of its mean over rows exceeds {ACTIVE} (Burda et al. 2016). "
            f"The code carries {kl.sum():.2f} bits per row."
        )
    rows = [
        (
            f"z{i + 1}",
            number(float(variance[i])),
            *(() if kl is None else (number(float(kl[i])),)),
            "yes" if active[i] else "no",
        )
        for i in order
    ]
    heads = ("latent number", "variance of the mean", *(() if kl is None else ("bits",)), "active")
    table = columns_table("Latent numbers", heads, rows, numeric=tuple(range(1, len(heads) - 1)), hidden_caption=True)
    return figure(chart, "Use of the latent", text, table)


def _certificate(e: Evidence, sizes: LatentSizes) -> Html:
    """The model beside principal components of the same size: angle between subspaces, error."""
    k = min(e.model.latent_dim, e.components.axes.shape[1])
    angle, what = subspace_angle(e)
    pca = next((p for p in sizes.pca if p.k == e.model.latent_dim), None)
    facts = [
        ("largest angle between the subspaces", f"{angle:.3g}°"),
        ("this model explains", percent(sizes.own.explained, 2)),
    ]
    if pca is not None:
        left = (1 - sizes.own.explained) / max(1 - pca.explained, 1e-12)
        facts += [
            (f"{k} principal components explain", percent(pca.explained, 2)),
            ("error left, model ÷ PCA", f"{left:.3f}"),
        ]
        verdict = (
            "The two are the same: this model is PCA."
            if angle < 1 and abs(left - 1) < 0.01
            else "The model leaves less than PCA: curvature pays."
            if left < 0.98
            else "The model leaves as much as PCA: a linear model would do."
            if left < 1.02
            else "PCA leaves less than the model. The model weighs columns by their likelihood, PCA counts squares; "
            "if squares are what matters, train longer or take method linear."
        )
    else:
        verdict = "The latent is larger than the number of components that there are."
    items = [tag("div", tag("dt", a), tag("dd", b)) for a, b in facts]
    note = (
        f"{what} against principal components of {e.training_values[1]}. The minimum of a linear autoencoder's squared "
        "error is the principal subspace (Baldi, Hornik 1989), so its angle is 0° once it is trained to the end."
    )
    return tag(
        "section",
        tag("h3", "Certificate against PCA"),
        tag("p", verdict),
        tag("dl", items),
        tag("p", note, class_="fine"),
        class_="card",
    )


def subspace_angle(e: Evidence) -> tuple[float, str]:
    """The largest principal angle, degrees, between the decoder's span and the principal subspace of its size.

    The decoder's span is that of its weights if it is one affine map; else of the leading components of its outputs
    (Björck, Golub 1973).
    """
    from scipy.linalg import subspace_angles

    k = min(e.model.latent_dim, e.components.axes.shape[1])
    weight = e.model.store.views.get("decoder.0.weight")
    heads = e.model.heads
    plain = len(e.model.decoder) == 1 and len(heads) == 1 and weight is not None and weight.shape[0] == e.space.width
    if plain and weight is not None:
        mine, what = weight.numpy().astype(np.float64), "The decoder's weights"
        mine = mine[:, np.linalg.norm(mine, axis=0) > 1e-12]
    else:
        hat = np.where(e.passed.there, e.passed.x_hat, e.passed.x).astype(np.float64)
        centered = hat - hat.mean(axis=0)
        mine = np.linalg.eigh(centered.T @ centered)[1][:, ::-1][:, :k]
        what = "The leading directions of the reconstructions"
    if not mine.shape[1]:
        return 90.0, what
    return float(np.degrees(subspace_angles(mine, e.components.axes[:, :k]).max())), what
