"""Statistics over tables: means, paired differences, ranks; as tables in Markdown.

Seeds are averaged within a table first; a table then counts once. A mean over T tables has the standard error s/√T of
its T values; a difference between two detectors is taken table by table, so its error is of those differences.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

Line = dict[str, Any]
Figures = dict[str, dict[str, float]]  # method → table → mean over seeds
OURS = "diabolo"

#: What earlier measurements and publications call the same detector and protocol.
MEASURED = {"KNN": "KNN", "LOF": "LOF", "IForest": "IForest", "PCA": "PCA_pyod", "ECOD": "ECOD"} | {
    "AutoEncoder": "AutoEncoder",
    "VAE": "VAE",
}
MEASURED_AS = {"one-class": "semi", "unsupervised": "unsup"}
PUBLISHED = {"KNN": "KNN", "LOF": "LOF", "IForest": "IForest", "PCA": "PCA", "ECOD": "ECOD"}


def short(name: str) -> str:
    """`letter` for 20_letter."""
    return re.sub(r"^\d+_", "", name)


# ── statistics ────────────────────────────────────────────────────────────────────────────────────


def per_table(lines: Sequence[Line], key: str) -> Figures:
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in lines:
        if key in line:
            cells[line["method"], line["table"]].append(line[key])
    out: Figures = defaultdict(dict)
    for (method, table), values in cells.items():
        out[method][table] = float(np.mean(values))
    return dict(out)


def on_shared_cells(
    lines: Sequence[Line], ours: str, theirs: str, key: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Per table, over the seeds that both detectors ran with."""
    both = set.intersection(*({(x["table"], x["seed"]) for x in lines if x["method"] == m} for m in (ours, theirs)))
    figures = per_table([x for x in lines if (x["table"], x["seed"]) in both], key)
    return figures.get(ours, {}), figures.get(theirs, {})


def mean_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error; no error of a single value."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def paired(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, Any]:
    """Ours − theirs on the tables that both have, and what one table more or less would make of the mean."""
    names = [name for name in ours if name in theirs]
    d = np.array([ours[name] - theirs[name] for name in names])
    mean, error = mean_error(d)
    out = {"tables": len(d), "mean": mean, "error": error, "median": float(np.median(d))}
    out |= {"wins": int((d > 0).sum()), "ties": int((d == 0).sum()), "losses": int((d < 0).sum())}
    if len(d) > 1:
        without = (d.sum() - d) / (len(d) - 1)
        low, high = int(without.argmin()), int(without.argmax())
        out |= {"lowest": float(without[low]), "lowest_without": short(names[low])}
        out |= {"highest": float(without[high]), "highest_without": short(names[high])}
    return out


def ranks(figures: Figures) -> dict[str, float]:
    """Mean rank over the tables that all detectors have, 1 = best, ties share their ranks."""
    common = set.intersection(*(set(tables) for tables in figures.values()))
    if not common:
        return dict.fromkeys(figures, float("nan"))
    values = np.array([[figures[method][table] for method in figures] for table in sorted(common)])
    return dict(zip(figures, rankdata(-values, axis=1).mean(0).tolist(), strict=True))


def seed_spread(lines: Sequence[Line], method: str) -> float:
    """Standard deviation of AUROC over seeds, averaged over tables."""
    by_table = defaultdict(list)
    for line in lines:
        if line["method"] == method:
            by_table[line["table"]].append(line["auroc"])
    spreads = [np.std(values, ddof=1) for values in by_table.values() if len(values) > 1]
    return float(np.mean(spreads)) if spreads else float("nan")


# ── Markdown ──────────────────────────────────────────────────────────────────────────────────────


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def percent(value: float | None, form: str = "{:.1f}") -> str:
    return "" if value is None or np.isnan(value) else form.format(100 * value)


def with_error(mean: float, error: float, form: str = "{:.1f}") -> str:
    return percent(mean, form) + ("" if np.isnan(error) else f" ± {percent(error, form)}")


