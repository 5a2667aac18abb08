"""Curves by term, epoch by epoch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from diabolo.report.charts import Axis, Chart, figure
from diabolo.report.evidence import Evidence
from diabolo.report.html import Html, columns_table, number
from diabolo.report.sections.base import Missing, PageSection, Shown, grid, sections


@sections.register("training")
class TrainingSection(PageSection):
    """How the loss and its terms fell."""

    place = 20
    title = "Training"
    short = "Training"

    def __call__(self, e: Evidence) -> Shown | Missing:
        history = e.fitted.history
        best = next((h for h in reversed(history) if h["best"]), history[-1] if history else None)
        if best is None:
            return Missing("The file holds no history of a training.")
        if len(history) < 2:
            solved = best.get("learning_rate") == 0.0
            how = "was solved: principal components" if solved else "is one pass"
            facts = f"The training {how}; loss on the stop rows {number(best['validation'])} nats per row."
            return Shown(facts, [])
        seconds = sum(h.get("seconds") or 0.0 for h in history)
        lead = (
            f"{len(history)} epochs in {seconds:.1f}\N{NO-BREAK SPACE}s; the weights kept are those of epoch "
            f"{best['epoch']}, with {number(best['validation'])} nats per row on the stop rows."
        )
        linear = best.get("linear")
        if linear is not None and best["best"]:
            gain = number(linear - best["validation"])
            lead += f" The linear part by itself has {number(linear)}: the network gains {gain}."
        elif linear is not None:
            lead = (
                f"{len(history)} epochs in {seconds:.1f}\N{NO-BREAK SPACE}s, none better than the linear part that the "
                f"fit began at, with {number(linear)} nats per row on the stop rows: that is kept."
            )
        return Shown(lead, [grid(_loss(history, best), _terms(history))])


def _series(history: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([math.nan if h.get(key) is None else float(h[key]) for h in history])


def _span(*series: np.ndarray) -> tuple[float, float]:
    """From lowest to highest, without the first epochs' peak where it would flatten everything else."""
    every = np.concatenate([s[np.isfinite(s)] for s in series])
    if not len(every):
        return 0.0, 1.0
    low, high = float(every.min()), float(every.max())
    usual = float(np.quantile(every, 0.95))
    if high - low > 4 * (usual - low) > 0:
        high = usual + 0.5 * (usual - low)
    pad = 0.06 * (high - low) or 0.5
    return low - pad, high + pad


def _loss(history: list[dict[str, Any]], best: dict[str, Any]) -> Html:
    epochs = _series(history, "epoch")
    stop, train = (
        _series(history, "validation"),
        _series(history, "distance") + _series(history, "beta") * np.nan_to_num(_series(history, "regularizer")),
    )
    chart = Chart(Axis(float(epochs[0]), float(epochs[-1]), "epoch"), Axis(*_span(stop, train), "nats per row"))
    chart.line(epochs, train, "c1", "training rows").line(epochs, stop, "c2", "stop rows")
    chart.vertical(float(best["epoch"]), "rule", "kept", before=best["epoch"] > 0.8 * epochs[-1])
    said = (
        f"Loss per row. It fell from {number(float(stop[0]))} to {number(float(np.nanmin(stop)))} nats on the stop "
        "rows. Training rows are met with noise and weights in motion, so their curve may lie above the other."
    )
    rows = [
        (number(h["epoch"]), *(number(float(v)) for v in (t, s))) for h, t, s in zip(history, train, stop, strict=True)
    ]
    table = columns_table(
        "Loss by epoch", ("epoch", "training rows", "stop rows"), rows, numeric=(0, 1, 2), hidden_caption=True
    )
    return figure(chart, "Loss", said, table)


def _terms(history: list[dict[str, Any]]) -> Html:
    epochs, distance, omega = (_series(history, k) for k in ("epoch", "distance", "regularizer"))
    beta = _series(history, "beta")
    weighted = beta * omega
    chart = Chart(Axis(float(epochs[0]), float(epochs[-1]), "epoch"), Axis(*_span(distance, weighted), "nats per row"))
    chart.line(epochs, distance, "c1", "distance, −log p(x|z)").line(epochs, weighted, "c3", "β Ω")
    said = (
        f"The loss by term, training rows: distance ended at {number(float(distance[-1]))}, β Ω at "
        f"{number(float(weighted[-1]))} nats per row."
    )
    rows = [
        (number(h["epoch"]), number(float(d)), number(float(w)), number(float(h["learning_rate"])))
        for h, d, w in zip(history, distance, weighted, strict=True)
    ]
    table = columns_table(
        "Terms by epoch", ("epoch", "distance", "β Ω", "learning rate"), rows, numeric=(0, 1, 2, 3), hidden_caption=True
    )
    return figure(chart, "Terms of the loss", said, table)