def summary(lines: Sequence[Line], methods: Sequence[str]) -> str:
    """One row per detector, over the tables that all of them have; a detector that lacks some is left out."""
    auroc, precision = per_table(lines, "auroc"), per_table(lines, "ap")
    lacking = [m for m in methods if len(auroc[m]) < max(len(auroc[other]) for other in methods)]
    methods = [m for m in methods if m not in lacking]
    auroc = {m: auroc[m] for m in methods}
    common = set.intersection(*(set(auroc[m]) for m in methods))
    seconds = {key: per_table(lines, key) for key in ("fit_cpu_s", "score_cpu_s")}
    area = {m: {t: auroc[m][t] for t in sorted(common)} for m in methods}
    places = ranks(area)
    rows = []
    for m in methods:
        a = np.array([auroc[m][t] for t in sorted(common)])
        p = np.array([precision[m][t] for t in sorted(common)])
        fit = [v for t, v in seconds["fit_cpu_s"].get(m, {}).items() if t in common]
        score = [v for t, v in seconds["score_cpu_s"].get(m, {}).items() if t in common]
        times = (f"{np.mean(fit):.2f} ({np.median(fit):.2f})", f"{np.mean(score):.2f}") if fit else ("", "")
        spread = percent(seed_spread([x for x in lines if x["table"] in common], m), "{:.2f}")
        seeds = len({x["seed"] for x in lines if x["method"] == m})
        rows.append(
            (m, with_error(*mean_error(a)), with_error(*mean_error(p)), f"{places[m]:.2f}", *times, spread, seeds)
        )
    head = ("detector", "AUROC", "average precision", "mean rank", "fit, s (median)", "score, s", "over seeds", "seeds")
    said = f" Not on all of them, so only in the tables below: {', '.join(lacking)}." if lacking else ""
    return f"{len(common)} tables.{said}\n\n" + markdown(head, rows)


def differences(lines: Sequence[Line], methods: Sequence[str], key: str) -> str:
    rows = []
    for m in methods:
        ours, theirs = on_shared_cells(lines, OURS, m, key)
        if m == OURS or not ours:
            continue
        d = paired(ours, theirs)
        sensitive = ""
        if "lowest" in d:
            low, high = percent(d["lowest"], "{:+.2f}"), percent(d["highest"], "{:+.2f}")
            sensitive = f"{low} (without {d['lowest_without']}) to {high} (without {d['highest_without']})"
        wins = f"{d['wins']}–{d['ties']}–{d['losses']}"
        mean = with_error(d["mean"], d["error"], "{:+.2f}").replace("± +", "± ")
        rows.append((m, d["tables"], mean, percent(d["median"], "{:+.2f}"), wins, sensitive))
    label = {"auroc": "AUROC", "ap": "average precision"}[key]
    head = (f"{OURS} − …, {label}", "tables", "mean", "median", "won–tied–lost", "mean with one table left out")
    return markdown(head, rows)


def every_table(lines: Sequence[Line], methods: Sequence[str]) -> str:
    """AUROC / average precision, one row per table."""
    auroc, precision = per_table(lines, "auroc"), per_table(lines, "ap")
    size = {x["table"]: (x["rows"], x["columns"]) for x in lines}
    rows = []
    for t in sorted(size, key=lambda t: size[t]):
        cells = [
            f"{percent(auroc[m].get(t))} / {percent(precision[m].get(t))}" if t in auroc[m] else "" for m in methods
        ]
        best = max((auroc[m][t] for m in methods if t in auroc[m]), default=None)
        bold = [f"**{c}**" if c and auroc[m][t] == best else c for c, m in zip(cells, methods, strict=True)]
        rows.append((short(t), f"{size[t][0]:,} × {size[t][1]}", *bold))
    return markdown(("table", "size", *methods), rows)


def own_scores(lines: Sequence[Line], methods: Sequence[str]) -> str:
    """Unsupervised: the detectors' own scores of their training rows, where these differ."""
    asked, own = per_table(lines, "auroc"), per_table(lines, "auroc_own")
    asked_ap, own_ap = per_table(lines, "ap"), per_table(lines, "ap_own")
    rows = []
    for m in methods:
        if m not in own or all(own[m][t] == asked[m][t] for t in own[m]):
            continue
        tables = sorted(own[m])
        figures = [np.mean([f[m][t] for t in tables]) for f in (asked, asked_ap, own, own_ap)]
        a, ap, b, bp = (percent(float(v)) for v in figures)
        gain = paired(asked[OURS], own[m]) if OURS in asked else None
        ahead = with_error(gain["mean"], gain["error"], "{:+.2f}").replace("± +", "± ") if gain else ""
        rows.append((m, len(tables), f"{a} / {ap}", f"{b} / {bp}", ahead))
    head = ("detector", "tables", "asked anew", "its own training scores", f"{OURS} − the latter, AUROC")
    return markdown(head, rows) if rows else ""


# ── beside other people's figures ─────────────────────────────────────────────────────────────────


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def beside_measured(lines: Sequence[Line], path: Path, protocol: str) -> str:
    """Our figures of the rivals minus earlier ones, table by table and seed by seed."""
    setting = MEASURED_AS.get(protocol)
    theirs = {
        (row["dataset"], row["method"], int(row["seed"])): (float(row["auroc"]), float(row["ap"]))
        for row in _read(path)
        if row["setting"] == setting and row["auroc"]
    }
    rows = []
    for ours, name in MEASURED.items():
        found = []
        for line in lines:
            earlier = theirs.get((line["table"], name, line["seed"]))
            if line["method"] == ours and earlier:
                found.append((line["auroc"] - earlier[0], line["ap"] - earlier[1], line["table"]))
        if found:
            a, p = np.array([f[0] for f in found]), np.array([f[1] for f in found])
            worst = found[int(np.abs(a).argmax())]
            at = f"{percent(worst[0], '{:+.3f}')} ({short(worst[2])})" if abs(worst[0]) > 5e-7 else "none"
            equal = int((np.abs(a) < 1e-6).sum())
            means = percent(float(a.mean()), "{:+.3f}"), percent(float(p.mean()), "{:+.3f}")
            rows.append((ours, len(found), equal, *means, at))
    head = ("detector", "cells", "equal to 6 digits", "mean difference, AUROC", "average precision", "largest, AUROC")
    return markdown(head, rows) if rows else ""


def beside_published(lines: Sequence[Line], path: Path) -> str:
    """File order: the paper's means over the tables that we have, and ours of the same detectors."""
    tables = {short(x["table"]).lower(): x["table"] for x in lines}
    published: Figures = defaultdict(dict)
    for row in _read(path):
        name = tables.get(row["dataset"].lower())
        if row["setting"] == "semi" and row["source"].startswith("vicliv/DTE") and name and row["AUROC"]:
            published[row["method"]][name] = float(row["AUROC"]) / 100
    ours = per_table(lines, "auroc")
    everywhere = {m: f for m, f in published.items() if len(f) == max(map(len, published.values()))}
    if not everywhere:
        return ""
    rows = []
    for method, figures in sorted(everywhere.items(), key=lambda item: -np.mean(list(item[1].values()))):
        same = ours.get(next((o for o, p in PUBLISHED.items() if p == method), ""), {})
        again = percent(float(np.mean([same[t] for t in figures]))) if set(figures) <= set(same) else ""
        ahead = ""
        if set(figures) & set(ours.get(OURS, {})):
            d = paired(ours[OURS], figures)
            ahead = with_error(d["mean"], d["error"], "{:+.2f}").replace("± +", "± ")
        rows.append((method, len(figures), percent(float(np.mean(list(figures.values())))), again, ahead))
    return markdown(("published", "tables", "AUROC", "the same, measured here", f"{OURS} − published"), rows)


# ── all of it ─────────────────────────────────────────────────────────────────────────────────────


def text(lines: Sequence[Line], options: Any) -> str:
    parts = []
    for protocol in options.protocol:
        here = [line for line in lines if line["protocol"] == protocol]
        if here:
            parts += [f"\n## {protocol}\n", *_protocol(here, protocol, options)]
    failed = [x for x in lines if x["status"] == "failed"]
    lost = [x for x in lines if x.get("not_finite")]
    if failed:
        said = sorted({f"{x['protocol']}, {short(x['table'])}, {x['method']}: {x['reason']}" for x in failed})
        parts += ["\nFailed, and counted as guessing:", *(f"- {s}" for s in said)]
    if lost:
        said = sorted({f"{x['protocol']}, {short(x['table'])}, {x['method']}" for x in lost})
        parts += [
            "\nScores that were not finite (infinity counts as most anomalous, NaN as least):",
            *(f"- {s}" for s in said),
        ]
    return "\n".join(parts) if parts else "no results"


def _protocol(lines: list[Line], protocol: str, options: Any) -> list[str]:
    there = {line["method"] for line in lines}
    methods = [m for m in options.methods if m in there]
    wanted = {(line["table"], line["seed"]) for line in lines}
    out = []
    for m in methods:
        lacking = len(wanted - {(x["table"], x["seed"]) for x in lines if x["method"] == m})
        if lacking:
            out.append(f"{m}: {lacking} of {len(wanted)} cells not computed yet.")
    out += ["", summary(lines, methods)]
    if OURS in methods and len(methods) > 1:
        out += ["", differences(lines, methods, "auroc"), "", differences(lines, methods, "ap")]
    out += ["", every_table(lines, methods)]
    extra = [own_scores(lines, methods)] if protocol == "unsupervised" else []
    if options.measured:
        extra.append(beside_measured(lines, options.measured, protocol))
    if options.published and protocol == "file-order":
        extra.append(beside_published(lines, options.published))
    return out + [piece for part in extra if part for piece in ("", part)]
